package runtimetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// stopWithin is how long a guest may go on after it has to stop; the race
// detector and busy machines get more.
const (
	stopWithin = 250 * time.Millisecond
	slack      = 750 * time.Millisecond
)

// timed runs a method with a deadline and returns how late its result was.
func (s *suite) timed(method string, input []byte, deadline time.Duration) (*runtime.Result, time.Duration) {
	s.Helper()
	e := s.core.Request(s.kit, method, input)
	e.Budget.DeadlineMillis = uint32(deadline.Milliseconds())
	start := time.Now()
	r, err := s.core.Execute(s.Context(), e)
	require.NoError(s, err)
	return r, time.Since(start) - deadline
}

func (s *suite) wantAlive() {
	s.Helper()
	require.Equal(s, []byte("alive"), s.call("echo", []byte("alive")).Value)
}

var stopCases = []testCase{
	{name: "deadline in guest code", needs: []string{runtime.CapDeadline}, run: func(s *suite) {
		for _, method := range []string{"spin", "spin_host", "spin_copy", "spin_grow"} {
			r, late := s.timed(method, nil, 50*time.Millisecond)
			s.wantFault(r, runtime.FaultDeadline, "")
			require.Less(s, late, stopWithin+slack, method)
			s.wantAlive()
		}
	}},
	{name: "deadline while rows are asked for", needs: []string{runtime.CapDeadline}, run: func(s *suite) {
		s.core.OnRows = func(ctx context.Context, _ []runtime.Key) error { <-ctx.Done(); return ctx.Err() }
		r, late := s.timed("get", keyed(1, ""), 50*time.Millisecond)
		s.wantFault(r, runtime.FaultDeadline, "")
		require.Less(s, late, stopWithin+slack)
		s.core.OnRows = nil
		s.wantAlive()
	}},
	{name: "deadline while a blob is read", needs: []string{runtime.CapDeadline, runtime.CapBlobs}, run: func(s *suite) {
		s.core.OnBlobRead = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		r, late := s.timed("blob_get", make([]byte, 32), 50*time.Millisecond)
		s.wantFault(r, runtime.FaultDeadline, "")
		require.Less(s, late, stopWithin+slack)
		s.core.OnBlobRead = nil
		s.wantAlive()
	}},
	{name: "cancel", needs: []string{runtime.CapDeadline}, run: func(s *suite) {
		waiting := make(chan struct{}, 1)
		s.core.OnRows = func(ctx context.Context, _ []runtime.Key) error {
			waiting <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}
		for method, input := range map[string][]byte{"spin": nil, "get": keyed(1, "")} {
			ctx, cancel := context.WithCancelCause(context.Background())
			var asked time.Time
			var wg sync.WaitGroup
			wg.Go(func() {
				if method == "get" {
					<-waiting
				} else {
					<-time.After(30 * time.Millisecond) // the guest is in its loop by then, or is not started: both must end
				}
				asked = time.Now()
				cancel(errors.New("no longer wanted"))
			})
			r, err := s.core.Execute(ctx, s.core.Request(s.kit, method, input))
			end := time.Now()
			wg.Wait()
			require.NoError(s, err)
			s.wantFault(r, runtime.FaultCancelled, "")
			require.Less(s, end.Sub(asked), stopWithin+slack)
			s.wantAlive()
		}
	}},
	{name: "instructions run out", needs: []string{runtime.CapFuel}, run: func(s *suite) {
		for _, method := range []string{"spin", "spin_host", "spin_copy", "spin_grow"} {
			e := s.core.Request(s.kit, method, nil)
			e.Budget.Fuel = 20_000
			r, err := s.core.Execute(s.Context(), e)
			require.NoError(s, err)
			s.wantFault(r, runtime.FaultFuel, "20000")
			s.wantAlive()
		}
	}},
	{name: "stack", run: func(s *suite) {
		for _, method := range []string{"recurse", "recurse_host", "recurse_copy", "recurse_grow"} {
			s.wantFault(s.call(method, nil), runtime.FaultTrap, "stack overflow")
			s.wantAlive()
		}
	}},
	{name: "memory", needs: []string{runtime.CapMemoryLimit}, run: func(s *suite) {
		for _, pages := range []uint32{4, 77, 0} {
			e := s.core.Request(s.kit, "grown", nil)
			e.Budget.MemoryPages = pages
			r, err := s.core.Execute(s.Context(), e)
			require.NoError(s, err)
			want := pages
			if want == 0 {
				want = 4096
			}
			require.Equal(s, u32(int(want)), r.Value)
			require.Equal(s, want, r.Usage.PeakPages)
		}
		s.wantFault(s.call("grow_all", nil), runtime.FaultMemory, "unreachable code reached")
		s.wantAlive()
	}},
	{name: "a second execution on one context is refused", needs: []string{runtime.CapRowCopy}, run: func(s *suite) {
		entered, leave := make(chan struct{}), make(chan struct{})
		s.core.OnRows = func(context.Context, []runtime.Key) error { close(entered); <-leave; return nil }
		done := make(chan *runtime.Result, 1)
		go func() {
			r, _ := s.core.Execute(context.Background(), s.core.Request(s.kit, "get", keyed(1, "")))
			done <- r
		}()
		<-entered
		other := NewCore(s, s.p)
		other.Context = s.core.Context
		_, r := other.Call(s.kit, "nothing", nil)
		close(leave)
		s.wantFault(r, runtime.FaultRefused, "")
		first := <-done
		require.NotNil(s, first)
		require.Nil(s, first.Fault)
	}},
	{name: "a closed lane stops its execution", needs: []string{runtime.CapDeadline}, run: func(s *suite) {
		entered := make(chan struct{})
		s.core.OnRows = func(ctx context.Context, _ []runtime.Key) error { close(entered); <-ctx.Done(); return ctx.Err() }
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = s.core.Execute(ctx, s.core.Request(s.kit, "get", keyed(1, ""))) // what it gives depends on the height
		}()
		<-entered
		cancel()
		<-done
		require.NoError(s, s.core.Lane.Close())
		other := NewCore(s, s.p)
		other.Context = s.core.Context
		other.State.Epoch = 2
		_, r := other.Call(s.kit, "echo", []byte("next"))
		require.Nil(s, r.Fault)
		require.Equal(s, "next", string(r.Value))
	}},
	{name: "no budget is refused", run: func(s *suite) {
		e := s.core.Request(s.kit, "nothing", nil)
		e.Budget.Fuel = 0
		_, err := s.core.Execute(s.Context(), e)
		require.Error(s, err)
	}},
}

var boundCases = []testCase{
	{name: "large values both ways", run: func(s *suite) {
		for _, n := range []int{runtime.InlineData, runtime.InlineData + 1, 3 << 20, 20 << 20} {
			in := bytes.Repeat([]byte{byte(n), 1, 2, 3}, n/4+1)[:n]
			r := s.call("echo", in)
			require.Nil(s, r.Fault, n)
			require.True(s, bytes.Equal(in, r.Value), n)
		}
	}},
	{name: "the largest row and one byte more", run: func(s *suite) {
		e, r := s.core.Call(s.kit, "put_size", u32(10<<20))
		require.Nil(s, r.Fault)
		require.Len(s, r.Writes[0].Value, 10<<20)
		s.core.Accept(e, r)
		key := r.Writes[0].Key.K
		require.NoError(s, s.p.Forget(s.Context(), nil, []domain.ContextID{s.core.Context}))
		r = s.call("get", key[:])
		require.Len(s, r.Value, 10<<20, "read back through a Need")
		s.wantFault(s.call("put_size", u32(10<<20+1)), runtime.FaultHost, "value length overflow")
	}},
	{name: "the most rows and one more", run: func(s *suite) {
		// The next 1,000 rows with each answer, as a core may send them.
		s.core.ReadAhead = func(keys []runtime.Key) (ahead []runtime.Key) {
			n := binary.LittleEndian.Uint32(keys[0].K[:])
			for i := range uint32(1000) {
				k := runtime.Key{Scope: keys[0].Scope}
				binary.LittleEndian.PutUint32(k.K[:], n+1+i)
				ahead = append(ahead, k)
			}
			return ahead
		}
		write := func(n int) *runtime.Result {
			e := s.core.Request(s.kit, "write_n", u32(n))
			e.Budget.DeadlineMillis = 300_000 // it takes long on a busy machine, with the race detector
			r, err := s.core.Execute(s.Context(), e)
			require.NoError(s, err)
			return r
		}
		r := write(runtime.MaxWrites)
		require.Nil(s, r.Fault)
		require.Len(s, r.Writes, runtime.MaxWrites)
		s.wantFault(write(runtime.MaxWrites+1), runtime.FaultTooLarge, "")
		s.wantAlive()
	}},
	{name: "the log's limits", run: func(s *suite) {
		require.Len(s, s.call("log", bytes.Repeat([]byte("l"), 16384)).Logs, 1)
		s.wantFault(s.call("log", bytes.Repeat([]byte("l"), 16385)), runtime.FaultHost, "log size overflow")
		e := s.core.Request(s.kit, "log", []byte("toolong"))
		e.Budget.Limits.MaxLogSize = 6
		r, err := s.core.Execute(s.Context(), e)
		require.NoError(s, err)
		s.wantFault(r, runtime.FaultHost, "log size overflow")
	}},
	{name: "a value larger than all spills", run: func(s *suite) {
		s.wantFault(s.call("give", u32(runtime.MaxSpills+1)), runtime.FaultTooLarge, "")
		s.wantAlive()
	}},
	{name: "the list of rows read is bounded", run: func(s *suite) {
		r := s.call("read_n", u32(runtime.MaxReadKeys+5))
		require.Nil(s, r.Fault)
		require.Len(s, r.Read, runtime.MaxReadKeys)
		require.EqualValues(s, runtime.MaxReadKeys+5, r.Usage.Reads)
		require.Equal(s, runtime.Key{Scope: runtime.ScopeState}, r.Read[0])
	}},
}

// callers is how many contexts run at the same time in the load case.
const callers = 32

var loadCases = []testCase{
	{name: "32 callers", run: func(s *suite) {
		engine, err := s.p.Engine(s.Context())
		require.NoError(s, err)
		lanes := make(chan runtime.Lane, engine.MaxLanes)
		for range min(engine.MaxLanes, callers) {
			lane, err := s.p.OpenLane(context.Background())
			require.NoError(s, err)
			defer func() { require.NoError(s, lane.Close()) }()
			lanes <- lane
		}
		var wg sync.WaitGroup
		failures := make(chan error, callers)
		for i := range callers {
			wg.Go(func() { failures <- s.caller(NewCore(s, s.p), lanes, i) })
		}
		wg.Wait()
		for range callers {
			require.NoError(s, <-failures)
		}
	}},
}

// caller writes and reads its own context on whatever lane is free.
func (s *suite) caller(core *Core, lanes chan runtime.Lane, n int) error {
	for i := range 10 {
		core.Lane = <-lanes
		want := fmt.Sprintf("caller %d call %d", n, i)
		e := core.Request(s.kit, "set", keyed(1, want))
		r, err := core.Execute(context.Background(), e)
		if err == nil && r.Fault == nil {
			core.Accept(e, r)
			r, err = core.Execute(context.Background(), core.Request(s.kit, "get", keyed(1, "")))
		}
		lanes <- core.Lane
		switch {
		case err != nil:
			return err
		case r.Fault != nil:
			return r.Fault
		case string(r.Value) != want:
			return fmt.Errorf("read %q, want %q", r.Value, want)
		}
	}
	return nil
}
