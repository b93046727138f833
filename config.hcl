# The node's configuration, with every setting and its default. `merod config check` reads it and starts nothing.
#
# Relative paths start at this file's folder; ~/ is your home. The command line (--home, --node) wins over this file,
# and so does the config.toml that `merod init` writes into the node's folder.
version = 1

node {
  name = "node"
  home = ".home" # the node's folder is home/name
}

server {
  listen = ["127.0.0.1:2528", "[::1]:2528"] # numeric address:port; port 0 takes a free one

  # The auth plugin that checks tokens, by its name below. "none" lets everybody in: only on loopback addresses, or with
  # behind_proxy = true, when a reverse proxy authenticates the callers.
  auth         = "local"
  behind_proxy = false

  admin     = true # /admin-api
  jsonrpc   = true # /jsonrpc
  websocket = true # /ws
  sse       = true # /sse

  max_body            = "16MiB" # of a request
  max_upload          = "1GiB"  # of a blob or application
  read_header_timeout = "10s"
  idle_timeout        = "2m"
  shutdown_timeout    = "15s" # for requests in flight
  websocket_ping      = "30s" # 0s: none
  websocket_pong      = "10s"

  cors {
    origins = ["*"] # [] sends no CORS headers
  }
}

# Bounds for one run of an application's method.
execution {
  deadline        = "30s"
  fuel            = 100000000000 # instructions
  memory_pages    = 4096         # of 64 KiB, for one instance
  lanes           = 0            # runs at once; 0: two per CPU
  max_module      = "10MiB"
  allow_unmetered = false # accept a runtime that cannot stop a runaway method

  # Calls from one context to another: any, same_application, off. A chain of calls ends at xcall_depth, a request at
  # xcall_count calls.
  xcall       = "any"
  xcall_depth = 8
  xcall_count = 100

  limits {
    max_stack_size          = "200KiB"
    max_registers           = 100
    max_register_size       = "100MiB"
    max_registers_capacity  = "1GiB"
    max_logs                = 100
    max_log_size            = "16KiB"
    max_events              = 100
    max_event_kind_size     = 100
    max_event_data_size     = "16KiB"
    max_xcalls              = 100
    max_xcall_function_size = 100
    max_xcall_params_size   = "16KiB"
    max_storage_key_size    = "1MiB"
    max_storage_value_size  = "10MiB"
    max_blob_handles        = 100
    max_blob_chunk_size     = "10MiB"
    max_method_name_length  = 256
  }
}

# The peer-to-peer network (docs/design/network.md). A node's config.toml names listen, bootstrap, mdns and rendezvous too.
network {
  swarm_port = 2428 # TCP and QUIC on all addresses; 0 takes a free port
  listen     = []   # or these multiaddrs, such as "/ip4/127.0.0.1/tcp/2428"
  advertise  = []   # multiaddrs that others shall know besides
  bootstrap  = []   # multiaddrs of peers to stay connected to; each ends in /p2p/<peer id>

  mdns            = true   # look for peers in the local network
  local_discovery = "auto" # a folder for the nodes of this host; auto: one in the temporary folder, if mdns is on; off
  relays          = 3      # that relay to this node while it cannot be reached; 0: none
  autonat         = true   # ask peers which addresses of this node can be reached

  rendezvous {
    namespace     = "/calimero/devnet/global" # "": no rendezvous points
    interval      = "90s" # between discoveries
    throttle      = "2m"  # rest for a point after one
    registrations = 3     # points that list this node
  }

  invite_topic = "mero_specialized_node_invites"
  max_peers    = 256
  max_memory   = "256MiB" # that connections and streams may buffer
}

# How contexts are kept equal with those of peers. A node's config.toml names timeout, interval and frequency too.
sync {
  frequency = "10s" # between two comparisons of a context with some peer's
  interval  = "5s"  # rest of a context after one of any cause
  timeout   = "30s" # for an attempt that brings nothing; a third of it for one answer

  # Changes by members whose node cannot sign them, as those of the Rust node: true, false, or "auto", while such a node
  # is connected in the context. With true, any member can write in the name of another that never signed.
  accept_unsigned = "auto"
}

# The core's cache of hot rows over the storage plugin.
store {
  cache = "16MiB"
}

log {
  level  = "info" # trace, debug, info, warn, error
  format = "text" # text, json
}

metrics {
  enabled = true # /metrics
}

# Each plugin is a process of its own: one storage, one runtime, and the auth plugin named above. The sha256 of the binary
# and of its files stand in plugins.lock beside this file; `merod plugin pin` writes it. Besides what is shown, a block
# takes
#
#   args          = []      # of the command line
#   env           = {}      # nothing else is inherited but PATH, HOME, LANG, TMPDIR and the like
#   sha256        = "…"     # in place of the binary's line in plugins.lock
#   start_timeout = "30s"   # for each step of a start
#   call_wait     = "10s"   # how long a call waits while the plugin restarts
#   close_timeout = "30s"   # for the orderly end; 5s for kinds other than storage
#   max_in_flight = 64      # calls at once
#   max_restarts  = 10      # in a row, before the host gives up
#   config { … }            # the plugin's own settings: `merod plugin list` prints them

plugin "storage" "leveldb" {
  path = "bin/merod-plugin-storage-leveldb"
}

plugin "runtime" "wasmer" {
  path  = "bin/merod-plugin-runtime-wasmer"
  files = ["bin/libwasmer${lib_ext}"] # lib_ext is .so, or .dylib on macOS

  config {
    memory_budget = 2048 # MiB for all running instances; a call that does not fit waits
  }
}

plugin "auth" "local" {
  path = "bin/merod-plugin-auth-local"
}
