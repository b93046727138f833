package leveldb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Journals and manifests are LevelDB log files: blocks of 32 KiB; in a block, chunks with a header of 7 bytes (masked
// CRC-32C over kind and payload, length, kind), never across blocks; a record is one full chunk, or a first, any number
// of middle ones and a last. A rest of a block too short for a header is zero.
const (
	logBlock  = 32 << 10
	logHeader = 7

	chunkFull   = 1
	chunkFirst  = 2
	chunkMiddle = 3
	chunkLast   = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func maskCRC(c uint32) uint32 { return (c>>15 | c<<17) + 0xa282ead8 }

// fault says where a log file stops being readable.
type fault struct {
	// Off is the offset of the damage; Start that of the record it is in: everything before Start is whole.
	Off, Start int64
	Reason     string
	// Torn: the file merely ends in the middle of a record, as it does when a write was interrupted. Nothing after
	// Start was ever acknowledged.
	Torn bool
}

func (f *fault) Error() string { return fmt.Sprintf("%s at offset %d", f.Reason, f.Off) }

// logReader reads the records of a log file. goleveldb's own reader is not used for checks: it cannot tell a torn end
// from damage, and knows no offsets.
type logReader struct {
	r    io.ReaderAt
	size int64
	// follows tells whether the payload of a chunk that starts a record can belong to a record after the last one
	// returned; it guards the search for whole records after a broken one against look-alikes in values.
	follows func(payload []byte) bool

	buf    [logBlock]byte
	base   int64 // offset of buf in the file
	n, pos int
	loaded bool
	record []byte
}

func newLogReader(r io.ReaderAt, size int64, follows func([]byte) bool) *logReader {
	return &logReader{r: r, size: size, follows: follows}
}

// next returns the next record and its offset, io.EOF at the end of the file, or a *fault. The slice is valid until
// the next call. After a fault, skip continues behind it.
func (l *logReader) next() (rec []byte, off int64, err error) {
	l.record = l.record[:0]
	inside := false
	for {
		if err := l.fill(); err != nil {
			if errors.Is(err, io.EOF) && inside {
				return nil, 0, &fault{Off: l.size, Start: off, Reason: "record without an end", Torn: true}
			}
			return nil, 0, err
		}
		at := l.base + int64(l.pos)
		if !inside {
			off = at
		}
		kind, payload, f, err := l.chunk()
		if err != nil {
			return nil, 0, err
		}
		if f == nil && inside == (kind == chunkFull || kind == chunkFirst) {
			f = &fault{Reason: "chunks of a record out of order"}
		}
		if f != nil {
			f.Off, f.Start = at, off
			return nil, 0, f
		}
		l.pos += logHeader + len(payload)
		l.record = append(l.record, payload...)
		if kind == chunkFull || kind == chunkLast {
			return l.record, off, nil
		}
		inside = true
	}
}

// fill makes pos stand on unread bytes, or returns io.EOF.
func (l *logReader) fill() error {
	for {
		if l.loaded && l.pos < l.n {
			if l.n < logBlock || l.pos+logHeader <= logBlock {
				return nil
			}
			// The rest of a full block.
			if !zero(l.buf[l.pos:l.n]) {
				at := l.base + int64(l.pos)
				return &fault{Off: at, Start: at, Reason: "padding is not zero"}
			}
		}
		next := l.base
		if l.loaded {
			next += int64(l.n)
		}
		if next >= l.size {
			return io.EOF
		}
		n := min(int64(logBlock), l.size-next)
		if _, err := l.r.ReadAt(l.buf[:n], next); err != nil {
			return fmt.Errorf("read at offset %d: %w", next, err)
		}
		l.base, l.n, l.pos, l.loaded = next, int(n), 0, true
	}
}

// chunk reads the chunk at pos; of the fault only Reason and Torn are set.
func (l *logReader) chunk() (kind byte, payload []byte, f *fault, err error) {
	rest := l.buf[l.pos:l.n]
	if zero(rest) {
		// The file grew before its bytes arrived. A record never consists of zeros, and damage to one would leave some.
		if end, err := l.zeroAfterBlock(); err != nil {
			return 0, nil, nil, err
		} else if end {
			return 0, nil, &fault{Reason: "zeros up to the end of the file", Torn: true}, nil
		}
	}
	kind, payload, f = l.parse(rest)
	return kind, payload, f, nil
}

func (l *logReader) parse(rest []byte) (kind byte, payload []byte, f *fault) {
	if len(rest) < logHeader {
		return 0, nil, &fault{Reason: "incomplete chunk header", Torn: true}
	}
	sum, length, kind := binary.LittleEndian.Uint32(rest), int(binary.LittleEndian.Uint16(rest[4:])), rest[6]
	if kind < chunkFull || kind > chunkLast {
		return 0, nil, &fault{Reason: fmt.Sprintf("chunk of unknown kind %d", kind)}
	}
	if l.pos+logHeader+length > logBlock {
		return 0, nil, &fault{Reason: "chunk is longer than its block"}
	}
	if logHeader+length > len(rest) {
		// Either the end is missing, or the length is damaged.
		switch {
		case hasPrefixWithSum(rest[6:], sum):
			return 0, nil, &fault{Reason: "length of a chunk is damaged"}
		case l.wholeRecordIn(rest[1:]):
			return 0, nil, &fault{Reason: "damaged chunk before a whole record"}
		}
		return 0, nil, &fault{Reason: "incomplete chunk", Torn: true}
	}
	payload = rest[logHeader : logHeader+length]
	if maskCRC(crc32.Checksum(rest[6:logHeader+length], castagnoli)) != sum {
		return 0, nil, &fault{Reason: "checksum of a chunk does not match"}
	}
	return kind, payload, nil
}

// zeroAfterBlock tells whether only zeros follow the block up to the end of the file.
func (l *logReader) zeroAfterBlock() (bool, error) {
	var b [logBlock]byte
	for at := l.base + int64(l.n); at < l.size; {
		n := min(int64(len(b)), l.size-at)
		if _, err := l.r.ReadAt(b[:n], at); err != nil {
			return false, fmt.Errorf("read at offset %d: %w", at, err)
		}
		if !zero(b[:n]) {
			return false, nil
		}
		at += n
	}
	return true, nil
}

// hasPrefixWithSum tells whether some prefix of b (a kind and part of its payload) has the masked sum.
func hasPrefixWithSum(b []byte, sum uint32) bool {
	c := crc32.Checksum(b[:1], castagnoli)
	for i := 1; maskCRC(c) != sum; i++ {
		if i == len(b) {
			return false
		}
		c = crc32.Update(c, castagnoli, b[i:i+1])
	}
	return true
}

// wholeRecordIn tells whether a record starts with a whole chunk anywhere in b.
func (l *logReader) wholeRecordIn(b []byte) bool {
	for ; len(b) >= logHeader; b = b[1:] {
		if l.startsRecord(b) {
			return true
		}
	}
	return false
}

func (l *logReader) startsRecord(b []byte) bool {
	if len(b) < logHeader || b[6] != chunkFull && b[6] != chunkFirst {
		return false
	}
	end := logHeader + int(binary.LittleEndian.Uint16(b[4:]))
	return end <= len(b) && maskCRC(crc32.Checksum(b[6:end], castagnoli)) == binary.LittleEndian.Uint32(b) &&
		(l.follows == nil || l.follows(b[logHeader:end]))
}

// skip moves behind a fault to the next place where a whole record may start and returns its offset; at the end of the
// file that is the file's size.
func (l *logReader) skip(f *fault) (int64, error) {
	from := f.Off
	if start := l.base + int64(l.pos); from < start {
		from = start
	}
	for {
		for p := int(from - l.base); p+logHeader <= l.n; p++ {
			if l.startsRecord(l.buf[p:l.n]) {
				l.pos = p
				return l.base + int64(p), nil
			}
		}
		l.pos = l.n
		if l.base+int64(l.n) >= l.size {
			return l.size, nil
		}
		if err := l.fill(); err != nil {
			return 0, err
		}
		if l.startsRecord(l.buf[:l.n]) {
			return l.base, nil
		}
		from = l.base
	}
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
