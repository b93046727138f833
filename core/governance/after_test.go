package governance_test

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// TestAfter: what somebody lacks is what a plain walk finds, whatever the history and whatever he has.
func TestAfter(t *testing.T) {
	t.Parallel()
	for seed := range uint64(cases(60, 600)) {
		rng := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test
		engine := governance.NewEngine(governance.Genesis{Founder: person(0)}, nil)
		var ops []governance.Op
		past := map[domain.Hash]map[domain.Hash]bool{} // with the operation itself
		named := map[domain.Hash]bool{}
		for i := range 1 + rng.IntN(60) {
			op := governance.Op{ID: sha256.Sum256(fmt.Append(nil, seed, i)), Author: person(rng.IntN(2)), Nonce: uint64(i) + 1, Body: wire.OpNoop{}}
			own := map[domain.Hash]bool{op.ID: true}
			for range rng.IntN(4) {
				back := rng.IntN(1 + rng.IntN(len(ops)+1)) // near ones more often
				if len(ops) == 0 || back >= len(ops) {
					continue
				}
				p := ops[len(ops)-1-back].ID
				op.Parents = append(op.Parents, p)
				named[p] = true
				for id := range past[p] {
					own[id] = true
				}
			}
			past[op.ID] = own
			ops = append(ops, op)
			_, err := engine.Add(op)
			require.NoError(t, err)
		}
		var tips []domain.Hash
		for _, op := range ops {
			if !named[op.ID] {
				tips = append(tips, op.ID)
			}
		}
		require.ElementsMatch(t, tips, engine.Tips(), "seed %d", seed)
		for range 10 {
			have := []domain.Hash{{0xff}} // unknown
			known := map[domain.Hash]bool{}
			for range rng.IntN(4) {
				id := ops[rng.IntN(len(ops))].ID
				have = append(have, id)
				for before := range past[id] {
					known[before] = true
				}
			}
			var want []domain.Hash
			var offered []uint64
			for i, op := range ops {
				if known[op.ID] {
					continue
				}
				want = append(want, op.ID)
				if verdict, _ := engine.Verdict(op.ID); named[op.ID] || !verdict.Code.Refused() || len(op.Parents) == 0 {
					offered = append(offered, uint64(i)+1)
				}
			}
			require.Equal(t, some(want), some(engine.After(have, len(ops))), "seed %d", seed)
			require.Equal(t, some(want)[:min(len(want), 3)], some(engine.After(have, 3)), "seed %d", seed)
			require.Equal(t, offered, engine.Offer(have), "seed %d", seed)
		}
		require.Empty(t, engine.After(engine.Tips(), len(ops)))
	}
}
