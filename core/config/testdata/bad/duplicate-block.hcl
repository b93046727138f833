version = 1
log {
  level = "inof"
}
log {
}
plugin "storage" "leveldb" {
  path = "storage"
}
plugin "runtime" "wasmer" {
  path = "runtime"
}
