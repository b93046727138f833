package leveldb_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/diag"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
	"github.com/calimero-go/core/storage-leveldb/leveldb"
)

func writer() {}

type attrs = map[string]cty.Value

func tryOpen(t testing.TB, dir string, a attrs) (storage.Plugin, diag.Diagnostics, error) {
	t.Helper()
	p := leveldb.New()
	s, err := p.Schema(context.Background())
	require.NoError(t, err)
	d, err := p.Configure(context.Background(), base.Config{Value: storagetest.Value(s, a), DataDir: dir})
	t.Cleanup(func() { require.NoError(t, p.Close(context.Background())) })
	return p, d, err
}

func open(t testing.TB, dir string, a attrs) storage.Plugin {
	t.Helper()
	p, d, err := tryOpen(t, dir, a)
	require.NoError(t, err)
	require.Empty(t, d)
	return p
}
