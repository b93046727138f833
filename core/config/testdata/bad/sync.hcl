version = 1
sync {
  timeout         = "10ms"
  interval        = 5
  frequency       = "2h"
  accept_unsigned = "always"
}
plugin "storage" "leveldb" {
  path = "storage"
}
plugin "runtime" "wasmer" {
  path = "runtime"
}
