package contexts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// guestTick is one tick of a guest's own clock, in ns: it begins anew with each execution, and two executions in one tick
// would give two characters of a text the same id.
const guestTick = 15_260

// timeFloor is what time_now of an execution begins with at least: after everything the state has seen, so that what the
// call writes wins over what it read. Executors differ by up to 65 µs, so that two nodes behind the same state do not
// stamp equal times (convergence.md §5).
func timeFloor(seen uint64, executor domain.PublicKey) uint64 {
	if seen == 0 {
		return 0
	}
	h := sha256.Sum256(executor[:])
	return seen + guestTick + uint64(binary.LittleEndian.Uint16(h[:]))
}

// inTime refuses actions with times that no clock gave the guest and that others would wait for, together with all that
// comes after them.
func (m *manager) inTime(e *entry, actions []crdt.Action) error {
	now := max(uint64(m.opts.Now().UnixNano()), e.local.Seen)
	if t := engine.LatestTime(actions); t > now && t-now > uint64(crdt.MaxClockDrift) {
		return errkind.Invalid.Errorf("the application committed an action with the time %d, which is more than %s ahead of %d",
			t, crdt.MaxClockDrift, now)
	}
	return nil
}

// loadLocal reads what the node knows of a context for itself. A context that has no such row, from a snapshot or an
// earlier version, is looked through.
func (m *manager) loadLocal(ctx context.Context, id domain.ContextID, app domain.ApplicationID) (wire.ContextLocal, error) {
	local, found, err := store.ContextLocal.Get(ctx, m.opts.DB, id)
	if err != nil || found {
		return local, err
	}
	local.Shadows = true
	root, own := crdt.TreeRoot(id), false
	err = store.ScanRows(ctx, m.opts.DB, id, runtime.ScopeState, [32]byte{}, 0, 0, func(rows []runtime.Row) error {
		for i := range rows {
			if t, ok := engine.RowTime(rows[i].K, rows[i].Value); ok {
				local.Seen = max(local.Seen, t)
			}
			own = own || rows[i].K == crdt.EntryKey(root) && !bytes.Equal(rows[i].Value, root[:])
		}
		return nil
	})
	if err == nil && own {
		local.GuestMerge, err = m.mergesItself(ctx, app)
	}
	return local, err
}
