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

// Rows of ours that the reference does not have, in the column for everything else. By group: its genesis, one that nobody
// signed, another one that came later, and the authority inherited as of the rows; by id: operations that wait for their
// parents, and claims that came late.
var (
	genesisScope     = [16]byte([]byte("group-genesis-v1"))
	provisionalScope = [16]byte([]byte("group-provisionl"))
	conflictScope    = [16]byte([]byte("group-conflicted"))
	inheritedScope   = [16]byte([]byte("group-inherited1"))
	pendingScope     = [16]byte([]byte("group-pending-op"))
	lateScope        = [16]byte([]byte("group-late-claim"))
)

// known lists the groups that are stored.
func (s *Service) known(ctx context.Context) (ids []domain.GroupID, err error) {
	for _, scope := range [][16]byte{genesisScope, provisionalScope} {
		err = store.Generic.ScanKeys(ctx, s.opts.DB, scope[:], func(k store.GenericKey) error {
			ids = append(ids, k.Fragment)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return ids, nil
}

func (s *Service) readGenesis(ctx context.Context, id domain.GroupID, scope [16]byte) (genesis wire.GroupGenesis, found bool, err error) {
	raw, found, err := store.Generic.Get(ctx, s.opts.DB, store.GenericKey{Scope: scope, Fragment: id})
	if err != nil || !found {
		return genesis, false, err
	}
	if genesis, err = wire.Decode[wire.GroupGenesis](raw); err != nil {
		return genesis, false, errkind.Corrupt.Errorf("genesis of group %s: %w", id, err)
	}
	return genesis, true, nil
}

// putGenesis adds a group as its genesis makes it.
func putGenesis(b *store.Batch, genesis wire.GroupGenesis, scope [16]byte) error {
	if err := putRecord(b, genesis, scope); err != nil {
		return err
	}
	store.GroupMeta.Put(b, genesis.Group, wire.GroupMeta{
		AppKey: genesis.AppKey, TargetApplicationID: genesis.Target, UpgradePolicy: genesis.Policy,
		CreatedAt: genesis.CreatedAt, AdminIdentity: genesis.Creator, AutoJoin: genesis.AutoJoin,
	})
	store.GroupMember.Put(b, store.GroupMemberKey{Group: genesis.Group, Member: genesis.Creator},
		wire.GroupMember{Role: domain.RoleAdmin})
	if genesis.Alias != nil {
		store.GroupAlias.Put(b, genesis.Group, wire.Text(*genesis.Alias))
	}
	return b.Err()
}

func putRecord(b *store.Batch, genesis wire.GroupGenesis, scope [16]byte) error {
	raw, err := wire.Encode(genesis)
	if err != nil {
		return err
	}
	store.Generic.Put(b, store.GenericKey{Scope: scope, Fragment: genesis.Group}, raw)
	return b.Err()
}

// settleEvery is how many operations are evaluated together at most when a log is read.
const settleEvery = 512

// load reads a group: genesis, log, and what waits for parents. Signatures were verified before anything was stored.
func (s *Service) load(ctx context.Context, g *group) error {
	genesis, found, err := s.readGenesis(ctx, g.id, genesisScope)
	provisional := err == nil && !found
	if provisional {
		genesis, found, err = s.readGenesis(ctx, g.id, provisionalScope)
	}
	if err != nil {
		return err
	}
	if !found {
		return errkind.NotFound.Errorf("group '%s' not found", g.id.Debug())
	}
	inherited, err := s.readInherited(ctx, g.id)
	if err != nil {
		return err
	}
	g.begin(genesis, inherited)
	g.provisional = provisional
	if err := s.loadAround(ctx, g); err != nil {
		return err
	}
	unsettled := 0
	err = store.GroupOpLog.Scan(ctx, s.opts.DB, wire.GroupOpLogPrefix(g.id), func(k store.GroupOpKey, raw wire.Bytes) error {
		op, err := readOp(g.id, raw)
		if err == nil {
			err = g.engine.Restore(op)
		}
		if place := g.engine.Sequence(op.ID); err == nil && place != k.Sequence {
			err = errkind.Corrupt.Errorf("operation %s has the place %d", op.ID, place)
		}
		if unsettled++; err == nil && unsettled%settleEvery == 0 {
			g.engine.Settle()
		}
		if err != nil {
			return errkind.Corrupt.Errorf("log of group %s, entry %d: %w", g.id, k.Sequence, err)
		}
		g.took(op)
		return nil
	})
	if err != nil {
		return err
	}
	g.engine.Settle()
	g.state = g.engine.State()
	if err := s.loadPending(ctx, g); err != nil {
		return err
	}
	g.loaded = true
	return nil
}

// loadAround reads what is kept of a group beside its genesis and its operations.
func (s *Service) loadAround(ctx context.Context, g *group) (err error) {
	if g.conflict, err = s.readConflict(ctx, g.id); err != nil {
		return err
	}
	parent, found, err := store.GroupParent.Get(ctx, s.opts.DB, g.id)
	if err != nil {
		return err
	}
	if found {
		up := domain.GroupID(parent)
		g.parent = &up
	}
	return s.loadLate(ctx, g)
}

// begin makes the group what its genesis says.
func (g *group) begin(genesis wire.GroupGenesis, inherited governance.Inherited) {
	g.genesis, g.inherited, g.parent, g.bare = genesis, inherited, nil, nil
	g.provisional, g.conflict, g.late = false, nil, make(map[domain.Hash]Late)
	g.engine = governance.NewEngine(beginning(genesis), inherited)
	g.dag = newDAG()
	g.nonces = make(map[domain.PublicKey]uint64)
	g.state = g.engine.State()
}

func newDAG() *dag.DAG[held] {
	return dag.New[held](dag.Limits{Entries: maxPending, Bytes: maxPendingBytes, Parents: wire.MaxGroupOpParents})
}

// await adds an operation to those on their way. Of the log, only what is a parent is in the DAG.
func (g *group) await(h held, source string) (dag.Added, error) {
	for _, id := range h.op.Parents {
		if g.logged(id) {
			g.dag.Restore(id, nil)
		}
	}
	return g.dag.Add(dag.Entry[held]{ID: h.op.ID, Parents: h.op.Parents, Payload: h}, source, len(h.raw))
}

// logged reports whether an operation is in the log.
func (g *group) logged(id domain.Hash) bool { return g.engine.Sequence(id) > 0 }

// here reports whether an operation is in the log, or waits.
func (g *group) here(id domain.Hash) bool { return g.logged(id) || g.dag.Status(id) != dag.Absent }

// trim forgets in the DAG what is in the log, when nothing waits.
func (g *group) trim() {
	if n := g.dag.Counts(); n.Ready+n.Pending == 0 && n.Applied > maxPending {
		g.dag = newDAG()
	}
}

// took remembers an operation that is in the log.
func (g *group) took(op governance.Op) {
	g.nonces[op.Author] = max(g.nonces[op.Author], op.Nonce)
}

func (s *Service) loadPending(ctx context.Context, g *group) error {
	return s.scanPending(ctx, g.id, func(op governance.Op, raw []byte) error {
		g.nonces[op.Author] = max(g.nonces[op.Author], op.Nonce)
		// Whoever sent it is forgotten; all that was left over counts as one source's.
		_, err := g.await(held{op, raw}, "")
		return err
	})
}

func readOp(group domain.GroupID, raw []byte) (governance.Op, error) {
	signed, err := wire.DecodeSignedGroupOp(raw)
	if err != nil {
		return governance.Op{}, err
	}
	return governance.ReadOp(group, signed)
}

// raw reads encoded operations from the log; unknown ones are left out.
func (s *Service) raw(ctx context.Context, g *group, ids []domain.Hash) ([][]byte, error) {
	var places []uint64
	for _, id := range ids {
		if sequence := g.engine.Sequence(id); sequence > 0 {
			places = append(places, sequence)
		}
	}
	return s.rawAt(ctx, g, places)
}

// rawAt reads encoded operations from their places in the log.
func (s *Service) rawAt(ctx context.Context, g *group, places []uint64) ([][]byte, error) {
	keys := make([]store.GroupOpKey, len(places))
	for i, sequence := range places {
		keys[i] = store.GroupOpKey{Group: g.id, Sequence: sequence}
	}
	rows, err := store.GroupOpLog.GetMany(ctx, s.opts.DB, keys)
	if err != nil {
		return nil, err
	}
	out := make([][]byte, len(rows))
	for i, row := range rows {
		if row == nil {
			return nil, errkind.Corrupt.Errorf("log of group %s has no entry %d", g.id, keys[i].Sequence)
		}
		out[i] = *row
	}
	return out, nil
}
