package crdt

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// ActionKind is what an action does. Its number is the wire tag.
type ActionKind uint8

// Kinds of action.
const (
	Add       ActionKind = iota // upsert, first write by time
	Compare                     // ask for a comparison of an entity
	DeleteRef                   // make a tombstone
	Update                      // upsert

	actionKinds
)

// String returns the reference's name of the kind.
func (k ActionKind) String() string {
	switch k {
	case Add:
		return "Add"
	case Compare:
		return "Compare"
	case DeleteRef:
		return "DeleteRef"
	case Update:
		return "Update"
	default:
		return fmt.Sprintf("ActionKind(%d)", uint8(k))
	}
}

// Action is one change of one entity. ID belongs to every kind; Data and Ancestors to Add and Update; DeletedAt to
// DeleteRef; Metadata to all but Compare.
type Action struct {
	Kind      ActionKind
	ID        ID
	Data      []byte
	Ancestors []ChildInfo // immediate parent first, tree root last
	DeletedAt uint64
	Metadata  Metadata
}

// EncodeBorsh writes the action.
func (a Action) EncodeBorsh(e *borsh.Encoder) {
	if a.Kind >= actionKinds {
		e.Fail(fmt.Errorf("encode action: unknown kind %d", a.Kind))
		return
	}
	e.U8(uint8(a.Kind))
	e.Raw(a.ID[:])
	switch a.Kind {
	case Compare:
	case DeleteRef:
		e.U64(a.DeletedAt)
		a.Metadata.EncodeBorsh(e)
	default:
		e.Bytes(a.Data)
		putChildren(e, a.Ancestors)
		a.Metadata.EncodeBorsh(e)
	}
}

// DecodeBorsh reads the action.
func (a *Action) DecodeBorsh(d *borsh.Decoder) {
	*a = Action{Kind: ActionKind(d.Tag("kind", uint8(actionKinds))), ID: d.Array32("id")}
	switch a.Kind {
	case Compare:
	case DeleteRef:
		a.DeletedAt = d.U64("deleted_at")
		a.Metadata.DecodeBorsh(d)
	default:
		a.Data = d.Bytes("data")
		a.Ancestors = readChildren(d, "ancestors")
		a.Metadata.DecodeBorsh(d)
	}
}

// Time is the time the action claims: of the deletion, or of the update. Compare has none (0).
func (a *Action) Time() uint64 {
	switch a.Kind {
	case Compare:
		return 0
	case DeleteRef:
		return a.DeletedAt
	default:
		return a.Metadata.UpdatedAt
	}
}

// SigningPayload is the 32-byte digest that the owner of the entity signs (crdt-storage.md §5.5). Lengths, the Add and
// Update tags, the CRDT type and the field name are not covered.
func (a *Action) SigningPayload() [32]byte {
	h := sha256.New()
	switch a.Kind {
	case Compare:
		h.Write([]byte("v1_compare"))
		h.Write(a.ID[:])
		return [32]byte(h.Sum(nil))
	case DeleteRef:
		h.Write([]byte("v1_delete"))
		h.Write(a.ID[:])
		h.Write(binary.LittleEndian.AppendUint64(nil, a.DeletedAt))
	default:
		h.Write([]byte("v1_upsert"))
		h.Write(a.ID[:])
		h.Write(a.Data)
		for i := range a.Ancestors {
			h.Write(a.Ancestors[i].ID[:])
			h.Write(a.Ancestors[i].MerkleHash[:])
		}
	}
	h.Write(binary.LittleEndian.AppendUint64(nil, a.Metadata.CreatedAt))
	h.Write(binary.LittleEndian.AppendUint64(nil, a.Metadata.UpdatedAt))
	h.Write(a.Metadata.Storage.unsigned())
	return [32]byte(h.Sum(nil))
}

// unsigned returns the borsh form with the signature bytes zeroed and the nonce kept.
func (t StorageType) unsigned() []byte {
	if t.Signature != nil {
		t.Signature = &SignatureData{Nonce: t.Signature.Nonce}
	}
	e := borsh.NewEncoder(make([]byte, 0, 1+32+1+64+8))
	t.EncodeBorsh(e)
	out, err := e.Finish()
	if err != nil { // a kind that does not exist has no bytes; encoding the action reports it
		return nil
	}
	return out
}

// SignUserActions signs, in place, the actions on the signer's own user storage that wait for a signature, and returns
// their number. An action waits when its signature is present and all zero; the nonce becomes the action's time.
func SignUserActions(actions []Action, key *domain.Signer) int {
	var signed int
	signer := key.Public()
	for i := range actions {
		a := &actions[i]
		data := a.Metadata.Storage.Signature
		if a.Kind == Compare || a.Metadata.Storage.Kind != User || a.Metadata.Storage.Owner != signer ||
			data == nil || !data.Signature.IsZero() {
			continue
		}
		fresh := &SignatureData{Nonce: a.Time()} // before the payload, which covers the nonce
		a.Metadata.Storage.Signature = fresh
		payload := a.SigningPayload()
		fresh.Signature = key.Sign(payload[:])
		signed++
	}
	return signed
}

// VerifySignature reports whether the action carries its owner's signature. It is false for an action on storage that
// is not User.
func (a *Action) VerifySignature() bool {
	t := a.Metadata.Storage
	if a.Kind == Compare || t.Kind != User || t.Signature == nil {
		return false
	}
	payload := a.SigningPayload()
	return t.Owner.Verify(payload[:], t.Signature.Signature)
}

// EncodeActions returns the borsh vector of the actions, the form in which a delta is stored and sent.
func EncodeActions(actions []Action) ([]byte, error) {
	e := borsh.NewEncoder(nil)
	putActions(e, actions)
	out, err := e.Finish()
	if err != nil {
		return nil, fmt.Errorf("encode actions: %w", err)
	}
	return out, nil
}

// DecodeActions reads what EncodeActions returns.
func DecodeActions(in []byte) ([]Action, error) {
	d := borsh.NewDecoder(in)
	actions := readActions(d)
	if err := d.Finish(); err != nil {
		return nil, fmt.Errorf("decode actions: %w", err)
	}
	return actions, nil
}

func putActions(e *borsh.Encoder, actions []Action) {
	borsh.PutSlice(e, actions, func(e *borsh.Encoder, a Action) { a.EncodeBorsh(e) })
}

func readActions(d *borsh.Decoder) []Action {
	return borsh.Slice(d, "actions", minAction, func(d *borsh.Decoder) (a Action) {
		a.DecodeBorsh(d)
		return a
	})
}
