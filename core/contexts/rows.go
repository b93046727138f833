package contexts

import (
	"context"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// rows answers a miss: the keys asked for, and, as far as the read-ahead bound goes, the other rows of the scopes they
// are in. A context whose state fits the bound is sent whole with its first miss.
func (m *manager) rows(ctx context.Context, id domain.ContextID, keys []runtime.Key) ([]runtime.Row, error) {
	rows, err := store.GetRows(ctx, m.opts.DB, id, keys)
	if err != nil {
		return nil, err
	}
	asked := make(map[runtime.Key]struct{}, len(keys))
	scopes := make(map[runtime.Scope]struct{}, 2)
	for _, k := range keys {
		asked[k] = struct{}{}
		scopes[k.Scope] = struct{}{}
	}
	budget := runtime.MaxReadAhead
	for scope := range scopes {
		err := store.ScanRows(ctx, m.opts.DB, id, scope, [32]byte{}, 0, 0, func(page []runtime.Row) error {
			for _, r := range page {
				if budget -= len(r.K) + len(r.Value); budget < 0 {
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
	}
	return rows, nil
}
