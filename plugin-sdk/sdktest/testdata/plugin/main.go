// A plugin for the tests of the harness.
package main

import (
	"github.com/calimero-go/core/plugin-sdk/serve"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

func main() { serve.Storage(storagetest.NewMemory) }
