package leveldb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A record of a journal is a group of batches that were committed together: the sequence number of its first
// operation (u64), the number of operations (u32), then each operation as kind, key and, for a put, value.
const (
	batchHeader = 12

	opDelete = 0
	opPut    = 1

	// maxJump is how far a sequence number may be ahead of the expected one; nothing skips numbers in normal use.
	maxJump = 1 << 40
)

// journalScan is what reading a journal found.
type journalScan struct {
	Records, Ops uint64
	// Last is the sequence number of the last operation.
	Last uint64
	// Fault is nil for a journal that is whole.
	Fault *fault
}

// scanJournal reads a journal up to its end or its first fault. The operations of its records must be numbered upwards
// from after.
func scanJournal(r io.ReaderAt, size int64, after uint64) (journalScan, error) {
	s := journalScan{Last: after}
	l := newLogReader(r, size, func(p []byte) bool { return followsSeq(p, s.Last) })
	for {
		rec, off, err := l.next()
		switch {
		case errors.Is(err, io.EOF):
			return s, nil
		case err != nil:
			if errors.As(err, &s.Fault) {
				return s, nil
			}
			return s, err
		}
		seq, ops, err := checkGroup(rec, s.Last)
		if err != nil {
			s.Fault = &fault{Off: off, Start: off, Reason: err.Error()}
			return s, nil
		}
		s.Records++
		s.Ops += uint64(ops)
		s.Last = seq + uint64(ops) - 1
	}
}

func followsSeq(payload []byte, last uint64) bool {
	if len(payload) < batchHeader {
		// The header itself may be split over two chunks.
		return len(payload) < 8 || binary.LittleEndian.Uint64(payload) > last
	}
	seq := binary.LittleEndian.Uint64(payload)
	return seq > last && (last == 0 || seq-last <= maxJump)
}

// checkGroup decodes a record whose operations come after the one numbered last.
func checkGroup(rec []byte, last uint64) (seq uint64, ops uint32, err error) {
	if len(rec) < batchHeader {
		return 0, 0, fmt.Errorf("record of %d bytes has no batch header", len(rec))
	}
	seq, ops = binary.LittleEndian.Uint64(rec), binary.LittleEndian.Uint32(rec[8:])
	if seq <= last && last != 0 {
		return 0, 0, fmt.Errorf("record is numbered %d, not after %d", seq, last)
	}
	if ops == 0 {
		return 0, 0, errors.New("record without operations")
	}
	b := rec[batchHeader:]
	for range ops {
		if len(b) == 0 {
			return 0, 0, errors.New("record ends before its last operation")
		}
		kind := b[0]
		fields := 1
		switch kind {
		case opPut:
			fields = 2
		case opDelete:
		default:
			return 0, 0, fmt.Errorf("operation of unknown kind %d", kind)
		}
		b = b[1:]
		for range fields {
			n, w := binary.Uvarint(b)
			if w <= 0 || n > uint64(len(b)-w) {
				return 0, 0, errors.New("field is longer than its record")
			}
			b = b[w+int(n):]
		}
	}
	if len(b) != 0 {
		return 0, 0, fmt.Errorf("%d bytes after the last operation of a record", len(b))
	}
	return seq, ops, nil
}
