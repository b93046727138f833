package main

import (
	"testing"

	"github.com/calimero-go/core/plugin-sdk/sdktest"
	"github.com/calimero-go/core/plugin-sdk/serve"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

func TestMain(m *testing.M) {
	sdktest.Main(m, map[string]func(){"store": func() { serve.Storage(newStore) }})
}

// TestConformance runs the kit against the plugin in process, over gRPC, and as a process of its own. Nothing outlives
// the plugin, so the factory has no Reopen; a store on disk takes storagetest.Persistent(h.New) instead.
func TestConformance(t *testing.T) {
	t.Parallel()
	for _, h := range sdktest.Heights(storage.Wire, newStore, sdktest.Reexec("store")) {
		t.Run(h.Name, func(t *testing.T) {
			storagetest.Run(t, storagetest.Factory{New: func(tb testing.TB) storage.Plugin {
				p := h.New(tb)
				storagetest.Configure(tb, p, tb.TempDir(), nil)
				return p
			}})
		})
	}
}
