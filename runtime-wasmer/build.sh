#!/bin/sh
# Builds the runtime plugin and puts the wasmer library beside it.
#
#   runtime-wasmer/build.sh OUTDIR     binary and shared library into OUTDIR
#   runtime-wasmer/build.sh --ldflags  CGO_LDFLAGS for go test and go vet where
#                                      the library's module has none (linux/arm64)
#
# The binary looks for the library in its own folder only: nothing of the
# module cache is left in it. GOOS and GOARCH choose the target, VERSION is what
# the plugin says it is.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

goos=$(go env GOOS)
goarch=$(go env GOARCH)
case "$goos/$goarch" in
linux/amd64) lib=linux-amd64/libwasmer.so ;;
linux/arm64) lib=linux-aarch64/libwasmer.so ;;
darwin/amd64) lib=darwin-amd64/libwasmer.dylib ;;
darwin/arm64) lib=darwin-aarch64/libwasmer.dylib ;;
*)
	echo "runtime-wasmer: no wasmer library for $goos/$goarch; use linux or darwin on amd64 or arm64" >&2
	exit 1
	;;
esac

go mod download github.com/wasmerio/wasmer-go
module=$(go list -m -f '{{.Dir}}' github.com/wasmerio/wasmer-go)
lib="$module/wasmer/packaged/lib/$lib"
if [ ! -f "$lib" ]; then
	echo "runtime-wasmer: $lib is missing; run: go clean -modcache && go mod download" >&2
	exit 1
fi
libdir=$(dirname "$lib")

if [ "${1:-}" = --ldflags ]; then
	echo "-L$libdir -Wl,-rpath,$libdir"
	exit 0
fi
if [ $# -ne 1 ]; then
	echo "usage: runtime-wasmer/build.sh OUTDIR | --ldflags" >&2
	exit 2
fi

mkdir -p "$1"
out=$(cd "$1" && pwd)
# -trimpath also keeps CGO_LDFLAGS out of the binary's build information.
CGO_ENABLED=1 CGO_LDFLAGS="-L$libdir" \
	go build -trimpath -buildvcs=false -tags wasmer_beside -ldflags "-X main.version=${VERSION:-dev}" \
	-o "$out/merod-plugin-runtime-wasmer" ./runtime-wasmer
name=$(basename "$lib")
if ! cmp -s "$lib" "$out/$name"; then
	cp -f "$lib" "$out/$name.new"
	chmod 0755 "$out/$name.new"
	mv -f "$out/$name.new" "$out/$name"
fi
