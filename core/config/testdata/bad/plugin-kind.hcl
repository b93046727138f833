version = 1
plugin "storage" "leveldb" {
  path = "storage"
}
plugin "runtime" "wasmer" {
  path = "runtime"
}
plugin "storge" "leveldb" {
  path = "other"
}
plugin "auth" "Big Name" {
  path = "other"
}
plugin "auth" {
  path = "other"
}
