package groups

import (
	"context"
	"maps"
	"slices"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// putRows adds what differs between two states to a batch: the rows of governance.md §4.2. Rows are made from the state
// and never read back into it. What is this node's own in them, keys and the time of creation, stays.
func (s *Service) putRows(ctx context.Context, b *store.Batch, g *group, was, now *governance.State, meta bool) error {
	if now.Deleted {
		deleteRows(b, g.id)
		deleteContextRows(b, g.id, was)
		return b.Err()
	}
	if err := s.putMembers(ctx, b, g.id, was.Members, now.Members); err != nil {
		return err
	}
	if err := s.putMeta(ctx, b, g, was, now, meta); err != nil {
		return err
	}
	member := func(who domain.PublicKey) store.GroupMemberKey { return store.GroupMemberKey{Group: g.id, Member: who} }
	inContext := func(c domain.ContextID) store.GroupContextKey { return store.GroupContextKey{Group: g.id, Context: c} }
	both := func(in governance.ContextMember) store.GroupContextMemberKey { return inGroup(g.id, in) }
	child := func(id domain.GroupID) store.GroupChildKey { return store.GroupChildKey{Parent: g.id, Child: id} }
	diff(b, store.GroupMemberCapability, was.Capabilities, now.Capabilities, member,
		func(c domain.GroupCapabilities) wire.U32 { return wire.U32(c) })
	diff(b, store.GroupMemberAlias, ofMembers(was), ofMembers(now), member, text)
	diff(b, store.GroupContext, was.Contexts, now.Contexts, inContext, unit)
	diff(b, store.GroupContextVisibility, was.Visibility, now.Visibility, inContext, same[wire.GroupContextVisibility])
	diff(b, store.GroupContextAlias, was.ContextAlias, now.ContextAlias, inContext, text)
	diff(b, store.GroupContextAllowlist, was.Allowlists, now.Allowlists, both, unit)
	diff(b, store.GroupContextMemberCaps, was.ContextCaps, now.ContextCaps, both,
		func(c domain.ContextCapability) wire.U8 { return wire.U8(c) })
	diff(b, store.GroupChild, was.Subgroups, now.Subgroups, child, unit)
	group := func(id domain.GroupID) domain.GroupID { return id }
	diff(b, store.GroupDefaultCaps, single(g.id, was.Defaults != 0, was.Defaults), single(g.id, now.Defaults != 0, now.Defaults),
		group, func(c domain.GroupCapabilities) wire.U32 { return wire.U32(c) })
	diff(b, store.GroupDefaultVis, optional(g.id, was.DefaultVisibility), optional(g.id, now.DefaultVisibility), group,
		func(m domain.VisibilityMode) wire.U8 { return wire.U8(m) })
	diff(b, store.GroupAlias, optional(g.id, was.Alias), optional(g.id, now.Alias), group, text)
	return b.Err()
}

func inGroup(id domain.GroupID, in governance.ContextMember) store.GroupContextMemberKey {
	return store.GroupContextMemberKey{Group: id, Context: in.Context, Member: in.Member}
}

// diff writes the rows of a table that changed.
func diff[ID, V comparable, K, R any](b *store.Batch, t *store.Table[K, R], was, now map[ID]V, key func(ID) K, row func(V) R) {
	for id := range was {
		if _, stays := now[id]; !stays {
			t.Delete(b, key(id))
		}
	}
	for id, v := range now {
		if old, known := was[id]; !known || old != v {
			t.Put(b, key(id), row(v))
		}
	}
}

// ofMembers are the aliases of those who are members: of others there are no rows.
func ofMembers(state *governance.State) map[domain.PublicKey]string {
	out := make(map[domain.PublicKey]string, len(state.MemberAlias))
	for who, alias := range state.MemberAlias {
		if _, member := state.Members[who]; member {
			out[who] = alias
		}
	}
	return out
}

func single[V any](id domain.GroupID, there bool, v V) map[domain.GroupID]V {
	if !there {
		return nil
	}
	return map[domain.GroupID]V{id: v}
}

func optional[V any](id domain.GroupID, v *V) map[domain.GroupID]V {
	if v == nil {
		return nil
	}
	return map[domain.GroupID]V{id: *v}
}

func text(s string) wire.Text { return wire.Text(s) }
func unit(bool) store.Unit    { return store.Unit{} }
func same[V any](v V) V       { return v }

// putMembers writes members' roles. A member's keys, which only this node has, stay; with the member they go.
func (s *Service) putMembers(ctx context.Context, b *store.Batch, id domain.GroupID,
	was, now map[domain.PublicKey]domain.MemberRole) error {
	var changed []store.GroupMemberKey
	for who := range was {
		if _, stays := now[who]; !stays {
			store.GroupMember.Delete(b, store.GroupMemberKey{Group: id, Member: who})
		}
	}
	for who, role := range now {
		if old, known := was[who]; !known || old != role {
			changed = append(changed, store.GroupMemberKey{Group: id, Member: who})
		}
	}
	rows, err := store.GroupMember.GetMany(ctx, s.opts.DB, changed)
	if err != nil {
		return err
	}
	for i, key := range changed {
		var row wire.GroupMember
		if rows[i] != nil {
			row = *rows[i]
		}
		row.Role = now[key.Member]
		store.GroupMember.Put(b, key, row)
	}
	return nil
}

func (s *Service) putMeta(ctx context.Context, b *store.Batch, g *group, was, now *governance.State, anew bool) error {
	row, found, err := store.GroupMeta.Get(ctx, s.opts.DB, g.id)
	if err != nil {
		return err
	}
	if found && !anew && was.AppKey == now.AppKey && was.Target == now.Target && samePolicy(was.Policy, now.Policy) &&
		slices.Equal(was.Migration, now.Migration) {
		return nil
	}
	if !found || anew {
		row = wire.GroupMeta{CreatedAt: g.genesis.CreatedAt, AutoJoin: g.genesis.AutoJoin, AdminIdentity: g.genesis.Creator}
	}
	row.AppKey, row.TargetApplicationID, row.UpgradePolicy, row.Migration = now.AppKey, now.Target, now.Policy, now.Migration
	store.GroupMeta.Put(b, g.id, row)
	return nil
}

func samePolicy(a, b domain.UpgradePolicy) bool {
	if a.Mode != b.Mode || (a.Deadline == nil) != (b.Deadline == nil) {
		return false
	}
	return a.Deadline == nil || *a.Deadline == *b.Deadline
}

// deleteRows removes a deleted group, but for its log, by which it stays deleted, and the signing keys: a context that was
// registered at the same time, and comes to light later, brings the group back.
func deleteRows(b *store.Batch, id domain.GroupID) {
	store.GroupMeta.Delete(b, id)
	store.GroupUpgrade.Delete(b, id)
	store.GroupDefaultCaps.Delete(b, id)
	store.GroupDefaultVis.Delete(b, id)
	store.GroupAlias.Delete(b, id)
	store.GroupMember.DeletePrefix(b, wire.RowGroupMember.Prefix(id))
	store.GroupMemberCapability.DeletePrefix(b, wire.RowGroupMemberCapability.Prefix(id))
	store.GroupMemberAlias.DeletePrefix(b, wire.RowGroupMemberAlias.Prefix(id))
	store.GroupContext.DeletePrefix(b, wire.RowGroupContext.Prefix(id))
	store.GroupContextVisibility.DeletePrefix(b, wire.RowGroupContextVisibility.Prefix(id))
	store.GroupContextLastMigration.DeletePrefix(b, wire.RowGroupContextLastMigration.Prefix(id))
	store.GroupContextAlias.DeletePrefix(b, wire.RowGroupContextAlias.Prefix(id))
	store.GroupChild.DeletePrefix(b, wire.GroupChildPrefix(id))
}

// deleteContextRows removes the rows whose prefixes name a context too.
func deleteContextRows(b *store.Batch, id domain.GroupID, was *governance.State) {
	for in := range was.Allowlists {
		store.GroupContextAllowlist.Delete(b, inGroup(id, in))
	}
	for in := range was.ContextCaps {
		store.GroupContextMemberCaps.Delete(b, inGroup(id, in))
	}
}

// putNonces writes the greatest nonce of each author in the log or waiting, as far as it grew.
func putNonces(b *store.Batch, id domain.GroupID, grown map[domain.PublicKey]uint64) {
	for _, who := range slices.SortedFunc(maps.Keys(grown), domain.PublicKey.Compare) {
		store.GroupLocalNonce.Put(b, store.GroupMemberKey{Group: id, Member: who}, wire.U64(grown[who]))
	}
}
