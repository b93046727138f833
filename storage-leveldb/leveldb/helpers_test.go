package leveldb_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/diag"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
	"github.com/calimero-go/core/storage-leveldb/leveldb"
)

type attrs = map[string]cty.Value

// tryOpen configures a plugin; the caller closes it.
func tryOpen(t testing.TB, dir string, a attrs) (storage.Plugin, diag.Diagnostics, error) {
	t.Helper()
	p := leveldb.NewWith(leveldb.WithLogger(hclog.NewNullLogger()))
	s, err := p.Schema(context.Background())
	require.NoError(t, err)
	d, err := p.Configure(context.Background(), base.Config{Value: storagetest.Value(s, a), DataDir: dir})
	return p, d, err
}

func open(t testing.TB, dir string, a attrs) storage.Plugin {
	t.Helper()
	p, d, err := tryOpen(t, dir, a)
	require.NoError(t, err)
	require.Empty(t, d)
	return p
}

func shut(t testing.TB, p storage.Plugin) {
	t.Helper()
	require.NoError(t, p.Close(context.Background()))
}

// put commits one row.
func put(p storage.Plugin, key string, value []byte) error {
	b := storage.Batch{ID: storage.NewBatchID()}
	b.Put("c", []byte(key), value)
	_, err := p.Apply(context.Background(), b)
	return err
}

// rows reads the column that put writes to.
func rows(t testing.TB, p storage.Plugin) map[string]string {
	t.Helper()
	m := map[string]string{}
	require.NoError(t, p.Scan(context.Background(), storage.Range{Column: "c"}, func(items []storage.Item) error {
		for _, it := range items {
			m[string(it.Key)] = string(it.Value)
		}
		return nil
	}))
	return m
}

func engine(t testing.TB, p storage.Plugin) map[string]string {
	t.Helper()
	s, err := p.Stats(context.Background())
	require.NoError(t, err)
	return s.Engine
}

// image copies the files of a database, which may be open: what a crash of the process would leave.
func image(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	copyDir(t, dir, to)
	return to
}

func copyDir(t testing.TB, from, to string) {
	t.Helper()
	entries, err := os.ReadDir(from)
	require.NoError(t, err)
	for _, e := range entries {
		if e.Type().IsRegular() && e.Name() != "LOCK" {
			b, err := os.ReadFile(filepath.Join(from, e.Name()))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(to, e.Name()), b, 0o600))
		}
	}
}

// newest is the path of the newest file of that pattern.
func newest(t testing.TB, dir, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	require.NoError(t, err)
	require.NotEmpty(t, files, "no %s in %s", pattern, dir)
	return slices.Max(files)
}

func size(t testing.TB, path string) int64 {
	t.Helper()
	st, err := os.Stat(path)
	require.NoError(t, err)
	return st.Size()
}

func flip(t testing.TB, path string, at int64, bits byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	b[at] ^= bits
	require.NoError(t, os.WriteFile(path, b, 0o600))
}

// wantRefused opens a damaged database and checks that the error says what to do about which file.
func wantRefused(t testing.TB, dir string, file string) {
	t.Helper()
	p, _, err := tryOpen(t, dir, nil)
	require.Error(t, err)
	shut(t, p)
	require.Equal(t, errkind.Corrupt, errkind.Of(err), "%v", err)
	require.ErrorContains(t, err, file)
	require.ErrorContains(t, err, "merod storage repair")
}

func repair(t testing.TB, dir string) *leveldb.Report {
	t.Helper()
	r, err := leveldb.Repair(dir)
	require.NoError(t, err)
	return r
}

func name(i int) string { return fmt.Sprintf("key-%03d", i) }
