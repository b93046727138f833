package engine

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Bounds of what one id may collect. Both keep the greatest, so they are joins too: what is left depends on the set of
// actions alone.
const (
	// MaxRegisters bounds the registers of one id.
	MaxRegisters = 4096
	// MaxClaims bounds the owners of which a deletion is remembered for an id that is not theirs (yet).
	MaxClaims = 8
)

// minMetadata is the smallest encoding of metadata.
const minMetadata = 8 + 8 + 1 + 1 + 1

// value is metadata with its order: a time, then bytes. The signature is not part of it.
type value struct {
	leaf domain.Hash // of an upsert; zero in a deletion
	meta crdt.Metadata
	enc  []byte
}

func newValue(leaf domain.Hash, meta crdt.Metadata) (value, error) {
	meta.Storage.Signature = nil
	enc, err := borsh.Marshal(meta)
	return value{leaf: leaf, meta: meta, enc: enc}, err
}

func (v *value) compare(w *value) int {
	return cmp.Or(
		cmp.Compare(v.meta.UpdatedAt, w.meta.UpdatedAt),
		bytes.Compare(v.leaf[:], w.leaf[:]),
		bytes.Compare(v.enc, w.enc),
	)
}

// state is what is known of one id: the largest deletion, and for each created_at the newest upsert after it.
type state struct {
	// known: somebody wrote or deleted the entity in its class. Without it there are claims at most.
	known bool
	class crdt.StorageKind
	owner domain.PublicKey
	del   *value  // its updated_at is the time of the deletion
	recs  []value // by created_at
	top   int     // index of the winner plus one; 0 when it is to be looked for
	// claims are signed deletions by users to whom the id may turn out to belong, one of each; ordered by owner.
	claims []value
}

func (s *state) live() bool { return s.known && len(s.recs) > 0 }

// winner is the visible register; the state is live.
func (s *state) winner() *value {
	if s.top == 0 {
		s.top = 1
		for i := range s.recs {
			if s.recs[i].compare(&s.recs[s.top-1]) > 0 {
				s.top = i + 1
			}
		}
	}
	return &s.recs[s.top-1]
}

// register returns where the register of a created_at is, or would be.
func (s *state) register(created uint64) (int, bool) {
	return slices.BinarySearchFunc(s.recs, created, func(v value, c uint64) int { return cmp.Compare(v.meta.CreatedAt, c) })
}

// put adds an upsert newer than the deletion.
func (s *state) put(v value) Outcome {
	wins := len(s.recs) == 0 || v.compare(s.winner()) > 0
	i, found := s.register(v.meta.CreatedAt)
	switch {
	case found && s.recs[i].compare(&v) >= 0:
		return Ignored
	case found:
		s.recs[i] = v
	case len(s.recs) == MaxRegisters:
		least := 0
		for k := range s.recs {
			if s.recs[k].compare(&s.recs[least]) < 0 {
				least = k
			}
		}
		if s.recs[least].compare(&v) > 0 {
			return Ignored
		}
		if least < i {
			i--
		}
		s.recs = slices.Insert(slices.Delete(s.recs, least, least+1), i, v)
		s.top = 0
	default:
		s.recs = slices.Insert(s.recs, i, v)
		if s.top > i {
			s.top++
		}
	}
	if wins {
		s.top = i + 1
		return Applied
	}
	return Recorded
}

// remove adds a deletion.
func (s *state) remove(v value) Outcome {
	if s.del != nil && s.del.compare(&v) >= 0 {
		return Ignored
	}
	s.del = &v
	s.recs = slices.DeleteFunc(s.recs, func(r value) bool { return r.meta.UpdatedAt <= v.meta.UpdatedAt })
	s.top = 0
	if len(s.recs) == 0 {
		return Deleted
	}
	return Recorded
}

// claim adds the deletion of a user to whom the id does not belong so far.
func (s *state) claim(v value) Outcome {
	i, found := slices.BinarySearchFunc(s.claims, v.meta.Storage.Owner, func(c value, o domain.PublicKey) int {
		return bytes.Compare(c.meta.Storage.Owner[:], o[:])
	})
	switch {
	case found && s.claims[i].compare(&v) >= 0:
		return Ignored
	case found:
		s.claims[i] = v
		return Recorded
	}
	s.claims = slices.Insert(s.claims, i, v)
	if len(s.claims) <= MaxClaims {
		return Recorded
	}
	least := 0
	for i := range s.claims {
		if s.claims[i].compare(&s.claims[least]) < 0 {
			least = i
		}
	}
	s.claims = slices.Delete(s.claims, least, least+1)
	if least == i {
		return Ignored
	}
	return Recorded
}

// settle gives the id to a class, and of User to an owner, and forgets what others left there. The claims end: one of
// the owner is a deletion.
func (s *state) settle(class crdt.StorageKind, owner domain.PublicKey) {
	claims := s.claims
	*s = state{known: true, class: class, owner: owner}
	if class == crdt.Public {
		s.claims = claims
		return
	}
	for i := range claims {
		if class == crdt.User && claims[i].meta.Storage.Owner == owner {
			s.del = &claims[i]
		}
	}
}

// shadow is the row for what the other rows cannot express: nil when they can.
func (s *state) shadow() ([]byte, error) {
	live := s.live() && (len(s.recs) > 1 || s.del != nil)
	if !live && len(s.claims) == 0 {
		return nil, nil
	}
	e := borsh.NewEncoder(nil)
	if !live {
		e.Bool(false)
		e.Len(0)
	} else {
		e.Bool(s.del != nil)
		if s.del != nil {
			e.Raw(s.del.enc)
		}
		e.Len(len(s.recs))
		for i := range s.recs {
			e.Raw(s.recs[i].leaf[:])
			e.Raw(s.recs[i].enc)
		}
	}
	if len(s.claims) > 0 {
		e.Len(len(s.claims))
		for i := range s.claims {
			e.Raw(s.claims[i].enc)
		}
	}
	return e.Finish()
}

// Shadow is a decoded shadow row ([crdt.SyncStateKey]): what the other rows of an entity cannot express. Claims follow
// the layout of convergence.md §2.1 and are left out when there are none.
type Shadow struct {
	Deletion  *crdt.Metadata
	Registers []Register // by Metadata.CreatedAt
	Claims    []crdt.Metadata
}

// Register is one of the values written to an entity with the same time of creation.
type Register struct {
	Leaf     domain.Hash // the full hash of the value without children
	Metadata crdt.Metadata
}

// DecodeBorsh reads the row.
func (s *Shadow) DecodeBorsh(d *borsh.Decoder) {
	read := func(d *borsh.Decoder, _ string) (m crdt.Metadata) {
		m.DecodeBorsh(d)
		return m
	}
	*s = Shadow{Deletion: borsh.Option(d, "deletion", read)}
	s.Registers = borsh.Slice(d, "registers", 32+minMetadata, func(d *borsh.Decoder) Register {
		return Register{Leaf: d.Array32("leaf"), Metadata: read(d, "")}
	})
	if d.Err() == nil && d.Remaining() > 0 {
		s.Claims = borsh.Slice(d, "claims", minMetadata, func(d *borsh.Decoder) crdt.Metadata { return read(d, "") })
	}
}
