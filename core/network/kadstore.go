package network

import (
	"context"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
	"github.com/libp2p/go-libp2p-kad-dht/records"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// recordStore keeps the DHT's records in memory: the last maxRecords of them.
type recordStore struct {
	rows *lru.Cache[ds.Key, []byte]
}

var _ ds.Batching = (*recordStore)(nil)

func newRecordStore() (*recordStore, error) {
	rows, err := lru.New[ds.Key, []byte](maxRecords)
	return &recordStore{rows: rows}, err
}

func (s *recordStore) Get(_ context.Context, key ds.Key) ([]byte, error) {
	if v, ok := s.rows.Get(key); ok {
		return v, nil
	}
	return nil, ds.ErrNotFound
}

func (s *recordStore) Has(_ context.Context, key ds.Key) (bool, error) {
	return s.rows.Contains(key), nil
}

func (s *recordStore) GetSize(ctx context.Context, key ds.Key) (int, error) {
	v, err := s.Get(ctx, key)
	if err != nil {
		return -1, err
	}
	return len(v), nil
}

func (s *recordStore) Put(_ context.Context, key ds.Key, value []byte) error {
	if len(value) > maxRecordSize {
		return errkind.TooLarge.Errorf("a record of %d bytes is not kept; %d are allowed", len(value), maxRecordSize)
	}
	s.rows.Add(key, value)
	return nil
}

func (s *recordStore) Delete(_ context.Context, key ds.Key) error {
	s.rows.Remove(key)
	return nil
}

func (s *recordStore) Query(_ context.Context, q query.Query) (query.Results, error) {
	var entries []query.Entry
	for _, k := range s.rows.Keys() {
		if v, ok := s.rows.Peek(k); ok {
			entries = append(entries, query.Entry{Key: k.String(), Value: v, Size: len(v)})
		}
	}
	return query.NaiveQueryApply(q, query.ResultsWithEntries(q, entries)), nil
}

func (s *recordStore) Batch(context.Context) (ds.Batch, error) { return ds.NewBasicBatch(s), nil }

func (s *recordStore) Sync(context.Context, ds.Key) error { return nil }

func (s *recordStore) Close() error { return nil }

// providerStore keeps who provides what, in memory: the last maxProvidedKeys keys and maxProvidersPerKey of each.
type providerStore struct {
	peers peerstore.Peerstore

	mu   sync.Mutex
	keys *lru.Cache[string, *lru.Cache[PeerID, time.Time]]
}

var _ records.ProviderStore = (*providerStore)(nil)

func newProviderStore(peers peerstore.Peerstore) (*providerStore, error) {
	keys, err := lru.New[string, *lru.Cache[PeerID, time.Time]](maxProvidedKeys)
	return &providerStore{peers: peers, keys: keys}, err
}

func (s *providerStore) AddProvider(_ context.Context, key []byte, p peer.AddrInfo) error {
	if len(p.Addrs) > 0 {
		s.peers.AddAddrs(p.ID, dialable(p.Addrs), recordAge/2)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	providers, ok := s.keys.Get(string(key))
	if !ok {
		var err error
		if providers, err = lru.New[PeerID, time.Time](maxProvidersPerKey); err != nil {
			return err
		}
		s.keys.Add(string(key), providers)
	}
	providers.Add(p.ID, time.Now())
	return nil
}

func (s *providerStore) GetProviders(_ context.Context, key []byte) ([]peer.AddrInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	providers, ok := s.keys.Get(string(key))
	if !ok {
		return nil, nil
	}
	var out []peer.AddrInfo
	for _, p := range providers.Keys() {
		if since, ok := providers.Peek(p); ok && time.Since(since) < recordAge {
			out = append(out, s.peers.PeerInfo(p))
		}
	}
	return out, nil
}

func (s *providerStore) Close() error { return nil }
