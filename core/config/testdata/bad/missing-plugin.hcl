version = 1
plugin "storage" "leveldb" {
  path = "storage"
}
