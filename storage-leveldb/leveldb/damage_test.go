package leveldb_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	ldb "github.com/syndtr/goleveldb/leveldb"
	"github.com/zclconf/go-cty/cty"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/storage-leveldb/leveldb"
)

// crashed makes a database whose rows are in the journal, as a crash leaves it, and tells where each record ends.
func crashed(t testing.TB, values ...[]byte) (dir string, ends []int64) {
	t.Helper()
	live := t.TempDir()
	p := open(t, live, nil)
	defer shut(t, p)
	journal := newest(t, live, "*.log")
	for i, v := range values {
		require.NoError(t, put(p, name(i), v))
		ends = append(ends, size(t, journal))
	}
	return image(t, live), ends
}

func small(n int) [][]byte {
	vs := make([][]byte, n)
	for i := range vs {
		vs[i] = fmt.Appendf(nil, "value %d", i)
	}
	return vs
}

func TestTornEndAtEveryOffset(t *testing.T) {
	t.Parallel()
	// The last record but one spans blocks; its offsets are sampled, those of the last are all tried.
	values := append(small(3), bytes.Repeat([]byte("x"), 70_000), []byte("last"))
	template, ends := crashed(t, values...)
	var offsets []int64
	for at := ends[2]; at < ends[3]; at += 3001 {
		offsets = append(offsets, at)
	}
	for block := int64(32 << 10); block < ends[3]; block += 32 << 10 {
		for d := int64(-7); d <= 7; d += 2 {
			offsets = append(offsets, block+d)
		}
	}
	for at := ends[3]; at <= ends[4]; at++ {
		offsets = append(offsets, at)
	}
	for _, at := range offsets {
		dir := image(t, template)
		require.NoError(t, os.Truncate(newest(t, dir, "*.log"), at))
		want, whole := int64(0), 0
		for i, e := range ends {
			if e <= at {
				want, whole = e, i+1
			}
		}
		p := open(t, dir, nil)
		require.Len(t, rows(t, p), whole, "cut at %d", at)
		require.Equal(t, strconv.FormatInt(at-want, 10), engine(t, p)["torn_bytes_cut"])
		require.NoError(t, put(p, "after", nil))
		shut(t, p)
		p = open(t, dir, nil)
		require.Len(t, rows(t, p), whole+1)
		shut(t, p)
	}
}

func TestFlippedByteAtEveryOffsetOfTheJournal(t *testing.T) {
	t.Parallel()
	template, ends := crashed(t, small(3)...)
	for at := range ends[2] {
		dir := image(t, template)
		journal := newest(t, dir, "*.log")
		flip(t, journal, at, 1<<(at%8))
		wantRefused(t, dir, journal)
	}
	// One is enough to see that repair keeps the rest and says what is gone.
	dir := image(t, template)
	journal := newest(t, dir, "*.log")
	flip(t, journal, ends[0]+20, 0x40)
	report := repair(t, dir)
	require.True(t, report.Lost())
	require.Contains(t, report.String(), fmt.Sprintf("offset %d: checksum of a chunk does not match; %d bytes are lost",
		ends[0], ends[1]-ends[0]))
	require.EqualValues(t, 2, report.Journals[0].LostOps, "the row and the id of its batch")
	p := open(t, dir, nil)
	require.Equal(t, map[string]string{name(0): "value 0", name(2): "value 2"}, rows(t, p))
	require.NoError(t, put(p, "after", nil))
	shut(t, p)
	// The damaged journal was kept.
	b, err := os.ReadFile(filepath.Join(report.Backup, filepath.Base(journal)))
	require.NoError(t, err)
	require.Len(t, b, int(ends[2]))
}

func TestTornOlderJournalIsRefused(t *testing.T) {
	t.Parallel()
	dir, _ := crashed(t, small(3)...)
	journal := newest(t, dir, "*.log")
	b, err := os.ReadFile(journal)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "999999.log"), b, 0o600))
	require.NoError(t, os.Truncate(journal, int64(len(b)-3)))
	wantRefused(t, dir, journal)
}

// tabled makes a closed database with rows in several tables and in the journal.
func tabled(t testing.TB) (dir string, want map[string]string) {
	t.Helper()
	live := t.TempDir()
	p := open(t, live, nil)
	for i := range 30 { // fewer tables than start a compaction
		require.NoError(t, put(p, name(i), bytes.Repeat([]byte{byte(i)}, 2000)))
		if i%10 == 9 {
			// Each opening makes a table of the journal.
			shut(t, p)
			p = open(t, live, nil)
		}
	}
	require.NoError(t, put(p, "journal", []byte("only")))
	want = rows(t, p)
	dir = image(t, live)
	shut(t, p)
	return dir, want
}

func TestManifestDamage(t *testing.T) {
	t.Parallel()
	template, want := tabled(t)
	current := func(dir string) string { return filepath.Join(dir, "CURRENT") }
	manifest := func(dir string) string { return newest(t, dir, "MANIFEST-*") }
	for _, c := range []struct {
		name   string
		damage func(dir string) (file string)
	}{
		{"no CURRENT", func(dir string) string {
			require.NoError(t, os.Remove(current(dir)))
			return current(dir)
		}},
		{"empty CURRENT", func(dir string) string {
			require.NoError(t, os.WriteFile(current(dir), nil, 0o600))
			return current(dir)
		}},
		{"garbage in CURRENT", func(dir string) string {
			require.NoError(t, os.WriteFile(current(dir), []byte("MANIFEST-0000zz\n"), 0o600))
			return current(dir)
		}},
		{"no manifest", func(dir string) string {
			m := manifest(dir)
			require.NoError(t, os.Remove(m))
			return m
		}},
		{"empty manifest", func(dir string) string {
			m := manifest(dir)
			require.NoError(t, os.Truncate(m, 0))
			return m
		}},
		{"truncated manifest", func(dir string) string {
			m := manifest(dir)
			require.NoError(t, os.Truncate(m, size(t, m)/2))
			return m
		}},
		{"flipped byte in the manifest", func(dir string) string {
			m := manifest(dir)
			flip(t, m, size(t, m)/2, 0x10)
			return m
		}},
		{"flipped byte at the manifest's end", func(dir string) string {
			m := manifest(dir)
			flip(t, m, size(t, m)-1, 0x01)
			return m
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := image(t, template)
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "CURRENT.bak")))
			file := c.damage(dir)
			wantRefused(t, dir, file)
			report := repair(t, dir)
			require.NotEmpty(t, report.Manifest)
			require.Contains(t, report.String(), "manifest: rebuilt")
			require.EqualValues(t, len(want), report.Rows)
			p := open(t, dir, nil)
			require.Equal(t, want, rows(t, p))
			require.NoError(t, put(p, "after", nil))
			shut(t, p)
		})
	}
}

// A manifest cut anywhere is either refused, or what is lost of it did not matter.
func TestManifestTruncatedAtEveryOffset(t *testing.T) {
	t.Parallel()
	template, want := tabled(t)
	whole := size(t, newest(t, template, "MANIFEST-*"))
	refused := 0
	for at := range whole {
		dir := image(t, template)
		m := newest(t, dir, "MANIFEST-*")
		require.NoError(t, os.Truncate(m, at))
		p, _, err := tryOpen(t, dir, nil)
		if err == nil {
			require.Equal(t, want, rows(t, p), "cut at %d of %d", at, whole)
		} else {
			refused++
			require.Equal(t, errkind.Corrupt, errkind.Of(err), "%v", err)
			require.ErrorContains(t, err, m)
			require.ErrorContains(t, err, "merod storage repair")
		}
		shut(t, p)
	}
	require.Positive(t, refused)
}

func TestFlippedByteAtEveryOffsetOfTheManifest(t *testing.T) {
	t.Parallel()
	template, _ := tabled(t)
	for at := range size(t, newest(t, template, "MANIFEST-*")) {
		dir := image(t, template)
		m := newest(t, dir, "MANIFEST-*")
		flip(t, m, at, 1<<(at%8))
		wantRefused(t, dir, m)
	}
}

func TestMissingFiles(t *testing.T) {
	t.Parallel()
	template, want := tabled(t)
	t.Run("table", func(t *testing.T) {
		t.Parallel()
		dir := image(t, template)
		table := newest(t, dir, "*.ldb")
		require.NoError(t, os.Remove(table))
		wantRefused(t, dir, table)
		report := repair(t, dir)
		require.Contains(t, report.String(), table)
		require.True(t, report.Lost())
		p := open(t, dir, nil)
		require.Len(t, rows(t, p), len(want)-10)
		shut(t, p)
	})
	t.Run("truncated table", func(t *testing.T) {
		t.Parallel()
		dir := image(t, template)
		table := newest(t, dir, "*.ldb")
		require.NoError(t, os.Truncate(table, size(t, table)/2))
		wantRefused(t, dir, table)
		repair(t, dir)
		p := open(t, dir, nil)
		require.Len(t, rows(t, p), len(want)-10)
		shut(t, p)
	})
	t.Run("journal", func(t *testing.T) {
		t.Parallel()
		dir := image(t, template)
		journal := newest(t, dir, "*.log")
		require.NoError(t, os.Remove(journal))
		wantRefused(t, dir, journal)
		repair(t, dir)
		p := open(t, dir, nil)
		require.Len(t, rows(t, p), len(want)-1)
		shut(t, p)
	})
}

func TestDamagedTable(t *testing.T) {
	t.Parallel()
	template, want := tabled(t)
	dir := image(t, template)
	table := newest(t, dir, "*.ldb")
	flip(t, table, size(t, table)/2, 0x20)
	p := open(t, dir, nil)
	err := p.Scan(context.Background(), storage.Range{Column: "c"}, func([]storage.Item) error { return nil })
	require.Error(t, err)
	require.Equal(t, errkind.Corrupt, errkind.Of(err), "%v", err)
	require.ErrorContains(t, err, filepath.Base(table))
	require.ErrorContains(t, err, "merod storage repair")
	shut(t, p)
	// Compaction notices as well; from then on commits are refused, and what is not damaged stays readable.
	p = open(t, dir, attrs{"compaction": compaction(t, attrs{"l0_trigger": cty.NumberIntVal(1)})})
	require.Eventually(t, func() bool { return put(p, "before", nil) != nil }, 20*time.Second, time.Millisecond)
	for range 2 {
		require.ErrorIs(t, put(p, "refused", nil), errkind.Corrupt)
	}
	require.ErrorIs(t, p.Health(context.Background()), errkind.Corrupt)
	_, err = p.Get(context.Background(), []storage.Key{{Column: "c", Key: []byte("journal")}})
	require.NoError(t, err)
	shut(t, p)

	report := repair(t, dir)
	require.True(t, report.Lost())
	require.Contains(t, report.String(), "damaged places")
	p = open(t, dir, nil)
	got := rows(t, p)
	delete(got, "before")
	require.Less(t, len(got), len(want))
	require.GreaterOrEqual(t, len(got), len(want)-10)
	for k, v := range got {
		require.Equal(t, want[k], v)
		values, err := p.Get(context.Background(), []storage.Key{{Column: "c", Key: []byte(k)}})
		require.NoError(t, err)
		require.True(t, values[0].Found, "the filter of the table misses %s", k)
	}
	_, _, err = p.Compact(context.Background())
	require.NoError(t, err)
	again := rows(t, p)
	delete(again, "before")
	require.Equal(t, got, again)
	shut(t, p)
}

// The plugin's own rows, the format among them, are in the first block.
func TestDamagedFirstBlock(t *testing.T) {
	t.Parallel()
	dir, want := tabled(t)
	tables, err := filepath.Glob(filepath.Join(dir, "*.ldb"))
	require.NoError(t, err)
	for _, table := range tables {
		flip(t, table, 10, 0x20)
	}
	wantRefused(t, dir, ".ldb")
	require.True(t, repair(t, dir).Lost())
	p := open(t, dir, nil)
	got := rows(t, p)
	require.NotEmpty(t, got)
	require.Less(t, len(got), len(want))
	shut(t, p)
}

func TestRepairOfWholeDatabaseChangesNothing(t *testing.T) {
	t.Parallel()
	dir, want := tabled(t)
	report := repair(t, dir)
	require.False(t, report.Lost())
	require.Empty(t, report.Backup)
	require.Contains(t, report.String(), "nothing is damaged")
	require.EqualValues(t, len(want), report.Rows)
	p := open(t, dir, nil)
	require.Equal(t, want, rows(t, p))
	shut(t, p)
}

func TestRepairRefuses(t *testing.T) {
	t.Parallel()
	_, err := leveldb.Repair(filepath.Join(t.TempDir(), "absent"))
	require.ErrorIs(t, err, errkind.NotFound)
	dir := t.TempDir()
	_, err = leveldb.Repair(dir)
	require.ErrorIs(t, err, errkind.NotFound)
	p := open(t, dir, nil)
	_, err = leveldb.Repair(dir)
	require.ErrorIs(t, err, errkind.Precondition)
	require.ErrorContains(t, err, dir)
	shut(t, p)
}

func TestDeletedRowsStayDeletedAfterRepair(t *testing.T) {
	t.Parallel()
	live := t.TempDir()
	p := open(t, live, nil)
	for i := range 10 {
		require.NoError(t, put(p, name(i), []byte("v")))
	}
	shut(t, p)
	p = open(t, live, nil)
	b := storage.Batch{ID: storage.NewBatchID()}
	b.DeleteRange("c", []byte(name(5)), nil)
	_, err := p.Apply(context.Background(), b)
	require.NoError(t, err)
	dir := image(t, live)
	shut(t, p)
	m := newest(t, dir, "MANIFEST-*")
	flip(t, m, size(t, m)-3, 1)
	repair(t, dir)
	p = open(t, dir, nil)
	require.Len(t, rows(t, p), 5)
	replayed, err := p.Apply(context.Background(), b)
	require.NoError(t, err)
	require.True(t, replayed, "the id of the batch is lost")
	shut(t, p)
}

func TestInterruptedFirstStart(t *testing.T) {
	t.Parallel()
	live := t.TempDir()
	shut(t, open(t, live, nil))
	whole, err := os.ReadFile(newest(t, live, "MANIFEST-*"))
	require.NoError(t, err)
	for _, at := range []int{0, 3, 10} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "MANIFEST-000000"), whole[:at], 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "CURRENT.0"), nil, 0o600))
		p := open(t, dir, nil)
		require.NoError(t, put(p, "k", nil))
		shut(t, p)
		p = open(t, dir, nil)
		require.Len(t, rows(t, p), 1)
		shut(t, p)
	}
}

func TestForeignDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, err := ldb.OpenFile(dir, nil)
	require.NoError(t, err)
	require.NoError(t, db.Put([]byte("theirs"), nil, nil))
	require.NoError(t, db.Close())
	p, _, err := tryOpen(t, dir, nil)
	require.Error(t, err)
	require.Equal(t, errkind.Precondition, errkind.Of(err))
	require.ErrorContains(t, err, "another program")
	shut(t, p)
}

func TestSecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := open(t, dir, nil)
	second, _, err := tryOpen(t, dir, nil)
	require.Error(t, err)
	require.Equal(t, errkind.Precondition, errkind.Of(err))
	require.ErrorContains(t, err, dir)
	require.ErrorContains(t, err, fmt.Sprintf("pid %d", os.Getpid()))
	shut(t, second)
	require.NoError(t, put(p, "k", nil))
	shut(t, p)
}
