package contexts

import (
	"context"
	"time"

	"github.com/calimero-go/core/core/dag"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Delta is a state delta as it came from elsewhere. Nothing in it is trusted but what its receiver verified before.
type Delta struct {
	ID      domain.Hash
	Parents []domain.Hash
	Actions []crdt.Action
	HLC     crdt.Timestamp
	// ExpectedRoot is the author's root hash after the delta: informative, but for the first delta of a context.
	ExpectedRoot domain.Hash
	// Author is zero when it is not known.
	Author domain.PublicKey
	// Proof is kept beside the delta, for others. Its author is Author.
	Proof wire.DeltaAuthor
	// Events are those of the author's call. Handlers that they name run here, once.
	Events []Event
}

// Outcome is what became of a received delta.
type Outcome uint8

// Outcomes.
const (
	// Applied: it is part of the state now.
	Applied Outcome = iota + 1
	// Duplicate: it was part of the state before.
	Duplicate
	// Pending: it is kept until the parents that Missing names have come.
	Pending
	// Held: it, or a delta that it builds on, claims a time in the future; it is kept Until then.
	Held
	// Refused: it is not kept, for the reason in Err.
	Refused
)

// String returns the outcome's name.
func (o Outcome) String() string {
	if int(o) >= len(outcomeNames) {
		return "unknown"
	}
	return outcomeNames[o]
}

var outcomeNames = [...]string{"unknown", "applied", "duplicate", "pending", "held", "refused"}

// Receipt tells what became of one delta.
type Receipt struct {
	ID      domain.Hash
	Outcome Outcome
	Missing []domain.Hash
	Until   time.Time
	Err     error
}

// Bounds of a received delta.
const (
	maxParents = dag.DefaultParents
	maxEvents  = 8 << 20 // encoded, in bytes
)

// arrival is a received delta that is well-formed.
type arrival struct {
	row    wire.PendingDelta
	delta  Delta
	latest uint64 // time
	size   int
	stored bool // its row is in PendingDelta
}

// hasHandlers reports whether an event names a handler.
func hasHandlers(events []Event) bool {
	for i := range events {
		if events[i].Handler != nil {
			return true
		}
	}
	return false
}

// arrivalOf verifies what a delta says about itself: its id, its parents, its mark; and bounds it.
func arrivalOf(d Delta, limit int) (*arrival, error) {
	if len(d.Parents) == 0 || len(d.Parents) > maxParents {
		return nil, errkind.Invalid.Errorf("delta %s has %d parents, it must have 1 to %d", d.ID, len(d.Parents), maxParents)
	}
	seen := make(map[domain.Hash]struct{}, len(d.Parents))
	for _, p := range d.Parents {
		if _, again := seen[p]; again || p.IsZero() && len(d.Parents) > 1 {
			return nil, errkind.Invalid.Errorf("delta %s names parent %s twice, or zero beside others", d.ID, p)
		}
		seen[p] = struct{}{}
	}
	if id := crdt.DeltaID(d.Parents, d.Actions); id != d.ID || id.IsZero() {
		return nil, errkind.Invalid.Errorf("delta %s is not what its id says: parents and actions make %s", d.ID, id)
	}
	if !d.Author.IsZero() {
		if err := engine.VerifyMark(d.Actions, d.Author); err != nil && errkind.Of(err) == errkind.Invalid {
			return nil, errkind.Invalid.Errorf("delta %s: %w", d.ID, err)
		}
	}
	events := make([]wire.Event, len(d.Events))
	for i, e := range d.Events {
		events[i] = wire.Event(e)
	}
	encoded, err := wire.EncodeEvents(events)
	if err != nil {
		return nil, err
	}
	if len(encoded) > maxEvents {
		return nil, errkind.TooLarge.Errorf("the events of delta %s take %d bytes, the limit is %d", d.ID, len(encoded), maxEvents)
	}
	d.Proof.Author = d.Author
	a := &arrival{delta: d, latest: engine.LatestTime(d.Actions)}
	a.row = wire.PendingDelta{Author: d.Proof, Delta: wire.ContextDagDelta{
		DeltaID: d.ID, Parents: d.Parents, HLC: d.HLC, ExpectedRootHash: d.ExpectedRoot, Events: encoded,
	}}
	if a.row.Delta.Actions, err = crdt.EncodeActions(d.Actions); err != nil {
		return nil, errkind.Invalid.Errorf("delta %s: %w", d.ID, err)
	}
	a.size = len(a.row.Delta.Actions) + len(encoded)
	if len(a.row.Delta.Actions) > limit {
		return nil, errkind.TooLarge.Errorf("delta %s takes %d bytes, the limit is %d", d.ID, len(a.row.Delta.Actions), limit)
	}
	return a, nil
}

// loadArrival reads what was stored of one.
func loadArrival(row wire.PendingDelta) (*arrival, error) {
	d := Delta{
		ID: row.Delta.DeltaID, Parents: row.Delta.Parents, HLC: row.Delta.HLC, ExpectedRoot: row.Delta.ExpectedRootHash,
		Author: row.Author.Author, Proof: row.Author,
	}
	var err error
	if d.Actions, err = crdt.DecodeActions(row.Delta.Actions); err != nil {
		return nil, err
	}
	events, err := wire.DecodeEvents(row.Delta.Events)
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		d.Events = append(d.Events, Event(e))
	}
	return &arrival{
		row: row, delta: d, latest: engine.LatestTime(d.Actions), size: len(row.Delta.Actions) + len(row.Delta.Events),
		stored: true,
	}, nil
}

// receive takes deltas into the graph and applies what is ready.
func (m *manager) receive(ctx context.Context, id domain.ContextID, deltas []Delta) ([]Receipt, error) {
	if _, err := m.load(ctx, id); err != nil {
		return nil, err
	}
	receipts := make([]Receipt, len(deltas))
	arrivals := make([]*arrival, len(deltas))
	for i := range deltas {
		receipts[i].ID = deltas[i].ID
		var err error
		if arrivals[i], err = arrivalOf(deltas[i], m.opts.MaxDelta); err != nil {
			receipts[i].Outcome, receipts[i].Err = Refused, err
		}
	}
	e := m.entry(id)
	if err := e.acquire(ctx); err != nil {
		return nil, err
	}
	defer e.release()
	if err := m.refresh(ctx, e); err != nil {
		return nil, err
	}
	if err := m.take(ctx, e, arrivals, receipts); err != nil {
		return nil, err
	}
	held, err := m.advance(ctx, e)
	if err != nil {
		return nil, err
	}
	e.graph.tell(receipts, held)
	e.graph.refused = nil
	for i := range receipts {
		m.metrics.received.WithLabelValues(receipts[i].Outcome.String()).Inc()
	}
	return receipts, nil
}

// tell fills in what became of the deltas that were taken.
func (g *graph) tell(receipts []Receipt, held map[domain.Hash]time.Time) {
	for i := range receipts {
		r := &receipts[i]
		if r.Outcome != 0 {
			continue
		}
		if err := g.refused[r.ID]; err != nil {
			r.Outcome, r.Err = Refused, err
			continue
		}
		switch g.Status(r.ID) {
		case dag.Applied:
			r.Outcome = Applied
		case dag.Ready:
			r.Outcome, r.Until = Held, held[r.ID]
		case dag.Pending:
			r.Outcome, r.Missing = Pending, g.MissingFor(r.ID)
		case dag.Absent:
			r.Outcome = Refused
			r.Err = errkind.Retryable(errkind.Exhausted.Errorf("too many deltas wait for their parents; send delta %s again later",
				r.ID))
		}
	}
}

// take adds arrivals to the graph. Those that are refused or known get their receipts.
func (m *manager) take(ctx context.Context, e *entry, arrivals []*arrival, receipts []Receipt) error {
	if err := m.loadGraph(ctx, e); err != nil {
		return err
	}
	if err := m.resolve(ctx, e, arrivals); err != nil {
		return err
	}
	allowed := map[domain.PublicKey]error{}
	for i, a := range arrivals {
		if a == nil {
			continue
		}
		if e.graph.Status(a.delta.ID) == dag.Applied {
			receipts[i].Outcome = Duplicate
			continue
		}
		author := a.delta.Author
		if _, asked := allowed[author]; !asked {
			allowed[author] = m.mayWrite(ctx, e.id, author)
		}
		if err := allowed[author]; err != nil {
			if !aboutTheAuthor(err) {
				return err
			}
			receipts[i].Outcome, receipts[i].Err = Refused, err
			continue
		}
		if err := e.graph.add(a); err != nil {
			receipts[i].Outcome, receipts[i].Err = Refused, err
		}
	}
	return nil
}

// aboutTheAuthor: the other errors are of the node, or of a caller who gave up, and say nothing about the delta.
func aboutTheAuthor(err error) bool {
	switch errkind.Of(err) {
	case errkind.Internal, errkind.Unavailable, errkind.Exhausted, errkind.Corrupt, errkind.Deadline, errkind.Canceled:
		return false
	}
	return true
}

// resolve marks in the graph which of the arrivals, and of their parents, are applied.
func (m *manager) resolve(ctx context.Context, e *entry, arrivals []*arrival) error {
	heads := make(map[domain.Hash]struct{}, len(e.meta.DagHeads))
	for _, h := range e.meta.DagHeads {
		heads[h] = struct{}{}
	}
	var ask []store.DeltaKey
	asked := map[domain.Hash]struct{}{}
	look := func(id domain.Hash) {
		if _, again := asked[id]; again || id.IsZero() || e.graph.Status(id) != dag.Absent {
			return
		}
		asked[id] = struct{}{}
		if _, ok := heads[id]; ok {
			e.graph.Restore(id, nil)
			return
		}
		ask = append(ask, store.DeltaKey{Context: e.id, Delta: id})
	}
	for _, a := range arrivals {
		if a == nil {
			continue
		}
		look(a.delta.ID)
		for _, p := range a.delta.Parents {
			look(p)
		}
	}
	if len(ask) == 0 {
		return nil
	}
	has, err := store.Delta.HasMany(ctx, m.opts.DB, ask)
	if err != nil {
		return err
	}
	for i, key := range ask {
		if has[i] {
			e.graph.Restore(key.Delta, nil)
		}
	}
	return nil
}

// mayWrite asks whether a delta's author may change a context. What is not known to have an author may.
func (m *manager) mayWrite(ctx context.Context, id domain.ContextID, author domain.PublicKey) error {
	if author.IsZero() {
		return nil
	}
	if m.opts.Authorize != nil {
		return m.opts.Authorize(ctx, id, author)
	}
	group, err := m.groupOf(ctx, id)
	if err != nil || group == nil {
		return err
	}
	place, err := m.opts.Groups.Place(ctx, *group, id, author)
	switch {
	case err != nil:
		return err
	case !place.Member:
		return errkind.PermissionDenied.Errorf("context %s is not for %s", id, author)
	case place.Role == domain.RoleReadOnly:
		return errkind.PermissionDenied.Errorf("%s may only read context %s", author, id)
	}
	return nil
}

// deltaRow is the row of an applied delta. It keeps the events that the author signed: others get them from here.
func (a *arrival) deltaRow() wire.ContextDagDelta {
	row := a.row.Delta
	row.Applied = true
	if !a.eventsSigned() {
		row.Events = nil
	}
	return row
}

// eventsSigned tells whether the author's signature is over the events too.
func (a *arrival) eventsSigned() bool {
	proof := a.row.Author
	return proof.Signature != nil && proof.Events == wire.EventsDigest(a.row.Delta.Events)
}

// maxAskedDeltas bounds one question for deltas.
const maxAskedDeltas = 4096

func (m *manager) deltas(ctx context.Context, id domain.ContextID, ids []domain.Hash) ([]wire.ContextDagDelta, error) {
	if len(ids) > maxAskedDeltas {
		return nil, errkind.TooLarge.Errorf("%d deltas asked for at once, the limit is %d", len(ids), maxAskedDeltas)
	}
	if _, err := m.load(ctx, id); err != nil {
		return nil, err
	}
	keys := make([]store.DeltaKey, len(ids))
	for i := range ids {
		keys[i] = store.DeltaKey{Context: id, Delta: ids[i]}
	}
	rows, err := store.Delta.GetMany(ctx, m.opts.DB, keys)
	if err != nil {
		return nil, err
	}
	var out []wire.ContextDagDelta
	for _, row := range rows {
		if row != nil {
			out = append(out, *row)
		}
	}
	return out, nil
}

func (m *manager) missing(ctx context.Context, id domain.ContextID) ([]domain.Hash, error) {
	if _, err := m.load(ctx, id); err != nil {
		return nil, err
	}
	e := m.entry(id)
	if err := e.acquire(ctx); err != nil {
		return nil, err
	}
	defer e.release()
	if err := m.refresh(ctx, e); err != nil {
		return nil, err
	}
	if err := m.loadGraph(ctx, e); err != nil {
		return nil, err
	}
	return e.graph.Missing(), nil
}
