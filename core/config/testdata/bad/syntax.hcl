version = 1
server {
  listen = [
}
