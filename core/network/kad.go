package network

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/ipfs/go-cid"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	kb "github.com/libp2p/go-libp2p-kbucket"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// BlobKey is a blob of a context on the DHT.
type BlobKey struct {
	Context domain.ContextID
	Blob    domain.BlobID
}

// record is the key of the reference's record (network-apps.md §3.3).
func (k BlobKey) record() string { return string(wire.BlobRecordKey(k.Context, k.Blob)) }

// cid is the key of the provider records, which the reference does not read: more than one node can be found by it, and
// it does not tell the ids.
func (k BlobKey) cid() (cid.Cid, error) {
	sum, err := multihash.Sum([]byte(k.record()), multihash.SHA2_256, -1)
	if err != nil {
		return cid.Undef, err
	}
	return cid.NewCidV1(cid.Raw, sum), nil
}

// Provider has a blob, by its own word.
type Provider struct {
	Peer PeerID
	// Size is what it said the blob has, in bytes; 0 = it said nothing.
	Size uint64
}

const (
	// Bounds of what this node keeps for others, those of the reference.
	maxRecords, maxRecordSize = 1024, 65 << 10
	maxProvidedKeys           = 1024
	maxProvidersPerKey        = 32
	// recordAge is how long records live, announceAgain when own ones are renewed.
	recordAge, announceAgain = 48 * time.Hour, 12 * time.Hour
	// queryTime bounds an operation on the DHT.
	queryTime = time.Minute
	// noPeersPause is how long an announcement waits for peers before it is tried again.
	noPeersPause = 5 * time.Second
	// MaxProviders bounds FindProviders.
	MaxProviders = 32
)

// kad is the DHT: a server unless it knows that nobody can reach it, so that nodes of one network without any public
// address have a DHT at all.
type kad struct {
	n    *node
	dht  *dht.IpfsDHT
	wake chan struct{}

	// provided are the blobs this node has, those that were named last.
	provided *lru.Cache[BlobKey, announcement]
}

// announcement is of a blob this node has.
type announcement struct {
	size uint64
	next time.Time
}

func newKad(n *node) (*kad, error) {
	provided, err := lru.New[BlobKey, announcement](maxProvidedKeys)
	if err != nil {
		return nil, err
	}
	records, err := newRecordStore()
	if err != nil {
		return nil, err
	}
	providers, err := newProviderStore(n.host.Peerstore())
	if err != nil {
		return nil, err
	}
	k := &kad{n: n, wake: make(chan struct{}, 1), provided: provided}
	k.dht, err = dht.New(n.hostCtx, n.host,
		dht.ProtocolPrefix(kadPrefix),
		dht.Mode(dht.ModeAutoServer),
		dht.BucketSize(20), dht.Concurrency(3),
		dht.Validator(recordValidator{}),
		dht.MaxRecordAge(recordAge),
		dht.Datastore(records),
		dht.ProviderStore(providers),
		dht.RoutingTableRefreshPeriod(5*time.Minute),
	)
	if err != nil {
		return nil, err
	}
	return k, nil
}

func (k *kad) bootstrap(ctx context.Context) error { return k.dht.Bootstrap(ctx) }

func (k *kad) close() error { return k.dht.Close() }

// provide remembers the blob; serve announces it, as often as it takes.
func (k *kad) provide(_ context.Context, key BlobKey, size uint64) error {
	k.provided.Add(key, announcement{size: size})
	signal(k.wake)
	return nil
}

// serve announces what is provided, and again before it is forgotten.
func (k *kad) serve(ctx context.Context) {
	for {
		wait := announceAgain
		for key, a := range k.due(time.Now(), &wait) {
			err := k.announce(ctx, key, a.size)
			if ctx.Err() != nil {
				return
			}
			k.n.m.metrics.dht.WithLabelValues("provide", outcome(err)).Inc()
			next := announceAgain
			if err != nil {
				k.n.m.log.Debug("blob not announced", "blob", key.Blob, "err", err)
				next = noPeersPause
			}
			wait = min(wait, next)
			k.announced(key, a, time.Now().Add(next))
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-k.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (k *kad) due(now time.Time, wait *time.Duration) map[BlobKey]announcement {
	due := map[BlobKey]announcement{}
	for _, key := range k.provided.Keys() {
		a, ok := k.provided.Peek(key)
		switch {
		case !ok:
		case !a.next.After(now):
			due[key] = a
		default:
			*wait = min(*wait, a.next.Sub(now))
		}
	}
	return due
}

// announced sets when the announcement is made again, unless it was replaced meanwhile.
func (k *kad) announced(key BlobKey, a announcement, next time.Time) {
	if now, ok := k.provided.Peek(key); ok && now == a {
		a.next = next
		k.provided.Add(key, a)
	}
}

func (k *kad) announce(ctx context.Context, key BlobKey, size uint64) error {
	ctx, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	value := wire.EncodeBlobRecord(wire.BlobRecord{Peer: []byte(k.n.m.id), Size: size})
	if err := k.dht.PutValue(ctx, key.record(), value); err != nil {
		return fmt.Errorf("put the record: %w", err)
	}
	c, err := key.cid()
	if err != nil {
		return err
	}
	return k.dht.Provide(ctx, c, true)
}

// find asks for the record and for the providers at the same time.
func (k *kad) find(ctx context.Context, key BlobKey, limit int) (_ []Provider, err error) {
	defer func() { k.n.m.metrics.dht.WithLabelValues("find", outcome(err)).Inc() }()
	limit = min(limit, MaxProviders)
	if limit <= 0 {
		return nil, nil
	}
	c, err := key.cid()
	if err != nil {
		return nil, err
	}
	query, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	found := make(chan Provider)
	var asking sync.WaitGroup
	asking.Go(func() { k.findRecords(query, key, found) })
	asking.Go(func() {
		for info := range k.dht.FindProvidersAsync(query, c, limit+1) { // one may be this node
			offer(query, found, Provider{Peer: info.ID})
		}
	})
	go func() { asking.Wait(); close(found) }()
	var out []Provider
	for p := range found {
		if p.Peer != k.n.m.id && merge(&out, p, limit) {
			cancel()
		}
	}
	if err := ctx.Err(); err != nil && len(out) == 0 {
		return nil, fmt.Errorf("find providers of %s: %w", key.Blob, err)
	}
	return out, nil
}

// merge adds a provider once; true when the list is full.
func merge(list *[]Provider, p Provider, limit int) (full bool) {
	for i, known := range *list {
		if known.Peer == p.Peer {
			(*list)[i].Size = max(known.Size, p.Size)
			return false
		}
	}
	if len(*list) < limit {
		*list = append(*list, p)
	}
	return len(*list) >= limit
}

func offer(ctx context.Context, to chan<- Provider, p Provider) {
	select {
	case to <- p:
	case <-ctx.Done():
	}
}

func (k *kad) findRecords(ctx context.Context, key BlobKey, found chan<- Provider) {
	values, err := k.dht.SearchValue(ctx, key.record())
	if err != nil {
		if !errors.Is(err, kb.ErrLookupFailure) {
			k.n.m.log.Debug("ask the DHT", "blob", key.Blob, "err", err)
		}
		return
	}
	for v := range values {
		if p, err := parseRecord(v); err == nil {
			offer(ctx, found, p)
		}
	}
}

func parseRecord(value []byte) (Provider, error) {
	r, err := wire.DecodeBlobRecord(value)
	if err != nil {
		return Provider{}, err
	}
	id, err := peer.IDFromBytes(r.Peer)
	if err != nil {
		return Provider{}, errkind.Invalid.Errorf("the peer in a record: %w", err)
	}
	return Provider{Peer: id, Size: r.Size}, nil
}

// recordValidator takes records of blobs, in the reference's form, and nothing else.
type recordValidator struct{}

// Validate is called for every record that comes in or goes out.
func (recordValidator) Validate(key string, value []byte) error {
	if len(key) != 64 {
		return errkind.Invalid.Errorf("a key of %d bytes is none of a blob", len(key))
	}
	_, err := parseRecord(value)
	return err
}

// Select prefers the first, so that what is put replaces what was there.
func (recordValidator) Select(string, [][]byte) (int, error) { return 0, nil }
