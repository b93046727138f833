package leveldb_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/diag"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
	"github.com/calimero-go/core/storage-leveldb/leveldb"
)

// compaction is a whole compaction block, changed by a.
func compaction(t *testing.T, a attrs) cty.Value {
	t.Helper()
	s, err := leveldb.New().Schema(context.Background())
	require.NoError(t, err)
	return storagetest.Value(s.Blocks[0].Schema, a)
}

func TestWrongConfig(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for path, a := range map[string]attrs{
		"sync":                  {"sync": cty.StringVal("sometimes")},
		"sync_interval":         {"sync_interval": cty.StringVal("1h")},
		"compression":           {"compression": cty.StringVal("zstd")},
		"cache_mib":             {"cache_mib": cty.NumberFloatVal(1.5)},
		"write_buffer_mib":      {"write_buffer_mib": cty.NumberIntVal(0)},
		"path":                  {"path": cty.StringVal(file)},
		"compaction.table_mib":  {"compaction": compaction(t, attrs{"table_mib": cty.NumberIntVal(-1)})},
		"compaction.level1_mib": {"compaction": compaction(t, attrs{"level1_mib": cty.NumberIntVal(1 << 40)})},
		"compaction":            {"compaction": compaction(t, attrs{"l0_trigger": cty.NumberIntVal(9)})},
	} {
		p, d, err := tryOpen(t, t.TempDir(), a)
		require.NoError(t, err, path)
		require.True(t, d.HasErrors(), path)
		require.Len(t, d, 1, "%v", d)
		require.Equal(t, path, diag.PathString(d[0].Path))
		require.NotEmpty(t, d[0].Detail)
		shut(t, p)
	}
}

func TestUnknownAndMistypedAttributes(t *testing.T) {
	t.Parallel()
	p := leveldb.NewWith(leveldb.WithLogger(hclog.NewNullLogger()))
	d, err := p.Configure(context.Background(), base.Config{DataDir: t.TempDir(), Value: cty.ObjectVal(map[string]cty.Value{
		"snyc": cty.StringVal("always"), "cache_mib": cty.StringVal("32"),
	})})
	require.NoError(t, err)
	var paths []string
	for _, x := range d {
		paths = append(paths, diag.PathString(x.Path))
	}
	require.ElementsMatch(t, []string{"snyc", "cache_mib"}, paths)
	shut(t, p)
}

func TestAttributeWithoutEffectIsAWarning(t *testing.T) {
	t.Parallel()
	p, d, err := tryOpen(t, t.TempDir(), attrs{"sync_interval": cty.StringVal("1s")})
	require.NoError(t, err)
	require.False(t, d.HasErrors())
	require.Len(t, d, 1)
	shut(t, p)
}

func TestPath(t *testing.T) {
	t.Parallel()
	data, elsewhere := t.TempDir(), t.TempDir()
	for path, want := range map[string]string{
		"": data, "inner/db": filepath.Join(data, "inner/db"), filepath.Join(elsewhere, "db"): filepath.Join(elsewhere, "db"),
	} {
		p := open(t, data, attrs{"path": cty.StringVal(path)})
		require.NoError(t, put(p, "k", nil))
		require.Equal(t, want, engine(t, p)["path"])
		shut(t, p)
		require.FileExists(t, filepath.Join(want, "CURRENT"))
	}
}

func TestAllSettings(t *testing.T) {
	t.Parallel()
	p := open(t, t.TempDir(), attrs{
		"compression": cty.StringVal("none"), "cache_mib": cty.NumberIntVal(0), "write_buffer_mib": cty.NumberIntVal(1),
		"compaction": compaction(t, attrs{"table_mib": cty.NumberIntVal(1), "l0_trigger": cty.NumberIntVal(2)}),
	})
	defer shut(t, p)
	for i := range 50 {
		require.NoError(t, put(p, name(i), make([]byte, 100_000)))
	}
	before, after, err := p.Compact(context.Background())
	require.NoError(t, err)
	require.Positive(t, before)
	require.Positive(t, after)
	require.Len(t, rows(t, p), 50)
	s, err := p.Stats(context.Background())
	require.NoError(t, err)
	require.Greater(t, s.Columns["c"], uint64(4_000_000))
	require.Greater(t, s.DiskBytes, s.Columns["c"])
}
