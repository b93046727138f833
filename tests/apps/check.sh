#!/bin/sh
# Fails when a sample app's source differs from the one its .wasm was built of.
#
#   check.sh           compare sources and wasm files with SOURCES.sha256
#   check.sh --write   write SOURCES.sha256 (build.sh does this after a build)
#
# Needs sh and sha256sum (or shasum on macOS), no Rust.
set -eu

cd "$(dirname "$0")"
sums=SOURCES.sha256
limit=600000
export LC_ALL=C

fail() {
	echo "tests/apps: $*" >&2
	echo "tests/apps: rebuild with 'make apps' and commit sources, wasm and $sums together" >&2
	exit 1
}

sha256() {
	if command -v sha256sum >/dev/null 2>&1; then
		sha256sum "$@"
	elif command -v shasum >/dev/null 2>&1; then
		shasum -a 256 "$@"
	else
		echo "tests/apps: neither sha256sum nor shasum found" >&2
		exit 1
	fi
}

sources() {
	find . -path ./target -prune -o -type f \( -name '*.rs' -o -name Cargo.toml -o -name Cargo.lock \) -print | sed 's|^\./||'
	find wasm -type f -name '*.wasm'
}

current() {
	sources | sort | while IFS= read -r file; do sha256 "$file"; done
}

if [ "${1:-}" = --write ]; then
	current >"$sums.new"
	mv "$sums.new" "$sums"
	exit 0
fi

[ -f "$sums" ] || fail "$sums is missing"

for manifest in */Cargo.toml; do
	app=${manifest%/Cargo.toml}
	[ -f "wasm/$app.wasm" ] || fail "wasm/$app.wasm is missing"
done
for wasm in wasm/*.wasm; do
	size=$(wc -c <"$wasm" | tr -d ' ')
	[ "$size" -lt "$limit" ] || fail "$wasm has $size bytes, the limit is $limit"
done

now=$(current)
old=$(cat "$sums")
[ "$now" = "$old" ] && exit 0

{
	echo "$old" | sed 's/^/recorded /'
	echo "$now" | sed 's/^/present /'
} | awk '
	{ if ($1 == "recorded") was[$3] = $2; else is[$3] = $2 }
	END {
		for (f in was) if (!(f in is)) print f ": recorded but missing"
		for (f in is) if (!(f in was)) print f ": not recorded"
		for (f in is) if (f in was && is[f] != was[f]) print f ": changed"
	}' | sort | sed 's|^|tests/apps: |' >&2
fail "sources and wasm files do not match $sums"
