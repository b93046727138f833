package runtime

import (
	"math"

	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	runtimev1 "github.com/calimero-go/core/plugin-sdk/proto/runtime/v1"
)

// maxSpillParts bounds the parts of all spills of one execution: a sender that fills its parts needs a tenth.
const maxSpillParts = 4096

var errSpills = errkind.TooLarge.Errorf("values over %d bytes of one execution add up to more than %d bytes in one direction",
	InlineData, MaxSpills)

// packer turns byte strings into Data, sending those over InlineData as spills at once. There is one for each execution
// and direction.
type packer struct {
	send  func(*runtimev1.Spill) error
	last  uint32
	total int
	// failed is the first error; afterwards what is packed is empty and not to be sent.
	failed error
}

func (p *packer) data(b []byte) *runtimev1.Data {
	if len(b) <= InlineData {
		return &runtimev1.Data{Data: &runtimev1.Data_Inline{Inline: b}}
	}
	return &runtimev1.Data{Data: &runtimev1.Data_Spill{Spill: p.spill(b)}}
}

func (p *packer) spill(b []byte) uint32 {
	if p.failed != nil {
		return 0
	}
	if p.total += len(b); p.total > MaxSpills {
		p.failed = errSpills
		return 0
	}
	p.last++
	for len(b) > 0 && p.failed == nil {
		n := min(len(b), SpillPart)
		p.failed = p.send(&runtimev1.Spill{Id: p.last, Data: b[:n], Last: n == len(b)})
		b = b[n:]
	}
	return p.last
}

// rowBlock holds the messages of one row, so that many rows are one allocation.
type rowBlock struct {
	row    runtimev1.Row
	value  runtimev1.Row_Value
	data   runtimev1.Data
	inline runtimev1.Data_Inline
}

var absent = &runtimev1.Row_Absent{Absent: true}

// rows packs rows; the result shares their memory.
func (p *packer) rows(rows []Row) []*runtimev1.Row {
	if len(rows) == 0 {
		return nil
	}
	blocks := make([]rowBlock, len(rows))
	out := make([]*runtimev1.Row, len(rows))
	for i := range rows {
		r, b := &rows[i], &blocks[i]
		b.row.Scope, b.row.Key = runtimev1.Scope(r.Scope), r.K[:]
		switch {
		case r.Absent:
			b.row.V = absent
		case r.Digest != nil:
			b.row.V = &runtimev1.Row_Digest{Digest: &runtimev1.Digest{Entity: r.Digest.Entity[:], Sum: r.Digest.Sum[:]}}
		case len(r.Edits) > 0:
			b.row.V = &runtimev1.Row_Edits{Edits: editsToProto(r.Edits)}
		case len(r.Value) > InlineData:
			b.data.Data = &runtimev1.Data_Spill{Spill: p.spill(r.Value)}
			b.value.Value = &b.data
			b.row.V = &b.value
		default:
			b.inline.Inline = r.Value
			b.data.Data = &b.inline
			b.value.Value = &b.data
			b.row.V = &b.value
		}
		out[i] = &b.row
	}
	return out
}

// inlineSize is about what a row takes in its frame.
func inlineSize(r *Row) int {
	if r.Digest != nil {
		return r.Size() + 24
	}
	if len(r.Value) > InlineData {
		return len(r.K) + 24
	}
	return len(r.Value) + len(r.K) + 24
}

// rowFrame takes as many rows as fit one Rows frame, at least one.
func rowFrame(rows []Row) (frame, rest []Row) {
	size, n := 0, 0
	for n < len(rows) {
		size += inlineSize(&rows[n])
		if n > 0 && size > InlineWrites {
			break
		}
		n++
	}
	return rows[:n], rows[n:]
}

// unpacker collects the spills of one execution in one direction and resolves Data.
type unpacker struct {
	spills map[uint32]*spilled
	total  int
	parts  int
	over   bool
}

type spilled struct {
	parts [][]byte
	size  int
	whole bool
}

// add takes a part. Beyond the total it drops everything and returns errSpills; other errors are breaches of the
// protocol, of kind Invalid.
func (u *unpacker) add(s *runtimev1.Spill) error {
	if u.over {
		return errSpills
	}
	if len(s.GetData()) > SpillPart {
		return errkind.Invalid.Errorf("spill part of %d bytes, the limit is %d", len(s.GetData()), SpillPart)
	}
	u.total += len(s.GetData())
	u.parts++
	if u.total > MaxSpills || u.parts > maxSpillParts {
		u.over, u.spills = true, nil
		return errSpills
	}
	if u.spills == nil {
		u.spills = make(map[uint32]*spilled)
	}
	x := u.spills[s.GetId()]
	if x == nil {
		x = &spilled{}
		u.spills[s.GetId()] = x
	}
	if x.whole {
		return errkind.Invalid.Errorf("spill %d goes on after its last part", s.GetId())
	}
	x.parts = append(x.parts, s.GetData())
	x.size += len(s.GetData())
	x.whole = s.GetLast()
	return nil
}

// data resolves d to bytes, never nil. A spill can be used once.
func (u *unpacker) data(d *runtimev1.Data) ([]byte, error) {
	switch x := d.GetData().(type) {
	case *runtimev1.Data_Inline:
		if len(x.Inline) > InlineData {
			return nil, errkind.Invalid.Errorf("inline value of %d bytes, the limit is %d", len(x.Inline), InlineData)
		}
		return filled(x.Inline), nil
	case *runtimev1.Data_Spill:
		if u.over {
			return nil, errSpills
		}
		s := u.spills[x.Spill]
		if s == nil || !s.whole {
			return nil, errkind.Invalid.Errorf("value names spill %d, which was not sent whole before", x.Spill)
		}
		delete(u.spills, x.Spill)
		if len(s.parts) == 1 {
			return filled(s.parts[0]), nil
		}
		out := make([]byte, 0, s.size)
		for _, part := range s.parts {
			out = append(out, part...)
		}
		return out, nil
	}
	return nil, unknownMember("value")
}

func filled(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// rowUse says where rows come from, and so which forms they may have.
type rowUse uint8

const (
	plainRows   rowUse = iota
	writtenRows        // digests too
	stepRows           // edits too
)

func editsToProto(edits []engine.Edit) *runtimev1.Edits {
	block := make([]runtimev1.Edit, len(edits))
	out := make([]*runtimev1.Edit, len(edits))
	for i, e := range edits {
		block[i].Off, block[i].Del, block[i].Ins = uint32(e.Off), uint32(e.Del), e.Ins
		out[i] = &block[i]
	}
	return &runtimev1.Edits{Edits: out}
}

// editsFromProto requires at least one edit, and that they ascend: whether they fit the value before is its holder's to
// check.
func editsFromProto(p *runtimev1.Edits) ([]engine.Edit, error) {
	out := make([]engine.Edit, len(p.GetEdits()))
	var end uint64
	for i, e := range p.GetEdits() {
		if uint64(e.GetOff()) < end {
			return nil, errkind.Invalid.Errorf("edits of a row overlap at offset %d", e.GetOff())
		}
		end = uint64(e.GetOff()) + uint64(e.GetDel())
		out[i] = engine.Edit{Off: int(e.GetOff()), Del: int(e.GetDel()), Ins: e.GetIns()}
	}
	if len(out) == 0 || end > math.MaxInt32 {
		return nil, errkind.Invalid.Errorf("row has %d edits up to offset %d", len(out), end)
	}
	return out, nil
}

func digestFromProto(p *runtimev1.Digest) (*engine.Digest, error) {
	entity, err := id32("entity of a digest", p.GetEntity())
	if err != nil {
		return nil, err
	}
	sum, err := id32("digest", p.GetSum())
	return &engine.Digest{Entity: entity, Sum: sum}, err
}

func (u *unpacker) rows(dst []Row, ps []*runtimev1.Row, use rowUse) ([]Row, error) {
	if dst == nil && len(ps) > 0 {
		dst = make([]Row, 0, len(ps))
	}
	for _, p := range ps {
		k, err := keyFromProto(p.GetScope(), p.GetKey())
		if err != nil {
			return nil, err
		}
		r := Row{Key: k}
		switch v := p.GetV().(type) {
		case *runtimev1.Row_Value:
			if r.Value, err = u.data(v.Value); err != nil {
				return nil, err
			}
		case *runtimev1.Row_Absent:
			r.Absent = true
		case *runtimev1.Row_Digest:
			if use != writtenRows {
				return nil, errkind.Invalid.Errorf("row %x has a digest in place of its value", k.K)
			}
			if r.Digest, err = digestFromProto(v.Digest); err != nil {
				return nil, err
			}
		case *runtimev1.Row_Edits:
			if use != stepRows {
				return nil, errkind.Invalid.Errorf("row %x has edits in place of its value", k.K)
			}
			if r.Edits, err = editsFromProto(v.Edits); err != nil {
				return nil, err
			}
		default:
			return nil, unknownMember("row")
		}
		dst = append(dst, r)
	}
	return dst, nil
}
