package guestabi

import (
	"github.com/calimero-go/core/plugin-sdk/blobid"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// blobs are the open handles. File descriptors start at 1 and are not reused.
type blobs struct {
	open map[uint64]*blobHandle
	last uint64
}

type blobHandle struct {
	// Write side.
	hasher  *blobid.Hasher
	pending []byte
	// Read side: buf holds what was read ahead.
	id     domain.BlobID
	offset uint64
	buf    []byte
	end    bool
}

// maxBlobBytes bounds what one execution may write to blobs.
const maxBlobBytes = 1 << 30

func (x *Execution) newHandle(h *blobHandle) (uint64, error) {
	if x.blobs.open == nil {
		x.blobs.open = make(map[uint64]*blobHandle)
	}
	if uint64(len(x.blobs.open)) >= x.limits.MaxBlobHandles {
		return 0, TooManyBlobHandles(x.limits.MaxBlobHandles)
	}
	x.blobs.last++
	x.blobs.open[x.blobs.last] = h
	return x.blobs.last, nil
}

// blobError maps an error of the host.
func blobError(err error) error {
	if fatal(err) {
		return err
	}
	return ErrBlobsNotSupported
}

func (x *Execution) blobCreate(memory, []uint64) (uint64, error) {
	if x.Blobs == nil {
		return 0, ErrBlobsNotSupported
	}
	return x.newHandle(&blobHandle{hasher: blobid.New()})
}

func (x *Execution) blobWrite(m memory, a []uint64) (uint64, error) {
	b, err := m.buffer(a[1])
	if err != nil {
		return 0, err
	}
	if x.Blobs == nil {
		return 0, ErrBlobsNotSupported
	}
	if b.len > x.limits.MaxBlobChunkSize {
		return 0, BlobWriteTooLarge(b.len, x.limits.MaxBlobChunkSize)
	}
	s, err := m.slice(b)
	if err != nil {
		return 0, err
	}
	h := x.blobs.open[a[0]]
	if h == nil || h.hasher == nil {
		return 0, ErrInvalidBlobHandle
	}
	if h.hasher.Size()+uint64(len(s)) > maxBlobBytes {
		return 0, tooLarge("blob larger than %d bytes", maxBlobBytes)
	}
	_, _ = h.hasher.Write(s) // cannot fail
	for len(s) > 0 {
		n := min(len(s), runtime.SpillPart-len(h.pending))
		h.pending = append(h.pending, s[:n]...)
		s = s[n:]
		if len(h.pending) == runtime.SpillPart {
			if err := x.Blobs.BlobPart(runtime.BlobPart{FD: uint32(a[0]), Data: h.pending}); err != nil {
				return 0, blobError(err)
			}
			h.pending = make([]byte, 0, runtime.SpillPart)
		}
	}
	return b.len, nil
}

func (x *Execution) blobClose(m memory, a []uint64) (uint64, error) {
	b, err := m.buffer(a[1])
	if err != nil {
		return 0, err
	}
	if b.len != 32 {
		return 0, ErrInvalidMemoryAccess
	}
	if x.Blobs == nil {
		return 0, ErrBlobsNotSupported
	}
	out, err := m.slice(b)
	if err != nil {
		return 0, err
	}
	h := x.blobs.open[a[0]]
	if h == nil {
		return 0, ErrInvalidBlobHandle
	}
	delete(x.blobs.open, a[0])
	if h.hasher == nil {
		copy(out, h.id[:])
		return 1, nil
	}
	info := h.hasher.Sum()
	last := runtime.BlobPart{FD: uint32(a[0]), Data: h.pending, Last: true, ID: info.ID, Size: info.Size}
	if err := x.Blobs.BlobPart(last); err != nil {
		return 0, blobError(err)
	}
	x.result.Blobs = append(x.result.Blobs, runtime.BlobRef{ID: info.ID, Size: info.Size})
	copy(out, info.ID[:])
	return 1, nil
}

func (x *Execution) blobOpen(m memory, a []uint64) (uint64, error) {
	b, err := m.buffer(a[0])
	if err != nil {
		return 0, err
	}
	if x.Blobs == nil {
		return 0, ErrBlobsNotSupported
	}
	if uint64(len(x.blobs.open)) >= x.limits.MaxBlobHandles {
		return 0, TooManyBlobHandles(x.limits.MaxBlobHandles)
	}
	id, err := m.sized(b, 32)
	if err != nil {
		return 0, err
	}
	return x.newHandle(&blobHandle{id: domain.BlobID(id)})
}

func (x *Execution) blobRead(m memory, a []uint64) (uint64, error) {
	b, err := m.buffer(a[1])
	if err != nil {
		return 0, err
	}
	if x.Blobs == nil {
		return 0, ErrBlobsNotSupported
	}
	if b.len > x.limits.MaxBlobChunkSize {
		return 0, BlobBufferTooLarge(b.len, x.limits.MaxBlobChunkSize)
	}
	if b.len == 0 {
		return 0, nil
	}
	h := x.blobs.open[a[0]]
	if h == nil || h.hasher != nil {
		return 0, ErrInvalidBlobHandle
	}
	if err := x.fill(h, b.len); err != nil {
		return 0, err
	}
	n := min(b.len, uint64(len(h.buf)))
	if n == 0 {
		return 0, nil
	}
	dst, err := m.slice(b)
	if err != nil {
		return 0, err
	}
	copy(dst, h.buf[:n])
	h.buf = h.buf[n:]
	return n, nil
}

// fill reads until n bytes are there or the blob ends, at least a chunk at once.
func (x *Execution) fill(h *blobHandle, n uint64) error {
	for !h.end && uint64(len(h.buf)) < n {
		// 10 MiB is the most one BlobRead may ask for.
		want := min(max(n-uint64(len(h.buf)), blobid.ChunkSize), 10<<20)
		got, err := x.Blobs.BlobRead(h.id, h.offset, want)
		if err != nil {
			return blobError(err)
		}
		if uint64(len(got)) > want {
			return ErrBlobsNotSupported
		}
		h.offset += uint64(len(got))
		h.end = uint64(len(got)) < want
		h.buf = append(h.buf[:len(h.buf):len(h.buf)], got...)
	}
	return nil
}

func (x *Execution) blobAnnounce(m memory, a []uint64) (uint64, error) {
	if x.Blobs == nil {
		return 0, ErrBlobsNotSupported
	}
	idBuf, err := m.buffer(a[0])
	if err != nil {
		return 0, err
	}
	toBuf, err := m.buffer(a[1])
	if err != nil {
		return 0, err
	}
	id, err := m.sized(idBuf, 32)
	if err != nil {
		return 0, err
	}
	to, err := m.sized(toBuf, 32)
	if err != nil {
		return 0, err
	}
	if err := x.Blobs.BlobAnnounce(domain.BlobID(id), domain.ContextID(to)); err != nil {
		return 0, blobError(err)
	}
	x.result.Usage.Effects = true
	return 1, nil
}
