version = 1
plugin "storage" "leveldb" {
  path   = "storage"
  files  = ["a/lib.so", "b/lib.so"]
  sha256 = "abc"
  env    = { "A-B" = "c" }
  args   = [1]
}
plugin "runtime" "wasmer" {
  path = ""
}
