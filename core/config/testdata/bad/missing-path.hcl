version = 1
plugin "storage" "leveldb" {
  args = ["-v"]
}
plugin "runtime" "wasmer" {
  path = null
}
