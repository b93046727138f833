package membership

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Bounds of catching up with one peer.
const (
	maxFetch     = 4096 // operations asked for on one stream
	maxFetchTime = 2 * time.Minute
	maxAnswer    = wire.MaxGroupOpBytes + 64<<10 // an operation, the parents besides
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

// catchUp fetches operations by the reference's protocol (sync-wire.md §4.10), parents after children, until nothing is
// missing that the peer has.
func (g *group) catchUp(ctx context.Context, p PeerID, want []domain.Hash) error {
	ctx, cancel := context.WithTimeout(ctx, maxFetchTime)
	defer cancel()
	stream, err := g.m.opts.Network.OpenStream(ctx, p, wire.SyncProtocol)
	if err != nil {
		return err
	}
	before := g.size()
	asked := map[domain.Hash]struct{}{}
	err = func() error {
		for len(want) > 0 {
			id := want[0]
			want = want[1:]
			if _, again := asked[id]; again {
				continue
			}
			if len(asked) >= maxFetch {
				return errkind.Exhausted.Errorf("group %s: peer %s names more than %d operations that are not here", g.id, p, maxFetch)
			}
			asked[id] = struct{}{}
			r, err := g.ask(ctx, stream, id)
			if err != nil {
				return err
			}
			if r == nil {
				continue
			}
			r.source = p
			g.mu.Lock()
			err = g.add(ctx, r)
			want = append(want, g.unknown(g.graph.MissingFor(id))...)
			g.mu.Unlock()
			if err != nil && errkind.Of(err) != errkind.PermissionDenied {
				return err
			}
		}
		return nil
	}()
	if g.size() > before {
		g.grew(ctx)
	}
	if err != nil {
		stream.Reset()
		return err
	}
	return stream.Close()
}

func (g *group) size() int {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return len(g.log)
}

// ask asks for one operation; nil when the peer does not have it.
func (g *group) ask(ctx context.Context, stream Stream, id domain.Hash) (*record, error) {
	ctx, cancel := context.WithTimeout(ctx, g.m.opts.Answer)
	defer cancel()
	init := wire.Init{Payload: wire.GroupDeltaRequest{Group: g.id, Delta: id}}
	_, _ = rand.Read(init.NextNonce[:]) // never fails, and says nothing
	out, err := wire.EncodeStream(init)
	if err != nil {
		return nil, err
	}
	if err := stream.WriteFrame(ctx, out); err != nil {
		return nil, err
	}
	in, err := stream.ReadFrame(ctx, maxAnswer)
	if err != nil {
		return nil, fmt.Errorf("read operation %s: %w", id, err)
	}
	answer, err := wire.DecodeStream(in)
	if err != nil {
		return nil, errkind.Invalid.Wrap(err)
	}
	message, ok := answer.(wire.Message)
	if !ok {
		return nil, errkind.Unavailable.Errorf("peer %s answers a request for an operation with %T", stream.Peer(), answer)
	}
	switch d := message.Payload.(type) {
	case wire.GroupDeltaNotFound:
		return nil, nil
	case wire.GroupDeltaResponse:
		r, err := read(d.Payload)
		if err != nil {
			return nil, fmt.Errorf("operation %s of peer %s: %w", id, stream.Peer(), err)
		}
		if r.id != id || r.op.Group != g.id {
			return nil, errkind.Invalid.Errorf("peer %s gave operation %s of group %s for %s", stream.Peer(), r.id, r.op.Group, id)
		}
		return r, nil
	}
	return nil, errkind.Invalid.Errorf("peer %s answers a request for an operation with %T", stream.Peer(), message.Payload)
}
