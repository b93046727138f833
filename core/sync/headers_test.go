package sync

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/domain"
)

// TestHeaders_Forget: of a context that is left nothing stays, and the others lose nothing but their oldest.
func TestHeaders_Forget(t *testing.T) {
	t.Parallel()
	var h headers
	stays, left := &follow{}, &follow{}
	id := func(n int) domain.Hash { return domain.Hash{byte(n), byte(n >> 8), byte(n >> 16), 1} }
	const all = maxHeaders + 1000 // the ring has gone round
	for i := range all {
		of := stays
		if i%2 == 0 {
			of = left
		}
		h.put(of, header{id: id(i)})
	}
	h.forget(left)
	require.Len(t, h.known, maxHeaders/2)
	for _, key := range h.order {
		require.Same(t, stays, key.of)
	}
	for i := range maxHeaders {
		h.put(stays, header{id: id(all + i)})
	}
	require.Len(t, h.known, maxHeaders)
	require.Len(t, h.order, maxHeaders)
	_, old := h.get(stays, id(all-1))
	require.False(t, old, "the oldest go first")
	_, fresh := h.get(stays, id(2*all-1001))
	require.True(t, fresh)
}
