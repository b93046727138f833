package contexts

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// chain is everything that follows from one request: cross-context calls and event handlers, and theirs.
type chain struct {
	mu    sync.Mutex
	calls int
}

// follow takes one more call at depth into the chain, or says which bound it would break.
func (c *chain) follow(o *Options, depth int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case depth > o.XCallDepth:
		return fmt.Errorf("the chain of calls is deeper than %d", o.XCallDepth)
	case c.calls >= o.XCallCalls:
		return fmt.Errorf("one request caused more than %d calls", o.XCallCalls)
	}
	c.calls++
	return nil
}

// XCallFailed is the kind of the event that tells a context's subscribers about a cross-context call or an event
// handler that did not run or failed. Its data is a JSON object: target, function, error.
const XCallFailed = "calimero.CallFailed"

// runXCalls runs the calls that from's committed call asked for, in order, with no lock held. Failures are the
// target's: they are logged, counted and told to subscribers, and the next call runs.
func (m *manager) runXCalls(ctx context.Context, from *call, app domain.ApplicationID, root domain.Hash,
	calls []runtime.XCall) {
	for _, x := range calls {
		err := m.runXCall(ctx, from, app, x)
		if err == nil {
			m.metrics.xcalls.WithLabelValues("ok").Inc()
			continue
		}
		m.metrics.xcalls.WithLabelValues("failed").Inc()
		m.reportFailure(from.context, root, "cross-context call", x.Context.String(), x.Function, err)
	}
}

func (m *manager) runXCall(ctx context.Context, from *call, app domain.ApplicationID, x runtime.XCall) error {
	if m.opts.XCall == XCallOff {
		return fmt.Errorf("cross-context calls are switched off (xcall = \"off\")")
	}
	if err := from.chain.follow(&m.opts, from.depth+1); err != nil {
		return err
	}
	target, err := m.load(ctx, x.Context)
	if err != nil {
		return err
	}
	if m.opts.XCall == XCallSameApplication && target.ApplicationID != app {
		return fmt.Errorf("target context %s runs application %s, not %s (xcall = \"same_application\")", x.Context,
			target.ApplicationID, app)
	}
	executor, err := m.writerOf(ctx, x.Context)
	if err != nil {
		return err
	}
	_, err = m.execute(ctx, &call{
		context: x.Context, method: x.Function, args: x.Params, executor: executor, kind: runtime.XCallKind,
		chain: from.chain, depth: from.depth + 1,
	})
	return err
}

func (m *manager) reportFailure(from domain.ContextID, root domain.Hash, what, target, function string, err error) {
	m.opts.Logger.Warn(what+" failed", "context", from, "target", target, "function", function, "err", err)
	data, jerr := json.Marshal(map[string]string{"target": target, "function": function, "error": err.Error()})
	if jerr != nil { // strings always encode
		m.opts.Logger.Error("encode failure event", "err", jerr)
		return
	}
	m.hub.publish(StateMutation{Context: from, NewRoot: root, Events: []Event{{Kind: XCallFailed, Data: data}}})
}
