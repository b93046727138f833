package groups

import (
	"context"

	"github.com/calimero-go/core/core/dag"
	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// MaxReceive bounds the operations of one call of Receive.
const MaxReceive = 1024

// Outcome is what became of an operation that was received.
type Outcome uint8

const (
	// Rejected: not kept; Receipt.Err says why, and Verdict where the bytes are to blame.
	Rejected Outcome = iota
	// Duplicate: it was here.
	Duplicate
	// Waiting: kept until its parents come. Receipt.Missing names what to ask for.
	Waiting
	// Taken: it is in the log. Whether it counts is in Receipt.Verdict.
	Taken
)

// Receipt is the answer to one operation.
type Receipt struct {
	ID      domain.Hash // zero when it could not be read
	Outcome Outcome
	Missing []domain.Hash
	Verdict governance.Verdict
	Err     error
}

// Receive takes encoded operations of a group from source (a peer), in any order, repeated or not. Receipt i belongs to
// operation i. Those whose ancestors are here go into the log, together with others that waited for them, in one commit;
// the rest waits, also over a restart, within bounds. An error concerns the whole call, which then changed nothing.
func (s *Service) Receive(ctx context.Context, id domain.GroupID, source string, raws [][]byte) (out []Receipt, err error) {
	if len(raws) > MaxReceive {
		return nil, errkind.TooLarge.Errorf("%d operations at once, limit %d", len(raws), MaxReceive)
	}
	err = s.with(ctx, id, func(g *group) error {
		out = make([]Receipt, len(raws))
		t := s.begin(g)
		defer t.batch.Abandon()
		for i, raw := range raws {
			signed, err := wire.DecodeSignedGroupOp(raw)
			if err == nil {
				if known, here := g.has(signed); here {
					out[i].ID, out[i].Outcome = known, Duplicate
					continue
				}
			}
			var op governance.Op
			if err == nil {
				op, err = governance.NewOp(id, signed)
			}
			if err != nil {
				out[i].Verdict.Code = governance.Rejection(err)
			} else {
				out[i].ID = op.ID
				err = t.add(held{op, raw}, source)
			}
			out[i].Err = err
		}
		if err := t.commit(ctx); err != nil {
			return err
		}
		for i := range out {
			t.receipt(&out[i])
		}
		return nil
	})
	return out, err
}

// has reports whether an operation is in the log, before the cost of its signature.
func (g *group) has(signed wire.SignedGroupOp) (domain.Hash, bool) {
	id, err := signed.ContentHash()
	return id, err == nil && g.logged(id)
}

// taking is a set of operations on its way into a group.
type taking struct {
	s       *Service
	g       *group
	batch   *store.Batch
	taken   []held
	changes []governance.Change
	failed  map[domain.Hash]error
	nonces  map[domain.PublicKey]uint64
	made    map[domain.Hash]bool // here
	late    []Late
	moved   bool // memory differs from the storage until the commit
	meta    bool // the group has another genesis
}

func (s *Service) begin(g *group) *taking {
	return &taking{
		s: s, g: g, batch: s.opts.DB.Batch(), failed: map[domain.Hash]error{}, nonces: map[domain.PublicKey]uint64{},
		made: map[domain.Hash]bool{},
	}
}

// add takes one operation, and those that waited for it.
func (t *taking) add(h held, source string) error {
	if t.g.logged(h.op.ID) {
		return nil
	}
	added, err := t.g.await(h, source)
	if err != nil || added.Known {
		return err
	}
	t.moved = true
	for _, id := range added.Evicted {
		t.dropPending(id)
	}
	if added.Status == dag.Pending {
		store.Generic.Put(t.batch, store.GenericKey{Scope: pendingScope, Fragment: h.op.ID}, h.raw)
		t.g.nonces[h.op.Author] = max(t.g.nonces[h.op.Author], h.op.Nonce)
		return nil
	}
	for ready := t.g.dag.Ready(); len(ready) > 0; ready = t.g.dag.Ready() {
		if err := t.take(ready, h.op.ID); err != nil {
			return err
		}
	}
	return nil
}

// take moves ready operations into the log. One that begins too far back is let go; what is behind it waits again.
func (t *taking) take(ready []dag.Entry[held], newest domain.Hash) error {
	for _, e := range ready {
		if t.g.dag.Status(e.ID) != dag.Ready {
			return nil // an earlier one of the list was let go
		}
		err := t.g.engine.Take(e.Payload.op)
		if e.ID != newest {
			t.dropPending(e.ID)
		}
		if err != nil {
			t.failed[e.ID] = err
			t.g.dag.Remove(e.ID)
			continue
		}
		if err := t.g.dag.Apply(e.ID); err != nil {
			return err
		}
		t.log(e.Payload)
	}
	return nil
}

// log adds an operation to the log.
func (t *taking) log(h held) {
	sequence := uint64(t.g.engine.Len())
	store.GroupOpLog.Put(t.batch, store.GroupOpKey{Group: t.g.id, Sequence: sequence}, h.raw)
	t.g.took(h.op)
	t.taken = append(t.taken, h)
	t.watch(h.op)
	t.nonces[h.op.Author] = t.g.nonces[h.op.Author]
}

func (t *taking) dropPending(id domain.Hash) {
	store.Generic.Delete(t.batch, store.GenericKey{Scope: pendingScope, Fragment: id})
}

// commit writes what the operations changed. When it fails the group is read again at its next use.
func (t *taking) commit(ctx context.Context) (err error) {
	if !t.moved {
		return nil
	}
	defer func() {
		if err != nil {
			t.g.forget()
		}
	}()
	now, err := t.stage(ctx)
	if err != nil {
		return err
	}
	if t.batch.Len() > 0 {
		if err := t.batch.Commit(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
	t.g.state = now
	t.g.trim()
	t.s.meets(t.g)
	t.tell()
	return nil
}

// stage adds what the operations changed to the batch, and returns the state that it makes.
func (t *taking) stage(ctx context.Context) (*governance.State, error) {
	t.settle()
	if len(t.taken) == 0 && len(t.changes) == 0 && !t.meta {
		return t.g.state, t.batch.Err()
	}
	now := t.g.engine.State()
	if err := t.s.putRows(ctx, t.batch, t.g, t.g.state, now, t.meta); err != nil {
		return nil, err
	}
	if err := t.s.cascade(ctx, t.batch, t.g.id, t.g.state, now); err != nil {
		return nil, err
	}
	if err := t.putJoined(ctx, now); err != nil {
		return nil, err
	}
	t.vouch()
	putNonces(t.batch, t.g.id, t.nonces)
	if length := t.g.engine.Len(); length > 0 {
		store.GroupOpHead.Put(t.batch, t.g.id, wire.GroupOpHead{Sequence: uint64(length), DagHeads: t.g.engine.Heads()})
	}
	return now, t.batch.Err()
}

// settle evaluates what was taken.
func (t *taking) settle() { t.changes = append(t.changes, t.g.engine.Settle()...) }

// tell reports what changed, after the commit.
func (t *taking) tell() {
	t.warn()
	if len(t.changes) > 0 && t.s.opts.Changed != nil {
		t.s.opts.Changed(t.g.id, t.changes)
	}
}

// receipt fills in how it ended.
func (t *taking) receipt(r *Receipt) {
	if r.Err != nil || r.ID.IsZero() {
		return
	}
	switch {
	case t.g.logged(r.ID):
		if r.Outcome != Duplicate {
			r.Outcome = Taken
		}
		r.Verdict, _ = t.g.engine.Verdict(r.ID)
	case t.g.dag.Status(r.ID) == dag.Absent:
		if r.Err = t.failed[r.ID]; r.Err == nil {
			r.Err = errkind.Exhausted.Errorf("operation %s waits for parents, and too many do", r.ID)
		}
	default:
		r.Outcome, r.Missing = Waiting, t.g.dag.MissingFor(r.ID)
	}
}
