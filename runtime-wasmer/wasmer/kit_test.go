package wasmer_test

import (
	"testing"

	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/runtimetest"
	"github.com/calimero-go/core/runtime-wasmer/wasmer"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	runtimetest.Run(t, func(testing.TB) runtime.Plugin { return wasmer.New() })
}
