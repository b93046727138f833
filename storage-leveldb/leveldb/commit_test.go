package leveldb_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/sdktest"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/storage-leveldb/leveldb"
)

func fsyncs(t testing.TB, p storage.Plugin) int {
	t.Helper()
	n, err := strconv.Atoi(engine(t, p)["journal_fsyncs"])
	require.NoError(t, err)
	return n
}

func TestCommitsShareAnFsync(t *testing.T) {
	t.Parallel()
	for _, height := range []string{sdktest.HeightInProcess, sdktest.HeightGRPC} {
		t.Run(height, func(t *testing.T) {
			t.Parallel()
			p := open(t, t.TempDir(), nil)
			defer shut(t, p)
			if height == sdktest.HeightGRPC {
				p = sdktest.OverGRPC(t, storage.Wire, p)
			}
			shareFsyncs(t, p)
		})
	}
}

func shareFsyncs(t *testing.T, p storage.Plugin) {
	t.Helper()
	before := fsyncs(t, p)
	for i := range 20 {
		require.NoError(t, put(p, name(i), nil))
	}
	require.Equal(t, 20, fsyncs(t, p)-before, "one after the other, each has its own")

	const callers, each = 32, 25
	before = fsyncs(t, p)
	var g errgroup.Group
	for c := range callers {
		g.Go(func() error {
			for i := range each {
				if err := put(p, fmt.Sprint(c, "-", i), nil); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	n := fsyncs(t, p) - before
	t.Logf("%d commits of %d callers: %d fsyncs", callers*each, callers, n)
	require.Positive(t, n)
	require.Less(t, n, callers*each, "how many share one depends on how fast the disk is; none would be a fault")
}

func TestSyncModes(t *testing.T) {
	t.Parallel()
	t.Run("never", func(t *testing.T) {
		t.Parallel()
		p := open(t, t.TempDir(), attrs{"sync": cty.StringVal("never")})
		defer shut(t, p)
		before := fsyncs(t, p)
		require.NoError(t, put(p, "k", nil))
		require.Equal(t, before, fsyncs(t, p))
	})
	t.Run("interval", func(t *testing.T) {
		t.Parallel()
		p := open(t, t.TempDir(), attrs{"sync": cty.StringVal("interval"), "sync_interval": cty.StringVal("5ms")})
		defer shut(t, p)
		require.Eventually(t, func() bool { return fsyncs(t, p) > 0 }, 10*time.Second, time.Millisecond) // the format's row
		before := fsyncs(t, p)
		require.NoError(t, put(p, "k", nil))
		require.Eventually(t, func() bool { return fsyncs(t, p) > before }, 10*time.Second, time.Millisecond)
	})
}

func TestDeleteRangeBound(t *testing.T) {
	t.Parallel()
	p := open(t, t.TempDir(), attrs{"sync": cty.StringVal("never")})
	defer shut(t, p)
	ctx := context.Background()
	fill := func(from, n int) {
		for n > 0 {
			b := storage.Batch{ID: storage.NewBatchID()}
			for range min(n, storage.MaxBatchOps) {
				b.Put("c", []byte{byte(from >> 16), byte(from >> 8), byte(from)}, nil)
				from++
				n--
			}
			_, err := p.Apply(ctx, b)
			require.NoError(t, err)
		}
	}
	fill(0, leveldb.MaxRangeDeletes+1)
	all := storage.Batch{ID: storage.NewBatchID()}
	all.DeleteRange("c", []byte{0}, nil)
	_, err := p.Apply(ctx, all)
	require.ErrorIs(t, err, errkind.TooLarge)
	require.ErrorContains(t, err, "MaxRangeDeletes")
	b := storage.Batch{ID: storage.NewBatchID()}
	b.Delete("c", []byte{0, 0, 0})
	_, err = p.Apply(ctx, b)
	require.NoError(t, err)
	replayed, err := p.Apply(ctx, all)
	require.NoError(t, err)
	require.False(t, replayed, "a refused batch is not remembered")
	require.Empty(t, rows(t, p))
}

// The contract asks for the last 4,096; what was refused does not push ids out.
func TestRefusedBatchesDoNotUseUpIDs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := open(t, dir, attrs{"sync": cty.StringVal("never")})
	first := storage.Batch{ID: storage.NewBatchID()}
	_, err := p.Apply(context.Background(), first)
	require.NoError(t, err)
	for range 20_000 {
		_, err := p.Apply(context.Background(), storage.Batch{})
		require.ErrorIs(t, err, errkind.Invalid)
	}
	for i := range storage.RememberedBatches - 1 {
		require.NoError(t, put(p, fmt.Sprint(i), nil))
	}
	for range 2 {
		replayed, err := p.Apply(context.Background(), first)
		require.NoError(t, err)
		require.True(t, replayed)
		shut(t, p)
		p = open(t, dir, attrs{"sync": cty.StringVal("never")})
	}
	shut(t, p)
}

func TestCloseEndsEverything(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := open(t, dir, nil)
	snap, err := p.Snapshot(context.Background())
	require.NoError(t, err)
	require.NoError(t, put(p, "k", nil))
	shut(t, p)
	shut(t, p)
	_, err = snap.Get(context.Background(), []storage.Key{{Column: "c", Key: []byte("k")}})
	require.ErrorIs(t, err, errkind.Unavailable)
	require.NoError(t, snap.Close())
	require.ErrorIs(t, p.Health(context.Background()), errkind.Unavailable)
	require.ErrorIs(t, put(p, "k", nil), errkind.Unavailable)
	p = open(t, dir, nil)
	require.Len(t, rows(t, p), 1)
	shut(t, p)
}

func TestCloseWhileBusy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := open(t, dir, nil)
	var mu sync.Mutex
	done := map[string]bool{}
	var g errgroup.Group
	started := make(chan struct{}, 8)
	for c := range 8 {
		g.Go(func() error {
			for i := 0; ; i++ {
				k := fmt.Sprint(c, "-", i)
				if err := put(p, k, nil); err != nil {
					if errkind.Of(err) == errkind.Unavailable {
						return nil
					}
					return err
				}
				mu.Lock()
				done[k] = true
				mu.Unlock()
				if i == 5 {
					started <- struct{}{}
				}
			}
		})
	}
	for range 8 {
		<-started
	}
	shut(t, p)
	require.NoError(t, g.Wait())
	p = open(t, dir, nil)
	got := rows(t, p)
	for k := range done {
		require.Contains(t, got, k)
	}
	shut(t, p)
}

// smallDisk mounts a tmpfs of that size.
func smallDisk(t *testing.T, kib int) string {
	t.Helper()
	dir := t.TempDir()
	if runtime.GOOS != "linux" {
		t.Skip("needs tmpfs")
	}
	if err := mountTmpfs(dir, kib); err != nil {
		t.Skipf("needs the permission to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	return dir
}

// fillDisk leaves about so many bytes free.
func fillDisk(t *testing.T, dir string, leave int64) (ballast string) {
	t.Helper()
	var st unix.Statfs_t
	require.NoError(t, unix.Statfs(dir, &st))
	ballast = filepath.Join(dir, "ballast")
	free := int64(st.Bavail) * int64(st.Bsize) //nolint:unconvert // The types differ between systems.
	require.NoError(t, os.WriteFile(ballast, make([]byte, max(0, free-leave)), 0o600))
	return ballast
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		value int
		leave int64
	}{
		// In the journal; in the journal of a large batch; while the journal becomes a table (1 MiB of write buffer).
		{"small commits", 1000, 100 << 10},
		{"large commit", 600 << 10, 300 << 10},
		{"compaction", 5000, 2600 << 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			disk := smallDisk(t, 12<<10)
			dir := filepath.Join(disk, "db")
			require.NoError(t, os.Mkdir(dir, 0o700))
			a := attrs{"write_buffer_mib": cty.NumberIntVal(1), "compression": cty.StringVal("none")}
			p := open(t, dir, a)
			require.NoError(t, put(p, "first", []byte("v")))
			ballast := fillDisk(t, disk, c.leave)

			want := map[string]string{"first": "v"}
			var refused storage.Batch
			var err error
			for i := 0; err == nil; i++ {
				require.Less(t, i, 10_000, "the disk does not become full")
				v := bytes.Repeat([]byte{byte(i)}, c.value)
				refused = storage.Batch{ID: storage.NewBatchID()}
				refused.Put("c", []byte(name(i)), v)
				if _, err = p.Apply(context.Background(), refused); err == nil {
					want[name(i)] = string(v)
				}
			}
			for range 3 {
				require.ErrorIs(t, err, errkind.Exhausted)
				require.ErrorContains(t, err, dir)
				require.ErrorContains(t, err, "bytes free")
				_, err = p.Apply(context.Background(), refused)
			}
			// What was acknowledged is readable; the refused batch is there whole or not at all.
			check := func(p storage.Plugin) {
				got := rows(t, p)
				delete(got, string(refused.Ops[0].Key))
				require.Equal(t, want, got)
			}
			check(p)
			require.NoError(t, p.Health(context.Background()))
			require.Contains(t, engine(t, p)["writes"], "full")
			// Also for a process that starts on the full disk.
			shut(t, p)
			p, d, err := tryOpen(t, dir, a)
			require.NoError(t, err)
			require.False(t, d.HasErrors())
			check(p)

			require.NoError(t, os.Remove(ballast))
			require.Eventually(t, func() bool {
				_, err := p.Apply(context.Background(), refused)
				return err == nil
			}, 20*time.Second, 10*time.Millisecond)
			want[string(refused.Ops[0].Key)] = string(refused.Ops[0].Value)
			require.NoError(t, put(p, "after", nil))
			want["after"] = ""
			require.Equal(t, want, rows(t, p))
			require.Equal(t, "ok", engine(t, p)["writes"])
			shut(t, p)
			p = open(t, dir, a)
			require.Equal(t, want, rows(t, p))
			shut(t, p)
		})
	}
}

// The same without a restart in between: the plugin reopens its database by itself.
func TestFullDiskHealsInPlace(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, 16<<10)
	dir := filepath.Join(disk, "db")
	require.NoError(t, os.Mkdir(dir, 0o700))
	a := attrs{"write_buffer_mib": cty.NumberIntVal(1), "compression": cty.StringVal("none")}
	p := open(t, dir, a)
	defer shut(t, p)
	var mu sync.Mutex
	want := map[string]bool{}
	for round := range 3 {
		ballast := fillDisk(t, disk, 400<<10)
		var g errgroup.Group
		for c := range 4 {
			g.Go(func() error {
				for i := 0; ; i++ {
					k := fmt.Sprint(round, "-", c, "-", i)
					if err := put(p, k, make([]byte, 2000)); err != nil {
						if errkind.Of(err) == errkind.Exhausted {
							return nil
						}
						return err
					}
					mu.Lock()
					want[k] = true
					mu.Unlock()
				}
			})
		}
		require.NoError(t, g.Wait())
		require.NoError(t, os.Remove(ballast))
		require.Eventually(t, func() bool { return put(p, "retry", nil) == nil }, 20*time.Second, 10*time.Millisecond)
		got := rows(t, p)
		for k := range want {
			require.Contains(t, got, k, "an acknowledged row is lost")
		}
	}
	require.NotEqual(t, "0", engine(t, p)["reopens"])
}
