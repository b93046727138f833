package membership

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/calimero-go/core/core/dag"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Bounds of a group.
const (
	// maxLog is how many operations are kept of one group.
	maxLog = 16384
	// maxWaitingOps of them wait for parents.
	maxWaitingOps = 1024
	// maxRefused operations are remembered, so that they are not asked for again.
	maxRefused = 1024
)

// group is a group that the node follows. mu is held while it changes, a commit included.
type group struct {
	m  *Manager
	id domain.GroupID

	mu      sync.RWMutex
	graph   *dag.DAG[*record]
	log     map[domain.Hash]uint64 // sequence of each operation that is here
	last    uint64                 // sequence
	nonces  map[domain.PublicKey]uint64
	members map[domain.PublicKey]domain.MemberRole
	// late are claims that came after their invitation's time and that no admin's operation has in its past.
	late    map[domain.Hash]*record
	refused map[domain.Hash]struct{}
	// own is the node's last operation; it is cleared when a peer has shown to know it.
	own domain.Hash

	beatMu sync.Mutex
	beat   time.Time // the last heartbeat
	wanted bool      // another one as soon as may be
}

// record is an operation that is verified for itself.
type record struct {
	id     domain.Hash
	op     wire.SignedGroupOp
	raw    []byte
	source PeerID // "" for the node's own
}

// read verifies an operation for itself: form, version, signature.
func read(raw []byte) (*record, error) {
	op, err := wire.DecodeSignedGroupOp(raw)
	if err != nil {
		return nil, errkind.Invalid.Wrap(err)
	}
	if len(op.Parents) > wire.MaxGroupOpParents {
		return nil, errkind.TooLarge.Errorf("too many parent_op_hashes (%d, max %d)", len(op.Parents), wire.MaxGroupOpParents)
	}
	id, err := op.Verify()
	if err != nil {
		return nil, err
	}
	return &record{id: id, op: op, raw: raw}, nil
}

// load reads a group from its rows, once.
func (m *Manager) load(ctx context.Context, id domain.GroupID) (*group, error) {
	if g := m.find(id); g != nil {
		return g, nil
	}
	if found, err := store.GroupMeta.Has(ctx, m.opts.DB, id); err != nil {
		return nil, err
	} else if !found {
		return nil, errkind.NotFound.Errorf("group not found")
	}
	g := m.newGroup(id)
	if err := g.readRows(ctx); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if other := m.groups[id]; other != nil {
		return other, nil
	}
	m.groups[id] = g
	return g, nil
}

func (m *Manager) newGroup(id domain.GroupID) *group {
	return &group{
		m: m, id: id, graph: dag.New[*record](dag.Limits{Entries: maxWaitingOps, Parents: wire.MaxGroupOpParents}),
		log: map[domain.Hash]uint64{}, nonces: map[domain.PublicKey]uint64{}, members: map[domain.PublicKey]domain.MemberRole{},
		late: map[domain.Hash]*record{}, refused: map[domain.Hash]struct{}{},
	}
}

func (g *group) readRows(ctx context.Context) error {
	db := g.m.opts.DB
	err := store.GroupMember.Scan(ctx, db, wire.RowGroupMember.Prefix(g.id),
		func(k store.GroupMemberKey, row wire.GroupMember) error {
			g.members[k.Member] = row.Role
			return nil
		})
	if err != nil {
		return err
	}
	var claims []*record
	err = store.GroupOpLog.Scan(ctx, db, wire.GroupOpLogPrefix(g.id), func(k store.GroupOpKey, raw wire.Bytes) error {
		r, err := read(raw)
		if err != nil {
			return errkind.Corrupt.Errorf("operation %d of group %s: %w", k.Sequence, g.id, err)
		}
		g.graph.Restore(r.id, r.op.Parents)
		g.log[r.id], g.last = k.Sequence, k.Sequence
		g.nonces[r.op.Signer] = max(g.nonces[r.op.Signer], r.op.Nonce)
		if _, member := g.members[r.op.Signer]; !member && isClaim(&r.op) {
			claims = append(claims, r)
		}
		return nil
	})
	for _, r := range claims {
		g.late[r.id] = r
	}
	return err
}

func isClaim(op *wire.SignedGroupOp) bool {
	_, ok := op.Op.(wire.OpMemberJoinedViaContextInvitation)
	return ok
}

// add takes an operation and applies what is ready. The error says why this one is refused; one that waits for parents is
// no error. The caller holds the lock.
func (g *group) add(ctx context.Context, r *record) error {
	if _, here := g.log[r.id]; here {
		return nil
	}
	added, err := g.graph.Add(dag.Entry[*record]{ID: r.id, Parents: r.op.Parents, Payload: r}, string(r.source), len(r.raw))
	if err != nil {
		return err
	}
	if added.Status == dag.Absent {
		return errkind.Retryable(errkind.Exhausted.Errorf("group %s: too many operations wait for their parents", g.id))
	}
	var own error
	for ready := g.graph.Ready(); len(ready) > 0; ready = g.graph.Ready() {
		next := ready[0].Payload
		err := g.apply(ctx, next)
		if err == nil {
			continue
		}
		if k := errkind.Of(err); k == errkind.Unavailable || k == errkind.Internal || k == errkind.Canceled {
			return err // nothing of the operation's own: it stays ready
		}
		g.graph.Remove(next.id)
		g.m.metrics.ops.WithLabelValues("refused").Inc()
		g.m.log.Warn("an operation of a group is refused", "group", g.id, "operation", next.id, "signer", next.op.Signer, "err", err)
		if errkind.Of(err) == errkind.Invalid && len(g.refused) < maxRefused {
			g.refused[next.id] = struct{}{}
		}
		if next == r {
			own = err
		}
	}
	return own
}

// apply judges an operation whose parents are applied, and commits it with its effect. The caller
// holds the lock.
func (g *group) apply(ctx context.Context, r *record) error {
	if len(g.log) >= maxLog {
		return errkind.Exhausted.Errorf("group %s has %d operations, which is all that is kept", g.id, len(g.log))
	}
	effect, err := g.judge(ctx, r)
	if err != nil {
		return err
	}
	b := g.m.opts.DB.Batch()
	defer b.Abandon()
	if err := g.stage(ctx, b, r, effect); err != nil {
		return err
	}
	if err := b.Commit(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	return g.committed(r, effect)
}

// stage adds an operation and its effect to a batch.
func (g *group) stage(ctx context.Context, b *store.Batch, r *record, e effect) error {
	store.GroupOpLog.Put(b, store.GroupOpKey{Group: g.id, Sequence: g.last + 1}, wire.Bytes(r.raw))
	store.GroupOpHead.Put(b, g.id, wire.GroupOpHead{Sequence: g.last + 1, DagHeads: g.headsWith(r)})
	store.GroupLocalNonce.Put(b, store.GroupMemberKey{Group: g.id, Member: r.op.Signer},
		wire.U64(max(g.nonces[r.op.Signer], r.op.Nonce)))
	for _, a := range e.admits {
		if a.stored {
			continue
		}
		store.GroupMember.Put(b, store.GroupMemberKey{Group: g.id, Member: a.member}, wire.GroupMember{Role: domain.RoleMember})
		_, known, err := g.m.opts.Identity.Get(ctx, a.context, a.member)
		if err != nil {
			return err
		}
		if !known {
			g.m.opts.Identity.PutMember(b, a.context, a.member, nil)
		}
	}
	return b.Err()
}

// committed takes an operation into memory.
func (g *group) committed(r *record, e effect) error {
	if g.graph.Status(r.id) == dag.Ready {
		if err := g.graph.Apply(r.id); err != nil {
			return errkind.Internal.Wrap(err)
		}
	} else {
		g.graph.Restore(r.id, r.op.Parents)
	}
	g.last++
	g.log[r.id] = g.last
	g.nonces[r.op.Signer] = max(g.nonces[r.op.Signer], r.op.Nonce)
	if e.late {
		g.late[r.id] = r
		g.m.log.Warn("a claim came after its invitation's time; it counts when an admin's operation names it", "group", g.id,
			"operation", r.id, "signer", r.op.Signer)
	}
	for _, a := range e.admits {
		g.members[a.member] = domain.RoleMember
		delete(g.late, a.op)
		g.m.log.Info("an identity joined a group", "group", g.id, "member", a.member, "context", a.context)
	}
	if len(e.admits) > 0 {
		g.m.opts.Contexts.GroupsChanged()
	}
	g.m.metrics.ops.WithLabelValues("applied").Inc()
	return nil
}

// headsWith are the heads after an operation.
func (g *group) headsWith(r *record) []domain.Hash {
	heads := slices.DeleteFunc(g.graph.Heads(), func(h domain.Hash) bool { return slices.Contains(r.op.Parents, h) })
	return append(heads, r.id)
}

// next makes the node's next operation in the group.
func (g *group) next(op wire.GroupOp, key domain.PrivateKey) (*record, error) {
	heads := g.graph.Heads()
	signable := wire.SignableGroupOp{
		Version: wire.GroupOpVersion, Group: g.id, Parents: heads[:min(len(heads), wire.MaxGroupOpParents)],
		Signer: key.Public(), Nonce: g.nonces[key.Public()] + 1, Op: op,
	}
	signed, err := signable.Sign(key)
	if err != nil {
		return nil, err
	}
	raw, err := wire.Encode(signed)
	if err != nil {
		return nil, err
	}
	return read(raw)
}

// unknown are those of ids that are not here and not refused.
func (g *group) unknown(ids []domain.Hash) []domain.Hash {
	return slices.DeleteFunc(slices.Clone(ids), func(id domain.Hash) bool {
		_, refused := g.refused[id]
		return refused || id.IsZero() || g.graph.Status(id) != dag.Absent
	})
}

// Op gives an operation to a peer that asks for it; nil when it is not here.
func (m *Manager) Op(ctx context.Context, r wire.GroupDeltaRequest) (*wire.GroupDeltaResponse, error) {
	g := m.find(r.Group)
	if g == nil {
		return nil, nil
	}
	g.mu.RLock()
	sequence, here := g.log[r.Delta]
	g.mu.RUnlock()
	if !here {
		return nil, nil
	}
	raw, found, err := store.GroupOpLog.Get(ctx, m.opts.DB, store.GroupOpKey{Group: r.Group, Sequence: sequence})
	if err != nil || !found {
		return nil, err
	}
	op, err := wire.DecodeSignedGroupOp(raw)
	if err != nil {
		return nil, errkind.Corrupt.Wrap(err)
	}
	return &wire.GroupDeltaResponse{Delta: r.Delta, Parents: op.Parents, Payload: bytes.Clone(raw)}, nil
}
