// Package frame has the framing of Calimero's stream protocols (sync-wire.md §2.1): a big-endian u32 with the length of
// the payload, then the payload. Nothing here panics on bytes of a peer.
package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// MaxPayload is the largest payload that the protocols allow, in bytes.
const MaxPayload = 8 << 20

// HeaderSize is what a frame has besides its payload.
const HeaderSize = 4

// firstBuffer is what a frame gets before its bytes arrive: a length alone costs a peer nothing.
const firstBuffer = 64 << 10

// Read reads one frame with at most limit bytes of payload (limit is capped at MaxPayload). The payload is the caller's.
// reserve, if not nil, is told by how
// many bytes the payload's buffer is about to grow, and may refuse it. The error is io.EOF when r
// ends before a frame begins, io.ErrUnexpectedEOF inside of one, of kind TooLarge for a longer payload, or that of r or
// reserve; the frame's rest is unread then.
func Read(r io.Reader, limit int, reserve func(bytes int) error) ([]byte, error) {
	var header [HeaderSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(header[:])
	if limit = min(limit, MaxPayload); uint64(length) > uint64(max(limit, 0)) {
		return nil, errkind.TooLarge.Errorf("a frame has %d bytes of payload; %d are allowed", length, limit)
	}
	return readPayload(r, int(length), reserve)
}

// readPayload doubles the buffer as the bytes arrive.
func readPayload(r io.Reader, length int, reserve func(int) error) ([]byte, error) {
	var buf []byte
	for read := 0; read < length || buf == nil; {
		size := min(length, max(firstBuffer, 2*len(buf)))
		if reserve != nil {
			if err := reserve(size - len(buf)); err != nil {
				return nil, fmt.Errorf("make room for a frame of %d bytes: %w", length, err)
			}
		}
		next := make([]byte, size)
		copy(next, buf)
		buf = next
		n, err := io.ReadFull(r, buf[read:])
		read += n
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
	}
	return buf, nil
}

// Write writes one frame. A payload over MaxPayload is of kind TooLarge and nothing is written.
func Write(w io.Writer, payload []byte) error {
	if len(payload) > MaxPayload {
		return errkind.TooLarge.Errorf("a frame would have %d bytes of payload; %d are allowed", len(payload), MaxPayload)
	}
	var header [HeaderSize]byte
	binary.BigEndian.PutUint32(header[:], uint32(len(payload)))
	if len(payload) <= firstBuffer { // one write, one packet
		_, err := w.Write(append(header[:], payload...))
		return err
	}
	if _, err := w.Write(header[:]); err != nil {
		return err
	}
	_, err := w.Write(payload)
	return err
}
