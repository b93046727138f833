version = 1
server {
  lisen = ["127.0.0.1:2528"]
}
plugin "storage" "leveldb" {
  path = "storage"
}
plugin "runtime" "wasmer" {
  path = "runtime"
}
