package contexts_test

import (
	"context"
	"crypto/sha256"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/runtimetest"
)

// watched is a guest whose executions are kept.
func watched(g runtimetest.Guest) (runtimetest.Guest, func() []*runtime.Execute) {
	var mu sync.Mutex
	var all []*runtime.Execute
	return func(ctx context.Context, e *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
			mu.Lock()
			all = append(all, e)
			mu.Unlock()
			return g(ctx, e, h)
		}, func() []*runtime.Execute {
			mu.Lock()
			defer mu.Unlock()
			return all
		}
}

// TestEngine_RowsOfTheEngineAreCommitted: what the guest writes into index and entry rows is thrown away and its copy
// corrected, a wrong root hash is counted, rows of its own pass.
func TestEngine_RowsOfTheEngineAreCommitted(t *testing.T) {
	t.Parallel()
	own, gone := runtimetest.StateKey([32]byte{1}), runtimetest.StateKey([32]byte{2})
	g, calls := watched(func(ctx context.Context, e *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
		r, err := register(ctx, e, h)
		switch {
		case err != nil || r.RootHash == nil:
		case e.Method == "init":
			r.Writes = append(r.Writes, runtime.Row{Key: gone, Value: []byte("x")})
		case e.Method == "set":
			r.RootHash = &domain.Hash{1}
			r.Writes[1].Value = append([]byte("wrong"), r.Writes[1].Value...)
			r.Writes = append(r.Writes, runtime.Row{Key: own, Value: []byte("mine")}, runtime.Row{Key: gone, Absent: true})
		}
		return r, err
	})
	reg := prometheus.NewRegistry()
	n := startNode(t, g, contexts.Options{Registerer: reg})
	id := n.create(t, testApp)
	r, err := n.call(id, "set", "two")
	require.NoError(t, err)
	require.Equal(t, crdt.FullHash(crdt.OwnHash([]byte("two")), nil), r.RootHash)
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP calimero_contexts_root_differences_total Calls after which the application's own root hash differed from the one the node committed.
# TYPE calimero_contexts_root_differences_total counter
calimero_contexts_root_differences_total 1
`), "calimero_contexts_root_differences_total"))
	require.Equal(t, "two", n.get(t, id))
	entry := runtimetest.StateKey(crdt.EntryKey(crdt.TreeRoot(id)))
	rows, err := store.GetRows(t.Context(), n.db, id, []runtime.Key{entry, own, gone})
	require.NoError(t, err)
	require.Equal(t, "two", string(rows[0].Value))
	require.Equal(t, "mine", string(rows[1].Value))
	require.True(t, rows[2].Absent)

	all := calls()
	last := all[len(all)-1]
	require.Equal(t, "get", last.Method)
	require.Equal(t, runtime.WritesHashes, last.Detail)
	steps := last.State.Steps
	require.Len(t, steps, 1)
	require.Equal(t, all[len(all)-2].ID, steps[0].AcceptExec)
	require.Len(t, steps[0].Rows, 1)
	require.Equal(t, entry, steps[0].Rows[0].Key)
	require.Equal(t, "two", string(steps[0].Rows[0].Value))
}

// TestEngine_AWarmContextIsNotRead: what a call touches is in memory.
func TestEngine_AWarmContextIsNotRead(t *testing.T) {
	t.Parallel()
	n := startNode(t, register, contexts.Options{})
	id := n.create(t, testApp)
	_, err := n.call(id, "set", "one")
	require.NoError(t, err)
	before := n.storage.reads()
	for range 5 {
		_, err = n.call(id, "set", "two")
		require.NoError(t, err)
	}
	require.Equal(t, before, n.storage.reads())
}

// TestEngine_TheClockFollowsTheState: time_now does not run behind what the context has seen, whichever clock said it,
// after a restart too; executors begin at different times.
func TestEngine_TheClockFollowsTheState(t *testing.T) {
	t.Parallel()
	ahead := uint64(time.Now().Add(time.Hour).UnixNano())
	g, calls := watched(func(ctx context.Context, e *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
		r, err := register(ctx, e, h)
		if e.Method == "init" {
			r.Usage.Time = ahead
		}
		return r, err
	})
	n := startNode(t, g, contexts.Options{})
	id := n.create(t, testApp)
	_, err := n.call(id, "set", "x")
	require.NoError(t, err)
	first := calls()[1].TimeFloor
	jitter := func(floor, seen uint64) uint64 { return floor - seen - 15_260 }
	member := n.member[id]
	h := sha256.Sum256(member[:])
	require.Equal(t, uint64(h[0])|uint64(h[1])<<8, jitter(first, ahead))

	local, found, err := store.ContextLocal.Get(t.Context(), n.db, id)
	require.NoError(t, err)
	require.True(t, found)
	require.GreaterOrEqual(t, local.Seen, first, "the call took its time from the floor")
	again := n.restart(t, g)
	_, err = again.call(id, "get", "")
	require.NoError(t, err)
	all := calls()
	require.Equal(t, jitter(first, ahead), jitter(all[len(all)-1].TimeFloor, local.Seen))

	b := n.db.Batch()
	store.ContextLocal.Delete(b, id)
	require.NoError(t, b.Commit(t.Context()))
	again = n.restart(t, g)
	_, err = again.call(id, "get", "")
	require.NoError(t, err)
	all = calls()
	require.Equal(t, jitter(first, ahead), jitter(all[len(all)-1].TimeFloor, first), "the time of the index row")
}

// TestEngine_ACallWithoutAnyEffectCommitsNothing: all its actions are dropped.
func TestEngine_ACallWithoutAnyEffectCommitsNothing(t *testing.T) {
	t.Parallel()
	private := runtime.Row{Key: runtime.Key{Scope: runtime.ScopePrivate, K: [32]byte{9}}, Value: []byte("p")}
	n := startNode(t, func(ctx context.Context, e *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
		r, err := register(ctx, e, h)
		if e.Method == "set" {
			r.Artifact, err = crdt.EncodeArtifact([]crdt.Action{{Kind: crdt.Compare, ID: crdt.ID{5}}})
			if r.Writes = nil; string(e.Input) == "private" {
				r.Writes = []runtime.Row{private}
			}
		}
		return r, err
	}, contexts.Options{})
	id := n.create(t, testApp)
	was, err := n.Get(t.Context(), id)
	require.NoError(t, err)
	before := n.storage.commits()
	r, err := n.call(id, "set", "")
	require.NoError(t, err)
	require.Equal(t, was.RootHash, r.RootHash)
	require.Equal(t, before, n.storage.commits())
	_, err = n.call(id, "set", "private")
	require.NoError(t, err)
	require.Equal(t, before+1, n.storage.commits())
	now, err := n.Get(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, was, now, "no delta")
	rows, err := store.GetRows(t.Context(), n.db, id, []runtime.Key{private.Key})
	require.NoError(t, err)
	require.Equal(t, private.Value, rows[0].Value)
}

// TestEngine_InitMustLeaveAState: without an action on the tree root no peer could have the context.
func TestEngine_InitMustLeaveAState(t *testing.T) {
	t.Parallel()
	n := startNode(t, func(ctx context.Context, e *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
		r, err := register(ctx, e, h)
		r.Artifact = nil
		return r, err
	}, contexts.Options{})
	before := n.storage.commits()
	_, err := n.Create(t.Context(), contexts.CreateRequest{Application: testApp})
	require.ErrorContains(t, err, "left no state that a peer could have")
	require.Equal(t, before, n.storage.commits())
}
