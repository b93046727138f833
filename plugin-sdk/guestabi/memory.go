package guestabi

import (
	"encoding/binary"
	"unicode/utf8"
)

// memory is the guest's linear memory during one host call.
type memory []byte

// buffer is the descriptor of a piece of memory; it may point anywhere.
type buffer struct{ ptr, len uint64 }

// Sizes of the descriptors (guest-abi.md §1.2).
const (
	bufferSize      = 16
	locationSize    = 24
	eventSize       = 32
	xcallSize       = 48
	valueReturnSize = 24
)

func (m memory) at(ptr, n uint64) ([]byte, error) {
	end := ptr + n
	if end < ptr || end > uint64(len(m)) {
		return nil, ErrInvalidMemoryAccess
	}
	return m[ptr:end:end], nil
}

func bufferOf(b []byte) buffer {
	return buffer{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}
}

func (m memory) buffer(ptr uint64) (buffer, error) {
	b, err := m.at(ptr, bufferSize)
	if err != nil {
		return buffer{}, err
	}
	return bufferOf(b), nil
}

// slice is a view, valid until the host function returns.
func (m memory) slice(b buffer) ([]byte, error) { return m.at(b.ptr, b.len) }

func (m memory) sized(b buffer, n int) ([]byte, error) {
	s, err := m.slice(b)
	if err == nil && len(s) != n {
		err = ErrInvalidMemoryAccess
	}
	return s, err
}

func (x *Execution) str(m memory, b buffer) (string, error) {
	s, err := m.slice(b)
	if err != nil {
		return "", err
	}
	if err := x.checkUTF8(s); err != nil {
		return "", err
	}
	return string(s), nil
}

// chunk is how much is worked on between two looks at the deadline.
const chunk = 1 << 20

// checkUTF8 validates in pieces that end between characters.
func (x *Execution) checkUTF8(s []byte) error {
	for len(s) > chunk {
		cut := chunk
		for cut > chunk-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
			cut--
		}
		if !utf8.Valid(s[:cut]) {
			return ErrBadUTF8
		}
		if err := x.stopped(); err != nil {
			return err
		}
		s = s[cut:]
	}
	if !utf8.Valid(s) {
		return ErrBadUTF8
	}
	return nil
}
