package leveldb

import (
	"bytes"
	"errors"
)

// JournalEnd is what the check of a journal says: up to where it is whole, and whether the rest is torn or damaged.
type JournalEnd struct {
	Records      uint64
	Whole        int64
	Torn, Damage bool
	Reason       string
}

// CheckJournal checks the bytes of a journal.
func CheckJournal(b []byte) (JournalEnd, error) {
	s, err := scanJournal(bytes.NewReader(b), int64(len(b)), 0)
	end := JournalEnd{Records: s.Records, Whole: int64(len(b))}
	if s.Fault != nil {
		end.Whole, end.Torn, end.Damage, end.Reason = s.Fault.Start, s.Fault.Torn, !s.Fault.Torn, s.Fault.Error()
	}
	return end, err
}

// SalvageRecords reads what can be read of a journal.
func SalvageRecords(b []byte) (records [][]byte, err error) {
	l := newLogReader(bytes.NewReader(b), int64(len(b)), nil)
	for {
		rec, _, err := l.next()
		var f *fault
		switch {
		case errors.As(err, &f):
			if _, err := l.skip(f); err != nil {
				return nil, err
			}
		case err != nil:
			return records, nil //nolint:nilerr // io.EOF; a bytes.Reader has no other error.
		default:
			records = append(records, bytes.Clone(rec))
		}
	}
}

// CheckManifest reads the bytes of a manifest; whole tells whether all of it could be read.
func CheckManifest(b []byte) (tables int, whole bool, err error) {
	m, err := readManifest(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return 0, false, err
	}
	return len(m.tables), m.fault == nil && m.complete() == nil, nil
}
