package sync

import (
	"slices"
	stdsync "sync"
	"time"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// peerBook is what is known of other nodes: which identities they have proven to have, and which of them and which
// authors use the extension. It lives as long as the process and is bounded.
type peerBook struct {
	network Network

	mu       stdsync.Mutex
	bound    map[binding]map[PeerID]struct{}
	proven   map[membership][]domain.PublicKey
	order    []binding // of bound, oldest first
	extended map[PeerID]struct{}
	plain    map[domain.ContextID]time.Time // when a node without the extension was last heard of
	signers  map[binding]struct{}           // authors who sign
}

// binding is an identity in a context.
type binding struct {
	context  domain.ContextID
	identity domain.PublicKey
}

// membership is a peer in a context.
type membership struct {
	context domain.ContextID
	peer    PeerID
}

// Bounds of a peerBook.
const (
	maxBindings       = 16384
	peersPerBinding   = 8
	identitiesPerPeer = 8
	// plainFor is how long a node without the extension counts as present in a context after it was heard of.
	plainFor = 10 * time.Minute
)

func newPeerBook(n Network) *peerBook {
	return &peerBook{
		network: n, bound: map[binding]map[PeerID]struct{}{}, proven: map[membership][]domain.PublicKey{}, extended: map[PeerID]struct{}{},
		plain: map[domain.ContextID]time.Time{}, signers: map[binding]struct{}{},
	}
}

// bind notes that a peer has proven to have an identity.
func (b *peerBook) bind(id domain.ContextID, identity domain.PublicKey, p PeerID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := binding{id, identity}
	peers := b.bound[key]
	if peers == nil {
		if len(b.order) >= maxBindings {
			delete(b.bound, b.order[0])
			b.order = b.order[1:]
		}
		peers = map[PeerID]struct{}{}
		b.bound[key], b.order = peers, append(b.order, key)
	}
	if len(peers) < peersPerBinding {
		peers[p] = struct{}{}
	}
	if len(b.proven) >= maxBindings {
		clear(b.proven) // they prove it again
	}
	is := membership{id, p}
	if list := b.proven[is]; !slices.Contains(list, identity) {
		list = append([]domain.PublicKey{identity}, list...)
		b.proven[is] = list[:min(len(list), identitiesPerPeer)]
	}
}

// provenBy are the identities that a peer has proven to have in a context.
func (b *peerBook) provenBy(id domain.ContextID, p PeerID) []domain.PublicKey {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.proven[membership{id, p}]
}

// isBound tells whether a peer has proven to have an identity.
func (b *peerBook) isBound(id domain.ContextID, identity domain.PublicKey, p PeerID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.bound[binding{id, identity}][p]
	return ok
}

// isExtended tells whether a peer uses the extension, as far as is known.
func (b *peerBook) isExtended(p PeerID) bool {
	b.mu.Lock()
	_, ok := b.extended[p]
	b.mu.Unlock()
	return ok || b.network.Supports(p, wire.ExtensionProtocol)
}

// extends notes that a peer sent a message of the extension.
func (b *peerBook) extends(p PeerID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.extended) >= maxPeers {
		clear(b.extended) // it is learnt again
	}
	b.extended[p] = struct{}{}
}

// isPlain tells whether a peer is known not to use the extension: what it serves is known, and the extension is not part of
// it. A peer of which nothing is known yet is neither extended nor plain.
func (b *peerBook) isPlain(p PeerID) bool {
	return b.network.Supports(p, wire.SyncProtocol) && !b.isExtended(p)
}

// heardPlain notes that a node without the extension is in a context.
func (b *peerBook) heardPlain(id domain.ContextID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.plain[id] = time.Now() // one for each context followed
}

// leave forgets that there was one.
func (b *peerBook) leave(id domain.ContextID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.plain, id)
}

// hasPlain tells whether there is a node without the extension in a context: among peers, or heard of lately.
func (b *peerBook) hasPlain(id domain.ContextID, peers []PeerID) bool {
	if slices.ContainsFunc(peers, b.isPlain) {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	at, ok := b.plain[id]
	return ok && time.Since(at) < plainFor
}

// signs notes that an author signs its deltas.
func (b *peerBook) signs(id domain.ContextID, author domain.PublicKey) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.signers) >= maxBindings {
		clear(b.signers) // it is learnt again
	}
	b.signers[binding{id, author}] = struct{}{}
}

func (b *peerBook) isSigner(id domain.ContextID, author domain.PublicKey) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.signers[binding{id, author}]
	return ok
}
