package crdt_test

import (
	"math/big"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/sdktest/golden"
)

// The vectors' JSON forms of the model, and what they stand for.

type storageTypeJSON struct {
	Type      string
	Owner     golden.Hex32
	Signature *struct {
		Signature golden.Hex  `json:"signature"`
		Nonce     golden.Uint `json:"nonce"`
	} `json:"signature_data"`
}

func (j storageTypeJSON) value() crdt.StorageType {
	kinds := map[string]crdt.StorageKind{"Public": crdt.Public, "User": crdt.User, "Frozen": crdt.Frozen}
	t := crdt.StorageType{Kind: kinds[j.Type], Owner: domain.PublicKey(j.Owner)}
	if j.Signature != nil {
		t.Signature = &crdt.SignatureData{
			Signature: domain.Signature(j.Signature.Signature), Nonce: uint64(j.Signature.Nonce),
		}
	}
	return t
}

type crdtTypeJSON struct {
	Type    string
	Inner   string `json:"inner_type"`
	Key     string `json:"key_type"`
	Value   string `json:"value_type"`
	Element string `json:"element_type"`
	Name    string `json:"name"`
	Custom  string `json:"value"`
}

func (j crdtTypeJSON) value() crdt.CrdtType {
	kinds := map[string]crdt.CrdtKind{
		"LwwRegister": crdt.LwwRegister, "GCounter": crdt.GCounter, "PnCounter": crdt.PnCounter, "Rga": crdt.Rga,
		"UnorderedMap": crdt.UnorderedMap, "UnorderedSet": crdt.UnorderedSet, "Vector": crdt.Vector,
		"UserStorage": crdt.UserStorage, "FrozenStorage": crdt.FrozenStorage, "Custom": crdt.Custom,
	}
	return crdt.CrdtType{Kind: kinds[j.Type], Inner: j.Inner + j.Key + j.Element + j.Name + j.Custom, Value: j.Value}
}

type metadataJSON struct {
	CreatedAt golden.Uint     `json:"created_at"`
	UpdatedAt golden.Uint     `json:"updated_at"`
	Storage   storageTypeJSON `json:"storage_type"`
	Crdt      *crdtTypeJSON   `json:"crdt_type"`
	FieldName *string         `json:"field_name"`
}

func (j metadataJSON) value() crdt.Metadata {
	m := crdt.Metadata{
		CreatedAt: uint64(j.CreatedAt), UpdatedAt: uint64(j.UpdatedAt), Storage: j.Storage.value(), FieldName: j.FieldName,
	}
	if j.Crdt != nil {
		t := j.Crdt.value()
		m.Crdt = &t
	}
	return m
}

type childJSON struct {
	ID         crdt.ID      `json:"id"`
	MerkleHash golden.Hex32 `json:"merkle_hash"`
	Metadata   metadataJSON `json:"metadata"`
}

func children(list []childJSON) []crdt.ChildInfo {
	if list == nil {
		return nil
	}
	out := make([]crdt.ChildInfo, len(list))
	for i, j := range list {
		out[i] = crdt.ChildInfo{ID: j.ID, MerkleHash: domain.Hash(j.MerkleHash), Metadata: j.Metadata.value()}
	}
	return out
}

type indexJSON struct {
	ID        crdt.ID      `json:"id"`
	ParentID  *crdt.ID     `json:"parent_id"`
	Children  []childJSON  `json:"children"`
	FullHash  golden.Hex32 `json:"full_hash"`
	OwnHash   golden.Hex32 `json:"own_hash"`
	Metadata  metadataJSON `json:"metadata"`
	DeletedAt *golden.Uint `json:"deleted_at"`
}

func (j indexJSON) value() crdt.EntityIndex {
	return crdt.EntityIndex{
		ID: j.ID, ParentID: j.ParentID, Children: children(j.Children), FullHash: domain.Hash(j.FullHash),
		OwnHash: domain.Hash(j.OwnHash), Metadata: j.Metadata.value(), DeletedAt: (*uint64)(j.DeletedAt),
	}
}

type actionJSON struct {
	Type      string
	ID        crdt.ID      `json:"id"`
	Data      golden.Hex   `json:"data"`
	Ancestors []childJSON  `json:"ancestors"`
	DeletedAt golden.Uint  `json:"deleted_at"`
	Metadata  metadataJSON `json:"metadata"`
}

func (j actionJSON) value() crdt.Action {
	kinds := map[string]crdt.ActionKind{
		"Add": crdt.Add, "Compare": crdt.Compare, "DeleteRef": crdt.DeleteRef, "Update": crdt.Update,
	}
	return crdt.Action{
		Kind: kinds[j.Type], ID: j.ID, Data: j.Data, Ancestors: children(j.Ancestors), DeletedAt: uint64(j.DeletedAt),
		Metadata: j.Metadata.value(),
	}
}

func actions(list []actionJSON) []crdt.Action {
	out := make([]crdt.Action, len(list))
	for i, j := range list {
		out[i] = j.value()
	}
	return out
}

type comparisonJSON struct {
	Data       golden.Hex `json:"data"`
	Comparison struct {
		ID        crdt.ID                `json:"id"`
		FullHash  golden.Hex32           `json:"full_hash"`
		OwnHash   golden.Hex32           `json:"own_hash"`
		Children  map[string][]childJSON `json:"children"`
		Ancestors []childJSON            `json:"ancestors"`
		Metadata  metadataJSON           `json:"metadata"`
	} `json:"comparison_data"`
}

func (j comparisonJSON) value() crdt.Comparison {
	c := crdt.Comparison{
		Data: j.Data, ID: j.Comparison.ID, FullHash: domain.Hash(j.Comparison.FullHash),
		OwnHash: domain.Hash(j.Comparison.OwnHash), Children: map[string][]crdt.ChildInfo{},
		Ancestors: children(j.Comparison.Ancestors), Metadata: j.Comparison.Metadata.value(),
	}
	for name, list := range j.Comparison.Children {
		c.Children[name] = children(list)
	}
	return c
}

type storageDeltaJSON struct {
	Type        string
	Actions     []actionJSON     `json:"actions"`
	Comparisons []comparisonJSON `json:"comparisons"`
}

func (j storageDeltaJSON) value() crdt.StorageDelta {
	if j.Type == "Actions" {
		return crdt.StorageDelta{Actions: actions(j.Actions)}
	}
	s := crdt.StorageDelta{Comparisons: []crdt.Comparison{}}
	for _, c := range j.Comparisons {
		s.Comparisons = append(s.Comparisons, c.value())
	}
	return s
}

type timestampJSON struct {
	Time golden.Uint `json:"time"`
	ID   golden.Big  `json:"id"`
}

func (j timestampJSON) value() crdt.Timestamp {
	id := &j.ID.Int
	return crdt.Timestamp{Time: uint64(j.Time), ID: borsh.U128{
		Hi: new(big.Int).Rsh(id, 64).Uint64(),
		Lo: new(big.Int).And(id, new(big.Int).SetUint64(^uint64(0))).Uint64(),
	}}
}

func hashes(list []golden.Hex32) []domain.Hash {
	out := make([]domain.Hash, len(list))
	for i, h := range list {
		out[i] = domain.Hash(h)
	}
	return out
}
