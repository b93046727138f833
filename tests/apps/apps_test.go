package apps_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/apps"
)

// maxSize is what one committed module may weigh in the repository.
const maxSize = 600_000

func TestEveryCrateHasAModule(t *testing.T) {
	t.Parallel()

	manifests, err := filepath.Glob("*/Cargo.toml")
	require.NoError(t, err)
	var crates []string
	for _, m := range manifests {
		crates = append(crates, filepath.Dir(m))
	}
	require.NotEmpty(t, crates)
	require.Equal(t, crates, apps.Names())
}

func TestModules(t *testing.T) {
	t.Parallel()

	home, err := os.UserHomeDir()
	require.NoError(t, err)
	for _, name := range apps.Names() {
		wasm, err := apps.Wasm(name)
		require.NoError(t, err)
		require.True(t, bytes.HasPrefix(wasm, []byte("\x00asm\x01\x00\x00\x00")), "%s is not a wasm module", name)
		require.Less(t, len(wasm), maxSize, "%s is too large", name)
		require.NotContains(t, string(wasm), filepath.Join(home, ".cargo"), "%s names a path of the build machine", name)
	}
}

func TestUnknownName(t *testing.T) {
	t.Parallel()

	for _, name := range []string{"nope", "", "../apps", "kv.wasm"} {
		_, err := apps.Wasm(name)
		require.ErrorContains(t, err, "unknown name, have ")
		require.ErrorContains(t, err, "kv")
	}
}
