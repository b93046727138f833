package runtime

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	runtimev1 "github.com/calimero-go/core/plugin-sdk/proto/runtime/v1"
)

// ErrNotStarted is wrapped by errors of Lane.Execute when the lane was broken before: the plugin has not seen the
// execution, and another lane can run it.
var ErrNotStarted = errors.New("the lane was broken before the execution began")

// ErrSilent is wrapped by errors of Lane.Execute when the plugin gave no Result within ResultGrace after the deadline: its
// process should be killed.
var ErrSilent = errors.New("no result in time")

// ResultGrace is how long after its deadline an execution's Result may come.
const ResultGrace = 2 * time.Second

// maxBlobRead is the most bytes of one BlobRead (guest-abi.md §3.1).
const maxBlobRead = 10 << 20

// laneClient is the host's end of a lane.
type laneClient struct {
	link   base.Link
	stream runtimev1.RuntimeService_LaneClient
	cancel context.CancelFunc
	peer   string // the plugin's protocol version
	busy   atomic.Bool
	broken atomic.Bool
	send   sync.Mutex
}

func (c *client) OpenLane(ctx context.Context) (Lane, error) {
	life, cancel := c.link.Join(metadata.AppendToOutgoingContext(ctx, protocolKey, strconv.Itoa(Protocol)))
	stream, err := c.rpc.Lane(life)
	if err != nil {
		cancel()
		return nil, c.link.Err(ctx, err)
	}
	header, err := stream.Header() // sent once the plugin has opened its end
	if err == nil && header == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		cancel()
		return nil, c.link.Err(ctx, err)
	}
	return &laneClient{link: c.link, stream: stream, cancel: cancel, peer: protocolOf(header)}, nil
}

// Close ends the lane; an execution on it is given up.
func (l *laneClient) Close() error {
	l.broken.Store(true)
	l.cancel()
	return nil
}

// Execute runs e. It fails with kind Unavailable, retryable, when the plugin is gone or silent ResultGrace after the
// deadline, and the lane is closed then: the host is to kill the process. After any error but those of e.Check the
// lane is of no more use.
func (l *laneClient) Execute(ctx context.Context, e *Execute, host Host) (*Result, error) {
	if !l.busy.CompareAndSwap(false, true) {
		return nil, errkind.Precondition.Errorf("start execution %d: its lane is running another", e.ID)
	}
	defer l.busy.Store(false)
	if err := e.Check(); err != nil {
		return nil, err
	}
	if l.broken.Load() || l.stream.Context().Err() != nil {
		l.broken.Store(true)
		return nil, errkind.Retryable(errkind.Unavailable.Errorf("run on %s: %w", l.link.Name, ErrNotStarted))
	}
	x := &clientExec{lane: l, ctx: ctx, e: e, host: host}
	x.out.send = func(s *runtimev1.Spill) error {
		return x.write(&runtimev1.HostFrame{Exec: e.ID, Frame: &runtimev1.HostFrame_Spill{Spill: s}})
	}
	r, err := x.run()
	if err != nil {
		_ = l.Close()
	}
	return r, err
}

// clientExec is one execution on the host's end.
type clientExec struct {
	lane   *laneClient
	ctx    context.Context
	e      *Execute
	host   Host
	out    packer
	in     unpacker
	silent atomic.Bool

	writes  []Row
	written int

	// hostCtx is made at the first call of the host; end is the deadline.
	end      time.Time
	hostCtx  context.Context
	stopHost context.CancelFunc

	// stopped: the execution was told to stop, for fault (its outcome then) or failed (Execute's error).
	stopped bool
	fault   *Fault
	failed  error
}

func (x *clientExec) write(f *runtimev1.HostFrame) error {
	x.lane.send.Lock()
	defer x.lane.send.Unlock()
	return x.lane.stream.Send(f)
}

func (x *clientExec) run() (*Result, error) {
	frame := executeToProto(x.e, &x.out)
	if errors.Is(x.out.failed, errkind.TooLarge) {
		return &Result{Fault: tooLarge(x.out.failed)}, nil
	}
	if x.out.failed != nil {
		return nil, x.notStarted(x.out.failed)
	}
	deadline, fault := x.deadline()
	if fault != nil {
		return &Result{Fault: fault}, nil
	}
	frame.Budget.DeadlineMs = uint32(deadline.Milliseconds())
	x.end = time.Now().Add(deadline)
	if err := x.write(&runtimev1.HostFrame{Exec: x.e.ID, Frame: &runtimev1.HostFrame_Execute{Execute: frame}}); err != nil {
		return nil, x.notStarted(err)
	}
	grace := time.AfterFunc(deadline+ResultGrace, func() {
		x.silent.Store(true)
		x.lane.cancel()
	})
	defer grace.Stop()
	// The plugin minds the deadline itself.
	stop := context.AfterFunc(x.ctx, func() {
		if !errors.Is(x.ctx.Err(), context.DeadlineExceeded) {
			x.sendCancel(context.Cause(x.ctx).Error())
		}
	})
	defer stop()
	defer func() {
		if x.stopHost != nil {
			x.stopHost()
		}
	}()
	for {
		f, err := x.lane.stream.Recv()
		if err != nil {
			return nil, x.broke(err)
		}
		r, err := x.frame(f)
		if err != nil {
			return nil, err
		}
		if r != nil {
			return x.outcome(r)
		}
	}
}

// deadline is what is left of the execution's and of the caller's time, in whole milliseconds.
func (x *clientExec) deadline() (time.Duration, *Fault) {
	if err := x.ctx.Err(); err != nil {
		return 0, endedFault(err)
	}
	d := time.Duration(x.e.Budget.DeadlineMillis) * time.Millisecond
	if end, ok := x.ctx.Deadline(); ok {
		d = min(d, time.Until(end))
	}
	if d <= 0 {
		return 0, endedFault(context.DeadlineExceeded)
	}
	return max(d.Truncate(time.Millisecond), time.Millisecond), nil
}

func endedFault(err error) *Fault {
	if errors.Is(err, context.DeadlineExceeded) {
		return &Fault{Kind: FaultDeadline, Text: "deadline exceeded before the execution began"}
	}
	return &Fault{Kind: FaultCancelled, Text: "execution cancelled before it began"}
}

func tooLarge(err error) *Fault { return &Fault{Kind: FaultTooLarge, Text: err.Error()} }

// notStarted is the error for an execution that could not be sent.
func (x *clientExec) notStarted(err error) error {
	err = x.broke(err)
	if errkind.IsRetryable(err) {
		return errkind.Retryable(errkind.Unavailable.Errorf("%w: %w", ErrNotStarted, err))
	}
	return err
}

// broke is the error for a lane whose stream failed.
func (x *clientExec) broke(err error) error {
	if x.silent.Load() {
		return errkind.Retryable(errkind.Unavailable.Errorf(
			"%w: %s gave no result of execution %d of %q within %v after its deadline; its lane is closed",
			ErrSilent, x.lane.link.Name, x.e.ID, x.e.Method, ResultGrace))
	}
	if errors.Is(err, io.EOF) {
		// On sending, EOF only says that the stream is over; on receiving, that the plugin ended it without a Result.
		if _, rerr := x.lane.stream.Recv(); rerr != nil && !errors.Is(rerr, io.EOF) {
			err = rerr
		} else {
			return errkind.Internal.Errorf("%s ended a lane without a result of execution %d", x.lane.link.Name, x.e.ID)
		}
	}
	// The lane's life is not the caller's: while that goes on, an end of the stream is the plugin's or the host's doing.
	return x.lane.link.Err(context.Background(), err)
}

func (x *clientExec) breach(err error) error { return breach(x.lane.link.Name, x.lane.peer, err) }

func (x *clientExec) sendCancel(reason string) {
	if len(reason) > 1024 {
		reason = reason[:1024]
	}
	// A failure shows on the receiving side.
	_ = x.write(&runtimev1.HostFrame{Exec: x.e.ID,
		Frame: &runtimev1.HostFrame_Cancel{Cancel: &runtimev1.Cancel{Reason: validUTF8(reason)}}})
}

// stop tells the plugin to stop; frames are drained until the Result.
func (x *clientExec) stop(fault *Fault, failed error) {
	if x.stopped {
		return
	}
	x.stopped, x.fault, x.failed = true, fault, failed
	x.writes = nil
	reason := "stopped by the host"
	if fault != nil {
		reason = fault.Text
	}
	x.sendCancel(reason)
}

// outcome is what Execute returns for the plugin's Result.
func (x *clientExec) outcome(r *Result) (*Result, error) {
	if x.failed != nil {
		return nil, x.failed
	}
	if x.fault == nil {
		if err := r.Check(x.e.Budget.Limits); errors.Is(err, errkind.TooLarge) {
			x.fault = tooLarge(err)
		} else if err != nil {
			return nil, x.breach(err)
		}
	}
	if x.fault != nil {
		return &Result{Fault: x.fault, Usage: r.Usage}, nil
	}
	return r, nil
}

// frame handles one frame; it returns the Result when that is it.
func (x *clientExec) frame(f *runtimev1.GuestFrame) (*Result, error) {
	if f.GetExec() != x.e.ID {
		return nil, x.breach(errkind.Invalid.Errorf("a frame of execution %d while %d runs", f.GetExec(), x.e.ID))
	}
	switch m := f.GetFrame().(type) {
	case *runtimev1.GuestFrame_Result:
		if x.stopped {
			return &Result{Usage: usageFromProto(m.Result.GetUsage())}, nil
		}
		r, err := resultFromProto(m.Result, x.writes, &x.in)
		if err != nil {
			return nil, x.breach(err)
		}
		return r, nil
	case *runtimev1.GuestFrame_Spill:
		return nil, x.spill(m.Spill)
	case *runtimev1.GuestFrame_Writes:
		return nil, x.addWrites(m.Writes)
	case *runtimev1.GuestFrame_Need:
		if !x.stopped {
			return nil, x.need(m.Need)
		}
	case *runtimev1.GuestFrame_Call:
		if !x.stopped {
			return nil, x.call(m.Call)
		}
	case *runtimev1.GuestFrame_Blob:
		if !x.stopped {
			return nil, x.blob(m.Blob)
		}
	default:
		return nil, x.breach(unknownMember("frame"))
	}
	return nil, nil
}

func (x *clientExec) spill(s *runtimev1.Spill) error {
	if x.stopped {
		return nil
	}
	err := x.in.add(s)
	if errors.Is(err, errkind.TooLarge) {
		x.stop(tooLarge(err), nil)
		return nil
	}
	if err != nil {
		return x.breach(err)
	}
	return nil
}

func (x *clientExec) addWrites(rows *runtimev1.Rows) error {
	if x.stopped {
		return nil
	}
	if n := len(x.writes) + len(rows.GetRows()); n > MaxWrites {
		x.stop(tooLarge(errkind.TooLarge.Errorf("the execution wrote %d rows, the limit is %d", n, MaxWrites)), nil)
		return nil
	}
	have := len(x.writes)
	var err error
	if x.writes, err = x.in.rows(x.writes, rows.GetRows(), writtenRows); err != nil {
		return x.breach(err)
	}
	for i := range x.writes[have:] {
		x.written += x.writes[have+i].Size()
	}
	if x.written > MaxWriteBytes {
		x.stop(tooLarge(over("rows written, in bytes", uint64(x.written), MaxWriteBytes)), nil)
	}
	return nil
}

// hostContext ends with the caller's context, at the execution's deadline and with the lane.
func (x *clientExec) hostContext() context.Context {
	if x.hostCtx == nil {
		ctx, cancel := context.WithDeadline(x.ctx, x.end)
		stop := context.AfterFunc(x.lane.stream.Context(), cancel)
		x.hostCtx = ctx
		x.stopHost = func() {
			stop()
			cancel()
		}
	}
	return x.hostCtx
}

// fatal are host errors that end the execution with an error instead of being a fault of the guest's call.
func fatal(err error) bool {
	k := errkind.Of(err)
	return k == errkind.Internal || k == errkind.Unavailable
}

func (x *clientExec) need(n *runtimev1.Need) error {
	if len(n.GetKeys()) > MaxNeedKeys {
		return x.breach(errkind.TooLarge.Errorf("rows of %d keys needed at once, the limit is %d", len(n.GetKeys()), MaxNeedKeys))
	}
	keys, err := keysFromProto(n.GetKeys())
	if err != nil {
		return x.breach(err)
	}
	rows, err := x.host.Rows(x.hostContext(), keys)
	if err != nil {
		return x.refuse(n.GetId(), fmt.Errorf("read rows: %w", err))
	}
	for rows = answer(keys, rows); ; {
		var frame []Row
		frame, rows = rowFrame(rows)
		packed := x.out.rows(frame)
		if x.out.failed != nil {
			return x.notSent(n.GetId(), x.out.failed)
		}
		err := x.write(&runtimev1.HostFrame{Exec: x.e.ID, Frame: &runtimev1.HostFrame_Rows{
			Rows: &runtimev1.Rows{Id: n.GetId(), Rows: packed, More: len(rows) > 0}}})
		if err != nil {
			return x.broke(err)
		}
		if len(rows) == 0 {
			return nil
		}
	}
}

// answer completes rows: keys asked for and not in it are absent, and what goes beyond the keys fits MaxReadAhead.
func answer(keys []Key, rows []Row) []Row {
	asked := make(map[Key]bool, len(keys))
	for _, k := range keys {
		asked[k] = true
	}
	out := make([]Row, 0, max(len(keys), len(rows)))
	ahead := 0
	for i := range rows {
		if !asked[rows[i].Key] {
			if _, answered := asked[rows[i].Key]; answered {
				continue // the same row twice
			}
			if ahead += rows[i].Size(); ahead > MaxReadAhead {
				continue
			}
		}
		asked[rows[i].Key] = false
		out = append(out, rows[i])
	}
	for _, k := range keys {
		if asked[k] {
			asked[k] = false
			out = append(out, Row{Key: k, Absent: true})
		}
	}
	return out
}

// notSent handles an answer that could not be packed.
func (x *clientExec) notSent(id uint32, err error) error {
	if !errors.Is(err, errkind.TooLarge) {
		return x.broke(err)
	}
	if err := x.sendFault(id, err); err != nil {
		return err
	}
	x.stop(tooLarge(err), nil)
	return nil
}

// refuse answers a call with the host's error.
func (x *clientExec) refuse(id uint32, err error) error {
	if werr := x.sendFault(id, err); werr != nil {
		return werr
	}
	if fatal(err) {
		x.stop(nil, err)
	}
	return nil
}

func (x *clientExec) sendFault(id uint32, err error) error {
	text := err.Error()
	if len(text) > maxFaultText {
		text = text[:maxFaultText]
	}
	werr := x.write(&runtimev1.HostFrame{Exec: x.e.ID, Frame: &runtimev1.HostFrame_Call{Call: &runtimev1.CallResult{
		Id: id, Result: &runtimev1.CallResult_Fault{Fault: &runtimev1.CallFault{
			Kind: uint32(errkind.Of(err)), Text: validUTF8(text)}}}}})
	if werr != nil {
		return x.broke(werr)
	}
	return nil
}

func (x *clientExec) call(c *runtimev1.Call) error {
	ok, err := x.ask(c)
	var b *breachError
	if errors.As(err, &b) {
		return x.breach(b.err)
	}
	if err != nil {
		return x.refuse(c.GetId(), err)
	}
	data := x.out.data(ok)
	if x.out.failed != nil {
		return x.notSent(c.GetId(), x.out.failed)
	}
	err = x.write(&runtimev1.HostFrame{Exec: x.e.ID, Frame: &runtimev1.HostFrame_Call{
		Call: &runtimev1.CallResult{Id: c.GetId(), Result: &runtimev1.CallResult_Ok{Ok: data}}}})
	if err != nil {
		return x.broke(err)
	}
	return nil
}

// breachError marks a call that breaks the protocol, apart from one the host refuses.
type breachError struct{ err error }

func (b *breachError) Error() string { return b.err.Error() }

// ask calls the host. The answer to BlobOpen is the size as 8 bytes, little-endian.
func (x *clientExec) ask(c *runtimev1.Call) ([]byte, error) {
	switch m := c.GetCall().(type) {
	case *runtimev1.Call_Host:
		args, err := x.in.data(m.Host.GetArgs())
		if err != nil {
			return nil, &breachError{err}
		}
		return x.host.HostFn(x.hostContext(), m.Host.GetNamespace(), m.Host.GetFunction(), args)
	case *runtimev1.Call_Open:
		id, err := id32("blob id", m.Open.GetBlobId())
		if err != nil {
			return nil, &breachError{err}
		}
		size, err := x.host.BlobSize(x.hostContext(), id)
		return binary.LittleEndian.AppendUint64(nil, size), err
	case *runtimev1.Call_Read:
		id, err := id32("blob id", m.Read.GetBlobId())
		if err != nil {
			return nil, &breachError{err}
		}
		if n := m.Read.GetLength(); n > maxBlobRead {
			return nil, &breachError{errkind.Invalid.Errorf("read of %d bytes of a blob, the limit is %d", n, maxBlobRead)}
		}
		data, err := x.host.BlobRead(x.hostContext(), id, m.Read.GetOffset(), m.Read.GetLength())
		if err == nil && uint64(len(data)) > m.Read.GetLength() {
			err = errkind.Internal.Errorf("read of %d bytes of blob %s answered %d", m.Read.GetLength(), domain.BlobID(id), len(data))
		}
		return data, err
	case *runtimev1.Call_Announce:
		id, err := id32("blob id", m.Announce.GetBlobId())
		if err != nil {
			return nil, &breachError{err}
		}
		to, err := id32("context id", m.Announce.GetContextId())
		if err != nil {
			return nil, &breachError{err}
		}
		return nil, x.host.BlobAnnounce(x.hostContext(), id, to)
	}
	return nil, &breachError{unknownMember("call")}
}

// blob hands a part to the host. There is no answer to it, so a refused part is the execution's fault.
func (x *clientExec) blob(p *runtimev1.BlobPart) error {
	if len(p.GetData()) > SpillPart {
		return x.breach(errkind.Invalid.Errorf("part of %d bytes of a blob, the limit is %d", len(p.GetData()), SpillPart))
	}
	part := BlobPart{FD: p.GetFd(), Data: p.GetData(), Last: p.GetLast()}
	if part.Last {
		id, err := id32("blob id", p.GetBlobId())
		if err != nil {
			return x.breach(err)
		}
		part.ID, part.Size = id, p.GetSize()
	}
	err := x.host.BlobPart(x.hostContext(), part)
	switch {
	case err == nil:
	case fatal(err):
		x.stop(nil, fmt.Errorf("stage a part of a blob: %w", err))
	default:
		x.stop(&Fault{Kind: FaultHost, Text: fmt.Sprintf("stage a part of a blob: %v", err)}, nil)
	}
	return nil
}
