package membership

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Who is a member of a group is one of those below it, where it has no row of its own, and may have them; but nothing in the
// group's operations says how those began. So a node asks its peers for the geneses of the subgroups that it lacks.
const (
	// maxSubgroups of a group are looked for: the first by their ids.
	maxSubgroups = 256
	// maxSought are asked for at each heartbeat of a peer.
	maxSought = 16
)

// sought is a subgroup that a peer was asked for.
type sought struct {
	child domain.GroupID
	peer  PeerID
}

// seek asks a peer, which knows what is known here, for the subgroups that are not here, each again after a pause. It tells
// whether there is one that this peer has not answered about.
func (g *group) seek(ctx context.Context, p PeerID) (open bool, err error) {
	if !g.acked() || !g.m.opts.Network.Supports(p, wire.ExtensionProtocol) {
		return false, nil // a peer that knows nothing of who asks would refuse
	}
	lacks, err := g.lacksBelow(ctx)
	if err != nil || len(lacks) == 0 {
		return false, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.seeking {
		return true, nil
	}
	now := time.Now()
	due := slices.DeleteFunc(lacks, func(child domain.GroupID) bool { return now.Before(g.sought[sought{child, p}]) })
	if len(due) == 0 {
		return false, nil
	}
	if g.sought == nil || len(g.sought) > maxShunned {
		g.sought = map[sought]time.Time{}
	}
	due = due[:min(len(due), maxSought)]
	for _, child := range due {
		g.sought[sought{child, p}] = now.Add(g.m.opts.Heartbeat)
	}
	g.seeking = g.m.tasks.Go(func(ctx context.Context) {
		for _, child := range due {
			if err := g.askFor(ctx, p, child); err != nil && ctx.Err() == nil {
				g.m.log.Debug("a peer does not show a subgroup", "group", g.id, "subgroup", child, "peer", p, "err", err)
			}
		}
		g.mu.Lock()
		g.seeking = false
		g.mu.Unlock()
	})
	return g.seeking, nil
}

// lacksBelow are the subgroups that are not here.
func (g *group) lacksBelow(ctx context.Context) (lacks []domain.GroupID, err error) {
	state, err := g.m.opts.Groups.State(ctx, g.id)
	if err != nil {
		return nil, err
	}
	children := slices.SortedFunc(maps.Keys(state.Subgroups), domain.GroupID.Compare)
	for _, child := range children[:min(len(children), maxSubgroups)] {
		_, err := g.m.opts.Groups.Genesis(ctx, child)
		switch {
		case errors.Is(err, errkind.NotFound):
			lacks = append(lacks, child)
		case err != nil:
			return nil, err
		}
	}
	return lacks, nil
}

// askFor asks a peer how a subgroup began, as an identity that is in it by inheritance.
func (g *group) askFor(ctx context.Context, p PeerID, child domain.GroupID) error {
	key, _, err := g.speaker(ctx)
	if err != nil || key == nil {
		return err
	}
	if _, member, err := g.m.opts.Groups.Role(ctx, g.id, key.Public()); err != nil || !member {
		return err
	}
	stream, err := g.m.opts.Network.OpenStream(ctx, p, wire.ExtensionProtocol)
	if err != nil {
		return err
	}
	below := &group{m: g.m, id: child}
	if err := below.introduce(ctx, stream, *key, nil); err != nil {
		stream.Reset()
		return err
	}
	genesis, err := below.askGenesis(ctx, stream)
	if err != nil {
		stream.Reset()
		return err
	}
	if err := stream.Close(); err != nil || genesis == nil {
		return err
	}
	return g.adopt(ctx, *genesis, child, *key)
}

// adopt begins a subgroup here, if it can be trusted to be one and to have begun so. Who joins the group just now joins the
// subgroup with it.
func (g *group) adopt(ctx context.Context, genesis wire.GroupGenesis, child domain.GroupID, key domain.PrivateKey) error {
	if genesis.Group != child {
		return errkind.Invalid.Errorf("the genesis of group %s instead of %s", genesis.Group, child)
	}
	if err := genesis.Verify(); err != nil {
		return err
	}
	state, err := g.m.opts.Groups.State(ctx, g.id)
	if err != nil {
		return err
	}
	byCreator := false
	for _, link := range state.Links[child] {
		byCreator = byCreator || link.Author == genesis.Creator
	}
	switch named := genesis.Parent != nil && *genesis.Parent == g.id; {
	case !byCreator && genesis.Kind == wire.GenesisVouched:
		return errkind.PermissionDenied.Errorf("group %s: nothing speaks for this genesis of %s, whose creator is not who listed it", g.id, child)
	case !byCreator && !named:
		return errkind.PermissionDenied.Errorf("group %s: by this genesis %s does not agree to be below it", g.id, child)
	}
	g.mu.Lock()
	joins := g.joiner != nil && *g.joiner == key
	g.mu.Unlock()
	b := g.m.opts.DB.Batch()
	defer b.Abandon()
	store.GroupSigningKey.Put(b, store.GroupMemberKey{Group: child, Member: key.Public()}, wire.ID32(key))
	if joins {
		g.m.putJoining(b, child, key.Public())
	}
	// Before the group: a crash in between leaves a key without use, and not a group without a key.
	if err := b.Commit(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	if err := g.m.opts.Groups.Found(ctx, genesis); err != nil {
		return err
	}
	g.m.log.Info("a subgroup is here", "group", g.id, "subgroup", child)
	return g.m.Follow(ctx, child)
}
