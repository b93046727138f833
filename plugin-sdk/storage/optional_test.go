package storage_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

func TestNoCapabilities_NamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	var none storage.NoCapabilities
	_, snapshotErr := none.Snapshot(t.Context())
	_, statsErr := none.Stats(t.Context())
	_, _, compactErr := none.Compact(t.Context())
	for capability, err := range map[string]error{
		storage.CapSnapshot: snapshotErr, storage.CapStats: statsErr, storage.CapCompact: compactErr,
	} {
		require.ErrorIs(t, err, errkind.Unsupported)
		require.ErrorContains(t, err, capability)
	}
}
