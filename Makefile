# `make` prints the targets. GNU make 3.81 or newer, POSIX sh, Go, a C compiler (for the WASM engine); nothing else.

GO       ?= go
SCALE    ?= small
FUZZTIME ?= 30s
SEEDS    ?= 2000
FROM     ?= 1
MINUTES  ?= 30
ARGS     ?=
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

BIN     := $(CURDIR)/bin
TOOL    := $(GO) tool -modfile=tools/go.mod
# Paths of the build machine stay out of the binaries: plugins.lock pins their sha256.
GOBUILD := $(GO) build -trimpath -buildvcs=false -ldflags '-X main.version=$(VERSION)'
# Everything but the black-box tests, which need the binaries.
UNIT     = $$($(GO) list ./... | grep -v '/core/tests')

# For the tests: where the binaries are, and small or full sizes. For runtime-wasmer/build.sh: the version.
export CALIMERO_BIN := $(BIN)
export SCALE
export VERSION

# wasmer-go ships the library for linux/arm64 but not the flag that tells where it is.
ifeq ($(shell $(GO) env GOOS GOARCH | tr '\n' '-'),linux-arm64-)
WASMER_LIB := $(shell $(GO) list -m -f '{{.Dir}}' github.com/wasmerio/wasmer-go)/wasmer/packaged/lib/linux-aarch64
export CGO_LDFLAGS := -O2 -g -L$(WASMER_LIB) -Wl,-rpath,$(WASMER_LIB)
endif

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build run test unit e2e converge writers hostile soak govern govern-laws laws race conformance bench fuzz proto apps \
	clean check fmt-check vet lint proto-check tidy-check imports-check apps-check

help: ## print this
	@awk 'BEGIN { FS = ":.*## " } /^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' Makefile
	@echo '  SCALE=small|full (tests)  FUZZTIME=30s  SEEDS=2000 FROM=1 (converge, govern)  MINUTES=30 (soak)  ARGS="..." (run, converge)'

build: ## build all programs into bin/ and pin the plugins in plugins.lock
	@mkdir -p $(BIN)
	$(GOBUILD) -o $(BIN)/merod ./cmd/merod
	$(GOBUILD) -o $(BIN)/meroctl ./cmd/meroctl
	$(GOBUILD) -o $(BIN)/merod-plugin-storage-leveldb ./storage-leveldb
	$(GOBUILD) -o $(BIN)/merod-plugin-auth-local ./plugins/auth-local
	sh runtime-wasmer/build.sh $(BIN)
	$(BIN)/merod plugin pin --config config.hcl

run: build ## start a node with the sample app and leave it running; ARGS=--once ends after the calls
	$(GO) run ./tests/tour $(ARGS)

test: unit e2e converge ## run all tests: unit tests, conformance kits, end to end, histories

unit: ## run the unit tests and the conformance kits
	$(GO) test -timeout 8m $(UNIT)

# Uncached: the test cache does not see that a program in bin/ changed.
e2e: build ## run the black-box tests against the programs in bin/
	$(GO) test -count=1 -timeout 8m ./tests/...

converge: ## run SEEDS random histories from seed FROM, real guests on 3 to 5 nodes, and say which did not converge
	@$(GO) run ./tests/converge/run -seeds $(SEEDS) -from $(FROM) $(ARGS)

writers: SEEDS = 10
writers: build ## run SEEDS random loads (10) from seed FROM: all sample apps on three real nodes whose processes die at random
	WRITERS=1 SEEDS=$(SEEDS) FROM=$(FROM) $(GO) test -v -count=1 -timeout 90m -run '^TestSeededWriters$$' ./tests/replication

hostile: build ## a hostile peer at full size: a million parents that do not exist, a history of a million deltas (four minutes)
	SCALE=full $(GO) test -v -count=1 -timeout 60m -run '^TestHostilePeer$$' ./tests/replication

soak: build ## run three real nodes under mixed load for MINUTES, and look for what grows
	MINUTES=$(MINUTES) $(GO) test -v -count=1 -timeout 0 -run '^TestSoak$$' ./tests/replication

govern: ## run SEEDS random histories of groups from seed FROM, 2 to 5 nodes on a bad network, and say which did not converge
	@$(GO) run ./tests/govern/run -seeds $(SEEDS) -from $(FROM) $(ARGS)

govern-laws: ## the rule of groups over 12,000 random histories in memory and 10,000 on nodes, with the race detector (up to an hour)
	SCALE=full $(GO) test -race -count=1 -timeout 90m -run 'TestConvergence|TestLinear|TestVectors|TestLongLog' ./core/governance
	@$(GO) run -race ./tests/govern/run -seeds 10000 -from $(FROM) $(ARGS)

laws: ## the state engine's laws over 100,000 cases each and guests' roots over 10,000 calls (up to an hour)
	SCALE=full $(GO) test -count=1 -timeout 90m ./plugin-sdk/crdt/engine ./tests/converge

race: ## run the unit tests and the conformance kits with the race detector
	$(GO) test -race -timeout 20m $(UNIT)

conformance: ## run the conformance kits against every first-party plugin, with the race detector
	$(GO) test -race -count=1 -timeout 15m \
		$$(grep -rlE --include='*_test.go' '(storage|runtime|auth|hostfn)test\.Run' --exclude-dir=target . | xargs -n1 dirname | sort -u)

bench: build ## run all benchmarks
	$(GO) test -run '^$$' -bench . -benchmem -timeout 30m \
		$$(grep -rl --include='*_test.go' --exclude-dir=target '^func Benchmark' . | xargs -n1 dirname | sort -u)

fuzz: ## run every fuzz target for FUZZTIME
	@set -e; grep -rHoE --include='*_test.go' --exclude-dir=target '^func Fuzz[A-Za-z0-9_]+' . | sort | \
	while IFS=: read -r file name; do \
		pkg=$$(dirname $$file); name=$${name#func }; echo "== $$pkg $$name"; \
		$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) $$pkg </dev/null; \
	done

proto: ## generate Go from plugin-sdk/proto
	$(TOOL) buf generate

apps: ## rebuild the sample apps from their Rust sources (needs rustc with its std sources, cargo, wasm-ld)
	sh tests/apps/build.sh

clean: ## remove what the build made
	rm -rf bin dist plugins.lock

check: fmt-check vet lint proto-check tidy-check imports-check apps-check ## run every static check
	@echo 'check: ok'

fmt-check:
	@bad=$$(gofmt -l .); [ -z "$$bad" ] || { echo "not formatted (run gofmt -w on them):"; echo "$$bad"; exit 1; }

vet:
	$(GO) vet ./...

lint: ## run golangci-lint
	$(TOOL) golangci-lint run

proto-check:
	$(TOOL) buf lint
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && $(TOOL) buf generate -o "$$tmp" && \
	{ diff -r -x '*.proto' "$$tmp/plugin-sdk/proto" plugin-sdk/proto >"$$tmp/diff" || \
		{ head -40 "$$tmp/diff"; echo 'generated code differs from the .proto files: run make proto'; exit 1; }; }
	@tag=$$(git describe --tags --abbrev=0 2>/dev/null || true); \
	if [ -z "$$tag" ]; then echo 'no release tag yet: nothing to break'; \
	elif [ -z "$$(git ls-tree "$$tag" plugin-sdk/proto)" ]; then echo "$$tag has no protocols: nothing to break"; \
	else $(TOOL) buf breaking --against ".git#tag=$$tag"; fi

tidy-check:
	$(GO) mod tidy -diff
	cd tools && $(GO) mod tidy -diff

imports-check:
	$(GO) test -count=1 -run '^TestImports' ./tests

apps-check:
	sh tests/apps/check.sh
