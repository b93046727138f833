package blobs_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/calimero-go/core/core/blobs"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/plugin-sdk/blobid"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

func TestFullDisk(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=3m"); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(disk, unix.MNT_DETACH)) })
	f := &fixture{raw: &faulty{Store: storagetest.NewMemory()}, dir: filepath.Join(disk, "blobs")}
	f.db = store.Open(f.raw, store.Options{})
	f.reopen(t)
	kept := random(mib+7, 1)
	id := f.put(t, kept)

	_, _, err := f.Put(t.Context(), bytes.NewReader(random(4*mib, 2)), nil)
	require.ErrorIs(t, err, errkind.Exhausted)
	require.ErrorContains(t, err, "no space left")

	g, err := f.Stage(t.Context())
	require.NoError(t, err)
	for err == nil {
		err = g.Part(t.Context(), runtime.BlobPart{Data: random(mib/2, 3)})
	}
	require.ErrorIs(t, err, errkind.Exhausted)
	g.Discard()

	list, err := f.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, []blobs.Info{{ID: id, Hash: list[0].Hash, Size: uint64(len(kept))}}, list)
	require.Equal(t, kept, f.read(t, id))
	chunks, temporary := f.files(t)
	require.Len(t, chunks, 2)
	require.Zero(t, temporary)
	small := random(mib/2, 4)
	f.put(t, small)
	require.Equal(t, small, f.read(t, blobid.Of(small)), "what was freed serves again")
}
