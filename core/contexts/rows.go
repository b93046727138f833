package contexts

import (
	"context"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// rowReader reads rows of a context for one execution.
type rowReader struct {
	// cold: the runtime plugin has none of the context's rows.
	cold   bool
	misses int
	// next is where the reading ahead of a scope goes on; a scope that was read to its end is in whole.
	next  map[runtime.Scope][32]byte
	whole map[runtime.Scope]bool
}

// warmMisses is how many misses a run with a warm copy has that bring nothing but the rows asked for: those of a new key,
// which the copy cannot know to be absent. With more, the plugin has dropped its copy.
const warmMisses = 4

// rows answers a miss: the keys asked for and, as far as the read-ahead bound goes, the next of the other rows of the
// scopes they are in. A context whose state fits the bound is sent whole with the first miss of a cold copy.
func (m *manager) rows(ctx context.Context, e *entry, keys []runtime.Key, reader *rowReader) ([]runtime.Row, error) {
	rows, err := m.hot.read(ctx, m.opts.DB, e, keys)
	if err != nil {
		return nil, err
	}
	if reader.misses++; !reader.cold && reader.misses <= warmMisses {
		return rows, nil
	}
	if reader.next == nil {
		reader.next, reader.whole = map[runtime.Scope][32]byte{}, map[runtime.Scope]bool{}
	}
	asked := make(map[runtime.Key]struct{}, len(keys))
	scopes := make(map[runtime.Scope]struct{}, 2)
	for _, k := range keys {
		asked[k] = struct{}{}
		scopes[k.Scope] = struct{}{}
	}
	budget := runtime.MaxReadAhead
	for scope := range scopes {
		if reader.whole[scope] {
			continue
		}
		full := false
		err := store.ScanRows(ctx, m.opts.DB, e.id, scope, reader.next[scope], 0, 0, func(page []runtime.Row) error {
			from := len(rows)
			defer func() { m.hot.put(e.generation, rows[from:]) }()
			for _, r := range page {
				size := len(r.K) + len(r.Value)
				if size > runtime.MaxReadAhead {
					continue // asked for when needed
				}
				if budget -= size; budget < 0 {
					full, reader.next[scope] = true, r.K
					return store.Stop
				}
				if _, ok := asked[r.Key]; !ok {
					rows = append(rows, r)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		reader.whole[scope] = !full
	}
	return rows, nil
}
