version = 1
execution {
  deadline = "30 seconds"
}
server {
  idle_timeout = "1000h"
}
plugin "storage" "leveldb" {
  path = "storage"
}
plugin "runtime" "wasmer" {
  path = "runtime"
}
