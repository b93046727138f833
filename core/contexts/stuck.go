package contexts

import (
	"time"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Pauses after a migration on access that failed, the first and the longest; they double.
const firstStuck, lastStuck = time.Second, 5 * time.Minute

// stuck is a migration on access that failed: a guest's work, which gives the same again on the same state. It is not run
// anew at every call.
type stuck struct {
	mark  wire.Text   // what was to be run
	state domain.Hash // the root it failed on
	pause time.Duration
	again time.Time
	err   error
}

// remains tells whether a migration is left alone for now: its state is what it was, or it failed a short while ago.
func (s *stuck) remains(mark wire.Text, state domain.Hash, now time.Time) bool {
	return s != nil && s.mark == mark && (s.state == state || now.Before(s.again))
}

// failedWith is what is known after another failure; nil for one that costs no guest's work, or says nothing about the state.
func (s *stuck) failedWith(err error, mark wire.Text, state domain.Hash, now time.Time) *stuck {
	if kind := errkind.Of(err); kind != errkind.Precondition && kind != errkind.Unsupported {
		return nil
	}
	next := &stuck{mark: mark, state: state, pause: firstStuck, err: err}
	if s != nil && s.mark == mark {
		next.pause = min(2*s.pause, lastStuck)
	}
	next.again = now.Add(next.pause)
	return next
}

// stuckOn says why a context does not follow its group; "" = nothing is known to keep it.
func (m *manager) stuckOn(id domain.ContextID) string {
	m.mu.Lock()
	e := m.entries[id]
	m.mu.Unlock()
	if e == nil {
		return ""
	}
	s := e.stuck.Load()
	if s == nil {
		return ""
	}
	return s.err.Error()
}
