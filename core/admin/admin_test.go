package admin_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/calimero-go/core/core/admin"
	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/membership"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	node  = domain.PrivateKey{0x42}
	ann   = domain.PrivateKey{0x43}
	bob   = domain.PrivateKey{0x44}
	app   = domain.ApplicationID{0xcc}
	room  = domain.ContextID{0x33}
	other = domain.ContextID{0x34}
)

// peers is a network without anybody: it keeps which topics were entered.
type peers struct {
	followed []domain.GroupID
	invited  []membership.GroupInvite
	joined   []domain.GroupID
}

func (p *peers) InviteToGroup(_ context.Context, r membership.GroupInvite) (*membership.GroupInvitation, error) {
	p.invited = append(p.invited, r)
	i := wire.GroupInvitation{Inviter: r.Inviter.Public(), Target: r.Group, Expiration: 1700000000, Salt: [32]byte{7}}
	signature, err := i.Sign(r.Inviter)
	return &membership.GroupInvitation{SignedGroupInvitation: wire.SignedGroupInvitation{Invitation: i, InviterSignature: signature}}, err
}

func (p *peers) JoinGroup(_ context.Context, inv membership.GroupInvitation, joiner domain.PrivateKey) (membership.JoinedGroup, error) {
	p.joined = append(p.joined, inv.Invitation.Target)
	return membership.JoinedGroup{Group: inv.Invitation.Target, Member: joiner.Public()}, nil
}

func (p *peers) JoinGroupContext(context.Context, domain.GroupID, domain.ContextID, domain.PrivateKey) error {
	return nil
}

func (p *peers) Follow(_ context.Context, id domain.GroupID) error {
	p.followed = append(p.followed, id)
	return nil
}

// rig is the flows of one node over real groups.
type rig struct {
	t      testing.TB
	db     *store.DB
	groups *groups.Service
	peers  *peers
	*admin.Service
}

func newRig(t testing.TB, nodeKey *domain.PrivateKey) *rig {
	r := &rig{t: t, db: store.Open(storagetest.NewMemory(), store.Options{}), peers: &peers{}}
	r.groups = groups.New(groups.Options{DB: r.db})
	keys := identity.New(r.db)
	if nodeKey != nil {
		keys = identity.NewNode(r.db, *nodeKey)
	}
	r.Service = admin.New(admin.Options{DB: r.db, Groups: r.groups, Peers: r.peers, Identity: keys})
	b := r.db.Batch()
	store.Application.Put(b, app, wire.ApplicationRecord{Version: "1.0.0"})
	require.NoError(t, b.Commit(t.Context()))
	return r
}

func (r *rig) create(req admin.CreateRequest) domain.GroupID {
	req.Application = app
	id, err := r.Create(r.t.Context(), req)
	require.NoError(r.t, err)
	return id
}

func (r *rig) state(id domain.GroupID) *governance.State {
	state, err := r.groups.State(r.t.Context(), id)
	require.NoError(r.t, err)
	return state
}

func (r *rig) issue(id domain.GroupID, key domain.PrivateKey, body wire.GroupOp) {
	_, err := r.groups.Issue(r.t.Context(), id, key, body)
	require.NoError(r.t, err)
}

// add makes somebody a member whose key the node has.
func (r *rig) add(id domain.GroupID, key domain.PrivateKey, role domain.MemberRole) *domain.PublicKey {
	who := key.Public()
	require.NoError(r.t, r.AddMembers(r.t.Context(), id, []admin.Member{{Identity: who, Role: role}}, nil))
	_, err := r.RegisterKey(r.t.Context(), id, key)
	require.NoError(r.t, err)
	return &who
}

func (r *rig) refused(err error, kind errkind.Kind, text string) {
	r.t.Helper()
	require.EqualError(r.t, err, text)
	require.Equal(r.t, kind, errkind.Of(err))
}

func ptr[T any](v T) *T { return &v }

func TestCreate(t *testing.T) {
	t.Parallel()
	r := newRig(t, &node)
	id := r.create(admin.CreateRequest{Alias: ptr("team")})
	require.Equal(t, []domain.GroupID{id}, r.peers.followed)
	genesis, err := r.groups.Genesis(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, wire.GenesisDerived, genesis.Kind)
	info, err := r.Info(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, ptr("team"), info.Alias)
	require.Equal(t, app, info.Target)
	require.EqualValues(t, 1, info.Members)
	members, self, err := r.Members(t.Context(), id, 0, 100)
	require.NoError(t, err)
	require.Equal(t, node.Public(), self)
	require.Equal(t, []admin.Member{{Identity: node.Public(), Role: domain.RoleAdmin}}, members)

	given := domain.GroupID{0xaa}
	require.Equal(t, given, r.create(admin.CreateRequest{Group: &given, AppKey: &domain.Hash{5}}))
	genesis, err = r.groups.Genesis(t.Context(), given)
	require.NoError(t, err)
	require.Equal(t, wire.GenesisVouched, genesis.Kind)
	require.Equal(t, domain.Hash{5}, genesis.AppKey)

	_, err = r.Create(t.Context(), admin.CreateRequest{Group: &given, Application: app})
	r.refused(err, errkind.AlreadyExists, "group '"+given.Debug()+"' already exists")
	_, err = r.Create(t.Context(), admin.CreateRequest{Application: domain.ApplicationID{1}})
	r.refused(err, errkind.NotFound, "application '"+domain.ApplicationID{1}.String()+"' not found")
	_, err = r.Create(t.Context(), admin.CreateRequest{Application: app, Parent: &domain.GroupID{9}})
	r.refused(err, errkind.NotFound, "parent group '"+domain.GroupID{9}.Debug()+"' not found")
	_, err = newRig(t, nil).Create(t.Context(), admin.CreateRequest{Application: app})
	r.refused(err, errkind.Precondition, "admin_identity not provided and node has no configured group identity")
}

// TestGeneses: of two that contradict each other the user chooses, and no key is needed for it.
func TestGeneses(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	id := domain.GroupID{0xaa}
	ids := make([]domain.Hash, 2)
	for i, creator := range []domain.PrivateKey{ann, bob} {
		genesis, err := wire.GroupGenesis{Kind: wire.GenesisVouched, Group: id, Creator: creator.Public()}.Sign(creator, nil)
		require.NoError(t, err)
		ids[i], err = genesis.Hash()
		require.NoError(t, err)
		require.Equal(t, i == 1, r.groups.Found(t.Context(), genesis) != nil)
	}
	_, _, err := r.Geneses(t.Context(), domain.GroupID{1})
	require.ErrorIs(t, err, errkind.NotFound)
	for _, want := range []domain.Hash{ids[1], ids[0]} {
		candidates, _, err := r.Geneses(t.Context(), id)
		require.NoError(t, err)
		require.Len(t, candidates, 2)
		require.NotEqual(t, want, candidates[0].ID)
		require.NoError(t, r.ChooseGenesis(t.Context(), id, want))
		candidates, chosen, err := r.Geneses(t.Context(), id)
		require.NoError(t, err)
		require.True(t, chosen)
		require.Equal(t, want, candidates[0].ID)
		require.True(t, candidates[0].Kept)
	}
}

// TestSubgroup: parent and child are one batch, so that a parent that refuses leaves no group behind.
func TestSubgroup(t *testing.T) {
	t.Parallel()
	r := newRig(t, &node)
	parent := r.create(admin.CreateRequest{})
	child := r.create(admin.CreateRequest{Parent: &parent})
	require.True(t, r.state(parent).Subgroups[child])
	genesis, err := r.groups.Genesis(t.Context(), child)
	require.NoError(t, err)
	require.Equal(t, &parent, genesis.Parent)

	r.add(parent, ann, domain.RoleAdmin)
	require.NoError(t, r.SetRole(t.Context(), parent, node.Public(), domain.RoleMember, nil))
	before, err := r.List(t.Context(), 0, 100)
	require.NoError(t, err)
	_, err = r.Create(t.Context(), admin.CreateRequest{Application: app, Parent: &parent})
	r.refused(err, errkind.PermissionDenied, "requester is not an admin of group '"+parent.Debug()+"'")
	after, err := r.List(t.Context(), 0, 100)
	require.NoError(t, err)
	require.Equal(t, before, after)

	require.NoError(t, r.RemoveSubgroup(t.Context(), parent, child, ptr(ann.Public())))
	require.Empty(t, r.state(parent).Subgroups)
}

func TestMembers(t *testing.T) {
	t.Parallel()
	r := newRig(t, &node)
	id := r.create(admin.CreateRequest{})
	dbg := id.Debug()
	asAnn := r.add(id, ann, domain.RoleMember)

	err := r.AddMembers(t.Context(), id, []admin.Member{{Identity: bob.Public()}}, asAnn)
	r.refused(err, errkind.PermissionDenied,
		"requester lacks permission to add member in group '"+dbg+"' (not an admin and capability bit 0x8 is not set)")
	require.NoError(t, r.SetCapabilities(t.Context(), id, ann.Public(), domain.CanManageMembers, nil))
	caps, err := r.Capabilities(t.Context(), id, ann.Public())
	require.NoError(t, err)
	require.Equal(t, domain.CanManageMembers, caps)
	require.NoError(t, r.AddMembers(t.Context(), id, []admin.Member{{Identity: bob.Public(), Role: domain.RoleReadOnly}}, asAnn))
	err = r.AddMembers(t.Context(), id, []admin.Member{{Identity: bob.Public(), Role: domain.RoleAdmin}}, asAnn)
	r.refused(err, errkind.PermissionDenied, "only admins can add new admins")
	err = r.RemoveMembers(t.Context(), id, []domain.PublicKey{node.Public(), ann.Public()}, nil)
	r.refused(err, errkind.Precondition, "cannot remove all admins from group '"+dbg+"': at least one admin must remain")

	require.NoError(t, r.SetRole(t.Context(), id, bob.Public(), domain.RoleReadOnly, asAnn), "the role it has is no change")
	r.refused(r.SetRole(t.Context(), id, bob.Public(), domain.RoleMember, asAnn), errkind.PermissionDenied,
		"requester is not an admin of group '"+dbg+"'")
	r.refused(r.SetRole(t.Context(), id, domain.PublicKey{1}, domain.RoleMember, nil), errkind.NotFound,
		"identity is not a member of group '"+dbg+"'")
	for _, role := range []domain.MemberRole{domain.RoleMember, domain.RoleReadOnly} {
		r.refused(r.SetRole(t.Context(), id, node.Public(), role, nil), errkind.Precondition,
			"cannot demote the last admin of group '"+dbg+"'")
	}
	r.refused(r.SetCapabilities(t.Context(), id, domain.PublicKey{1}, 1, nil), errkind.NotFound,
		"identity is not a member of group '"+dbg+"'")
	require.Equal(t, errkind.Invalid, errkind.Of(r.SetCapabilities(t.Context(), id, ann.Public(), governance.CloseInvitation, nil)))

	require.NoError(t, r.SetMemberAlias(t.Context(), id, ann.Public(), "ann", asAnn))
	require.NoError(t, r.SetMemberAlias(t.Context(), id, bob.Public(), "bob", nil), "an admin names others")
	r.refused(r.SetMemberAlias(t.Context(), id, bob.Public(), "b", asAnn), errkind.PermissionDenied, "members may only set their own alias")
	members, _, err := r.Members(t.Context(), id, 1, 1)
	require.NoError(t, err)
	all := []domain.PublicKey{node.Public(), ann.Public(), bob.Public()}
	slices.SortFunc(all, domain.PublicKey.Compare)
	require.Len(t, members, 1)
	require.Equal(t, all[1], members[0].Identity)

	// All or none.
	err = r.AddMembers(t.Context(), id, []admin.Member{{Identity: domain.PublicKey{5}, Role: domain.RoleMember}, {Identity: ann.Public(), Role: domain.RoleAdmin}}, asAnn)
	require.Error(t, err)
	require.NotContains(t, r.state(id).Members, domain.PublicKey{5})
	// An admin who removes itself, among others, goes last.
	r.add(id, bob, domain.RoleAdmin)
	require.NoError(t, r.RemoveMembers(t.Context(), id, []domain.PublicKey{node.Public(), ann.Public()}, nil))
	require.Equal(t, map[domain.PublicKey]domain.MemberRole{bob.Public(): domain.RoleAdmin}, r.state(id).Members)
	require.Empty(t, r.state(id).Capabilities, "they die with the member")

	// Who registered bob's key may still govern in its name.
	require.NoError(t, r.SetAlias(t.Context(), id, "bob's", ptr(bob.Public())))
	r.refused(r.SetAlias(t.Context(), id, "x", nil), errkind.PermissionDenied, "requester is not an admin of group '"+dbg+"'")
	_, self, err := r.Members(t.Context(), id, 0, 9)
	require.NoError(t, err)
	require.Equal(t, bob.Public(), self)
}

// TestKeys: an operation is signed by the key of whoever makes it, or not at all.
func TestKeys(t *testing.T) {
	t.Parallel()
	r := newRig(t, &node)
	id := r.create(admin.CreateRequest{})
	require.NoError(t, r.AddMembers(t.Context(), id, []admin.Member{{Identity: ann.Public(), Role: domain.RoleAdmin}}, nil))
	asAnn := ptr(ann.Public())
	missing := "node does not hold a signing key for requester in group '" + id.Debug() +
		"'; register one via POST /admin-api/groups/" + id.String() + "/signing-key"
	r.refused(r.SetAlias(t.Context(), id, "x", asAnn), errkind.Precondition, missing)
	_, err := r.RegisterKey(t.Context(), id, bob)
	r.refused(err, errkind.PermissionDenied, "Identity derived from signing key is not a member of this group")
	who, err := r.RegisterKey(t.Context(), id, ann)
	require.NoError(t, err)
	require.Equal(t, ann.Public(), who)
	require.NoError(t, r.SetAlias(t.Context(), id, "x", asAnn))
	log, total, err := r.Log(t.Context(), id, 0, 100)
	require.NoError(t, err)
	require.EqualValues(t, len(log), total)
	require.Equal(t, ann.Public(), log[len(log)-1].Op.Author)

	// The reference stores the node's key under the name of somebody else.
	b := r.db.Batch()
	store.GroupSigningKey.Put(b, store.GroupMemberKey{Group: id, Member: ann.Public()}, wire.ID32(bob))
	require.NoError(t, b.Commit(t.Context()))
	require.ErrorIs(t, r.SetAlias(t.Context(), id, "y", asAnn), errkind.Corrupt)

	nobody := newRig(t, nil)
	nobody.refused(nobody.SetAlias(t.Context(), id, "x", nil), errkind.Precondition,
		"requester not provided and node has no configured group identity")
	_, err = nobody.Info(t.Context(), id)
	nobody.refused(err, errkind.NotFound, "group '"+id.Debug()+"' not found")
}

// register makes contexts of the group whose creator is the given key.
func (r *rig) register(id domain.GroupID, key domain.PrivateKey, contexts ...domain.ContextID) {
	for _, c := range contexts {
		r.issue(id, key, wire.OpContextRegistered{Context: c})
		r.issue(id, key, wire.OpContextVisibilitySet{Context: c, Creator: key.Public()})
	}
}

func TestContexts(t *testing.T) {
	t.Parallel()
	r := newRig(t, &node)
	id := r.create(admin.CreateRequest{})
	asAnn := r.add(id, ann, domain.RoleMember)
	require.NoError(t, r.SetCapabilities(t.Context(), id, ann.Public(), domain.CanCreateContext, nil))
	r.register(id, ann, room)
	r.register(id, node, other)
	require.NoError(t, r.SetContextAlias(t.Context(), id, room, "room", asAnn))
	list, err := r.Contexts(t.Context(), id, 0, 100)
	require.NoError(t, err)
	require.Equal(t, []admin.Context{{ID: room, Alias: ptr("room")}, {ID: other}}, list)
	list, err = r.Contexts(t.Context(), id, 5, 100)
	require.NoError(t, err)
	require.Empty(t, list)

	require.NoError(t, r.SetVisibility(t.Context(), id, room, domain.VisibilityRestricted, asAnn))
	v, err := r.Visibility(t.Context(), id, room)
	require.NoError(t, err)
	require.Equal(t, wire.GroupContextVisibility{Mode: domain.VisibilityRestricted, Creator: ann.Public()}, v)
	allowed, err := r.Allowlist(t.Context(), id, room)
	require.NoError(t, err)
	require.Equal(t, []domain.PublicKey{ann.Public()}, allowed, "the creator is on the list")
	require.NoError(t, r.SetVisibility(t.Context(), id, room, domain.VisibilityOpen, nil), "an admin may too, and does not become the creator")
	v, err = r.Visibility(t.Context(), id, room)
	require.NoError(t, err)
	require.Equal(t, ann.Public(), v.Creator)

	require.NoError(t, r.ChangeAllowlist(t.Context(), id, room, []domain.PublicKey{bob.Public()}, []domain.PublicKey{ann.Public(), bob.Public()}, asAnn))
	allowed, err = r.Allowlist(t.Context(), id, room)
	require.NoError(t, err)
	require.Equal(t, []domain.PublicKey{bob.Public()}, allowed, "adding wins")
	r.refused(r.ChangeAllowlist(t.Context(), id, other, []domain.PublicKey{bob.Public()}, nil, asAnn), errkind.PermissionDenied,
		"only admin or context creator can manage allowlist")
	r.refused(r.SetVisibility(t.Context(), id, other, domain.VisibilityRestricted, asAnn), errkind.PermissionDenied,
		"only a direct group admin or context creator can set context visibility (inherited parent admin authority does not apply)")
	r.refused(r.ChangeAllowlist(t.Context(), id, domain.ContextID{9}, []domain.PublicKey{bob.Public()}, nil, nil), errkind.NotFound,
		"context visibility not found for context in group")
	_, err = r.Visibility(t.Context(), id, domain.ContextID{9})
	r.refused(err, errkind.NotFound, "context visibility not found")

	r.refused(r.Delete(t.Context(), id, nil), errkind.Precondition, "cannot delete group '"+id.Debug()+"': still has 2 associated context(s)")
	r.refused(r.Detach(t.Context(), id, domain.ContextID{9}, nil), errkind.NotFound,
		"context '"+domain.ContextID{9}.String()+"' does not belong to group '"+id.Debug()+"'")
	r.refused(r.Detach(t.Context(), id, room, asAnn), errkind.PermissionDenied, "requester is not an admin of group '"+id.Debug()+"'")
	require.NoError(t, r.Detach(t.Context(), id, room, nil))
	require.NoError(t, r.Detach(t.Context(), id, other, nil))
	require.NoError(t, r.Delete(t.Context(), id, nil))
	_, err = r.Info(t.Context(), id)
	r.refused(err, errkind.NotFound, "group '"+id.Debug()+"' not found")
	r.refused(r.Delete(t.Context(), id, nil), errkind.NotFound, "group '"+id.Debug()+"' not found")
	log, _, err := r.Log(t.Context(), id, 0, 100)
	require.NoError(t, err)
	require.Equal(t, "delete the group", admin.Describe(log[len(log)-1].Op.Body), "the log of a deleted group can be read")
}

func TestCapabilitiesInContexts(t *testing.T) {
	t.Parallel()
	r := newRig(t, &node)
	id := r.create(admin.CreateRequest{})
	asAnn := r.add(id, ann, domain.RoleMember)
	r.register(id, node, room)
	grants := []admin.Grant{{Member: ann.Public(), Capability: domain.ContextManageMembers}, {Member: ann.Public(), Capability: domain.ContextProxy}}
	r.refused(r.GrantInContext(t.Context(), room, grants, node.Public()), errkind.NotFound,
		"context '"+room.String()+"' is not registered in any group")
	b := r.db.Batch()
	store.ContextGroup.Put(b, room, wire.ID32(id))
	require.NoError(t, b.Commit(t.Context()))
	require.NoError(t, r.GrantInContext(t.Context(), room, grants, node.Public()))
	in := governance.ContextMember{Context: room, Member: ann.Public()}
	require.Equal(t, domain.ContextManageMembers|domain.ContextProxy, r.state(id).ContextCaps[in])
	require.NoError(t, r.RevokeInContext(t.Context(), room, grants[:1], node.Public()))
	require.Equal(t, domain.ContextProxy, r.state(id).ContextCaps[in])
	r.refused(r.GrantInContext(t.Context(), room, grants, *asAnn), errkind.PermissionDenied,
		"requester lacks permission to grant context capability in group '"+id.Debug()+"' (not an admin and capability bit 0x8 is not set)")
}

func TestSettings(t *testing.T) {
	t.Parallel()
	r := newRig(t, &node)
	id := r.create(admin.CreateRequest{})
	asAnn := r.add(id, ann, domain.RoleMember)
	denied := "requester is not an admin of group '" + id.Debug() + "'"
	coordinated := domain.UpgradePolicy{Mode: domain.UpgradeCoordinated, Deadline: &domain.Duration{Secs: 60}}
	for _, who := range []*domain.PublicKey{asAnn, nil} {
		for _, err := range []error{
			r.SetPolicy(t.Context(), id, coordinated, who),
			r.SetAlias(t.Context(), id, "team", who),
			r.SetDefaultCapabilities(t.Context(), id, domain.CanJoinOpenContexts, who),
			r.SetDefaultVisibility(t.Context(), id, domain.VisibilityRestricted, who),
			r.SetTeePolicy(t.Context(), id, wire.OpTeeAdmissionPolicySet{MRTD: []string{"ab"}}, who),
		} {
			if who == nil {
				require.NoError(t, err)
			} else {
				r.refused(err, errkind.PermissionDenied, denied)
			}
		}
	}
	info, err := r.Info(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, coordinated, info.Policy)
	require.Equal(t, domain.CanJoinOpenContexts, info.Defaults)
	require.Equal(t, domain.VisibilityRestricted, info.DefaultVisibility)
	require.Equal(t, ptr("team"), info.Alias)
	synced, err := r.Sync(t.Context(), id)
	require.NoError(t, err)
	require.EqualValues(t, 2, synced.Members)
	_, err = r.Sync(t.Context(), domain.GroupID{1})
	r.refused(err, errkind.NotFound, "group not found locally; wait for P2P replication")
}

func TestInvitations(t *testing.T) {
	t.Parallel()
	r := newRig(t, &node)
	id := r.create(admin.CreateRequest{})
	asAnn := r.add(id, ann, domain.RoleMember)
	_, err := r.Invite(t.Context(), admin.InviteRequest{Group: id, Requester: asAnn})
	r.refused(err, errkind.PermissionDenied, "requester lacks permission to create group invitation in group '"+id.Debug()+
		"' (not an admin and capability bit 0x2 is not set)")
	require.NoError(t, r.SetCapabilities(t.Context(), id, ann.Public(), domain.CanInviteMembers, nil))
	inv, err := r.Invite(t.Context(), admin.InviteRequest{Group: id, Requester: asAnn, Valid: time.Minute, OneUse: true})
	require.NoError(t, err)
	require.Equal(t, membership.GroupInvite{Group: id, Inviter: ann, Valid: time.Minute, OneUse: true}, r.peers.invited[0])
	_, err = r.Invite(t.Context(), admin.InviteRequest{Group: id})
	require.NoError(t, err)
	require.Equal(t, admin.MaxValidity, r.peers.invited[1].Valid)
	_, err = r.Invite(t.Context(), admin.InviteRequest{Group: id, Valid: admin.MaxValidity + 1})
	require.ErrorIs(t, err, errkind.Invalid)

	r.refused(r.CloseInvitation(t.Context(), inv.Invitation, asAnn), errkind.PermissionDenied, "requester is not an admin of group '"+id.Debug()+"'")
	require.NoError(t, r.CloseInvitation(t.Context(), inv.Invitation, nil))
	require.True(t, r.state(id).Closed[inv.Invitation.Hash()])
	_, before, err := r.Log(t.Context(), id, 0, 0)
	require.NoError(t, err)
	require.NoError(t, r.CloseInvitation(t.Context(), inv.Invitation, nil), "again")
	_, after, err := r.Log(t.Context(), id, 0, 0)
	require.NoError(t, err)
	require.Equal(t, before, after)

	joined, err := r.Join(t.Context(), *inv)
	require.NoError(t, err)
	require.Equal(t, membership.JoinedGroup{Group: id, Member: node.Public()}, joined)
	for _, err := range []error{
		func() error { _, err := newRig(t, nil).Join(t.Context(), *inv); return err }(),
		func() error { _, err := newRig(t, nil).JoinContext(t.Context(), id, room); return err }(),
	} {
		r.refused(err, errkind.Precondition, "joiner_identity not provided and node has no configured group identity")
	}
}

func TestTee(t *testing.T) {
	t.Parallel()
	r := newRig(t, &node)
	id := r.create(admin.CreateRequest{})
	quote := admin.Attestation{Member: ann.Public(), Quote: domain.Hash{1}, MRTD: "m", RTMR0: "0", TCBStatus: "UpToDate"}
	r.refused(r.AdmitTee(t.Context(), id, quote), errkind.Precondition, "no TeeAdmissionPolicy set for group")
	require.NoError(t, r.SetTeePolicy(t.Context(), id, wire.OpTeeAdmissionPolicySet{
		MRTD: []string{"m"}, TCBStatuses: []string{"UpToDate"}, RTMR0: []string{"0"},
	}, nil))
	for text, change := range map[string]func(*admin.Attestation){
		"mock attestation rejected by group policy": func(a *admin.Attestation) { a.Mock = true },
		"MRTD not in policy allowlist":              func(a *admin.Attestation) { a.MRTD = "x" },
		"TCB status not in policy allowlist":        func(a *admin.Attestation) { a.TCBStatus = "x" },
		"RTMR0 not in policy allowlist":             func(a *admin.Attestation) { a.RTMR0 = "x" },
	} {
		wrong := quote
		change(&wrong)
		r.refused(r.AdmitTee(t.Context(), id, wrong), errkind.PermissionDenied, text)
	}
	require.NoError(t, r.AdmitTee(t.Context(), id, quote))
	require.Equal(t, domain.RoleMember, r.state(id).Members[ann.Public()])
	require.NoError(t, r.AdmitTee(t.Context(), id, quote), "a member is no error")
	quote.Member = bob.Public()
	r.refused(r.AdmitTee(t.Context(), id, quote), errkind.Precondition, "TEE attestation quote already used")
}

func TestList(t *testing.T) {
	t.Parallel()
	r := newRig(t, &node)
	var ids []domain.GroupID
	for range 3 {
		ids = append(ids, r.create(admin.CreateRequest{Alias: ptr("g")}))
	}
	// One that the node is not in.
	strangers, err := wire.GroupGenesis{Creator: ann.Public()}.Sign(ann, nil)
	require.NoError(t, err)
	require.NoError(t, r.groups.Found(t.Context(), strangers))
	slices.SortFunc(ids, domain.GroupID.Compare)
	all, err := r.List(t.Context(), 0, 100)
	require.NoError(t, err)
	require.Len(t, all, 3)
	for i, g := range all {
		require.Equal(t, ids[i], g.Group)
		require.Equal(t, ptr("g"), g.Alias)
		require.NotZero(t, g.CreatedAt)
	}
	part, err := r.List(t.Context(), 1, 1)
	require.NoError(t, err)
	require.Equal(t, all[1:2], part, "a page is of the groups that are listed")
	_, err = r.Info(t.Context(), strangers.Group)
	r.refused(err, errkind.PermissionDenied, "node is not a member of group '"+strangers.Group.Debug()+"'")
	none, err := newRig(t, nil).List(t.Context(), 0, 100)
	require.NoError(t, err)
	require.Empty(t, none)
}

// TestDescribe: every operation has words of its own.
func TestDescribe(t *testing.T) {
	t.Parallel()
	who := ann.Public()
	seen := map[string]bool{}
	for _, op := range []wire.GroupOp{
		wire.OpNoop{}, wire.OpMemberAdded{Member: who}, wire.OpMemberRemoved{Member: who}, wire.OpMemberRoleSet{Member: who},
		wire.OpMemberCapabilitySet{Member: who, Capabilities: 3}, wire.OpMemberCapabilitySet{Member: who, Capabilities: governance.CloseInvitation},
		wire.OpDefaultCapabilitiesSet{Capabilities: 1 << 20}, wire.OpUpgradePolicySet{}, wire.OpTargetApplicationSet{Target: app},
		wire.OpContextRegistered{Context: room}, wire.OpContextDetached{Context: room}, wire.OpDefaultVisibilitySet{Mode: 9},
		wire.OpContextVisibilitySet{Context: room, Creator: who}, wire.OpContextAllowlistReplaced{Context: room},
		wire.OpContextAliasSet{Context: room, Alias: "a"}, wire.OpMemberAliasSet{Member: who, Alias: "a"}, wire.OpGroupAliasSet{Alias: "a\n"},
		wire.OpGroupDelete{}, wire.OpGroupMigrationSet{}, wire.OpGroupMigrationSet{Migration: []byte("m")}, wire.OpJoinWithInvitationClaim{},
		wire.OpContextCapabilityGranted{Context: room, Member: who, Capability: 1}, wire.OpContextCapabilityRevoked{Context: room, Member: who, Capability: 2},
		wire.OpSubgroupCreated{}, wire.OpSubgroupRemoved{}, wire.OpMemberJoinedViaContextInvitation{Inviter: who}, wire.OpTeeAdmissionPolicySet{},
		wire.OpMemberJoinedViaTeeAttestation{Member: who},
	} {
		text := admin.Describe(op)
		require.False(t, seen[text], text)
		require.NotContains(t, text, "\n")
		require.False(t, strings.HasPrefix(text, "Member") || strings.HasPrefix(text, "Group"), text)
		seen[text] = true
	}
}
