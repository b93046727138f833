version = 1
network {
  swarm_port      = 70000
  listen          = ["/ip4/127.0.0.1/tcp/1/ws", "127.0.0.1:1"]
  advertise       = ["nowhere"]
  bootstrap       = ["/ip4/10.0.0.1/tcp/2428"]
  local_discovery = ""
  relays          = 101
  invite_topic    = "two words"
  max_peers       = 1
  max_memory      = "1MiB"
  rendezvous {
    namespace     = "a\nb"
    interval      = "0s"
    throttle      = "25h"
    registrations = 0
  }
}
plugin "storage" "leveldb" {
  path = "storage"
}
plugin "runtime" "wasmer" {
  path = "runtime"
}
