version = 1
server {
  auth = "locl"
}
plugin "storage" "leveldb" {
  path = "storage"
}
plugin "runtime" "wasmer" {
  path = "runtime"
}
plugin "auth" "local" {
  path = "auth"
}
