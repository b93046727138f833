package leveldb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	ldbcomparer "github.com/syndtr/goleveldb/leveldb/comparer"
)

// Tags of the fields in the records of a manifest. Numbers are unsigned varints, bytes have their length before them.
const (
	tagComparer    = 1 // bytes
	tagJournal     = 2
	tagNextFile    = 3
	tagSeq         = 4
	tagCompactPtr  = 5 // level, key bytes
	tagDelTable    = 6 // level, number
	tagAddTable    = 7 // level, number, size, smallest and largest key bytes
	tagPrevJournal = 9
)

// manifest is the state that the records of a manifest file add up to.
type manifest struct {
	comparer             string
	journal, prevJournal int64
	seq                  uint64
	// tables maps the numbers of live tables to their sizes.
	tables map[int64]int64
	seen   uint
	// fault is where the file stops being readable; the state is that of the records before.
	fault *fault
}

// readManifest adds up the records of a manifest up to its end or its first fault. The error is about reading the file,
// not about its content.
func readManifest(r io.ReaderAt, size int64) (*manifest, error) {
	m := &manifest{tables: make(map[int64]int64)}
	l := newLogReader(r, size, nil)
	for {
		rec, off, err := l.next()
		switch {
		case errors.Is(err, io.EOF):
			return m, nil
		case err != nil:
			if errors.As(err, &m.fault) {
				return m, nil
			}
			return nil, err
		}
		if err := m.add(rec); err != nil {
			m.fault = &fault{Off: off, Start: off, Reason: err.Error()}
			return m, nil
		}
	}
}

// complete tells which field that every manifest has is missing.
func (m *manifest) complete() error {
	for _, f := range []struct {
		tag  uint
		name string
	}{{tagComparer, "comparer"}, {tagNextFile, "next file number"}, {tagJournal, "journal number"}, {tagSeq, "sequence number"}} {
		if m.seen&(1<<f.tag) == 0 {
			return fmt.Errorf("has no %s", f.name)
		}
	}
	if want := ldbcomparer.DefaultComparer.Name(); m.comparer != want {
		return fmt.Errorf("orders keys by %q, not by %q", m.comparer, want)
	}
	return nil
}

type fields struct {
	b   []byte
	bad bool
}

func (f *fields) number() uint64 {
	n, w := binary.Uvarint(f.b)
	if w <= 0 {
		f.b, f.bad = nil, true
		return 0
	}
	f.b = f.b[w:]
	return n
}

func (f *fields) file() int64 {
	n := f.number()
	if n > 1<<62 {
		f.bad = true
	}
	return int64(n)
}

func (f *fields) bytes() []byte {
	n := f.number()
	if n > uint64(len(f.b)) {
		f.b, f.bad = nil, true
		return nil
	}
	b := f.b[:n]
	f.b = f.b[n:]
	return b
}

func (m *manifest) add(rec []byte) error {
	f := &fields{b: rec}
	type change struct{ level, num, size int64 }
	var added, deleted []change
	for len(f.b) > 0 && !f.bad {
		tag := f.number()
		switch tag {
		case tagComparer:
			m.comparer = string(f.bytes())
		case tagJournal:
			m.journal = f.file()
		case tagPrevJournal:
			m.prevJournal = f.file()
		case tagNextFile:
			f.file()
		case tagSeq:
			m.seq = f.number()
		case tagCompactPtr:
			f.number()
			f.bytes()
		case tagDelTable:
			level := f.file()
			deleted = append(deleted, change{level: level, num: f.file()})
		case tagAddTable:
			c := change{level: f.file(), num: f.file(), size: f.file()}
			f.bytes()
			f.bytes()
			added = append(added, c)
		default:
			return fmt.Errorf("record has a field of unknown kind %d", tag)
		}
		if tag < 64 {
			m.seen |= 1 << tag
		}
	}
	if f.bad {
		return errors.New("record has a field that is longer than it")
	}
	// A table that moves to another level is deleted and added in one record.
	for _, c := range deleted {
		delete(m.tables, c.num)
	}
	for _, c := range added {
		m.tables[c.num] = c.size
	}
	return nil
}
