package blobs_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/blobs"
	"github.com/calimero-go/core/plugin-sdk/blobid"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// cut are the chunks of a content, and their ids.
func cut(data []byte) (chunks [][]byte, ids []domain.BlobID) {
	for len(data) > 0 {
		n := min(len(data), mib)
		chunks, ids = append(chunks, data[:n]), append(ids, blobid.Chunk(data[:n]))
		data = data[n:]
	}
	return chunks, ids
}

// partials are the names of the folders of blobs that are partly here.
func (f *fixture) partials(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(f.dir, ".partial"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestPartial: chunks come with pauses and a restart between them; then the blob is as if it had been put.
func TestPartial(t *testing.T) {
	t.Parallel()
	f := open(t)
	data := random(4*mib+17, 1)
	copy(data[2*mib:3*mib], data[:mib]) // the third chunk is the first one again
	chunks, ids := cut(data)
	id := blobid.Of(data)

	p, err := f.Resume(id, ids)
	require.NoError(t, err)
	_, err = f.Resume(id, ids)
	require.ErrorIs(t, err, errkind.Precondition, "one at a time")
	require.Zero(t, p.Next())
	require.ErrorIs(t, p.Put(chunks[1]), errkind.Invalid)
	require.ErrorIs(t, p.Put(nil), errkind.Invalid)
	require.NoError(t, p.Put(chunks[0]))
	require.NoError(t, p.Put(chunks[1]))
	require.Equal(t, 3, p.Next(), "the third is here")
	_, err = p.Commit(t.Context())
	require.ErrorIs(t, err, errkind.Precondition)
	require.NoError(t, p.Close())

	f.reopen(t)
	p, err = f.Resume(id, ids)
	require.NoError(t, err)
	require.Equal(t, 3, p.Next())
	require.NoError(t, p.Put(chunks[3]))
	require.NoError(t, p.Put(chunks[4]))
	require.ErrorIs(t, p.Put(chunks[4]), errkind.Invalid)
	info, err := p.Commit(t.Context())
	require.NoError(t, err)
	require.NoError(t, p.Close())
	require.Equal(t, data, f.read(t, id))
	again, err := f.Info(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, info, again)
	require.Empty(t, f.partials(t))
	files, temporary := f.files(t)
	require.Len(t, files, 4)
	require.Zero(t, temporary)
	require.NoError(t, f.Delete(t.Context(), id))
	files, _ = f.files(t)
	require.Empty(t, files)
}

// TestPartial_Refuses: lists that are not the blob's, and content that no blob can have.
func TestPartial_Refuses(t *testing.T) {
	t.Parallel()
	f := open(t)
	chunks, ids := cut(random(2*mib, 2))
	for _, list := range [][]domain.BlobID{nil, ids[:1], {ids[1], ids[0]}, append([]domain.BlobID{{}}, ids...)} {
		_, err := f.Resume(blobid.Root(ids), list)
		require.ErrorIs(t, err, errkind.Invalid)
	}
	_, err := f.Resume(domain.BlobID{}, make([]domain.BlobID, blobs.MaxChunks+1))
	require.ErrorIs(t, err, errkind.TooLarge)

	short := []domain.BlobID{blobid.Chunk([]byte("short")), ids[0]}
	p, err := f.Resume(blobid.Root(short), short)
	require.NoError(t, err)
	require.NoError(t, p.Put([]byte("short")))
	require.NoError(t, p.Put(chunks[0]))
	_, err = p.Commit(t.Context())
	require.ErrorIs(t, err, errkind.Invalid)
	require.NoError(t, p.Close())

	long := random(mib+1, 3)
	p, err = f.Resume(blobid.Root([]domain.BlobID{blobid.Chunk(long)}), []domain.BlobID{blobid.Chunk(long)})
	require.NoError(t, err)
	require.ErrorIs(t, p.Put(long), errkind.Invalid)
	require.NoError(t, p.Close())
	require.Empty(t, f.partials(t))
	files, temporary := f.files(t)
	require.Empty(t, files)
	require.Zero(t, temporary)
}

// TestPartial_Damage: a file that a power failure left damaged is asked for again, and a commit that fails costs nothing
// that cannot be had again.
func TestPartial_Damage(t *testing.T) {
	t.Parallel()
	f := open(t)
	data := random(3*mib, 4)
	chunks, ids := cut(data)
	id := blobid.Of(data)
	p, err := f.Resume(id, ids)
	require.NoError(t, err)
	for _, c := range chunks {
		require.NoError(t, p.Put(c))
	}
	require.NoError(t, os.WriteFile(filepath.Join(f.dir, ".partial", id.String(), ids[1].String()), []byte("torn"), 0o600))
	_, err = p.Commit(t.Context())
	require.ErrorIs(t, err, errkind.Corrupt)
	require.True(t, errkind.IsRetryable(err))
	require.Equal(t, 1, p.Next())
	require.NoError(t, p.Put(chunks[1]))

	f.raw.set(errkind.Exhausted.Errorf("disk full"), nil)
	_, err = p.Commit(t.Context())
	require.ErrorIs(t, err, errkind.Exhausted)
	f.raw.set(nil, nil)
	for p.Next() < len(chunks) {
		require.NoError(t, p.Put(chunks[p.Next()]))
	}
	_, err = p.Commit(t.Context())
	require.NoError(t, err)
	require.NoError(t, p.Close())
	require.Equal(t, data, f.read(t, id))
}

// TestPartial_Bounds: what nobody gathers any more goes, the oldest first.
func TestPartial_Bounds(t *testing.T) {
	t.Parallel()
	f := open(t)
	begin := func(seed uint64) (*blobs.Partial, string) {
		chunks, ids := cut(random(mib+1, seed))
		p, err := f.Resume(blobid.Root(ids), ids)
		require.NoError(t, err)
		require.NoError(t, p.Put(chunks[0]))
		return p, blobid.Root(ids).String()
	}
	busy, busyName := begin(100)
	old := time.Now().Add(-2 * blobs.MaxPartialAge)
	age := func(name string, at time.Time) {
		require.NoError(t, os.Chtimes(filepath.Join(f.dir, ".partial", name), at, at))
	}
	age(busyName, old)
	var names []string
	for i := range blobs.MaxPartials + 2 {
		p, name := begin(uint64(i))
		names = append(names, name)
		require.NoError(t, p.Close())
		age(name, time.Now().Add(time.Duration(i-blobs.MaxPartials-2)*time.Minute))
	}
	kept := f.partials(t)
	require.Contains(t, kept, busyName, "it is in use")
	require.NotContains(t, kept, names[0])
	require.LessOrEqual(t, len(kept), blobs.MaxPartials+2)
	age(names[len(names)-1], old)
	require.NoError(t, busy.Close())
	f.reopen(t)
	require.NotContains(t, f.partials(t), names[len(names)-1], "too old")
	require.NotContains(t, f.partials(t), busyName)
	require.LessOrEqual(t, len(f.partials(t)), blobs.MaxPartials)
}
