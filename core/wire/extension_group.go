package wire

import (
	"fmt"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Limits of the extension's messages about groups.
const (
	MaxGroupHave = 4 << 10 // operations named in a GroupOpsRequest as being there
	MaxGroupWant = 1 << 10 // and as being wanted
	MaxGroupOps  = 1 << 10 // operations of a GroupOps
)

// GroupHello begins a session about one group: who asks, and why he may. With an Invitation, he may be one who is to join.
type GroupHello struct {
	Group      domain.GroupID
	Identity   domain.PublicKey
	Proof      domain.Signature // of GroupProof
	Invitation *GroupPass
}

func (GroupHello) extensionTag() uint8 { return tagGroupHello }

// EncodeBorsh writes the message.
func (h GroupHello) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(h.Group[:])
	e.Raw(h.Identity[:])
	e.Raw(h.Proof[:])
	borsh.PutOption(e, h.Invitation, put[GroupPass])
}

// DecodeBorsh reads the message.
func (h *GroupHello) DecodeBorsh(d *borsh.Decoder) {
	h.Group = d.Array32("group_id")
	h.Identity = d.Array32("identity")
	h.Proof = readSignature(d, "proof")
	h.Invitation = borsh.Option(d, "invitation", func(d *borsh.Decoder, _ string) GroupPass { return decoded[GroupPass](d) })
}

// GroupPass is an invitation to a group, or to one of its contexts, whose id is then its target.
type GroupPass struct {
	Invitation GroupInvitation
	Signature  domain.Signature
}

// EncodeBorsh writes the pass.
func (p GroupPass) EncodeBorsh(e *borsh.Encoder) {
	p.Invitation.EncodeBorsh(e)
	e.Raw(p.Signature[:])
}

// DecodeBorsh reads the pass.
func (p *GroupPass) DecodeBorsh(d *borsh.Decoder) {
	p.Invitation.DecodeBorsh(d)
	p.Signature = readSignature(d, "signature")
}

// GroupProof is what an identity signs to speak for a group on a stream between two nodes. The peer ids are those that the
// transport has proven, so nobody else can use it.
type GroupProof struct {
	Group    domain.GroupID
	Opening  string // bytes of the opener's peer id
	Accepter string // bytes of the acceptor's peer id
}

// Message is what is signed.
func (p GroupProof) Message() []byte {
	e := borsh.NewEncoder(nil)
	e.Raw([]byte("calimero-go/group/1"))
	e.Raw(p.Group[:])
	e.Bytes([]byte(p.Opening))
	e.Bytes([]byte(p.Accepter))
	out, _ := e.Finish() // cannot fail: peer ids are short
	return out
}

// GenesisRequest asks for the genesis of the group: Genesis.
type GenesisRequest struct{}

func (GenesisRequest) extensionTag() uint8 { return tagGenesisRequest }

// EncodeBorsh writes nothing.
func (GenesisRequest) EncodeBorsh(*borsh.Encoder) {}

// Genesis answers a GenesisRequest; nil where the genesis is not known either.
type Genesis struct{ Genesis *GroupGenesis }

func (Genesis) extensionTag() uint8 { return tagGenesis }

// EncodeBorsh writes the message.
func (g Genesis) EncodeBorsh(e *borsh.Encoder) { borsh.PutOption(e, g.Genesis, put[GroupGenesis]) }

// DecodeBorsh reads the message. Nothing is verified.
func (g *Genesis) DecodeBorsh(d *borsh.Decoder) {
	g.Genesis = borsh.Option(d, "genesis", func(d *borsh.Decoder, _ string) GroupGenesis { return decoded[GroupGenesis](d) })
}

// GroupOpsRequest asks for the operations Want, and for others that somebody does not have who has what Have names and
// all before that: GroupOps.
type GroupOpsRequest struct {
	Have, Want []domain.Hash
	Limit      uint32
}

func (GroupOpsRequest) extensionTag() uint8 { return tagGroupOpsRequest }

// EncodeBorsh writes the message.
func (r GroupOpsRequest) EncodeBorsh(e *borsh.Encoder) {
	putHashes(e, r.Have)
	putHashes(e, r.Want)
	e.U32(r.Limit)
}

// DecodeBorsh reads the message.
func (r *GroupOpsRequest) DecodeBorsh(d *borsh.Decoder) {
	r.Have = boundedHashes(d, "have", MaxGroupHave)
	r.Want = boundedHashes(d, "want", MaxGroupWant)
	r.Limit = d.U32("limit")
}

// GroupOps has encoded operations, those that were not named in the request each after its parents.
type GroupOps struct {
	Ops  [][]byte
	More bool // of those that were not named
}

func (GroupOps) extensionTag() uint8 { return tagGroupOps }

// EncodeBorsh writes the message.
func (m GroupOps) EncodeBorsh(e *borsh.Encoder) {
	borsh.PutSlice(e, m.Ops, (*borsh.Encoder).Bytes)
	e.Bool(m.More)
}

// DecodeBorsh reads the message.
func (m *GroupOps) DecodeBorsh(d *borsh.Decoder) {
	m.Ops = borsh.Slice(d, "ops", 4, func(d *borsh.Decoder) []byte {
		op := d.Bytes("op")
		if len(op) > MaxGroupOp {
			d.Fail("op", fmt.Errorf("%d bytes, the limit is %d", len(op), MaxGroupOp))
		}
		return op
	})
	atMost(d, "ops", len(m.Ops), MaxGroupOps)
	m.More = d.Bool("more")
}
