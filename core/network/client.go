package network

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/calimero-go/core/core/actor"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Client is the façade of the NetworkManager. Its methods may be called concurrently and before the actor runs; those
// with a context wait for it then. Errors of all of them: kind Unavailable when the network is stopped or restarts.
type Client struct {
	to actor.Recipient[message]
	m  *manager
}

// Client makes a façade.
func (a *Actor) Client() *Client { return &Client{to: a.Actor, m: a.m} }

func ask[R any](ctx context.Context, c *Client, fn func(context.Context, *node) (R, error)) (R, error) {
	return actor.Ask(ctx, c.to, func(r actor.Reply[R]) message { return request[R]{fn: fn, reply: r} })
}

// SetStreamHandler serves a protocol: h is called on a goroutine of its own for each stream that a peer opens. It is an
// error of kind Precondition once the actor has run, and of kind AlreadyExists for a protocol that has a handler.
func (c *Client) SetStreamHandler(id string, limits StreamLimits, h StreamHandler) error {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	if c.m.begun {
		return tooLate("the handler of " + id)
	}
	if c.m.handlers[protocol.ID(id)] != nil {
		return errkind.AlreadyExists.Errorf("protocol %s has a handler", id)
	}
	c.m.handlers[protocol.ID(id)] = &inbound{
		protocol: protocol.ID(id), handler: h, limits: limits.withDefaults(), metrics: c.m.metrics, log: c.m.log,
		open: map[PeerID][]*place{},
	}
	return nil
}

// SetValidator sets who judges gossip messages; without one, all that are well-formed pass. It is an error of kind
// Precondition once the actor has run.
func (c *Client) SetValidator(v Validator) error {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	if c.m.begun {
		return tooLate("the validator")
	}
	c.m.validator = v
	return nil
}

// Started waits until the host listens, or the first try failed and why.
func (c *Client) Started(ctx context.Context) error {
	select {
	case <-c.m.started:
		return c.m.startErr
	case <-ctx.Done():
		return fmt.Errorf("wait for the network: %w", ctx.Err())
	}
}

// Events are what happens in the network, for one reader. The channel is never closed.
func (c *Client) Events() <-chan Event { return c.m.events.out }

// LocalPeerID is the node's own.
func (c *Client) LocalPeerID() PeerID { return c.m.id }

// ListenAddrs are the multiaddrs the node listens on, with ports and without its peer id; none while it does not run.
func (c *Client) ListenAddrs() []string {
	if n := c.m.current(); n != nil {
		return n.listenAddrs()
	}
	return nil
}

// Peers are the connected peers in order of their ids; none while the network does not run.
func (c *Client) Peers() []PeerID {
	n := c.m.current()
	if n == nil {
		return nil
	}
	peers := n.host.Network().Peers()
	slices.Sort(peers)
	return peers
}

// Supports tells whether a peer is known to serve a protocol: whether it said so when it was last connected.
func (c *Client) Supports(p PeerID, protocolID string) bool {
	n := c.m.current()
	if n == nil {
		return false
	}
	known, err := n.host.Peerstore().SupportsProtocols(p, protocol.ID(protocolID))
	return err == nil && len(known) > 0
}

// Subscribe enters a topic, for messages and for its peers. The subscription survives a restart of the host.
func (c *Client) Subscribe(ctx context.Context, topic string) error {
	_, err := ask(ctx, c, func(_ context.Context, n *node) (struct{}, error) { return struct{}{}, n.subscribe(topic) })
	return err
}

// Unsubscribe leaves a topic.
func (c *Client) Unsubscribe(ctx context.Context, topic string) error {
	_, err := ask(ctx, c, func(_ context.Context, n *node) (struct{}, error) { return struct{}{}, n.unsubscribe(topic) })
	return err
}

// Publish sends data, at most MaxMessage bytes, to all peers of a topic this node is subscribed to. ErrNoPeers is in the
// error when there are none; kind TooLarge, Precondition when not subscribed. Nothing tells whether anybody got it. data
// must not be changed afterwards.
func (c *Client) Publish(ctx context.Context, topic string, data []byte) error {
	_, err := ask(ctx, c, func(ctx context.Context, n *node) (struct{}, error) {
		return struct{}{}, n.gossip.publish(ctx, topic, data)
	})
	return err
}

// TopicPeers are the connected peers that are in a topic this node is subscribed to, in order of their ids.
func (c *Client) TopicPeers(ctx context.Context, topic string) ([]PeerID, error) {
	return ask(ctx, c, func(_ context.Context, n *node) ([]PeerID, error) {
		t, err := n.gossip.find(topic)
		if err != nil {
			return nil, err
		}
		peers := t.ListPeers()
		slices.Sort(peers)
		return peers, nil
	})
}

// MeshPeers are those of them that the router exchanges whole messages with.
func (c *Client) MeshPeers(ctx context.Context, topic string) ([]PeerID, error) {
	return ask(ctx, c, func(_ context.Context, n *node) ([]PeerID, error) { return n.gossip.trace.meshPeers(topic), nil })
}

// OpenStream opens a stream to a peer, dialling it if need be. A peer of the reference that is busy resets new streams
// without a word: then the first read has ErrReset in its error, and a later try may succeed.
func (c *Client) OpenStream(ctx context.Context, p PeerID, protocolID string) (*Stream, error) {
	var mu sync.Mutex
	var opened *Stream
	var gone bool // nobody waits for the stream any more
	_, err := ask(ctx, c, func(ctx context.Context, n *node) (struct{}, error) {
		s, err := n.openStream(ctx, p, protocol.ID(protocolID))
		if err != nil {
			return struct{}{}, err
		}
		mu.Lock()
		defer mu.Unlock()
		if gone {
			s.Reset()
		}
		opened = s
		return struct{}{}, nil
	})
	mu.Lock()
	defer mu.Unlock()
	if err != nil {
		if gone = true; opened != nil {
			opened.Reset()
		}
		return nil, err
	}
	return opened, nil
}

// Dial connects to the peer at a multiaddr that ends in /p2p/<id>.
func (c *Client) Dial(ctx context.Context, address string) (PeerID, error) {
	return ask(ctx, c, func(ctx context.Context, n *node) (PeerID, error) { return n.dial(ctx, address) })
}

// Provide announces on the DHT that this node has a blob of a context.
func (c *Client) Provide(ctx context.Context, key BlobKey, size uint64) error {
	_, err := ask(ctx, c, func(ctx context.Context, n *node) (struct{}, error) { return struct{}{}, n.kad.provide(ctx, key, size) })
	return err
}

// FindProviders asks the DHT who has a blob, at most limit of them; none known is an empty list.
func (c *Client) FindProviders(ctx context.Context, key BlobKey, limit int) ([]Provider, error) {
	return ask(ctx, c, func(ctx context.Context, n *node) ([]Provider, error) { return n.kad.find(ctx, key, limit) })
}
