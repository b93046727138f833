package engine_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/runtime-wasmer/internal/engine"
)

// TestKitModuleIsInSync compares the conformance kit's module with its text.
// With UPDATE=1 it writes the binary.
func TestKitModuleIsInSync(t *testing.T) {
	t.Parallel()
	const path = "../../../plugin-sdk/runtimetest/testdata/kit."
	text, err := os.ReadFile(path + "wat")
	require.NoError(t, err)
	wasm, err := engine.TextToBinary(text)
	require.NoError(t, err)
	require.NoError(t, engine.Validate(wasm))
	if os.Getenv("UPDATE") == "1" {
		require.NoError(t, os.WriteFile(path+"wasm", wasm, 0o600))
	}
	have, err := os.ReadFile(path + "wasm")
	require.NoError(t, err)
	require.Equal(t, wasm, have, "run this test with UPDATE=1")
}
