package groups_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// TestOffering: pages together are all that a peer lacks, each operation once and after its parents, whatever it asks for
// besides; then it begins anew. No page is larger than it may be.
func TestOffering(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 60_000} { // of these about 70 are a page
		r := newRig(t)
		var all [][]byte
		var ids []domain.Hash
		alias := strings.Repeat("x", size)
		for range 200 {
			ids = append(ids, r.issue(admin, wire.OpGroupAliasSet{Alias: alias}))
			all = append(all, r.sent[len(r.sent)-1].Raw)
		}
		offering := r.service.Offering(r.genesis.Group)
		next := func(have, want []domain.Hash, limit int) (raws [][]byte, more bool) {
			raws, more, err := offering.Next(t.Context(), have, want, limit)
			require.NoError(t, err)
			require.LessOrEqual(t, len(raws), limit)
			bytes := 0
			for _, raw := range raws {
				bytes += len(raw)
			}
			require.LessOrEqual(t, bytes, 4<<20)
			return raws, more
		}
		got, more := next(ids[:10], nil, 30)
		require.True(t, more)
		require.Equal(t, all[10:40], got)
		wanted, more := next(ids[39:40], []domain.Hash{ids[3], {9}, ids[45], ids[3]}, 7)
		require.True(t, more)
		require.Equal(t, [][]byte{all[3], all[45], all[40], all[41], all[42], all[43], all[44]}, wanted)
		got = nil
		for more {
			var page [][]byte
			page, more = next(nil, nil, 1000)
			got = append(got, page...)
		}
		require.Equal(t, all[45:], got)
		id := r.issue(admin, wire.OpNoop{})
		got, more = next(ids[199:], nil, 10)
		require.False(t, more)
		require.Equal(t, [][]byte{r.sent[len(r.sent)-1].Raw}, got)
		got, more = next([]domain.Hash{id}, ids[:100], 100)
		require.False(t, more)
		require.Equal(t, all[:len(got)], got, "as much of it as a page may hold")
		require.Greater(t, len(got), 60)
	}
}
