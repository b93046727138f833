package crdt_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
)

// BenchmarkIndex1000 is the index row of a map with 1,000 entries, which a guest rewrites on every set.
func BenchmarkIndex1000(b *testing.B) {
	index := crdt.EntityIndex{Children: make([]crdt.ChildInfo, 1000)}
	row, err := borsh.Marshal(index)
	require.NoError(b, err)
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(row)))
		for b.Loop() {
			var x crdt.EntityIndex
			if err := borsh.Unmarshal(row, &x); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(row)))
		for b.Loop() {
			if _, err := borsh.Marshal(index); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("full hash", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := crdt.ReadFullHash(row); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkArtifact is the artifact of a typical set: one entry, the state entry, the tree root.
func BenchmarkArtifact(b *testing.B) {
	artifact, err := crdt.EncodeArtifact([]crdt.Action{
		{Kind: crdt.Add, Data: make([]byte, 64), Ancestors: make([]crdt.ChildInfo, 2)},
		{Kind: crdt.Update, Data: make([]byte, 64), Ancestors: make([]crdt.ChildInfo, 1)},
		{Kind: crdt.Update, Data: make([]byte, 32)},
	})
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		delta, err := crdt.DecodeArtifact(artifact)
		if err != nil {
			b.Fatal(err)
		}
		crdt.DeltaID(nil, delta.Actions)
	}
}
