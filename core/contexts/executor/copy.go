package executor

import (
	"crypto/rand"
	"encoding/binary"

	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// Copy follows what the runtime plugin's copy of one context's rows can be (runtime-protocol.md §3). The core's rows
// are the truth; a Copy only knows their version and the steps the plugin has not been told yet. It is used under the
// context's lock.
type Copy struct {
	epoch, version uint64
	steps          []runtime.Step
	stepBytes      int
	cold           bool
}

// NewCopy starts a new epoch: whatever the plugin has of the context is void.
func NewCopy() *Copy {
	c := &Copy{}
	c.Reset()
	return c
}

// Reset starts a new epoch, after the context's rows were replaced or when it is unknown which ones were written.
func (c *Copy) Reset() {
	var b [8]byte
	for c.epoch = 0; c.epoch == 0; {
		_, _ = rand.Read(b[:]) // never fails
		c.epoch = binary.LittleEndian.Uint64(b[:])
	}
	*c = Copy{epoch: c.epoch, version: 1, cold: true}
}

// Accept tells that the overlay of execution exec was committed as it was, but for corrected rows. Their edits, and those
// of Change, lead from the value before.
func (c *Copy) Accept(exec uint64, corrected []runtime.Row) {
	c.step(runtime.Step{AcceptExec: exec, Rows: corrected})
}

// Change tells that rows were committed that no overlay has.
func (c *Copy) Change(rows []runtime.Row) {
	c.step(runtime.Step{Rows: rows})
}

const (
	// maxStepRows is what one step may carry before it only names its larger rows, maxSmallRow what is not large.
	maxStepRows = 64 << 10
	maxSmallRow = 8 << 10
)

func (c *Copy) step(s runtime.Step) {
	c.version++
	s.To = c.version
	size := 0
	for i := range s.Rows {
		size += s.Rows[i].Size()
	}
	if size > maxStepRows {
		s.Rows, s.Forget = worthSending(s.Rows)
		size = s.Size()
	}
	c.stepBytes += size
	c.steps = append(c.steps, s)
	if len(c.steps) > runtime.MaxSteps || c.stepBytes > runtime.MaxStepBytes {
		c.steps, c.stepBytes, c.cold = []runtime.Step{{To: c.version, Reset: true}}, 0, true
	}
}

// worthSending keeps the small rows, as far as a step goes, and names the others.
func worthSending(rows []runtime.Row) (send []runtime.Row, forget []runtime.Key) {
	size := 0
	for _, r := range rows {
		if n := r.Size(); n <= maxSmallRow && size+n <= maxStepRows {
			size += n
			send = append(send, r)
		} else {
			forget = append(forget, r.Key)
		}
	}
	return send, forget
}

// State is what the next Execute says.
func (c *Copy) State() runtime.State {
	return runtime.State{Epoch: c.epoch, Version: c.version, Steps: c.steps}
}

// Told: the plugin answered an Execute made with State, so it is at that version.
func (c *Copy) Told() {
	c.steps, c.stepBytes, c.cold = nil, 0, false
}

// Lost: the plugin may have nothing of the context any more.
func (c *Copy) Lost() { c.cold = true }
