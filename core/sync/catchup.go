package sync

import (
	"context"
	"math/rand/v2"
	"slices"

	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// source is a peer's history of a context.
type source interface {
	// heads are where the peer's copy is.
	heads(ctx context.Context) ([]domain.Hash, domain.Hash, error)
	// history has at most limit of the ancestors of from, from included, each after a child or in from.
	history(ctx context.Context, from []domain.Hash, limit int) ([]wire.HistoryEntry, error)
	// fetch calls each with those of ids that the peer has, in that order.
	fetch(ctx context.Context, ids []domain.Hash, each func(wire.DeltaRecord) error) error
}

// Bounds of one synchronisation.
const (
	// firstPage is how much history is asked for first; each further page is four times as large.
	firstPage = 64
	// maxWindow is how many deltas are listed before the oldest of them are fetched. Of a longer history, what is
	// newer is listed again afterwards.
	maxWindow = 128 << 10
	// maxMarks bounds what a walk remembers. What was listed so long ago is not met again on the way back.
	maxMarks = 512 << 10
	// fetchCount deltas are asked for at once; applyCount and applyBytes are handed on together.
	fetchCount = 256
	applyCount = 256
	applyBytes = 8 << 20
	// maxHeldBytes bounds the deltas of one synchronisation that wait for a delta which vouches for them.
	maxHeldBytes = 16 << 20
	// maxNeed bounds the missing parents that one synchronisation asks for; the others are next.
	maxNeed = 4096
)

// catchUp fetches what a peer has and this node lacks, the oldest first. by is who the peer has proven to be, if it has.
func (f *follow) catchUp(ctx context.Context, p PeerID, by domain.PublicKey, from source) error {
	for {
		access, err := f.m.opts.Access(ctx, f.id, by)
		if err != nil {
			return err
		}
		theirs, root, err := from.heads(ctx)
		if err != nil {
			return err
		}
		if _, behind, err := f.compare(ctx, theirs, root, p, true); err != nil {
			return err
		} else if behind {
			f.soon()
		}
		need, vouched, err := f.need(ctx, theirs)
		if err != nil || len(need) == 0 {
			return err
		}
		w := &walk{f: f, from: from, peer: p, vouches: access == MayWrite, vouched: vouched}
		whole, err := w.list(ctx, need)
		if err != nil {
			return err
		}
		if err := w.apply(ctx); err != nil {
			return err
		}
		if whole {
			return w.result()
		}
		if w.applied == 0 {
			return errkind.Exhausted.Errorf("context %s: peer %s lists more than %d deltas and has none that can be applied", f.id, p,
				maxWindow)
		}
	}
}

// need are the deltas to begin with: heads of the peer that are not here, and parents that pending deltas wait for. The
// latter are vouched for: a delta of a writer has them as ancestors.
func (f *follow) need(ctx context.Context, theirs []domain.Hash) (need []domain.Hash, vouched map[domain.Hash]struct{}, err error) {
	missing, err := f.m.opts.Contexts.Missing(ctx, f.id)
	if err != nil {
		return nil, nil, err
	}
	if len(missing) > maxNeed {
		rand.Shuffle(len(missing), func(i, j int) { missing[i], missing[j] = missing[j], missing[i] })
		missing = missing[:maxNeed]
	}
	vouched = make(map[domain.Hash]struct{}, len(missing))
	for _, id := range missing {
		vouched[id] = struct{}{}
	}
	need, err = f.absent(ctx, append(without(theirs, missing), missing...))
	return need, vouched, err
}

// walk is one pass over a peer's history.
type walk struct {
	f    *follow
	from source
	peer PeerID
	// vouches: the peer is a writer's, so that what it has counts as if he had built on it.
	vouches bool
	// order are the deltas to fetch, children before parents.
	order []domain.Hash
	// vouched are deltas that a verified delta has as parents, or that pending ones wait for.
	vouched map[domain.Hash]struct{}
	// held are deltas whose author may not write now; they count only as ancestors of deltas that do.
	held      map[domain.Hash]contexts.Delta
	heldBytes int
	// batch is what is handed on next.
	batch      []contexts.Delta
	batchBytes int
	applied    int
	refused    error // of the last delta that was refused
}

// What a walk knows of a delta.
type mark uint8

const (
	open   mark = iota + 1 // to be listed
	listed                 // to be fetched, or nowhere to be had
	known                  // here
)

// marks remembers the last maxMarks deltas of a walk.
type marks struct {
	of    map[domain.Hash]mark
	order []domain.Hash
	next  int
}

func (m *marks) set(id domain.Hash, to mark) {
	if m.of == nil {
		m.of = map[domain.Hash]mark{}
	}
	if _, again := m.of[id]; !again {
		if len(m.order) < maxMarks {
			m.order = append(m.order, id)
		} else {
			delete(m.of, m.order[m.next])
			m.order[m.next] = id
			m.next = (m.next + 1) % maxMarks
		}
	}
	m.of[id] = to
}

// list walks back from need until what is here, and keeps the order. It is false when only the oldest part was kept.
func (w *walk) list(ctx context.Context, need []domain.Hash) (whole bool, err error) {
	whole = true
	limit := firstPage
	marks := &marks{}
	for _, id := range need {
		marks.set(id, open)
	}
	for walked := 0; len(need) > 0; {
		ask := need[:min(len(need), wire.MaxHistoryFrom)]
		limit = max(limit, len(ask))
		entries, err := w.from.history(ctx, ask, limit)
		if err != nil {
			return false, err
		}
		next, err := w.page(ctx, ask, entries, marks)
		if err != nil {
			return false, err
		}
		w.f.watch.progress()
		need = append(next, need[len(ask):]...)
		if walked += len(entries); walked > w.f.m.opts.MaxWalk {
			return false, errkind.Exhausted.Errorf("context %s: the history of peer %s goes back more than %d deltas", w.f.id, w.peer,
				w.f.m.opts.MaxWalk)
		}
		if len(w.order) > maxWindow {
			w.order = slices.Clone(w.order[len(w.order)-maxWindow/2:])
			whole = false
		}
		limit = min(4*limit, wire.MaxHistory)
	}
	return whole, nil
}

// page takes a page of history and returns the deltas to go on from.
func (w *walk) page(ctx context.Context, asked []domain.Hash, entries []wire.HistoryEntry, marks *marks) (
	next []domain.Hash, err error) {
	reachable := make(map[domain.Hash]struct{}, len(asked)+len(entries))
	for _, id := range asked {
		reachable[id] = struct{}{}
	}
	var news, fresh []domain.Hash // listed, and met as a parent, for the first time
	for _, e := range entries {
		if _, ok := reachable[e.Delta]; !ok {
			return nil, errkind.Invalid.Errorf("peer %s lists delta %s, which nobody asked for", w.peer, e.Delta)
		}
		if len(e.Parents) > maxParents {
			return nil, errkind.TooLarge.Errorf("peer %s lists delta %s with %d parents, the limit is %d", w.peer, e.Delta,
				len(e.Parents), maxParents)
		}
		for _, p := range e.Parents {
			reachable[p] = struct{}{}
			if marks.of[p] == 0 && !p.IsZero() {
				marks.set(p, open)
				fresh = append(fresh, p)
			}
		}
		if marks.of[e.Delta] == open {
			marks.set(e.Delta, listed)
			news = append(news, e.Delta)
		}
	}
	unknown, err := w.f.absent(ctx, fresh)
	if err != nil {
		return nil, err
	}
	for _, id := range without(fresh, unknown) {
		marks.set(id, known)
	}
	for _, id := range news {
		if marks.of[id] == listed {
			w.order = append(w.order, id)
		}
	}
	for _, id := range append(slices.Clone(asked), unknown...) {
		switch {
		case marks.of[id] != open:
		case len(news) == 0: // the peer had nothing else to tell: it does not have this one
			marks.set(id, listed)
		default:
			next = append(next, id)
		}
	}
	return next, nil
}

// apply fetches the listed deltas, the oldest first, and hands them on.
func (w *walk) apply(ctx context.Context) error {
	slices.Reverse(w.order)
	for chunk := range slices.Chunk(w.order, fetchCount) {
		asked := make(map[domain.Hash]struct{}, len(chunk))
		for _, id := range chunk {
			asked[id] = struct{}{}
		}
		err := w.from.fetch(ctx, chunk, func(r wire.DeltaRecord) error { return w.take(ctx, asked, r) })
		if err != nil {
			return err
		}
	}
	return w.flush(ctx)
}

// take verifies one delta.
func (w *walk) take(ctx context.Context, asked map[domain.Hash]struct{}, r wire.DeltaRecord) error {
	d, err := fromRecord(w.f.id, r)
	if err != nil {
		return w.blame(err)
	}
	if _, ok := asked[d.ID]; !ok {
		return errkind.Invalid.Errorf("peer %s gave delta %s, which nobody asked for", w.peer, d.ID)
	}
	delete(asked, d.ID)
	if !d.Author.IsZero() {
		w.f.m.peers.signs(w.f.id, d.Author)
	}
	size := len(r.Delta)
	if d.Author.IsZero() {
		if !w.f.acceptsUnsigned(ctx) {
			w.refused = errkind.Unauthenticated.Errorf("delta %s of peer %s: %w, and accept_unsigned is off", d.ID, w.peer, errUnsigned)
			w.f.m.metrics.deltas.WithLabelValues("sync", "unsigned").Inc()
			return nil
		}
		return w.add(ctx, d, size)
	}
	if _, ok := w.vouched[d.ID]; ok {
		return w.add(ctx, d, size)
	}
	access, err := w.f.m.opts.Access(ctx, w.f.id, d.Author)
	switch {
	case err != nil:
		return err
	case access == MayWrite, access >= MightHave && w.vouches:
		return w.add(ctx, d, size)
	}
	return w.hold(d, size, mayNotWrite(access, w.f.id, d.Author))
}

// blame ends the walk: an honest peer verifies what it has before it keeps it.
func (w *walk) blame(err error) error {
	w.f.m.metrics.deltas.WithLabelValues("sync", "forged").Inc()
	w.f.log.Warn("a peer gave a delta that does not verify", "peer", w.peer, "err", err)
	return err
}

// hold keeps a delta of somebody who may not write now. He could when he made it, if a delta of a writer has it as an
// ancestor: then it comes in before that one.
func (w *walk) hold(d contexts.Delta, size int, why error) error {
	if w.heldBytes += size; w.heldBytes > maxHeldBytes {
		return errkind.Exhausted.Errorf("context %s: peer %s gave more than %d bytes of deltas by authors who may not write", w.f.id,
			w.peer, maxHeldBytes)
	}
	if w.held == nil {
		w.held = map[domain.Hash]contexts.Delta{}
	}
	w.held[d.ID] = d
	w.refused = why
	return nil
}

// add takes a delta that counts, after those of its ancestors that waited for it.
func (w *walk) add(ctx context.Context, d contexts.Delta, size int) error {
	stack, order := []contexts.Delta{d}, []contexts.Delta{}
	for len(stack) > 0 {
		top := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		order = append(order, top)
		for _, p := range top.Parents {
			w.vouched[p] = struct{}{}
			if held, ok := w.held[p]; ok {
				delete(w.held, p)
				stack = append(stack, held)
			}
		}
	}
	slices.Reverse(order)
	w.batch = append(w.batch, order...)
	if w.batchBytes += size; len(w.batch) < applyCount && w.batchBytes < applyBytes {
		return nil
	}
	return w.flush(ctx)
}

// flush hands the batch to the context.
func (w *walk) flush(ctx context.Context) error {
	if len(w.batch) == 0 {
		return nil
	}
	receipts, err := w.f.receive(ctx, "sync", w.batch, nil)
	w.batch, w.batchBytes = nil, 0
	if err != nil {
		return err
	}
	for _, r := range receipts {
		switch r.Outcome {
		case contexts.Applied:
			w.applied++
			w.f.watch.progress()
		case contexts.Refused:
			w.refused = r.Err
		}
	}
	return nil
}

// result tells what is left undone.
func (w *walk) result() error {
	for _, d := range w.held {
		w.f.m.metrics.deltas.WithLabelValues("sync", "author").Inc()
		w.f.log.Debug("a delta is ignored: its author may not write", "delta", d.ID, "author", d.Author, "peer", w.peer)
	}
	if w.refused != nil && w.applied == 0 {
		return errkind.Of(w.refused).Errorf("context %s: nothing that peer %s has counts here: %w", w.f.id, w.peer, w.refused)
	}
	return nil
}
