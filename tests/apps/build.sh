#!/bin/sh
# Rebuilds the sample apps and the hash file that check.sh compares with.
#
# Needs a rustc with the std sources beside it and wasm-ld. No rustup target is
# needed: std is built from source. On Debian:
#   apt-get install rustc-web cargo-web rust-web-src lld
# Overrides: CARGO, RUSTC (default /usr/bin/cargo and /usr/bin/rustc when they
# exist, else those on PATH).
set -eu

cd "$(dirname "$0")"
here=$(pwd -P)
limit=600000

fail() {
	echo "build.sh: $*" >&2
	exit 1
}

tool() { # tool NAME: the system's own, else the one on PATH
	if [ -x "/usr/bin/$1" ]; then echo "/usr/bin/$1"; else command -v "$1" || true; fi
}

CARGO=${CARGO:-$(tool cargo)}
RUSTC=${RUSTC:-$(tool rustc)}
debian="on Debian: apt-get install rustc-web cargo-web rust-web-src lld"
[ -n "$CARGO" ] || fail "cargo not found ($debian)"
[ -n "$RUSTC" ] || fail "rustc not found ($debian)"
command -v wasm-ld >/dev/null || fail "wasm-ld not found ($debian)"
sysroot=$("$RUSTC" --print sysroot)
std=$sysroot/lib/rustlib/src/rust
[ -f "$std/library/std/Cargo.toml" ] || fail "no std sources in $std ($debian; with rustup: rustup component add rust-src)"
std_real=$(cd "$std" && pwd -P)

# Cargo takes later releases of the SDK's own dependencies, with other formats,
# whenever the lock file is made anew.
sdk=0.10.1-rc.10
other=$(awk -v want="\"$sdk\"" '/^name = "calimero-/ { name = $3; getline; if ($3 != want) print name, $3 }' Cargo.lock)
[ -z "$other" ] || fail "Cargo.lock must pin every calimero crate to $sdk (cargo update -p NAME --precise $sdk), has: $other"

"$CARGO" fetch --locked

# Panic messages carry source paths: give them names that are the same on every
# machine. Later entries win.
sep=$(printf '\037')
cargo_home=${CARGO_HOME:-$HOME/.cargo}
flags="--remap-path-prefix=$std=/rust$sep--remap-path-prefix=$std_real=/rust"
for dir in "$cargo_home"/registry/src/*; do
	[ -d "$dir" ] && flags="$flags$sep--remap-path-prefix=$dir=/crates"
done
flags="$flags$sep--remap-path-prefix=$here=/apps"

RUSTC_BOOTSTRAP=1 \
	RUSTC=$RUSTC \
	CARGO_TARGET_DIR=$here/target \
	CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld \
	CARGO_ENCODED_RUSTFLAGS=$flags \
	"$CARGO" build --locked --release --target wasm32-unknown-unknown -Zbuild-std=std,panic_abort

release=target/wasm32-unknown-unknown/release
for manifest in */Cargo.toml; do
	app=${manifest%/Cargo.toml}
	built=$release/$app.wasm
	[ -f "$built" ] || fail "$built was not built"
	for path in "$std" "$std_real" "$cargo_home" "$here"; do
		if LC_ALL=C grep -qF "$path" "$built"; then
			fail "$app.wasm contains the machine path $path"
		fi
	done
	size=$(wc -c <"$built" | tr -d ' ')
	[ "$size" -lt "$limit" ] || fail "$app.wasm has $size bytes, the limit is $limit"
done

mkdir -p wasm
rm -f wasm/*.wasm
for manifest in */Cargo.toml; do
	app=${manifest%/Cargo.toml}
	cp "$release/$app.wasm" "wasm/$app.wasm"
	echo "wasm/$app.wasm $(wc -c <"wasm/$app.wasm" | tr -d ' ') bytes"
done

./check.sh --write
