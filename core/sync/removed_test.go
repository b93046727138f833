package sync_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/sync"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// remove takes a member out, as far as these nodes know.
func remove(member domain.PublicKey, nodes ...*node) {
	for _, n := range nodes {
		n.set(member, sync.MightHave)
		n.m.GroupsChanged()
	}
}

// TestRemovedMembersLastDeltas: what a member wrote when not all knew of its removal is everybody's once a writer has it,
// without anybody writing on; and nobody's if only the removed one, or one who may only read, has it.
func TestRemovedMembersLastDeltas(t *testing.T) {
	t.Parallel()
	for _, access := range []sync.Access{sync.MayWrite, sync.MayRead} {
		t.Run(fmt.Sprint("who has it: ", access), func(t *testing.T) {
			t.Parallel()
			l := newLAN(t)
			nodes := newNodes(t, l, 4)
			a, b, c, m := nodes[0], nodes[1], nodes[2], nodes[3]
			a.write(t, "first")
			converged(t, 1, long, nodes...)
			for _, n := range nodes {
				n.set(a.key.Public(), access)
			}
			for _, n := range []*node{b, c} {
				l.disconnect(n.port.id, a.port.id)
				l.disconnect(n.port.id, m.port.id)
			}
			m.write(t, "concurrently with the removal")
			converged(t, 2, long, a, m)
			l.disconnect(a.port.id, m.port.id)
			alone := m.write(t, "that nobody else has")
			remove(m.key.Public(), a, b, c)
			for _, n := range []*node{a, b, c} {
				for _, o := range []*node{a, b, c, m} {
					if n != o {
						l.connect(n.port.id, o.port.id)
					}
				}
			}
			after := m.write(t, "after the removal") // on what it has itself
			if access == sync.MayWrite {
				converged(t, 2, long, a, b, c)
			} else {
				converged(t, 1, long, b, c) // one who may only read vouches for nobody
			}
			b.write(t, "b goes on")
			eventually(t, "all have it", long, func() bool { return a.count() == 3 && b.count() == c.count() })
			for _, n := range []*node{a, b, c} {
				require.False(t, n.has(alone))
				require.False(t, n.has(after))
			}
			require.Equal(t, access == sync.MayWrite, c.count() == a.count())
		})
	}
}

// opens tells whether somebody with a sender key can read a message of gossip.
func opens(t *testing.T, raw []byte, sender domain.PrivateKey) bool {
	t.Helper()
	m, err := wire.DecodeBroadcast(raw)
	require.NoError(t, err)
	signed, ok := m.(wire.SignedDelta)
	require.True(t, ok)
	return sync.Opens(&signed.StateDelta, sender)
}

// listen collects what is gossiped as a signed delta.
func listen(l *lan, name string) (heard chan []byte, p *port) {
	p, heard = l.join(name), make(chan []byte, 64)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deliver = func(_ string, _ sync.PeerID, data []byte) {
		if len(data) > 0 && data[0] == 0xc0 {
			select {
			case heard <- data:
			default:
			}
		}
	}
	return heard, p
}

func next(t *testing.T, heard chan []byte, by domain.PublicKey, delta domain.Hash) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	for {
		select {
		case raw := <-heard:
			m, err := wire.DecodeBroadcast(raw)
			require.NoError(t, err)
			if s := m.(wire.SignedDelta); s.Author == by && s.Delta == delta { //nolint:forcetypeassert // by its tag
				return raw
			}
		case <-ctx.Done():
			t.Fatal("the delta is not heard")
		}
	}
}

// TestNewSenderKeys: when somebody loses a context who had sender keys, those of the others are made anew before anything
// else is said. Members read on, also what is late, and nodes of the reference are told.
func TestNewSenderKeys(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	nodes := newNodes(t, l, 3)
	a, b, m := nodes[0], nodes[1], nodes[2]
	plain := newNode(t, l, 3, 4, setup{plain: true})
	for _, n := range nodes {
		n.set(plain.key.Public(), sync.MayWrite)
	}
	count := 0
	for _, n := range append(nodes, plain) {
		n.write(t, fmt.Sprint("first of ", n.port.id))
		count++
	}
	converged(t, count, long, append(nodes, plain)...)
	keyOf := func(n, of *node) *domain.PrivateKey {
		row, _, err := n.identity.Get(t.Context(), ctxID, of.key.Public())
		require.NoError(t, err)
		return row.SenderKey
	}
	holders := func() []domain.PublicKey {
		list, err := a.identity.Holders(t.Context(), ctxID)
		require.NoError(t, err)
		return list
	}
	// asks writes until somebody has asked for the key: who has caught up before it hears of a delta needs none.
	asks := func(what string, ok func() bool, all ...*node) {
		t.Helper()
		eventually(t, what, long, func() bool {
			if ok() {
				return true
			}
			a.write(t, fmt.Sprint("so that it asks ", count))
			count++
			converged(t, count, long, all...)
			return false
		})
	}
	for _, of := range []*node{m, plain} {
		asks("it has the key", func() bool { return slices.Contains(holders(), of.key.Public()) }, append(nodes, plain)...)
	}
	old := senderOf(t, a)
	heard, ear := listen(l, "ear")
	require.NoError(t, ear.Subscribe(t.Context(), wire.ContextTopic(ctxID)))
	before := a.write(t, "while it is a member")
	count++
	require.True(t, opens(t, next(t, heard, a.key.Public(), before), old))
	converged(t, count, long, a, b, plain)

	remove(m.key.Public(), a, b, plain)
	secret := a.write(t, "for members")
	count++
	sealed := next(t, heard, a.key.Public(), secret)
	require.False(t, opens(t, sealed, old), "who has the old key reads no more")
	require.True(t, opens(t, sealed, senderOf(t, a)))
	converged(t, count, long, a, b, plain)
	eventually(t, "the node of the reference has the new key", long, func() bool { return *keyOf(plain, a) == senderOf(t, a) })
	asks("so has the other", func() bool { return *keyOf(b, a) == senderOf(t, a) }, a, b, plain)
	require.NotContains(t, holders(), m.key.Public())

	late := newDelta(t, a.clock, []domain.Hash{secret}, "under the old key, and late")
	raw, err := wire.EncodeBroadcast(signed(t, late, a.key, old))
	require.NoError(t, err)
	require.NoError(t, ear.Publish(t.Context(), wire.ContextTopic(ctxID), raw))
	eventually(t, "it is read", long, func() bool { return b.has(late.DeltaID) })

	kept := senderOf(t, a)
	a.m.GroupsChanged() // something else
	id := a.write(t, "again")
	require.True(t, opens(t, next(t, heard, a.key.Public(), id), kept), "nobody lost anything")
}

// TestKeysOfAllIdentities: a key share of the reference is between one identity of each side. A node of the reference gets
// the keys of a node with several all the same, and again when they are made anew.
func TestKeysOfAllIdentities(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	rare := func(o *sync.Options) { o.Frequency, o.Heartbeat = time.Hour, time.Hour }
	n, plain := newNode(t, l, 0, 3, setup{options: rare}), newNode(t, l, 1, 3, setup{plain: true, options: rare})
	second := keyOf(8)
	identities := []domain.PublicKey{n.key.Public(), second.Public(), keyOf(9).Public()}
	b := n.db.Batch()
	for _, key := range []domain.PrivateKey{second, keyOf(9)} {
		require.NoError(t, n.identity.PutOwn(b, ctxID, key))
		n.set(key.Public(), sync.MayWrite)
		plain.set(key.Public(), sync.MayWrite)
	}
	require.NoError(t, b.Commit(t.Context()))
	known := func() bool {
		for _, identity := range identities {
			_, sender, ok, err := n.identity.Own(t.Context(), ctxID, identity)
			require.NoError(t, err)
			require.True(t, ok)
			row, _, err := plain.identity.Get(t.Context(), ctxID, identity)
			require.NoError(t, err)
			if row.SenderKey == nil || *row.SenderKey != sender {
				return false
			}
		}
		return true
	}
	eventually(t, "it has asked often enough", long, func() bool {
		require.NoError(t, plain.m.Sync(t.Context(), ctxID))
		return known()
	})
	_, old, _, err := n.identity.Own(t.Context(), ctxID, second.Public())
	require.NoError(t, err)
	b = n.db.Batch()
	n.identity.PutHolders(b, ctxID, []domain.PublicKey{plain.key.Public(), keyOf(2).Public()})
	require.NoError(t, b.Commit(t.Context()))
	remove(keyOf(2).Public(), n)
	eventually(t, "it is told of all", long, func() bool {
		_, sender, _, err := n.identity.Own(t.Context(), ctxID, second.Public())
		require.NoError(t, err)
		return sender != old && known()
	})
}
