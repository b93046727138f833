version = 1
node {
  home = "${env.HOME}/x"
  name = "a/b"
}
plugin "storage" "leveldb" {
  path = "storage"
}
plugin "runtime" "wasmer" {
  path = "runtime"
}
