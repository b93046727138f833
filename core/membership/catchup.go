package membership

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Bounds of catching up with one peer.
const (
	maxFetch      = 4096 // operations asked for on one stream
	maxFetchBytes = 32 << 20
	maxFetchTime  = 2 * time.Minute
	maxAnswer     = wire.MaxGroupOpBytes + 64<<10 // an operation, the parents besides
)

// fetch is one under way.
type fetch struct {
	group domain.GroupID
	peer  PeerID
}

// fetch asks a peer for operations and for what they build on, once at a time.
func (m *Manager) fetch(g *group, p PeerID, want []domain.Hash) {
	key := fetch{g.id, p}
	m.mu.Lock()
	_, busy := m.fetching[key]
	if !busy {
		m.fetching[key] = struct{}{}
	}
	m.mu.Unlock()
	if busy {
		return
	}
	done := func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.fetching, key)
	}
	if !m.tasks.Go(func(ctx context.Context) {
		defer done()
		if err := g.catchUp(ctx, p, want); err != nil && ctx.Err() == nil {
			m.log.Debug("a group is not caught up with", "group", g.id, "peer", p, "err", err)
		}
	}) {
		done()
	}
}

// catchUp brings what a peer has: by the extension where it speaks that, else by the reference's protocol.
func (g *group) catchUp(ctx context.Context, p PeerID, want []domain.Hash) error {
	ctx, cancel := context.WithTimeout(ctx, maxFetchTime)
	defer cancel()
	if g.m.opts.Network.Supports(p, wire.ExtensionProtocol) {
		err := g.exchange(ctx, p, want)
		if err == nil {
			g.told(ctx, p, want)
			return nil
		}
		g.m.log.Debug("a peer does not answer about a group; it is asked as a reference node is", "group", g.id, "peer", p, "err", err)
	}
	return g.fetchOps(ctx, p, want)
}

// fetchOps fetches operations by the reference's protocol (sync-wire.md §4.10), parents after children, until nothing is
// missing that the peer has.
func (g *group) fetchOps(ctx context.Context, p PeerID, want []domain.Hash) error {
	stream, err := g.m.opts.Network.OpenStream(ctx, p, wire.SyncProtocol)
	if err != nil {
		return err
	}
	fetched, err := g.walk(ctx, stream, want)
	slices.Reverse(fetched)
	missing, failed := g.receive(ctx, p, fetched) // what there is, whatever stopped the walk
	if err = errors.Join(err, failed); err != nil {
		stream.Reset()
		return err
	}
	if len(missing) > 0 {
		g.m.log.Debug("a peer has not all that operations of a group wait for", "group", g.id, "peer", p, "missing", len(missing))
	}
	g.told(ctx, p, want)
	return stream.Close()
}

// told: a peer has these operations, which are here now.
func (g *group) told(ctx context.Context, p PeerID, have []domain.Hash) {
	if g.acknowledged(ctx, have) {
		g.m.opts.Acknowledged(g.id, p)
	}
}

// walk asks for operations and then for their parents that are not here, children first.
func (g *group) walk(ctx context.Context, stream Stream, want []domain.Hash) (fetched [][]byte, err error) {
	asked := map[domain.Hash]struct{}{}
	size := 0
	for len(want) > 0 {
		id := want[0]
		want = want[1:]
		if _, again := asked[id]; again {
			continue
		}
		if len(asked) >= maxFetch || size >= maxFetchBytes {
			return fetched, errkind.Exhausted.Errorf("group %s: peer %s names more than %d operations that are not here, or more than %d bytes",
				g.id, stream.Peer(), maxFetch, maxFetchBytes)
		}
		asked[id] = struct{}{}
		op, raw, err := g.ask(ctx, stream, id)
		if err != nil {
			return fetched, err
		}
		if raw == nil {
			continue
		}
		fetched = append(fetched, raw)
		size += len(raw)
		lacks, err := g.m.opts.Groups.Lacks(ctx, g.id, op.Parents)
		if err != nil {
			return fetched, err
		}
		want = append(want, lacks...)
	}
	return fetched, nil
}

// ask asks for one operation; nil when the peer does not have it.
func (g *group) ask(ctx context.Context, stream Stream, id domain.Hash) (op wire.SignedGroupOp, raw []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, g.m.opts.Answer)
	defer cancel()
	init := wire.Init{Payload: wire.GroupDeltaRequest{Group: g.id, Delta: id}}
	_, _ = rand.Read(init.NextNonce[:]) // never fails, and says nothing
	out, err := wire.EncodeStream(init)
	if err != nil {
		return op, nil, err
	}
	if err := stream.WriteFrame(ctx, out); err != nil {
		return op, nil, err
	}
	in, err := stream.ReadFrame(ctx, maxAnswer)
	if err != nil {
		return op, nil, fmt.Errorf("read operation %s: %w", id, err)
	}
	answer, err := wire.DecodeStream(in)
	if err != nil {
		return op, nil, errkind.Invalid.Wrap(err)
	}
	message, ok := answer.(wire.Message)
	if !ok {
		return op, nil, errkind.Unavailable.Errorf("peer %s answers a request for an operation with %T", stream.Peer(), answer)
	}
	switch d := message.Payload.(type) {
	case wire.GroupDeltaNotFound:
		return op, nil, nil
	case wire.GroupDeltaResponse:
		op, err := wire.DecodeSignedGroupOp(d.Payload)
		if err != nil {
			return op, nil, fmt.Errorf("operation %s of peer %s: %w", id, stream.Peer(), errkind.Invalid.Wrap(err))
		}
		if got, err := op.ContentHash(); err != nil || got != id || op.Group != g.id {
			return op, nil, errkind.Invalid.Errorf("peer %s gave operation %s of group %s for %s", stream.Peer(), got, op.Group, id)
		}
		return op, d.Payload, nil
	}
	return op, nil, errkind.Invalid.Errorf("peer %s answers a request for an operation with %T", stream.Peer(), message.Payload)
}

// Op gives an operation to a peer that asks for it; nil when it is not here.
func (m *Manager) Op(ctx context.Context, r wire.GroupDeltaRequest) (*wire.GroupDeltaResponse, error) {
	if m.find(r.Group) == nil {
		return nil, nil
	}
	raws, err := m.opts.Groups.Ops(ctx, r.Group, []domain.Hash{r.Delta})
	if err != nil || len(raws) == 0 {
		return nil, err
	}
	op, err := wire.DecodeSignedGroupOp(raws[0])
	if err != nil {
		return nil, errkind.Corrupt.Wrap(err)
	}
	return &wire.GroupDeltaResponse{Delta: r.Delta, Parents: op.Parents, Payload: raws[0]}, nil
}
