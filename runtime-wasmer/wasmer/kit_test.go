package wasmer_test

import (
	"os"
	"testing"

	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/runtimetest"
	"github.com/calimero-go/core/plugin-sdk/sdktest"
	"github.com/calimero-go/core/plugin-sdk/serve"
	"github.com/calimero-go/core/runtime-wasmer/wasmer"
)

// TestMain also is the plugin process and its compiler process of the tests.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == wasmer.CompileCommand {
		os.Exit(wasmer.CompileMain(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
	sdktest.Main(m, map[string]func(){"wasmer": func() { serve.Runtime(wasmer.NewIsolated) }})
}

func TestConformance(t *testing.T) {
	for _, h := range sdktest.Heights(runtime.Wire, wasmer.New, sdktest.Reexec("wasmer")) {
		t.Run(h.Name, func(t *testing.T) { runtimetest.Run(t, h.New) })
	}
}
