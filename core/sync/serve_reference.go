package sync

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// GroupDeltas gives a stored governance op to a peer that asks by the reference's sync protocol; nil when it is not here.
type GroupDeltas func(ctx context.Context, r wire.GroupDeltaRequest) (*wire.GroupDeltaResponse, error)

// maxStreamErrors ends a stream of the reference's protocol on which so many requests failed.
const maxStreamErrors = 16

// ServeReference answers on a stream of wire.SyncProtocol that a peer opened, until it ends. A request that fails is
// answered with OpaqueError, as the reference does, and the next one is read.
func (m *Manager) ServeReference(ctx context.Context, stream Stream) {
	r := &referenceStream{Stream: stream, m: m}
	for failures := 0; failures < maxStreamErrors; {
		msg, err := r.read(ctx, maxRequestFrame, m.opts.Idle)
		if err == nil {
			err = r.answer(ctx, msg)
		} else if !errors.Is(err, errkind.Invalid) { // the end, or nothing to go on with
			if !errors.Is(err, io.EOF) && ctx.Err() == nil {
				m.metrics.refused.WithLabelValues("reference", errkind.Of(err).Error()).Inc()
				m.log.Debug("a stream ends", "peer", stream.Peer(), "err", err)
				stream.Reset()
			}
			return
		}
		if err == nil {
			continue
		}
		failures++
		m.metrics.refused.WithLabelValues("reference", errkind.Of(err).Error()).Inc()
		m.log.Debug("a request of a peer fails", "peer", stream.Peer(), "err", err)
		if err := r.write(ctx, wire.OpaqueError{}); err != nil {
			return
		}
	}
	m.log.Debug("a stream is closed: too many requests failed", "peer", stream.Peer())
}

func (r *referenceStream) answer(ctx context.Context, msg wire.StreamMessage) error {
	if err := r.m.requestRate.wait(ctx, r.Peer(), 1); err != nil {
		return err
	}
	init, ok := msg.(wire.Init)
	if !ok {
		return errkind.Invalid.Errorf("%T is no request", msg)
	}
	if q, ok := init.Payload.(wire.GroupDeltaRequest); ok {
		return r.answerGroupDelta(ctx, q, init.NextNonce)
	}
	if r.m.follow(init.Context) == nil {
		return errkind.NotFound.Errorf("context %s is not followed", init.Context)
	}
	if err := r.m.isMember(ctx, init.Context, init.Party); err != nil {
		return err
	}
	if named, ok := namedContext(init.Payload); ok && named != init.Context {
		return errkind.PermissionDenied.Errorf("a request in context %s is about context %s", init.Context, named)
	}
	switch q := init.Payload.(type) {
	case wire.KeyShareInit:
		return r.answerKeyShare(ctx, init)
	case wire.DagHeadsRequest:
		return r.answerHeads(ctx, init.Context)
	case wire.DeltaRequest:
		return r.answerDelta(ctx, init, q)
	case wire.BlobShareInit:
		return r.answerBlob(ctx, init, q)
	}
	kind, what := unsupportedRequest(init.Payload)
	r.m.metrics.unsupported.WithLabelValues(kind).Inc()
	if r.m.asked.due(request{r.Peer(), init.Context, kind}, time.Now()) {
		r.m.log.Warn("a peer asks for what this version does not have; it can catch up by deltas", "peer", r.Peer(),
			"context", init.Context, "request", what)
	}
	return errkind.Unsupported.Errorf("%s", what)
}

// namedContext is the context that a request itself names; the one around it is what membership was checked for.
func namedContext(p wire.InitPayload) (domain.ContextID, bool) {
	switch q := p.(type) {
	case wire.DeltaRequest:
		return q.Context, true
	case wire.DagHeadsRequest:
		return q.Context, true
	case wire.SnapshotBoundaryRequest:
		return q.Context, true
	case wire.SnapshotStreamRequest:
		return q.Context, true
	case wire.TreeNodeRequest:
		return q.Context, true
	case wire.LevelWiseRequest:
		return q.Context, true
	case wire.EntityPush:
		return q.Context, true
	}
	return domain.ContextID{}, false
}

func unsupportedRequest(p wire.InitPayload) (kind, what string) {
	switch p.(type) {
	case wire.SnapshotBoundaryRequest, wire.SnapshotStreamRequest:
		return "snapshot", "snapshot"
	case wire.TreeNodeRequest, wire.EntityPush:
		return "hash_comparison", "hash comparison"
	case wire.LevelWiseRequest:
		return "level_wise", "level-wise synchronisation"
	}
	return "other", "unknown request"
}

func (r *referenceStream) answerGroupDelta(ctx context.Context, q wire.GroupDeltaRequest, nonce wire.Nonce) error {
	r.m.metrics.served.WithLabelValues("group delta").Inc()
	if r.m.opts.GroupDeltas == nil {
		return errkind.Unsupported.Errorf("group deltas are not served")
	}
	found, err := r.m.opts.GroupDeltas(ctx, q)
	if err != nil {
		return err
	}
	answer := wire.Message{Payload: wire.GroupDeltaNotFound{}, NextNonce: nonce}
	if found != nil {
		answer.Payload = *found
	}
	return r.write(ctx, answer)
}

func (r *referenceStream) answerKeyShare(ctx context.Context, init wire.Init) error {
	r.m.metrics.served.WithLabelValues("key").Inc()
	self, err := r.m.ownAtRandom(ctx, init.Context)
	if err != nil {
		return err
	}
	ack := wire.Init{Context: init.Context, Party: self, Payload: wire.KeyShareInit{}, NextNonce: filler()}
	if err := r.write(ctx, ack); err != nil {
		return err
	}
	k := keyShare{m: r.m, stream: r, id: init.Context, self: self, peer: init.Party}
	if err := k.run(ctx); err != nil {
		return err
	}
	if f := r.m.follow(init.Context); f != nil {
		f.proved(r.Peer())
	}
	return nil
}

func (r *referenceStream) answerHeads(ctx context.Context, id domain.ContextID) error {
	r.m.metrics.served.WithLabelValues("heads").Inc()
	heads, root, err := r.m.opts.Contexts.Heads(ctx, id)
	if err != nil {
		return err
	}
	var out sequence
	return r.message(ctx, &out, wire.DagHeadsResponse{DagHeads: heads, RootHash: root})
}

// answerDelta gives state only to a peer that has proven to be a member, which the name in its request does not.
func (r *referenceStream) answerDelta(ctx context.Context, init wire.Init, q wire.DeltaRequest) error {
	r.m.metrics.served.WithLabelValues("delta").Inc()
	if proven, err := r.m.hasProven(ctx, init.Context, r.Peer()); err != nil || !proven {
		if err != nil {
			return err
		}
		return errkind.Unauthenticated.Errorf("peer %s has not proven to be a member of context %s; a key share does", r.Peer(),
			init.Context)
	}
	f := r.m.follow(q.Context)
	if f == nil {
		return errkind.NotFound.Errorf("context %s is followed no more", q.Context)
	}
	size := 0
	if err := f.headersOf(ctx, []domain.Hash{q.Delta}, func(h header) { size = h.size }); err != nil {
		return err
	}
	if size > answerBytes {
		leave, err := r.m.large.enter(ctx, r.Peer())
		if err != nil {
			return err
		}
		defer leave()
	}
	rows, err := r.m.opts.Contexts.Deltas(ctx, q.Context, []domain.Hash{q.Delta}) // the zero hash is none
	if err != nil {
		return err
	}
	var out sequence
	if len(rows) == 0 {
		return r.message(ctx, &out, wire.DeltaNotFound{})
	}
	causal, err := rows[0].Causal()
	if err != nil {
		return err
	}
	return r.message(ctx, &out, wire.DeltaResponse{Delta: causal})
}
