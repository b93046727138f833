version = 1
server {
  max_body = "10 megs"
}
execution {
  max_module = "1GiB"
  limits {
    max_stack_size = "99999999999999999999GiB"
    max_stak_size  = 1
  }
}
plugin "storage" "leveldb" {
  path = "storage"
}
plugin "runtime" "wasmer" {
  path = "runtime"
}
