package contexts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/calimero-go/core/core/contexts/executor"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// ExecuteRequest is a client's call.
type ExecuteRequest struct {
	Context domain.ContextID
	Method  string
	// Args is what the guest's input function returns, usually JSON.
	Args     []byte
	Executor domain.PublicKey
	// Substitute names aliases of identities: `{alias}` in Args becomes the public key.
	Substitute []string
}

// ExecuteResponse is the answer of a call that succeeded.
type ExecuteResponse struct {
	// Output is what the method returned; nil = nothing.
	Output []byte
	Logs   []string
	Events []Event
	// RootHash is the context's after the call.
	RootHash domain.Hash
}

// call is one execution with its place in a chain.
type call struct {
	context    domain.ContextID
	method     string
	args       []byte
	executor   domain.PublicKey
	substitute []string
	kind       runtime.CallKind
	chain      *chain
	depth      int
	// mark adds to the call's batch; nil once that is committed.
	mark func(*store.Batch)
	// due are the handlers of its events that its delta was committed with.
	due *handlersDue
}

// execute runs a call: checks, guest, state engine, one commit; then, with no lock held, the cross-context calls, and in
// the background the event handlers.
func (m *manager) execute(ctx context.Context, c *call) (*ExecuteResponse, error) {
	if _, err := m.check(ctx, c); err != nil {
		return nil, internal(err)
	}
	done, err := m.executeInTurn(ctx, m.entry(c.context), c)
	if err != nil {
		return nil, internal(err)
	}
	m.runXCalls(ctx, c, done.application, done.response.RootHash, done.xcalls)
	m.startHandlers(c, done.response)
	return done.response, nil
}

// executeInTurn takes the context's lock for the call. A panic, which the client answers, leaves the context usable.
func (m *manager) executeInTurn(ctx context.Context, e *entry, c *call) (*outcome, error) {
	if err := e.acquire(ctx); err != nil {
		return nil, fmt.Errorf("wait for context %s: %w", c.context, err)
	}
	ended := false
	defer func() {
		if !ended {
			e.forget()
		}
		e.release()
	}()
	done, err := m.executeLocked(ctx, e, c)
	ended = true
	return done, err
}

// outcome is a call that succeeded.
type outcome struct {
	response    *ExecuteResponse
	application domain.ApplicationID
	xcalls      []runtime.XCall
}

// check is everything that can be refused before the context's lock is taken (governance.md §9.1).
func (m *manager) check(ctx context.Context, c *call) (wire.ContextIdentity, error) {
	meta, err := m.load(ctx, c.context)
	if err != nil {
		return wire.ContextIdentity{}, err
	}
	if meta.RootHash.IsZero() && c.kind != runtime.SyncNext {
		return wire.ContextIdentity{}, &CallError{Type: Uninitialized}
	}
	configured, err := store.ContextConfig.Has(ctx, m.opts.DB, c.context)
	if err != nil {
		return wire.ContextIdentity{}, err
	}
	if !configured {
		return wire.ContextIdentity{}, errkind.Corrupt.Errorf("context %s has no configuration", c.context)
	}
	id, _, err := store.ContextIdentity.Get(ctx, m.opts.DB, store.IdentityKey{Context: c.context, Identity: c.executor})
	if err != nil {
		return wire.ContextIdentity{}, err
	}
	if id.PrivateKey == nil || id.SenderKey == nil {
		return wire.ContextIdentity{}, &CallError{Type: Unauthorized, Context: c.context, PublicKey: c.executor}
	}
	if len(c.substitute) > 0 {
		if err := m.substitute(ctx, c); err != nil {
			return wire.ContextIdentity{}, err
		}
	}
	return id, nil
}

// load reads a context's row.
func (m *manager) load(ctx context.Context, id domain.ContextID) (wire.ContextMeta, error) {
	meta, found, err := store.ContextMeta.Get(ctx, m.opts.DB, id)
	if err == nil && !found {
		err = &CallError{Type: ContextNotFound, Context: id}
	}
	return meta, err
}

// substitute replaces each `{alias}` in the arguments. The scan only moves forward: what stands before the last
// replacement of an earlier alias is not looked at again (guest-abi.md §4.5). Once done, c has none left.
func (m *manager) substitute(ctx context.Context, c *call) error {
	var out []byte
	rest := c.args
	for _, alias := range c.substitute {
		needle := []byte("{" + alias + "}")
		var key []byte
		for {
			i := bytes.Index(rest, needle)
			if i < 0 {
				break
			}
			if key == nil {
				pk, err := m.resolveIdentity(ctx, c.context, alias)
				if err != nil {
					return err
				}
				key = []byte(pk.String())
			}
			out = append(append(out, rest[:i]...), key...)
			rest = rest[i+len(needle):]
		}
	}
	c.args, c.substitute = append(out, rest...), nil
	return nil
}

func (m *manager) resolveIdentity(ctx context.Context, id domain.ContextID, alias string) (domain.PublicKey, error) {
	pk, err := m.opts.Identity.LookupIdentityAlias(ctx, id, alias)
	if err == nil {
		return pk, nil
	}
	if !errors.Is(err, errkind.NotFound) && !errors.Is(err, errkind.Invalid) {
		return pk, err
	}
	if pk, err := domain.ParsePublicKey(alias); err == nil {
		return pk, nil
	}
	return pk, &CallError{Type: AliasResolutionFailed, Alias: alias}
}

// executeLocked runs the guest and commits, under the context's lock.
func (m *manager) executeLocked(ctx context.Context, e *entry, c *call) (*outcome, error) {
	id, err := m.check(ctx, c) // again: the context may have changed or gone while the call waited
	if err != nil {
		return nil, err
	}
	if err := m.refresh(ctx, e); err != nil {
		return nil, err
	}
	if err := m.upgradeOnAccess(ctx, e, c); err != nil {
		return nil, err
	}
	app, found, err := store.Application.Get(ctx, m.opts.DB, e.meta.ApplicationID)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, &CallError{Type: ApplicationNotInstalled, Application: e.meta.ApplicationID}
	}
	h := newHost(m, e)
	defer h.discard()
	res, err := m.run(ctx, e, h, c, e.meta.ApplicationID, app)
	if err != nil {
		return nil, err
	}
	if err := guestError(res.Result); err != nil {
		return nil, err
	}
	out := &outcome{
		response:    &ExecuteResponse{Output: res.Value, Logs: res.Logs, Events: res.Events, RootHash: e.meta.RootHash},
		application: e.meta.ApplicationID, xcalls: res.XCalls,
	}
	switch {
	case res.RootHash == nil:
		e.remember(c.method, res.Read)
	case len(res.Artifact) == 0 && c.kind != runtime.SyncNext:
		return nil, errors.New("context state changed but no actions were generated, discarding execution outcome to " +
			"mitigate potential state inconsistency")
	default:
		readOnly, err := m.readOnly(ctx, e, c.executor)
		if err != nil {
			return nil, err
		}
		if readOnly {
			out.xcalls = nil
			break
		}
		if err := m.commit(ctx, e, h, c, res, id.PrivateKey); err != nil {
			return nil, err
		}
		e.remember(c.method, res.Read)
		out.response.RootHash = e.meta.RootHash
	}
	if len(res.Events) > 0 || res.RootHash != nil {
		m.hub.publish(StateMutation{Context: e.id, NewRoot: out.response.RootHash, Events: res.Events})
	}
	return out, nil
}

// refresh reads the context's row when the entry's is not known to be fresh, and drops heads without a delta.
func (m *manager) refresh(ctx context.Context, e *entry) error {
	if e.known {
		return nil
	}
	meta, err := m.load(ctx, e.id)
	if err != nil {
		return err
	}
	heads := meta.DagHeads[:0:0]
	for _, h := range meta.DagHeads {
		if !h.IsZero() {
			has, err := store.Delta.Has(ctx, m.opts.DB, store.DeltaKey{Context: e.id, Delta: h})
			if err != nil {
				return err
			}
			if !has {
				m.opts.Logger.Warn("a head of the context has no delta and is dropped", "context", e.id, "head", h)
				continue
			}
		}
		heads = append(heads, h)
	}
	meta.DagHeads = heads
	if e.local, err = m.loadLocal(ctx, e.id, meta.ApplicationID); err != nil {
		return err
	}
	e.meta, e.known = meta, true
	return nil
}

// run runs the guest.
func (m *manager) run(ctx context.Context, e *entry, h *host, c *call, id domain.ApplicationID,
	app wire.ApplicationRecord) (*executor.Result, error) {
	module, err := m.opts.Modules.Module(ctx, id, app)
	if errors.Is(err, errkind.NotFound) {
		return nil, &CallError{Type: ApplicationNotInstalled, Application: id, Err: err}
	}
	if err != nil {
		return nil, err
	}
	return m.opts.Executor.Run(ctx, &executor.Request{
		Application: id, Module: module.ID, Wasm: module.Open,
		Context: e.id, Executor: c.executor, Method: c.method, Input: c.args, Kind: c.kind,
		TimeFloor:  timeFloor(e.local.Seen, c.executor),
		HasPrivate: c.kind != runtime.Migrate, Detail: detailFor(e, c),
		Copy: e.copy, Host: h, Restart: h.discard,
		Ahead: func(ctx context.Context) ([]runtime.Row, error) { return h.ahead(ctx, e.read[c.method]) },
	})
}

// detailFor asks for the values of all rows where the guest's are committed, or may turn out to be.
func detailFor(e *entry, c *call) runtime.WriteDetail {
	if e.local.GuestMerge || c.kind == runtime.Init || c.kind == runtime.SyncNext {
		return runtime.WritesFull
	}
	return runtime.WritesHashes
}

// guestError is what the caller sees when the guest failed or answered with an error.
func guestError(r *runtime.Result) error {
	switch {
	case r.Fault != nil:
		return &CallError{Type: FunctionCall, Text: r.Fault.Text}
	case r.AppError != nil:
		return functionCall("the method call returned an error: %s", byteList(r.AppError))
	}
	return nil
}

// byteList prints bytes as the reference does: `[34, 110]`.
func byteList(b []byte) string {
	var s strings.Builder
	s.WriteByte('[')
	for i, x := range b {
		if i > 0 {
			s.WriteString(", ")
		}
		s.WriteString(strconv.Itoa(int(x)))
	}
	s.WriteByte(']')
	return s.String()
}
