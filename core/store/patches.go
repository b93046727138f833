package store

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

// A large state row that changes a little is not written again: the change is a patch beside it (docs/design/storage.md).
// Whoever reads rows gets whole values.
const (
	// minPatched is the size from which a row may have patches: a reader looks for those of such rows only.
	minPatched = 4 << 10
	// maxPatches bounds the patches of a row, and with them the time of its first read; their bytes are at most half of
	// the row's.
	maxPatches = 512
	// maxPatchContexts is of how many contexts the patched rows are known at a time.
	maxPatchContexts = 4096
	// patchedReads is how often a row is read that is written at the same time.
	patchedReads = 3
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// patched is what is known of a large row.
type patched struct {
	// count and bytes are those of its patches. What is stored of the row itself is known only when read.
	count, bytes int
	read         bool
	size         int
	sum          uint32
}

// patches knows which rows have patches, of the contexts of which a row was read. A context's rows are written by one at
// a time, who has read them.
type patches struct {
	writes *prometheus.CounterVec

	mu       sync.Mutex
	contexts map[domain.ContextID]map[crdt.StateKey]patched
}

func newPatches(reg prometheus.Registerer) *patches {
	p := &patches{
		contexts: map[domain.ContextID]map[crdt.StateKey]patched{},
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "calimero", Subsystem: "store", Name: "large_row_writes_total",
			Help: "Writes of state rows of 4 KiB and more by form: whole, or a patch of what is stored.",
		}, []string{"form"}),
	}
	if reg != nil {
		reg.MustRegister(p.writes)
	}
	return p
}

// load makes sure that the patched rows of a context are known.
func (p *patches) load(ctx context.Context, r Reader, id domain.ContextID) error {
	p.mu.Lock()
	_, loaded := p.contexts[id]
	p.mu.Unlock()
	if loaded {
		return nil
	}
	rows := map[crdt.StateKey]patched{}
	span := storage.Prefix(string(wire.ColumnStatePatch), wire.ContextKey(id))
	span.KeysOnly = true
	err := r.scan(ctx, span, func(items []storage.Item) error {
		for _, item := range items {
			_, key, _, err := wire.ParseStatePatchKey(item.Key)
			if err != nil {
				return errkind.Corrupt.Errorf("read key %x of column %s: %w", item.Key, wire.ColumnStatePatch, err)
			}
			row := rows[key]
			row.count++
			rows[key] = row
		}
		return nil
	})
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for other := range p.contexts {
		if len(p.contexts) < maxPatchContexts {
			break
		}
		delete(p.contexts, other)
	}
	p.contexts[id] = rows
	return nil
}

// get returns what is known of a row; loaded is false when nothing is known of the context.
func (p *patches) get(id domain.ContextID, key crdt.StateKey) (row patched, loaded bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rows, loaded := p.contexts[id]
	return rows[key], loaded
}

// learn takes over what is known of rows of a context, if anything is known of it.
func (p *patches) learn(id domain.ContextID, known map[crdt.StateKey]patched) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rows, loaded := p.contexts[id]
	if !loaded {
		return
	}
	for key, row := range known {
		if row.count == 0 && row.size < minPatched {
			delete(rows, key)
		} else {
			rows[key] = row
		}
	}
}

// read takes over what a reader found. What is known already is kept: a writer may have committed since.
func (p *patches) read(id domain.ContextID, found map[crdt.StateKey]patched) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rows, loaded := p.contexts[id]
	if !loaded {
		return
	}
	for key, row := range found {
		if !rows[key].read && (row.count > 0 || row.size >= minPatched) {
			rows[key] = row
		}
	}
}

func (p *patches) forget(id domain.ContextID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.contexts, id)
}

// errChanged: a row and its patches do not belong together.
var errChanged = errors.New("the row was written while it was read")

// whole makes the patches of a row in the value that is stored of it. known is what there is to know for its next write.
func whole(ctx context.Context, r Reader, id domain.ContextID, key crdt.StateKey, stored []byte) (value []byte, known patched, err error) {
	known = patched{read: true, size: len(stored), sum: crc32.Checksum(stored, castagnoli)}
	value = stored
	err = r.scan(ctx, storage.Prefix(string(wire.ColumnStatePatch), wire.StateKey(id, key)), func(items []storage.Item) error {
		for _, item := range items {
			p, err := wire.Decode[wire.StatePatch](item.Value)
			if err != nil {
				return errkind.Corrupt.Errorf("read row %x of column %s: %w", item.Key, wire.ColumnStatePatch, err)
			}
			if p.Row != known.sum || !engine.Fits(value, p.Edits) {
				return errChanged
			}
			if known.count == 0 {
				value = slices.Concat(stored, make([]byte, len(stored)/8))[:len(stored)] // to be edited in place
			}
			for _, e := range slices.Backward(p.Edits) {
				value = slices.Replace(value, e.Off, e.Off+e.Del, e.Ins...)
			}
			known.count++
			known.bytes += len(item.Value)
		}
		return nil
	})
	return value, known, err
}

// complete makes the values whole that were read as they are stored. again reads one of them anew.
func complete(ctx context.Context, r Reader, id domain.ContextID, rows []runtime.Row, again func(runtime.Key) ([]byte, error)) error {
	db, live := r.(*DB)
	known := map[crdt.StateKey]patched{}
	for i := range rows {
		row := &rows[i]
		if row.Scope != runtime.ScopeState || row.Absent || len(row.Value) < minPatched {
			continue
		}
		if live {
			if p, loaded := db.patches.get(id, row.K); loaded && p.count == 0 {
				known[row.K] = patched{read: true, size: len(row.Value), sum: crc32.Checksum(row.Value, castagnoli)}
				continue
			}
		}
		stored := row.Value
		for n := 1; ; n++ {
			value, p, err := whole(ctx, r, id, row.K, stored)
			if err == nil {
				row.Value, known[row.K] = value, p
				break
			}
			if !errors.Is(err, errChanged) {
				return err
			}
			if n == patchedReads {
				return errkind.Corrupt.Errorf("row %x of context %s and its patches do not belong together; restore the "+
					"context's state from a peer or a backup", row.K, id)
			}
			if stored, err = again(row.Key); err != nil {
				return err
			}
		}
	}
	if live && len(known) > 0 {
		db.patches.read(id, known)
	}
	return nil
}

// rowWrites are the large rows of a batch.
type rowWrites struct {
	contexts map[domain.ContextID]map[crdt.StateKey]patched
	forms    map[string]int
}

// state adds a write of a state row: as a patch if it has edits that are worth it and the patched row is known.
func (b *Batch) state(id domain.ContextID, row runtime.Row) {
	rows := b.large()[id]
	if rows == nil {
		rows = map[crdt.StateKey]patched{}
		b.rows.contexts[id] = rows
	}
	was, loaded := rows[row.K]
	if !loaded {
		was, loaded = b.db.patches.get(id, row.K)
	}
	if was.read && !row.Absent && len(row.Edits) > 0 {
		if b.patch(id, row, &was) {
			rows[row.K] = was
			b.rows.forms["patch"]++
			return
		}
	}
	if was.count > 0 || !loaded {
		b.deletePrefix(wire.ColumnStatePatch, false, wire.StateKey(id, row.K))
	}
	now := patched{read: true}
	if row.Absent {
		b.delete(wire.ColumnState, false, wire.StateKey(id, row.K))
	} else {
		b.put(wire.ColumnState, false, wire.StateKey(id, row.K), row.Value)
		if now.size = len(row.Value); now.size >= minPatched {
			now.sum = crc32.Checksum(row.Value, castagnoli)
			b.rows.forms["whole"]++
		}
	}
	rows[row.K] = now
}

// patch adds a patch to b, unless the row is better written whole.
func (b *Batch) patch(id domain.ContextID, row runtime.Row, was *patched) bool {
	size := row.Size()
	if was.size < minPatched || was.count >= maxPatches || was.bytes+size > was.size/2 {
		return false
	}
	raw, err := wire.Encode(wire.StatePatch{Row: was.sum, Edits: row.Edits})
	if err != nil {
		b.fail(errkind.Invalid.Errorf("encode patch of row %x: %w", row.K, err))
		return false
	}
	b.put(wire.ColumnStatePatch, false, wire.StatePatchKey(id, row.K, uint32(was.count)), raw)
	was.count++
	was.bytes += len(raw)
	return true
}

// large makes sure that what b writes of large rows is known once it is committed.
func (b *Batch) large() map[domain.ContextID]map[crdt.StateKey]patched {
	if b.rows.contexts != nil {
		return b.rows.contexts
	}
	b.rows = rowWrites{contexts: map[domain.ContextID]map[crdt.StateKey]patched{}, forms: map[string]int{}}
	b.AfterCommit(func(err error) {
		for id, rows := range b.rows.contexts {
			switch {
			case err == nil && rows != nil:
				b.db.patches.learn(id, rows)
			case err == nil || errors.Is(err, ErrOutcomeUnknown):
				b.db.patches.forget(id)
			}
		}
		if err == nil {
			for form, n := range b.rows.forms {
				b.db.patches.writes.WithLabelValues(form).Add(float64(n))
			}
		}
	})
	return b.rows.contexts
}

// readStored reads what is stored of one row.
func readStored(ctx context.Context, r Reader, id domain.ContextID, key runtime.Key) ([]byte, error) {
	values, err := r.get(ctx, false, []storage.Key{{Column: string(wire.ColumnState), Key: wire.StateKey(id, key.K)}})
	if err != nil {
		return nil, fmt.Errorf("read state of context %s: %w", id, err)
	}
	return values[0].Bytes, nil
}
