package contexts

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/calimero-go/core/core/contexts/executor"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// entry is what the manager keeps of one context between calls. All but id and lock belong to the holder of the lock.
type entry struct {
	id   domain.ContextID
	lock chan struct{} // holds one token while the context is free

	// copy follows the runtime plugin's copy of the rows.
	copy *executor.Copy
	hot  *hotRows
	// meta is the context's row, fresh as long as known is true; heads are then in the Delta column.
	known bool
	meta  wire.ContextMeta
	local wire.ContextLocal
	// graph of its deltas; nil until one is received. wakes is when held ones are looked at.
	graph *graph
	wakes time.Time
	// generation of the context's hot rows.
	generation uint64
	// readOnly has the answers of manager.readOnly, rolesOf the generation of groups they hold for.
	readOnly map[domain.PublicKey]bool
	rolesOf  uint64
	// goal is what goalOf answered, goalsOf the generation of groups it holds for.
	goal    *goal
	goalsOf uint64
	// stuck is the last upgrade on access, if it failed. Anybody may read it.
	stuck atomic.Pointer[stuck]
	// signer has the key of the member who wrote last.
	signer *domain.Signer
	// read has the rows a method read when nothing was known of them, to send ahead the next time.
	read map[string][]runtime.Key
}

// Bounds of what an entry remembers of reads.
const (
	maxReadMethods = 16
	maxReadKeys    = 1024
)

// entry returns the entry of a context, new ones included: it does not say that the context exists.
func (m *manager) entry(id domain.ContextID) *entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries[id]
	if e == nil {
		e = &entry{id: id, lock: make(chan struct{}, 1), copy: executor.NewCopy(), hot: m.hot, generation: m.hot.generation()}
		e.lock <- struct{}{}
		m.entries[id] = e
	}
	return e
}

// acquire takes the context's lock, in order of arrival, waiting as long as ctx allows.
func (e *entry) acquire(ctx context.Context) error {
	select {
	case <-e.lock:
		return nil
	default:
	}
	select {
	case <-e.lock:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (e *entry) release() { e.lock <- struct{}{} }

// signerOf signs with key; nil for nil.
func (e *entry) signerOf(key *domain.PrivateKey) *domain.Signer {
	switch {
	case key == nil:
		return nil
	case e.signer == nil || !e.signer.Of(*key):
		e.signer = key.Signer()
	}
	return e.signer
}

// forget makes the next call read everything again: the store may or may not have taken the last batch.
func (e *entry) forget() {
	e.known, e.graph = false, nil
	e.copy.Reset()
	e.generation = e.hot.generation()
}

// remember notes the rows method read from outside its overlay.
func (e *entry) remember(method string, read []runtime.Key) {
	if len(read) == 0 {
		return
	}
	if e.read == nil || len(e.read) >= maxReadMethods {
		e.read = make(map[string][]runtime.Key)
	}
	e.read[method] = append([]runtime.Key(nil), read[:min(len(read), maxReadKeys)]...)
}
