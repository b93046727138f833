// Package apps carries the compiled sample apps, so that tests and tools need
// neither Rust nor the network. README.md lists every app's methods; build.sh
// rebuilds them and check.sh tells when a source and its wasm differ.
package apps

import (
	"embed"
	"fmt"
	"path"
	"strings"
)

//go:embed wasm/*.wasm
var files embed.FS

// Wasm returns the compiled module of the named app. The slice is the caller's
// own. An unknown name is an error that lists the known ones.
func Wasm(name string) ([]byte, error) {
	b, err := files.ReadFile(path.Join("wasm", name+".wasm"))
	if err != nil {
		return nil, fmt.Errorf("read sample app %q: unknown name, have %s", name, strings.Join(Names(), ", "))
	}
	return b, nil
}

// Names returns the names of all sample apps, sorted.
func Names() []string {
	entries, err := files.ReadDir("wasm")
	if err != nil {
		panic(fmt.Sprintf("read embedded wasm folder: %v", err)) // the embed directive guarantees it
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".wasm"))
	}
	return names
}
