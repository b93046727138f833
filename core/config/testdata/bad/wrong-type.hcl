version = 1
server {
  listen  = "127.0.0.1:2528"
  jsonrpc = "yes"
}
execution {
  fuel     = "lots"
  deadline = 30
  lanes    = 1.5
}
plugin "storage" "leveldb" {
  path = "storage"
}
plugin "runtime" "wasmer" {
  path = "runtime"
}
