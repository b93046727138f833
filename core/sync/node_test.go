package sync_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	stdsync "sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/sync"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// full makes the tests longer.
func scaled(small, full int) int {
	if os.Getenv("SCALE") == "full" {
		return full
	}
	return small
}

var ctxID = domain.ContextID{0xc0, 0xde}

// history is a context without an application: it keeps the order of deltas as contexts.Client does, and its root is
// a hash of the set of what is applied.
type history struct {
	db     *store.DB
	member domain.PrivateKey
	clock  *crdt.Clock

	mu      stdsync.Mutex
	applied map[domain.Hash]wire.ContextDagDelta
	authors map[domain.Hash]domain.PublicKey
	pending map[domain.Hash]contexts.Delta
	heads   map[domain.Hash]struct{}
	root    domain.Hash // of the set of applied deltas with their contents
	events  int
	// maxPending bounds what waits.
	maxPending int
	// onRead is called with the bytes of deltas that are read.
	onRead func(bytes int)
}

func newHistory(db *store.DB, member domain.PrivateKey) *history {
	return &history{
		db: db, member: member, clock: crdt.NewClock([16]byte(member[:16])), applied: map[domain.Hash]wire.ContextDagDelta{},
		authors: map[domain.Hash]domain.PublicKey{}, pending: map[domain.Hash]contexts.Delta{}, heads: map[domain.Hash]struct{}{},
		maxPending: 1000,
	}
}

func (h *history) List(context.Context) ([]contexts.Info, error) {
	return []contexts.Info{{ID: ctxID}}, nil
}

func (h *history) Root() domain.Hash {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.root
}

func (h *history) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.applied)
}

func (h *history) has(id domain.Hash) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.applied[id]
	return ok
}

func (h *history) row(id domain.Hash) (wire.ContextDagDelta, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	row, ok := h.applied[id]
	return row, ok
}

func (h *history) authorOf(id domain.Hash) domain.PublicKey {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.authors[id]
}

func (h *history) pendingCount() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.pending)
}

func (h *history) Heads(context.Context, domain.ContextID) ([]domain.Hash, domain.Hash, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.SortedFunc(maps.Keys(h.heads), domain.Hash.Compare), h.root, nil
}

func (h *history) Deltas(_ context.Context, _ domain.ContextID, ids []domain.Hash) ([]wire.ContextDagDelta, error) {
	if len(ids) > 4096 {
		return nil, errkind.TooLarge.Errorf("%d deltas asked for at once", len(ids))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []wire.ContextDagDelta
	size := 0
	for _, id := range ids {
		if row, ok := h.applied[id]; ok {
			out = append(out, row)
			size += len(row.Actions)
		}
	}
	if h.onRead != nil {
		h.onRead(size)
	}
	return out, nil
}

func (h *history) Missing(context.Context, domain.ContextID) ([]domain.Hash, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	missing := map[domain.Hash]struct{}{}
	for _, d := range h.pending {
		for _, p := range d.Parents {
			if _, waits := h.pending[p]; !waits && !h.here(p) {
				missing[p] = struct{}{}
			}
		}
	}
	return slices.Collect(maps.Keys(missing)), nil
}

func (h *history) here(id domain.Hash) bool {
	_, ok := h.applied[id]
	return ok || id.IsZero()
}

func (h *history) Receive(ctx context.Context, _ domain.ContextID, deltas []contexts.Delta) ([]contexts.Receipt, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	receipts := make([]contexts.Receipt, len(deltas))
	for i, d := range deltas {
		receipts[i].ID = d.ID
		_, waits := h.pending[d.ID]
		switch {
		case crdt.DeltaID(d.Parents, d.Actions) != d.ID:
			return nil, errors.New("an unverified delta reached the context")
		case h.here(d.ID) || waits:
			receipts[i].Outcome = contexts.Duplicate
		case len(h.pending) >= h.maxPending && slices.ContainsFunc(d.Parents, func(p domain.Hash) bool { return !h.here(p) }):
			receipts[i].Outcome, receipts[i].Err = contexts.Refused, errkind.Exhausted.Errorf("too many deltas wait")
		default:
			h.pending[d.ID] = d
			receipts[i].Outcome = contexts.Pending
		}
	}
	if err := h.advance(ctx); err != nil {
		return nil, err
	}
	for i := range receipts {
		if receipts[i].Outcome == contexts.Pending && h.here(receipts[i].ID) {
			receipts[i].Outcome = contexts.Applied
		}
	}
	return receipts, nil
}

func (h *history) advance(ctx context.Context) error {
	b := h.db.Batch()
	defer b.Abandon()
	for again := true; again; {
		again = false
		for id, d := range h.pending {
			if slices.ContainsFunc(d.Parents, func(p domain.Hash) bool { return !h.here(p) }) {
				continue
			}
			actions, err := crdt.EncodeActions(d.Actions)
			if err != nil {
				return err
			}
			delete(h.pending, id)
			h.apply(b, wire.ContextDagDelta{
				DeltaID: id, Parents: d.Parents, Actions: actions, HLC: d.HLC, Applied: true, ExpectedRootHash: d.ExpectedRoot,
			}, d.Author, d.Proof)
			h.events += len(d.Events)
			again = true
		}
	}
	return b.Commit(ctx)
}

func (h *history) apply(b *store.Batch, row wire.ContextDagDelta, author domain.PublicKey, proof wire.DeltaAuthor) {
	h.applied[row.DeltaID] = row
	h.authors[row.DeltaID] = author
	for i, x := range sha256.Sum256(append(row.DeltaID[:], row.Actions...)) {
		h.root[i] ^= x
	}
	for _, p := range row.Parents {
		delete(h.heads, p)
	}
	h.heads[row.DeltaID] = struct{}{}
	store.DeltaAuthor.Put(b, store.DeltaKey{Context: ctxID, Delta: row.DeltaID}, proof)
}

// newDelta makes a delta on top of parents.
func newDelta(t testing.TB, clock *crdt.Clock, parents []domain.Hash, data string) wire.ContextDagDelta {
	t.Helper()
	now := uint64(time.Now().UnixNano())
	actions := []crdt.Action{{
		Kind: crdt.Add, ID: sha256.Sum256([]byte(data)), Data: []byte(data),
		Metadata: crdt.Metadata{CreatedAt: now, UpdatedAt: now},
	}}
	encoded, err := crdt.EncodeActions(actions)
	require.NoError(t, err)
	if len(parents) == 0 {
		parents = []domain.Hash{{}}
	}
	return wire.ContextDagDelta{
		DeltaID: crdt.DeltaID(parents, actions), Parents: parents, Actions: encoded, HLC: clock.Now(now), Applied: true,
		ExpectedRootHash: domain.Hash{1},
	}
}

// sign makes the proof of a delta.
func sign(d *wire.ContextDagDelta, author domain.PrivateKey, events []byte) wire.DeltaAuthor {
	proof := wire.DeltaAuthor{Author: author.Public(), Events: wire.EventsDigest(events)}
	sig := author.Sign(d.Statement(ctxID, proof).Message())
	proof.Signature = &sig
	return proof
}

// node is a manager with all it needs.
type node struct {
	*history
	m        *sync.Manager
	port     *port
	identity *identity.Service
	key      domain.PrivateKey
	stop     func()

	mu     stdsync.Mutex
	access map[domain.PublicKey]sync.Access
}

func (n *node) may(_ context.Context, _ domain.ContextID, member domain.PublicKey) (sync.Access, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.access[member], nil
}

func (n *node) set(member domain.PublicKey, a sync.Access) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.access[member] = a
}

// keyOf is the key of member number i.
func keyOf(i int) domain.PrivateKey { return sha256.Sum256([]byte{'k', byte(i)}) }

// setup is how a test's nodes differ from others.
type setup struct {
	plain   bool
	options func(*sync.Options)
}

// newNode makes the node of member i among members.
func newNode(t *testing.T, l *lan, i, members int, s setup) *node {
	t.Helper()
	db := store.Open(storagetest.NewMemory(), store.Options{})
	n := &node{
		history: newHistory(db, keyOf(i)), port: l.join(fmt.Sprint("node-", i)), identity: identity.New(db), key: keyOf(i),
		access: map[domain.PublicKey]sync.Access{},
	}
	n.port.plain = s.plain
	b := db.Batch()
	for k := range members {
		n.access[keyOf(k).Public()] = sync.MayWrite
		if k == i {
			require.NoError(t, n.identity.PutOwn(b, ctxID, keyOf(k)))
		} else {
			n.identity.PutMember(b, ctxID, keyOf(k).Public(), nil)
		}
	}
	require.NoError(t, b.Commit(t.Context()))
	o := sync.Options{
		Network: n.port, Contexts: n.history, Identity: n.identity, DB: db, Access: n.may,
		Heartbeat: 300 * time.Millisecond, Frequency: 200 * time.Millisecond, Retry: 20 * time.Millisecond,
		RetryMax: 200 * time.Millisecond, Republish: 50 * time.Millisecond, Idle: 2 * time.Second, Answer: 2 * time.Second,
	}
	if s.options != nil {
		s.options(&o)
	}
	n.m = sync.New(o)
	n.port.mu.Lock()
	n.port.deliver = func(topic string, source sync.PeerID, data []byte) {
		if verdict, in := n.m.Validate(l.stop, topic, source, data); verdict == network.Accept {
			n.m.Handle(in)
		}
	}
	n.port.joined = n.m.PeerSubscribed
	n.port.handlers[wire.SyncProtocol] = n.m.ServeReference
	if !s.plain {
		n.port.handlers[wire.ExtensionProtocol] = n.m.ServeExtension
	}
	n.port.mu.Unlock()
	n.start(t)
	eventually(t, "it follows", long, func() bool { return n.port.inTopics()[wire.ContextTopic(ctxID)] })
	return n
}

func (n *node) start(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = n.m.Serve(ctx) // its error is ctx's
	}()
	var once stdsync.Once
	n.stop = func() {
		once.Do(func() {
			cancel()
			<-done
		})
	}
	t.Cleanup(n.stop)
}

// write commits a delta of this node and has it published.
func (n *node) write(t testing.TB, data string) domain.Hash {
	t.Helper()
	n.history.mu.Lock()
	defer n.history.mu.Unlock()
	row := newDelta(t, n.clock, slices.SortedFunc(maps.Keys(n.heads), domain.Hash.Compare), data)
	events, err := wire.EncodeEvents([]wire.Event{{Kind: "written", Data: []byte(data[:min(len(data), 10)])}})
	require.NoError(t, err)
	proof := sign(&row, n.key, events)
	b := n.db.Batch()
	n.apply(b, row, n.key.Public(), proof)
	require.NoError(t, b.Commit(context.Background()))
	n.m.Publish(contexts.Published{Context: ctxID, Delta: row, Proof: proof, Events: events})
	return row.DeltaID
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, within time.Duration, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, within, 5*time.Millisecond, what)
}

// converged waits until all nodes have the same number of deltas and one root.
func converged(t *testing.T, count int, within time.Duration, nodes ...*node) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		same := true
		for _, n := range nodes {
			same = same && n.count() == count && n.Root() == nodes[0].Root()
		}
		if same {
			return
		}
		if time.Now().After(deadline) {
			for _, n := range nodes {
				s, _ := n.m.Status(ctxID)
				t.Logf("%s: %d deltas, %d wait, %+v", n.port.id, n.count(), n.pendingCount(), s)
			}
			t.Fatalf("not the same %d deltas everywhere after %s", count, within)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func newNodes(t *testing.T, l *lan, count int) []*node {
	t.Helper()
	nodes := make([]*node, count)
	for i := range nodes {
		nodes[i] = newNode(t, l, i, count, setup{})
	}
	return nodes
}

// sessions counts those that are opened with the node from now on.
func (n *node) sessions() *atomic.Int32 {
	opened := &atomic.Int32{}
	serve := n.m.ServeExtension
	n.port.mu.Lock()
	defer n.port.mu.Unlock()
	n.port.handlers[wire.ExtensionProtocol] = func(ctx context.Context, s sync.Stream) {
		opened.Add(1)
		serve(ctx, s)
	}
	return opened
}
