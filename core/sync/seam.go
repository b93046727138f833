package sync

import (
	"context"

	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// PeerID is the id of a node.
type PeerID = network.PeerID

// Network is what the manager needs of the network. Methods are safe for concurrent use.
type Network interface {
	// LocalPeerID is the node's own.
	LocalPeerID() PeerID
	// Publish sends data to all peers of a topic; network.ErrNoPeers is in its error when there are none.
	Publish(ctx context.Context, topic string, data []byte) error
	Subscribe(ctx context.Context, topic string) error
	Unsubscribe(ctx context.Context, topic string) error
	// TopicPeers are the connected peers in a topic.
	TopicPeers(ctx context.Context, topic string) ([]PeerID, error)
	// OpenStream opens a stream to a peer, dialling it if need be.
	OpenStream(ctx context.Context, p PeerID, protocol string) (Stream, error)
	// Supports tells whether a peer is known to speak a protocol.
	Supports(p PeerID, protocol string) bool
}

// Stream is a framed stream; *network.Stream is one. ReadFrame and WriteFrame have deadlines of their own; a frame over
// limit is an error of kind TooLarge.
type Stream interface {
	Peer() PeerID
	ReadFrame(ctx context.Context, limit int) ([]byte, error)
	WriteFrame(ctx context.Context, payload []byte) error
	Close() error
	Reset()
}

// Contexts owns the contexts' state, deltas and pending deltas; *contexts.Client does. Methods are safe for concurrent use;
// they fail with kind NotFound for a context that is not here.
type Contexts interface {
	// Receive takes deltas in any order, with duplicates; a receipt for each.
	Receive(ctx context.Context, id domain.ContextID, deltas []contexts.Delta) ([]contexts.Receipt, error)
	// Heads are where the context is: the applied deltas without applied children, and the root hash.
	Heads(ctx context.Context, id domain.ContextID) (heads []domain.Hash, root domain.Hash, err error)
	// Deltas are those of ids that are applied, in any order; at most 4,096 may be asked for.
	Deltas(ctx context.Context, id domain.ContextID, ids []domain.Hash) ([]wire.ContextDagDelta, error)
	// Missing are the parents that pending deltas wait for.
	Missing(ctx context.Context, id domain.ContextID) ([]domain.Hash, error)
	// List describes all contexts of the node.
	List(ctx context.Context) ([]contexts.Info, error)
}

// Access is what a member may do in a context.
type Access uint8

// Levels of access.
const (
	NoAccess  Access = iota
	MightHave        // none now; it may have been a member whom the context was for
	MayRead
	MayWrite
)

// AccessFunc tells what an identity may do in a context, by the node's present knowledge of its governance.
type AccessFunc func(ctx context.Context, id domain.ContextID, member domain.PublicKey) (Access, error)
