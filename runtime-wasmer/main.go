// Command merod-plugin-runtime-wasmer is the runtime plugin on libwasmer. A node
// starts it; it is not for use by hand.
package main

import (
	"os"

	"github.com/calimero-go/core/plugin-sdk/serve"
	"github.com/calimero-go/core/runtime-wasmer/wasmer"
)

// version is set by the linker.
var version = "dev"

func main() {
	if len(os.Args) > 1 && os.Args[1] == wasmer.CompileCommand {
		os.Exit(wasmer.CompileMain(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
	wasmer.Version = version
	serve.Runtime(wasmer.NewIsolated)
}
