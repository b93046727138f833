package membership

import (
	"context"
	"time"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Sweep forgets groups that nobody follows, and counts those that are left.
func (m *Manager) Sweep(now time.Time) int {
	for _, g := range m.all() {
		m.forgets(g, now)
	}
	return len(m.all())
}

// Learn takes the genesis of a group that was begun without one, as a peer gives it.
func (m *Manager) Learn(ctx context.Context, inviter domain.PublicKey, genesis wire.GroupGenesis) error {
	return m.traffic(genesis.Group).learn(ctx, inviter, genesis)
}
