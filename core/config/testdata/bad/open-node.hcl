version = 1
server {
  listen = ["127.0.0.1:2528", "0.0.0.0:2528"]
}
plugin "storage" "leveldb" {
  path = "storage"
}
plugin "runtime" "wasmer" {
  path = "runtime"
}
