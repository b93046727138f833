package engine

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// A list of children may have many thousand records, of which an action changes one. So lists stay encoded: they are
// walked, and edited in place.

// Offsets inside an encoded record.
const (
	recordHash    = 32
	recordCreated = 64
	recordStorage = 80
	minRecord     = 83
)

// recordLen returns the length of the record that in begins with, or false when it is malformed. It does not look at
// texts.
func recordLen(in []byte) (int, bool) {
	if len(in) < minRecord {
		return 0, false
	}
	if in[recordStorage]|in[recordStorage+1]|in[recordStorage+2] == 0 {
		return minRecord, true
	}
	at := recordStorage
	next := func(n int) byte { // the byte at the cursor, which moves by n
		if n > len(in)-at {
			at = len(in) + 1
			return 0xff
		}
		b := in[at]
		at += n
		return b
	}
	text := func() {
		if len(in)-at < 4 || at > len(in) {
			at = len(in) + 1
			return
		}
		n := int64(binary.LittleEndian.Uint32(in[at:]))
		if n > int64(len(in)-at-4) {
			at = len(in) + 1
			return
		}
		at += 4 + int(n)
	}
	switch crdt.StorageKind(next(1)) {
	case crdt.Public, crdt.Frozen:
	case crdt.User:
		next(32)
		switch next(1) {
		case 0:
		case 1:
			next(64 + 8)
		default:
			return 0, false
		}
	default:
		return 0, false
	}
	switch next(1) {
	case 0:
	case 1:
		kind := crdt.CrdtKind(next(1))
		if kind > crdt.Custom {
			return 0, false
		}
		for range kind.TypeNames() {
			text()
		}
	default:
		return 0, false
	}
	switch next(1) {
	case 0:
	case 1:
		text()
	default:
		return 0, false
	}
	return at, at <= len(in)
}

// idSet is a set of ids with a cheap first look.
type idSet[T any] struct {
	first [256]bool
	byID  map[crdt.ID]T
}

func (s *idSet[T]) put(id crdt.ID, v T) {
	if s.byID == nil {
		s.byID = map[crdt.ID]T{}
	}
	s.first[id[0]] = true
	s.byID[id] = v
}

func (s *idSet[T]) get(id []byte) (v T, ok bool) {
	if !s.first[id[0]] {
		return v, false
	}
	v, ok = s.byID[crdt.ID(id)]
	return v, ok
}

// listChange replaces all records of one id, or the hash of its first record.
type listChange struct {
	rehash  bool
	hash    domain.Hash
	records []crdt.ChildInfo
	seen    bool
}

// rebuilt is a list after changes.
type rebuilt struct {
	count int
	hash  domain.Hash // of the entity with these children
	edits []Edit      // offsets are relative to the list
}

// rebuild makes changes in an encoded list (well-formed, in order) of an entity with the given own hash.
func rebuild(list []byte, own domain.Hash, changes *idSet[*listChange]) (rebuilt, error) {
	inserts, err := encodeInserts(changes)
	if err != nil {
		return rebuilt{}, err
	}
	var out rebuilt
	h := newListHash(own)
	cut := Edit{}
	flush := func(next int) {
		if old := list[cut.Off : cut.Off+cut.Del]; !bytes.Equal(old, cut.Ins) {
			out.edits = append(out.edits, cut)
		}
		cut = Edit{Off: next}
	}
	insert := func() {
		cut.Ins = append(cut.Ins, inserts[0].enc...)
		h.add(inserts[0].enc[recordHash:recordCreated])
		inserts = inserts[1:]
		out.count++
	}
	for at := 0; at < len(list); {
		n, _ := recordLen(list[at:])
		record := list[at : at+n]
		change, changed := changes.get(record[:32])
		for len(inserts) > 0 && inserts[0].before(record) {
			insert()
		}
		switch {
		case changed && !change.rehash:
			cut.Del += n
			at += n
			continue
		case changed && !change.seen:
			change.seen = true
			if cut.Del > 0 || len(cut.Ins) > 0 {
				flush(0)
			}
			cut = Edit{Off: at + recordHash, Del: 32, Ins: change.hash[:]}
			h.add(change.hash[:])
		default:
			h.add(record[recordHash:recordCreated])
		}
		at += n
		out.count++
		if cut.Del > 0 || len(cut.Ins) > 0 {
			flush(at)
		} else {
			cut.Off = at
		}
	}
	for len(inserts) > 0 {
		insert()
	}
	flush(0)
	out.hash = h.sum()
	return out, nil
}

type insertion struct {
	id      crdt.ID
	created uint64
	enc     []byte
}

func (i *insertion) before(record []byte) bool {
	return cmp.Or(
		cmp.Compare(i.created, binary.LittleEndian.Uint64(record[recordCreated:])),
		bytes.Compare(i.id[:], record[:32]),
	) < 0
}

func encodeInserts(changes *idSet[*listChange]) ([]insertion, error) {
	var out []insertion
	for _, c := range changes.byID {
		for i := range c.records {
			enc, err := borsh.Marshal(c.records[i])
			if err != nil {
				return nil, err
			}
			out = append(out, insertion{id: c.records[i].ID, created: c.records[i].Metadata.CreatedAt, enc: enc})
		}
	}
	slices.SortFunc(out, func(a, b insertion) int {
		return cmp.Or(cmp.Compare(a.created, b.created), a.id.Compare(b.id))
	})
	return out, nil
}

// listHash hashes records' hashes in blocks.
type listHash struct {
	buf [2048]byte
	n   int
	h   interface {
		Write([]byte) (int, error)
		Sum([]byte) []byte
	}
}

func newListHash(own domain.Hash) *listHash {
	l := &listHash{h: sha256.New()}
	l.add(own[:])
	return l
}

func (l *listHash) add(hash []byte) {
	l.n += copy(l.buf[l.n:], hash)
	if l.n == len(l.buf) {
		l.flush()
	}
}

func (l *listHash) flush() {
	_, _ = l.h.Write(l.buf[:l.n]) // a hash never fails
	l.n = 0
}

func (l *listHash) sum() domain.Hash {
	l.flush()
	return domain.Hash(l.h.Sum(nil))
}
