package groups_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	admin  = domain.PrivateKey{0x42}
	member = domain.PrivateKey{0x43}
	room   = domain.ContextID{0x33}
)

// rig is a group on a disk that can fail, and what its node published.
type rig struct {
	t       testing.TB
	disk    *disk
	db      *store.DB
	genesis wire.GroupGenesis
	service *groups.Service
	sent    []groups.Published
	changes []governance.Change
	tooLate []groups.Late
	now     time.Time
}

type disk struct {
	storage.Store
	fail  bool
	after int // the commit of this number fails, from 1
}

func (d *disk) Apply(ctx context.Context, b storage.Batch) (bool, error) {
	d.after--
	if d.fail || d.after == 0 {
		d.fail = false
		return false, errkind.Internal.Errorf("the disk failed")
	}
	return d.Store.Apply(ctx, b)
}

func newRig(t testing.TB) *rig {
	genesis, err := wire.GroupGenesis{Creator: admin.Public(), CreatedAt: 1700000000, AutoJoin: true}.Sign(admin, nil)
	require.NoError(t, err)
	r := &rig{t: t, disk: &disk{Store: storagetest.NewMemory()}, genesis: genesis, now: time.Unix(1_700_000_000, 0)}
	r.restart()
	require.NoError(t, r.service.Found(t.Context(), genesis))
	return r
}

// restart begins a new service on what is stored.
func (r *rig) restart() {
	r.db = store.Open(r.disk, store.Options{})
	r.service = groups.New(groups.Options{
		DB: r.db, Publish: func(p groups.Published) { r.sent = append(r.sent, p) },
		Changed: func(_ domain.GroupID, c []governance.Change) { r.changes = append(r.changes, c...) },
		Late:    func(l groups.Late) { r.tooLate = append(r.tooLate, l) }, Now: func() time.Time { return r.now },
	})
}

func (r *rig) issue(key domain.PrivateKey, body wire.GroupOp) domain.Hash {
	id, err := r.service.Issue(r.t.Context(), r.genesis.Group, key, body)
	require.NoError(r.t, err)
	return id
}

func (r *rig) receive(raws ...[]byte) []groups.Receipt {
	out, err := r.service.Receive(r.t.Context(), r.genesis.Group, "peer", raws)
	require.NoError(r.t, err)
	require.Len(r.t, out, len(raws))
	return out
}

func (r *rig) sign(key domain.PrivateKey, nonce uint64, body wire.GroupOp, parents ...domain.Hash) (domain.Hash, []byte) {
	return r.signIn(r.genesis.Group, key, nonce, body, parents...)
}

func (r *rig) signIn(group domain.GroupID, key domain.PrivateKey, nonce uint64, body wire.GroupOp,
	parents ...domain.Hash) (domain.Hash, []byte) {
	id, raw, err := wire.SignableGroupOp{
		Version: wire.GroupOpVersion, Group: group, Signer: key.Public(), Nonce: nonce, Op: body, Parents: parents,
	}.SignRaw(key)
	require.NoError(r.t, err)
	return id, raw
}

func TestFound(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	require.NoError(t, r.service.Found(t.Context(), r.genesis), "again")
	_, err := r.service.State(t.Context(), domain.GroupID{1})
	require.ErrorIs(t, err, errkind.NotFound)
	tampered := r.genesis
	tampered.CreatedAt++
	require.ErrorIs(t, r.service.Found(t.Context(), tampered), errkind.Invalid)
	vouched := wire.GroupGenesis{Kind: wire.GenesisVouched, Group: domain.GroupID{7}, Creator: admin.Public()}
	vouched, err = vouched.Sign(admin, nil)
	require.NoError(t, err)
	require.NoError(t, r.service.Found(t.Context(), vouched))
	vouched.Creator = member.Public()
	vouched, err = vouched.Sign(member, nil)
	require.NoError(t, err)
	require.ErrorIs(t, r.service.Found(t.Context(), vouched), errkind.AlreadyExists, "the first stays")
	kept, err := r.service.Genesis(t.Context(), vouched.Group)
	require.NoError(t, err)
	require.Equal(t, admin.Public(), kept.Creator)
}

// TestPending: what came before its parents waits over a restart, says what is missing, and is taken with them in one
// commit.
func TestPending(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first, raw1 := r.sign(admin, 1, wire.OpMemberAdded{Member: member.Public(), Role: domain.RoleMember})
	second, raw2 := r.sign(member, 1, wire.OpNoop{}, first)
	third, raw3 := r.sign(admin, 2, wire.OpGroupAliasSet{Alias: "x"}, second)
	require.Equal(t, []groups.Receipt{{ID: third, Outcome: groups.Waiting, Missing: []domain.Hash{second}}}, r.receive(raw3))
	r.restart()
	missing, err := r.service.Missing(t.Context(), r.genesis.Group)
	require.NoError(t, err)
	require.Equal(t, []domain.Hash{second}, missing)
	require.Equal(t, []groups.Receipt{
		{ID: second, Outcome: groups.Waiting, Missing: []domain.Hash{first}},
		{ID: third, Outcome: groups.Waiting, Missing: []domain.Hash{first}},
	}, r.receive(raw2, raw3))
	require.Equal(t, []groups.Receipt{
		{ID: first, Outcome: groups.Taken, Verdict: governance.Verdict{Code: governance.Applied}},
	}, r.receive(raw1))
	require.Equal(t, groups.Duplicate, r.receive(raw2)[0].Outcome)
	require.Len(t, r.changes, 3)
	r.restart()
	for range 2 {
		heads, err := r.service.Heads(t.Context(), r.genesis.Group)
		require.NoError(t, err)
		require.Equal(t, []domain.Hash{third}, heads)
		raws, err := r.service.After(t.Context(), r.genesis.Group, []domain.Hash{first, {9}}, 10)
		require.NoError(t, err)
		require.Equal(t, [][]byte{raw2, raw3}, raws)
		raws, err = r.service.Ops(t.Context(), r.genesis.Group, []domain.Hash{third, {9}})
		require.NoError(t, err)
		require.Equal(t, [][]byte{raw3}, raws)
	}
	require.Empty(t, r.sent, "what others made is not published again")
	// Own operations come after what was received, with a nonce above everything seen of their author.
	fourth := r.issue(admin, wire.OpNoop{})
	require.Equal(t, []domain.Hash{third}, r.sent[0].Parents)
	log, total, err := r.service.Log(t.Context(), r.genesis.Group, 3, 10)
	require.NoError(t, err)
	require.Equal(t, 4, total)
	require.Equal(t, fourth, log[0].Op.ID)
	require.EqualValues(t, 3, log[0].Op.Nonce)
	require.EqualValues(t, 4, log[0].Sequence)
	require.True(t, log[0].NoEffect)
	_, raw5 := r.sign(admin, 9, wire.OpNoop{}, domain.Hash{8}, fourth)
	r.receive(raw5)
	waiting, err := r.service.Waiting(t.Context(), r.genesis.Group, 10)
	require.NoError(t, err)
	require.Len(t, waiting, 1)
	require.Equal(t, governance.Verdict{Code: governance.Pending, By: []domain.Hash{{8}}}, waiting[0].Verdict)
	require.EqualValues(t, 9, waiting[0].Op.Nonce)
}

func TestReceiveRejects(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, good := r.sign(admin, 1, wire.OpNoop{})
	bad := append([]byte(nil), good...)
	bad[len(bad)-1] ^= 1
	other := append([]byte(nil), good...)
	other[1] ^= 1
	version := append([]byte(nil), good...)
	version[0] = 2
	want := []governance.Code{
		governance.RefusedStructure, governance.RefusedSignature, governance.RefusedStructure, governance.RefusedTooLarge,
		governance.RefusedVersion,
	}
	for i, receipt := range r.receive(nil, bad, other, make([]byte, wire.MaxGroupOpBytes+1), version) {
		require.Equal(t, groups.Rejected, receipt.Outcome, "%d", i)
		require.Equal(t, want[i], receipt.Verdict.Code, "%d", i)
		require.NotEmpty(t, receipt.Verdict.Code.Reason())
		require.Error(t, receipt.Err, "%d", i)
	}
	_, total, err := r.service.Log(t.Context(), r.genesis.Group, 0, 1)
	require.NoError(t, err)
	require.Zero(t, total)
	require.Equal(t, groups.Taken, r.receive(good)[0].Outcome, "a copy with a wrong signature does not stand in the way")
	_, err = r.service.Receive(t.Context(), r.genesis.Group, "peer", make([][]byte, groups.MaxReceive+1))
	require.ErrorIs(t, err, errkind.TooLarge)
}

// TestOrphans: a peer that sends operations without parents that anybody has drives out its own only.
func TestOrphans(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	honest, raw := r.sign(admin, 1, wire.OpNoop{}, domain.Hash{1})
	r.receive(raw)
	sent := 0
	for i := range 3 {
		var batch [][]byte
		for k := range 600 {
			_, raw := r.sign(member, uint64(i*600+k)+1, wire.OpNoop{}, domain.Hash{2, byte(k), byte(k >> 8), byte(i)})
			batch = append(batch, raw)
			sent++
		}
		_, err := r.service.Receive(t.Context(), r.genesis.Group, "flood", batch)
		require.NoError(t, err)
	}
	missing, err := r.service.Missing(t.Context(), r.genesis.Group)
	require.NoError(t, err)
	require.Less(t, len(missing), sent)
	require.Contains(t, missing, domain.Hash{1})
	rows := 0
	require.NoError(t, r.disk.Scan(t.Context(), storage.Prefix(string(wire.ColumnGeneric), []byte("group-pending-op")),
		func(items []storage.Item) error {
			rows += len(items)
			return nil
		}))
	require.Equal(t, len(missing), rows, "what is evicted leaves the storage")
	require.NotZero(t, honest)
}

// TestRows: the rows follow the state; what is this node's own in them stays.
func TestRows(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, id := t.Context(), r.genesis.Group
	key := store.GroupMemberKey{Group: id, Member: member.Public()}
	r.issue(admin, wire.OpMemberAdded{Member: member.Public(), Role: domain.RoleMember})
	b := r.db.Batch()
	secret := domain.PrivateKey{5}
	store.GroupMember.Put(b, key, wire.GroupMember{Role: domain.RoleMember, PrivateKey: &secret})
	require.NoError(t, b.Commit(ctx))
	r.issue(admin, wire.OpMemberRoleSet{Member: member.Public(), Role: domain.RoleReadOnly})
	row, _, err := store.GroupMember.Get(ctx, r.db, key)
	require.NoError(t, err)
	require.Equal(t, wire.GroupMember{Role: domain.RoleReadOnly, PrivateKey: &secret}, row)

	r.issue(admin, wire.OpMemberCapabilitySet{Member: member.Public(), Capabilities: 3})
	r.issue(admin, wire.OpContextRegistered{Context: room})
	r.issue(admin, wire.OpContextVisibilitySet{Context: room, Mode: domain.VisibilityRestricted, Creator: admin.Public()})
	r.issue(admin, wire.OpContextAllowlistReplaced{Context: room, Members: []domain.PublicKey{admin.Public(), member.Public()}})
	r.issue(admin, wire.OpTargetApplicationSet{AppKey: domain.Hash{8}, Target: domain.ApplicationID{9}})
	meta, _, err := store.GroupMeta.Get(ctx, r.db, id)
	require.NoError(t, err)
	require.Equal(t, wire.GroupMeta{
		AppKey: domain.Hash{8}, TargetApplicationID: domain.ApplicationID{9}, CreatedAt: 1700000000, AdminIdentity: admin.Public(),
		AutoJoin: true,
	}, meta)
	allowed := store.GroupContextMemberKey{Group: id, Context: room, Member: member.Public()}
	require.True(t, has(t, r, store.GroupContextAllowlist, allowed))
	require.True(t, has(t, r, store.GroupMemberCapability, key))

	r.issue(admin, wire.OpMemberRemoved{Member: member.Public()})
	require.False(t, has(t, r, store.GroupMember, key))
	require.False(t, has(t, r, store.GroupMemberCapability, key), "capabilities die with the member")
	require.False(t, has(t, r, store.GroupContextAllowlist, allowed))

	_, err = r.service.Issue(ctx, id, admin, wire.OpGroupDelete{})
	require.ErrorContains(t, err, "contexts are still registered")
	r.issue(admin, wire.OpContextDetached{Context: room})
	r.issue(admin, wire.OpGroupDelete{})
	require.False(t, has(t, r, store.GroupMeta, id))
	_, err = r.service.Issue(ctx, id, admin, wire.OpNoop{})
	require.ErrorIs(t, err, errkind.Precondition)
	r.restart()
	state, err := r.service.State(ctx, id)
	require.NoError(t, err)
	require.True(t, state.Deleted)
}

func has[K, V any](t *testing.T, r *rig, table *store.Table[K, V], key K) bool {
	found, err := table.Has(t.Context(), r.db, key)
	require.NoError(t, err)
	return found
}

// TestCommitFails: nothing of a call remains whose commit failed.
func TestCommitFails(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.issue(admin, wire.OpNoop{})
	before, err := r.service.Heads(t.Context(), r.genesis.Group)
	require.NoError(t, err)
	r.disk.fail = true
	_, err = r.service.Issue(t.Context(), r.genesis.Group, admin, wire.OpGroupAliasSet{Alias: "lost"})
	require.ErrorContains(t, err, "the disk failed")
	_, raw := r.sign(admin, 9, wire.OpGroupAliasSet{Alias: "late"}, before...)
	r.disk.fail = true
	_, err = r.service.Receive(t.Context(), r.genesis.Group, "peer", [][]byte{raw})
	require.ErrorContains(t, err, "the disk failed")
	require.Len(t, r.sent, 1)
	after, err := r.service.Heads(t.Context(), r.genesis.Group)
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.Equal(t, groups.Taken, r.receive(raw)[0].Outcome)
}

// TestBegin: a new group is part of its creator's batch, and is published with it or not at all.
func TestBegin(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, secret := t.Context(), domain.PrivateKey{9}
	id := domain.GroupID(secret.Public())
	context := domain.ContextID(id)
	genesis, err := wire.GroupGenesis{Kind: wire.GenesisCertified, Group: id, Creator: member.Public()}.Sign(member, &secret)
	require.NoError(t, err)
	begin := func() *store.Batch {
		b := r.db.Batch()
		require.NoError(t, r.service.Begin(ctx, b, genesis, member, wire.OpContextRegistered{Context: context},
			wire.OpContextVisibilitySet{Context: context, Creator: member.Public()}))
		return b
	}
	begin().Abandon()
	require.Empty(t, r.sent)
	_, err = r.service.State(ctx, id)
	require.ErrorIs(t, err, errkind.NotFound)
	require.NoError(t, begin().Commit(ctx))
	require.Len(t, r.sent, 2)
	require.Equal(t, []domain.Hash{r.sent[0].ID}, r.sent[1].Parents)
	for range 2 {
		state, err := r.service.State(ctx, id)
		require.NoError(t, err)
		require.Equal(t, map[domain.ContextID]bool{context: true}, state.Contexts)
		require.True(t, has(t, r, store.GroupContextVisibility, store.GroupContextKey{Group: id, Context: context}))
		r.restart()
	}
	b := r.db.Batch()
	require.ErrorIs(t, r.service.Begin(ctx, b, genesis, member), errkind.AlreadyExists)
	b.Abandon()
	b = r.db.Batch()
	require.ErrorIs(t, r.service.Begin(ctx, b, r.genesis, member, wire.OpNoop{}), errkind.AlreadyExists)
	require.NoError(t, r.service.Forget(ctx, b, id))
	require.NoError(t, b.Commit(ctx))
	_, err = r.service.State(ctx, id)
	require.ErrorIs(t, err, errkind.NotFound)
	rows := 0
	require.NoError(t, r.disk.Scan(ctx, storage.Prefix(string(wire.ColumnGroup), nil), func(items []storage.Item) error {
		for _, item := range items {
			if string(item.Key[1:33]) == string(id[:]) {
				rows++
			}
		}
		return nil
	}))
	require.Zero(t, rows, "nothing of it is left")
}

func TestIssueRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for body, want := range map[wire.GroupOp]struct {
		key  domain.PrivateKey
		kind errkind.Kind
		text string
	}{
		wire.OpMemberRoleSet{Member: member.Public()}:                            {member, errkind.PermissionDenied, "requester is not an admin of group"},
		wire.OpMemberRemoved{Member: admin.Public()}:                             {admin, errkind.Precondition, "cannot remove the last admin of the group"},
		wire.OpDefaultVisibilitySet{Mode: 2}:                                     {admin, errkind.Invalid, "visibility mode must be"},
		wire.OpContextDetached{Context: room}:                                    {admin, errkind.Precondition, "not registered"},
		wire.OpNoop{}:                                                            {member, errkind.PermissionDenied, "not a member"},
		wire.OpMemberAdded{Member: member.Public(), Role: domain.MemberRole(77)}: {admin, errkind.Unknown, "unknown role"},
	} {
		_, err := r.service.Issue(t.Context(), r.genesis.Group, want.key, body)
		require.ErrorContains(t, err, want.text)
		if want.kind != errkind.Unknown {
			require.ErrorIs(t, err, want.kind)
		}
	}
	require.Empty(t, r.sent)
}

// BenchmarkReceive is operations of a linear history, verified, applied and committed in sets of 100.
func BenchmarkReceive(b *testing.B) {
	r := newRig(b)
	raws := history(b, r, b.N)
	b.ResetTimer()
	for len(raws) > 0 {
		n := min(len(raws), 100)
		r.receive(raws[:n]...)
		raws = raws[n:]
	}
}

// BenchmarkRebuild is one start with a log of 100,000 operations. It reports the memory that the group takes then, and the
// size of the operations in the storage.
func BenchmarkRebuild(b *testing.B) {
	r := newRig(b)
	const length = 100_000
	stored := 0
	for raws := history(b, r, length); len(raws) > 0; raws = raws[min(len(raws), 1000):] {
		some := raws[:min(len(raws), 1000)]
		r.receive(some...)
		for _, raw := range some {
			stored += len(raw)
		}
	}
	r.service = nil
	before := heap()
	b.ResetTimer()
	for range b.N {
		r.restart()
		_, err := r.service.Heads(b.Context(), r.genesis.Group)
		require.NoError(b, err)
	}
	b.StopTimer()
	b.ReportMetric((heap()-before)/(1<<20), "MiB-memory")
	b.ReportMetric(float64(stored)/(1<<20), "MiB-stored")
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/start")
	runtime.KeepAlive(r.service)
}

// heap is the bytes in use.
func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

func history(b *testing.B, r *rig, length int) [][]byte {
	raws := make([][]byte, length)
	var parents []domain.Hash
	for i := range raws {
		var id domain.Hash
		id, raws[i] = r.sign(admin, uint64(i)+1, wire.OpMemberAliasSet{Member: domain.PublicKey{byte(i)}, Alias: fmt.Sprint(i)}, parents...)
		parents = []domain.Hash{id}
	}
	return raws
}

// BenchmarkOffering is one page of what a peer without anything lacks of a log of 100,000 operations, and of what one lacks
// that has all but the last.
func BenchmarkOffering(b *testing.B) {
	r := newRig(b)
	const length, page = 100_000, 256
	raws := history(b, r, length)
	for all := raws; len(all) > 0; all = all[min(len(all), 1000):] {
		r.receive(all[:min(len(all), 1000)]...)
	}
	log, _, err := r.service.Log(b.Context(), r.genesis.Group, length-2, 1)
	require.NoError(b, err)
	for name, have := range map[string][]domain.Hash{"nothing": nil, "all but one": {log[0].Op.ID}} {
		b.Run(name, func(b *testing.B) {
			offering := r.service.Offering(r.genesis.Group)
			for b.Loop() {
				got, _, err := offering.Next(b.Context(), have, nil, page)
				require.NoError(b, err)
				require.NotEmpty(b, got)
			}
		})
	}
}
