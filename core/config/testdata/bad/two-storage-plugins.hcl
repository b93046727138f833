version = 1
plugin "storage" "leveldb" {
  path = "storage"
}
plugin "runtime" "wasmer" {
  path = "runtime"
}
plugin "storage" "other" {
  path = "other"
}
