package runtime

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	runtimev1 "github.com/calimero-go/core/plugin-sdk/proto/runtime/v1"
)

// laneServer is the plugin's end of a lane: one goroutine reads frames, the stream's own runs executions.
type laneServer struct {
	stream runtimev1.RuntimeService_LaneServer
	peer   string // the host's protocol version
	work   chan *serverExec
	send   sync.Mutex

	mu      sync.Mutex
	running *serverExec
	pending *serverExec // has spills, waits for its Execute
	last    uint64      // the execution that ended last
	err     error       // why reading ended
}

func (s *server) Lane(stream runtimev1.RuntimeService_LaneServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	lane, err := s.rt.OpenLane(ctx)
	if err != nil {
		return errkind.ToStatus(err)
	}
	defer func() { _ = lane.Close() }()
	if err := stream.SendHeader(ownProtocol()); err != nil {
		return err
	}
	l := &laneServer{stream: stream, work: make(chan *serverExec, 1)}
	if md, ok := metadata.FromIncomingContext(stream.Context()); ok {
		l.peer = protocolOf(md)
	}
	go func() {
		l.err = l.read(ctx)
		cancel() // stops what runs
		close(l.work)
	}()
	for x := range l.work {
		if err := x.run(lane); err != nil {
			return errkind.ToStatus(err)
		}
	}
	return errkind.ToStatus(l.err)
}

// read handles frames until the host closes the lane or breaks the protocol.
func (l *laneServer) read(ctx context.Context) error {
	for {
		f, err := l.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := l.frame(ctx, f); err != nil {
			return breach("the host", l.peer, err)
		}
	}
}

func (l *laneServer) frame(ctx context.Context, f *runtimev1.HostFrame) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch m := f.GetFrame().(type) {
	case *runtimev1.HostFrame_Execute:
		return l.execute(ctx, f.GetExec(), m.Execute)
	case *runtimev1.HostFrame_Spill:
		return l.spill(f.GetExec(), m.Spill)
	case *runtimev1.HostFrame_Cancel:
		if x := l.running; x != nil && x.id == f.GetExec() {
			x.cancel()
		}
	case *runtimev1.HostFrame_Rows:
		if x := l.running; x != nil && x.id == f.GetExec() {
			return x.gotRows(m.Rows)
		}
	case *runtimev1.HostFrame_Call:
		if x := l.running; x != nil && x.id == f.GetExec() {
			return x.gotResult(m.Call)
		}
	default:
		return unknownMember("frame")
	}
	return nil
}

func (l *laneServer) newExec(id uint64) *serverExec {
	x := &serverExec{lane: l, id: id, answers: make(chan answered, 1)}
	x.out.send = func(s *runtimev1.Spill) error {
		return x.write(&runtimev1.GuestFrame{Exec: id, Frame: &runtimev1.GuestFrame_Spill{Spill: s}})
	}
	return x
}

// spill takes a part for the execution that runs or for the one to come; one for the execution before is late.
func (l *laneServer) spill(id uint64, s *runtimev1.Spill) error {
	x := l.running
	switch {
	case x != nil && x.id == id:
	case id == l.last:
		return nil
	case x != nil:
		return errkind.Invalid.Errorf("a spill of execution %d while %d runs", id, x.id)
	default:
		if l.pending == nil || l.pending.id != id {
			l.pending = l.newExec(id)
		}
		x = l.pending
	}
	if err := x.in.add(s); err != nil && !errors.Is(err, errkind.TooLarge) {
		return err
	}
	return nil // too large shows where the value is used
}

func (l *laneServer) execute(ctx context.Context, id uint64, p *runtimev1.Execute) error {
	if l.running != nil {
		return errkind.Precondition.Errorf("execution %d sent while %d runs", id, l.running.id)
	}
	x := l.pending
	if x == nil || x.id != id {
		x = l.newExec(id)
	}
	l.pending = nil
	e, err := executeFromProto(id, p, &x.in)
	if err == nil {
		err = e.Check()
	}
	if err == nil {
		err = checkAhead(e.State.Ahead)
	}
	switch {
	case errors.Is(err, errkind.TooLarge):
		x.refused = tooLarge(err)
	case err != nil:
		return err
	}
	x.e = e
	deadline := time.Duration(p.GetBudget().GetDeadlineMs()) * time.Millisecond
	x.ctx, x.cancel = context.WithTimeout(ctx, deadline)
	l.running = x
	l.work <- x // never full: an execution that was taken has ended before the next is accepted
	return nil
}

// serverExec is one execution on the plugin's end; it is the Host that the plugin sees.
type serverExec struct {
	lane    *laneServer
	id      uint64
	e       *Execute
	refused *Fault
	ctx     context.Context
	cancel  context.CancelFunc
	out     packer

	// under lane.mu
	in      unpacker
	asked   uint32 // the number of the question that waits for an answer, 0 = none
	rows    []Row  // of the answer so far
	ahead   int
	keys    map[Key]bool
	answers chan answered

	calls  sync.Mutex // one question at a time
	lastID uint32
	trips  uint32
	over   bool
}

var _ Host = (*serverExec)(nil)

type answered struct {
	rows []Row
	data []byte
	err  error
}

func (x *serverExec) write(f *runtimev1.GuestFrame) error {
	x.lane.send.Lock()
	defer x.lane.send.Unlock()
	return x.lane.stream.Send(f)
}

// run runs the execution and sends its Result; an error means that the lane is of no more use.
func (x *serverExec) run(lane Lane) error {
	defer x.cancel()
	r := &Result{Fault: x.refused}
	if x.refused == nil {
		var err error
		if r, err = lane.Execute(x.ctx, x.e, x); err != nil {
			return err
		}
		if r == nil {
			return errkind.Internal.Errorf("execution %d ended without a result", x.id)
		}
	}
	x.cancel() // a question still open is given up
	x.calls.Lock()
	x.over = true
	trips := x.trips
	x.calls.Unlock()
	frame, err := x.result(r)
	if err != nil {
		return err
	}
	frame.Usage.RoundTrips = 1 + trips
	x.lane.mu.Lock()
	x.lane.running, x.lane.last = nil, x.id
	x.lane.mu.Unlock()
	return x.write(&runtimev1.GuestFrame{Exec: x.id, Frame: &runtimev1.GuestFrame_Result{Result: frame}})
}

// result packs r, sending spills and large write-sets; what is over a bound becomes a fault.
func (x *serverExec) result(r *Result) (*runtimev1.Result, error) {
	var limits Limits
	if x.e != nil {
		limits = x.e.Budget.Limits
	}
	if err := r.Check(limits); err != nil {
		return x.fault(r, err), nil
	}
	frame := resultToProto(r, &x.out)
	inline := 0
	for i := range r.Writes {
		inline += inlineSize(&r.Writes[i])
	}
	if inline <= InlineWrites {
		frame.Writes = x.out.rows(r.Writes)
	} else {
		for rest := r.Writes; len(rest) > 0 && x.out.failed == nil; {
			var part []Row
			part, rest = rowFrame(rest)
			rows := &runtimev1.Rows{Rows: x.out.rows(part), More: len(rest) > 0}
			if x.out.failed == nil {
				x.out.failed = x.write(&runtimev1.GuestFrame{Exec: x.id, Frame: &runtimev1.GuestFrame_Writes{Writes: rows}})
			}
		}
	}
	if errors.Is(x.out.failed, errkind.TooLarge) {
		return x.fault(r, x.out.failed), nil
	}
	return frame, x.out.failed
}

func (x *serverExec) fault(r *Result, err error) *runtimev1.Result {
	f := tooLarge(err)
	if !errors.Is(err, errkind.TooLarge) {
		f.Kind = FaultHost
	}
	return &runtimev1.Result{Outcome: &runtimev1.Result_Fault{Fault: faultToProto(f)}, Usage: usageToProto(&r.Usage)}
}

// gotRows takes a frame of an answer to Need; late ones are dropped. Under lane.mu.
func (x *serverExec) gotRows(p *runtimev1.Rows) error {
	if p.GetId() != x.asked {
		return nil
	}
	have := len(x.rows)
	var err error
	if x.rows, err = x.in.rows(x.rows, p.GetRows(), plainRows); err != nil {
		return err
	}
	for i := range x.rows[have:] {
		if r := &x.rows[have+i]; !x.keys[r.Key] {
			x.ahead += r.Size()
		}
	}
	if x.ahead > MaxReadAhead {
		return errkind.Invalid.Errorf("rows read ahead take %d bytes, the limit is %d", x.ahead, MaxReadAhead)
	}
	if !p.GetMore() {
		x.reply(answered{rows: x.rows})
	}
	return nil
}

// gotResult takes the answer to Call, or the host's refusal of Need. Under lane.mu.
func (x *serverExec) gotResult(p *runtimev1.CallResult) error {
	if p.GetId() != x.asked {
		return nil
	}
	switch r := p.GetResult().(type) {
	case *runtimev1.CallResult_Ok:
		data, err := x.in.data(r.Ok)
		if err != nil && !errors.Is(err, errkind.TooLarge) {
			return err
		}
		x.reply(answered{data: data, err: err})
	case *runtimev1.CallResult_Fault:
		kind := errkind.Kind(r.Fault.GetKind())
		if kind > errkind.Internal {
			kind = errkind.Unknown
		}
		x.reply(answered{err: kind.Errorf("%s", r.Fault.GetText())})
	default:
		return unknownMember("call result")
	}
	return nil
}

func (x *serverExec) reply(a answered) {
	x.asked, x.rows, x.keys, x.ahead = 0, nil, nil, 0
	x.answers <- a // has room: one question at a time, and an answer nobody waited for is drained
}

// ask sends one question and waits for its answer; keys are those of a Need.
func (x *serverExec) ask(ctx context.Context, keys []Key, frame func(id uint32) *runtimev1.GuestFrame) (answered, error) {
	x.lastID++
	id := x.lastID
	x.lane.mu.Lock()
	select {
	case <-x.answers: // to a question given up
	default:
	}
	x.asked = id
	if keys != nil {
		x.keys = make(map[Key]bool, len(keys))
		for _, k := range keys {
			x.keys[k] = true
		}
	}
	x.lane.mu.Unlock()
	x.trips++
	if err := x.write(frame(id)); err != nil {
		return answered{}, err
	}
	var err error
	select {
	case a := <-x.answers:
		return a, a.err
	case <-x.ctx.Done():
		err = x.ctx.Err()
	case <-ctx.Done():
		err = ctx.Err()
	}
	x.lane.mu.Lock()
	x.asked, x.rows, x.keys, x.ahead = 0, nil, nil, 0
	x.lane.mu.Unlock()
	return answered{}, errkind.Of(err).Wrap(err)
}

// begin guards a call of the host; the caller unlocks x.calls after nil.
func (x *serverExec) begin(ctx context.Context) error {
	x.calls.Lock()
	err := ctx.Err()
	if err == nil {
		err = x.ctx.Err()
	}
	switch {
	case x.over:
		err = errkind.Precondition.Errorf("call the host: execution %d is over", x.id)
	case err != nil:
		err = errkind.Of(err).Wrap(err)
	default:
		return nil
	}
	x.calls.Unlock()
	return err
}

// Rows asks for rows, in as many Needs as the keys take.
func (x *serverExec) Rows(ctx context.Context, keys []Key) ([]Row, error) {
	if err := x.begin(ctx); err != nil {
		return nil, err
	}
	defer x.calls.Unlock()
	var out []Row
	for len(keys) > 0 {
		part := keys[:min(len(keys), MaxNeedKeys)]
		keys = keys[len(part):]
		a, err := x.ask(ctx, part, func(id uint32) *runtimev1.GuestFrame {
			return &runtimev1.GuestFrame{Exec: x.id, Frame: &runtimev1.GuestFrame_Need{
				Need: &runtimev1.Need{Id: id, Keys: keysToProto(part)}}}
		})
		if err != nil {
			return nil, err
		}
		if out == nil {
			out = a.rows
		} else {
			out = append(out, a.rows...)
		}
	}
	return out, nil
}

func (x *serverExec) call(ctx context.Context, c *runtimev1.Call) ([]byte, error) {
	if err := x.begin(ctx); err != nil {
		return nil, err
	}
	defer x.calls.Unlock()
	return x.callLocked(ctx, c)
}

func (x *serverExec) callLocked(ctx context.Context, c *runtimev1.Call) ([]byte, error) {
	a, err := x.ask(ctx, nil, func(id uint32) *runtimev1.GuestFrame {
		c.Id = id
		return &runtimev1.GuestFrame{Exec: x.id, Frame: &runtimev1.GuestFrame_Call{Call: c}}
	})
	return a.data, err
}

// HostFn calls a host function.
func (x *serverExec) HostFn(ctx context.Context, namespace, function string, args []byte) ([]byte, error) {
	if err := x.begin(ctx); err != nil {
		return nil, err
	}
	defer x.calls.Unlock()
	data := x.out.data(args)
	if x.out.failed != nil {
		return nil, x.out.failed
	}
	return x.callLocked(ctx, &runtimev1.Call{Call: &runtimev1.Call_Host{
		Host: &runtimev1.HostFn{Namespace: namespace, Function: function, Args: data}}})
}
