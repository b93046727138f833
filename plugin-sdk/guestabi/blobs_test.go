package guestabi_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/blobid"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/guestabi"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// fakeBlobs has no blobs and accepts all parts.
type fakeBlobs struct{}

func (fakeBlobs) BlobRead(domain.BlobID, uint64, uint64) ([]byte, error) { return nil, nil }
func (fakeBlobs) BlobAnnounce(domain.BlobID, domain.ContextID) error {
	return errkind.NotFound.Errorf("no such blob")
}
func (fakeBlobs) BlobPart(runtime.BlobPart) error { return nil }

// memoryBlobs keeps blobs in memory.
type memoryBlobs struct {
	staged map[uint32][]byte
	blobs  map[domain.BlobID][]byte
	parts  []int
	err    error
}

func (b *memoryBlobs) BlobRead(id domain.BlobID, offset, length uint64) ([]byte, error) {
	data := b.blobs[id]
	offset = min(offset, uint64(len(data)))
	return data[offset:min(offset+length, uint64(len(data)))], b.err
}

func (b *memoryBlobs) BlobAnnounce(id domain.BlobID, _ domain.ContextID) error {
	if _, ok := b.blobs[id]; !ok {
		return errkind.NotFound.Errorf("blob %s is not here", id)
	}
	return b.err
}

func (b *memoryBlobs) BlobPart(p runtime.BlobPart) error {
	b.parts = append(b.parts, len(p.Data))
	b.staged[p.FD] = append(b.staged[p.FD], p.Data...)
	if p.Last {
		b.blobs[p.ID] = b.staged[p.FD]
	}
	return b.err
}

func TestBlobs(t *testing.T) {
	t.Parallel()
	store := &memoryBlobs{staged: map[uint32][]byte{}, blobs: map[domain.BlobID][]byte{}}
	g := newGuest(t, guestabi.Config{Blobs: store})
	g.mem = make([]byte, 8<<20)
	g.top = 6 << 20
	content := bytes.Repeat([]byte("0123456789abcdef"), (5<<20)/32) // 2.5 MiB
	copy(g.mem, content)

	fd := g.must("blob_create")
	require.Equal(t, uint64(1), fd)
	half := uint64(len(content) / 2)
	require.Equal(t, half, g.must("blob_write", fd, g.u64s(0, half)))
	require.Equal(t, half, g.must("blob_write", fd, g.u64s(half, half)))
	id := g.put(make([]byte, 32))
	idBuf := g.u64s(id, 32)
	require.Equal(t, uint64(1), g.must("blob_close", fd, idBuf))
	want := blobid.Of(content)
	require.Equal(t, want[:], g.mem[id:id+32])
	require.Equal(t, []int{1 << 20, 1 << 20, 1 << 19}, store.parts)
	_, err := g.call("blob_close", fd, idBuf)
	require.ErrorIs(t, err, guestabi.ErrInvalidBlobHandle)

	rd := g.must("blob_open", idBuf)
	require.Equal(t, uint64(2), rd)
	var got []byte
	for {
		n := g.must("blob_read", rd, g.u64s(3<<20, 700_000))
		if n == 0 {
			break
		}
		got = append(got, g.mem[3<<20:3<<20+n]...) // the last read is short
	}
	require.True(t, bytes.Equal(content, got))
	require.Equal(t, uint64(1), g.must("blob_announce_to_context", idBuf, idBuf))
	require.Zero(t, g.must("blob_read", 99, g.u64s(0, 0)), "length 0 does not look at the handle")
	r := g.x.Finish(nil, runtime.WritesFull)
	require.Equal(t, []runtime.BlobRef{{ID: want, Size: uint64(len(content))}}, r.Blobs)
	require.True(t, r.Usage.Effects)
}

func TestBlobFailures(t *testing.T) {
	t.Parallel()
	store := &memoryBlobs{staged: map[uint32][]byte{}, blobs: map[domain.BlobID][]byte{}}
	g := newGuest(t, guestabi.Config{Blobs: store, Limits: runtime.Limits{MaxBlobHandles: 2, MaxBlobChunkSize: 8}})
	idBuf := g.buf(make([]byte, 32))
	w, rd := g.must("blob_create"), g.must("blob_open", idBuf)
	_, err := g.call("blob_create")
	require.EqualError(t, err, "too many blob handles (max: 2)")
	_, err = g.call("blob_write", w, g.u64s(0, 9))
	require.EqualError(t, err, "blob write too large (size: 9, max: 8)")
	_, err = g.call("blob_read", rd, g.u64s(0, 9))
	require.EqualError(t, err, "blob buffer too large (size: 9, max: 8)")
	_, err = g.call("blob_read", w, g.u64s(0, 8))
	require.ErrorIs(t, err, guestabi.ErrInvalidBlobHandle)
	require.Zero(t, g.must("blob_read", rd, g.u64s(0, 8)), "a missing blob has no bytes")
	_, err = g.call("blob_announce_to_context", idBuf, idBuf)
	require.ErrorIs(t, err, guestabi.ErrBlobsNotSupported)
	store.err = errkind.Unavailable.Errorf("core is gone")
	_, err = g.call("blob_close", w, idBuf)
	require.ErrorIs(t, err, errkind.Unavailable)
	require.Nil(t, guestabi.AsFault(err), "a failure of the host is not the guest's fault")
}

func TestWithoutBlobs(t *testing.T) {
	t.Parallel()
	g := newGuest(t, guestabi.Config{})
	b := g.buf(make([]byte, 32))
	for name, args := range map[string][]uint64{"blob_create": nil, "blob_open": {b}, "blob_write": {1, b}, "blob_read": {1, b}, "blob_close": {1, b}, "blob_announce_to_context": {b, b}} {
		_, err := g.call(name, args...)
		require.EqualError(t, err, "blob operations not supported (NodeClient not available)", name)
	}
}
