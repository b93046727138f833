// Package transfer moves blobs between nodes (docs/design/blobs.md): it serves those of this node to members, and fetches
// from peers of a context what is not here. With nodes of the reference it speaks their blob protocol (network-apps.md
// §3.5), which sends a blob from its beginning; with others the extension, which sends the chunks that are missing.
package transfer

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/calimero-go/core/core/blobs"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// PeerID is the id of a node.
type PeerID = network.PeerID

// Network is what the service needs of the network.
type Network interface {
	LocalPeerID() PeerID
	// TopicPeers are the connected peers in a topic.
	TopicPeers(ctx context.Context, topic string) ([]PeerID, error)
	OpenStream(ctx context.Context, p PeerID, protocol string) (Stream, error)
	// Supports tells whether a peer serves a protocol, by what it said of itself.
	Supports(p PeerID, protocol string) bool
	FindProviders(ctx context.Context, key network.BlobKey, limit int) ([]network.Provider, error)
}

// Frames is what serving needs of a stream.
type Frames interface {
	Peer() PeerID
	ReadFrame(ctx context.Context, limit int) ([]byte, error)
	WriteFrame(ctx context.Context, payload []byte) error
}

// Stream is a framed stream; *network.Stream is one.
type Stream interface {
	Frames
	CloseWrite() error
	Close() error
	Reset()
}

// Blobs is what the service needs of the node's blobs; *blobs.Store is one.
type Blobs interface {
	Open(ctx context.Context, id domain.BlobID) (*blobs.Reader, error)
	Info(ctx context.Context, id domain.BlobID) (blobs.Info, error)
	PutExact(ctx context.Context, id domain.BlobID, r io.Reader, limit uint64) (blobs.Info, error)
	Resume(id domain.BlobID, chunks []domain.BlobID) (*blobs.Partial, error)
}

// Options of the service. What is zero gets the default named with it.
type Options struct {
	Network  Network
	Blobs    Blobs
	Identity *identity.Service
	// Bytecode is the blob of a context's application, which everybody may have; kind NotFound for a context that is not
	// here.
	Bytecode func(ctx context.Context, id domain.ContextID) (domain.BlobID, error)
	// Member tells whether an identity is a member of a context.
	Member func(ctx context.Context, id domain.ContextID, member domain.PublicKey) (bool, error)
	// MaxBlob (1 GiB) bounds what is fetched.
	MaxBlob uint64
	// Answer (10 s) bounds the wait for a peer's answer, Frame (30 s) that for each part, Whole (30 min) one transfer.
	Answer, Frame, Whole time.Duration
	Now                  func() time.Time
	Registerer           prometheus.Registerer
	Logger               *slog.Logger
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{{&o.Answer, 10 * time.Second}, {&o.Frame, 30 * time.Second}, {&o.Whole, 30 * time.Minute}} {
		if *d.v <= 0 {
			*d.v = d.d
		}
	}
	if o.MaxBlob == 0 {
		o.MaxBlob = 1 << 30
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Limits are those of streams that peers open to be served.
func (o Options) Limits() network.StreamLimits {
	o = o.withDefaults()
	return network.StreamLimits{PerPeer: maxPerPeer, Total: maxServed, Frame: o.Frame, Whole: o.Whole}
}

// Bounds of the streams that are served at once, on each of both protocols.
const maxPerPeer, maxServed = 4, 32

// Protocol is the stream protocol that Serve answers.
const Protocol = wire.BlobProtocol

// Service moves blobs. Its methods are safe for concurrent use.
type Service struct {
	opts Options
	log  *slog.Logger

	served, fetched, chunks *prometheus.CounterVec

	mu      sync.Mutex
	flights map[domain.BlobID]*flight
	serving map[PeerID]int // streams of the extension
	total   int            // of them
}

// flight is a blob being fetched; whoever wants it too waits for the same.
type flight struct {
	done chan struct{}
	err  error
}

// New makes the service.
func New(opts Options) *Service {
	opts = opts.withDefaults()
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "calimero", Subsystem: "transfer", Name: name,
			Help: help}, []string{label})
	}
	s := &Service{
		opts: opts, log: opts.Logger, flights: map[domain.BlobID]*flight{}, serving: map[PeerID]int{},
		served:  vec("served_total", "Requests of peers for blobs, by outcome.", "outcome"),
		fetched: vec("fetched_total", "Tries to fetch a blob from a peer, by outcome.", "outcome"),
		chunks:  vec("chunks_total", "Chunks of blobs that came, and that were here from an earlier try.", "from"),
	}
	if opts.Registerer != nil {
		opts.Registerer.MustRegister(s.served, s.fetched, s.chunks, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "calimero", Subsystem: "transfer", Name: "serving", Help: "Peers' streams that ask for chunks at the moment.",
		}, func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return float64(s.total)
		}))
	}
	return s
}
