package actor_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/calimero-go/core/core/actor"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The test actor is a counter.
type message interface{}

type add struct {
	actor.Reply[int]
	n int
}

type crash struct{ actor.Reply[int] }

// park is answered by a goroutine of its own once gate is closed or its context ends.
type park struct {
	actor.Reply[int]
	gate <-chan struct{}
}

// hold blocks the actor itself.
type hold struct {
	entered chan<- struct{}
	gate    <-chan struct{}
}

type counter struct {
	total int
	work  sync.WaitGroup
	log   func(int)
}

func (c *counter) Handle(ctx context.Context, msg message) {
	switch m := msg.(type) {
	case add:
		c.total += m.n
		if c.log != nil {
			c.log(m.n)
		}
		m.Return(c.total)
	case crash:
		panic("no way")
	case park:
		c.work.Go(func() {
			m.Do(func() (int, error) {
				select {
				case <-m.gate:
					return 1, nil
				case <-ctx.Done():
					return 0, context.Cause(ctx)
				}
			})
		})
	case hold:
		close(m.entered)
		<-m.gate
	}
}

func (c *counter) Stop() { c.work.Wait() }

func newCounter(opts actor.Options) *actor.Actor[message] {
	return actor.New("counter", opts, func(context.Context) (actor.Handler[message], error) { return &counter{}, nil })
}

// run supervises a until the test ends or stop is called.
func run(t *testing.T, services ...*actor.Actor[message]) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	sup := actor.NewSupervisor("test", slog.New(slog.NewTextHandler(io.Discard, nil)), time.Second)
	for _, a := range services {
		sup.Add(a)
	}
	done := sup.ServeBackground(ctx)
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			require.ErrorIs(t, <-done, context.Canceled)
		})
	}
	t.Cleanup(stop)
	return stop
}

func askAdd(ctx context.Context, to actor.Recipient[message], n int) (int, error) {
	return actor.Ask(ctx, to, func(r actor.Reply[int]) message { return add{r, n} })
}

func askPark(ctx context.Context, to actor.Recipient[message], gate <-chan struct{}) (int, error) {
	return actor.Ask(ctx, to, func(r actor.Reply[int]) message { return park{r, gate} })
}

func TestAskAndTell(t *testing.T) {
	t.Parallel()
	a := newCounter(actor.Options{})
	require.NoError(t, actor.Tell(a, message(add{n: 5}))) // before it runs
	run(t, a)
	total, err := askAdd(t.Context(), a, 2)
	require.NoError(t, err)
	require.Equal(t, 7, total)
}

func TestManyAskersGetTheirOwnAnswers(t *testing.T) {
	t.Parallel()
	const askers = 64
	a := newCounter(actor.Options{Capacity: askers})
	run(t, a)
	seen := make([]atomic.Bool, askers+1)
	var wg sync.WaitGroup
	for range askers {
		wg.Go(func() {
			total, err := askAdd(t.Context(), a, 1)
			if err == nil {
				seen[total].Store(true)
			}
		})
	}
	wg.Wait()
	for total := 1; total <= askers; total++ {
		require.True(t, seen[total].Load(), "nobody was answered %d", total)
	}
}

func TestOverloadIsAnErrorAtOnce(t *testing.T) {
	t.Parallel()
	var overloads atomic.Int32
	var depth atomic.Int32
	a := newCounter(actor.Options{Capacity: 2, Hooks: actor.Hooks{
		Overload: func() { overloads.Add(1) },
		Depth:    func(n int) { depth.Store(int32(n)) },
	}})
	run(t, a)
	entered, gate := make(chan struct{}), make(chan struct{})
	require.NoError(t, actor.Tell(a, message(hold{entered, gate})))
	<-entered
	require.NoError(t, actor.Tell(a, message(add{n: 1})))
	require.NoError(t, actor.Tell(a, message(add{n: 1})))
	require.EqualValues(t, 2, depth.Load())

	_, err := askAdd(t.Context(), a, 1)
	require.ErrorIs(t, err, errkind.Exhausted)
	require.True(t, errkind.IsRetryable(err))
	require.ErrorContains(t, err, "mailbox of counter is full (2 messages)")
	require.EqualValues(t, 1, overloads.Load())

	close(gate)
	require.Eventually(t, func() bool { return a.Depth() == 0 }, 5*time.Second, time.Millisecond)
	total, err := askAdd(t.Context(), a, 1)
	require.NoError(t, err)
	require.Equal(t, 3, total)
}

func TestAskersWhoGaveUpFreeTheirPlace(t *testing.T) {
	t.Parallel()
	a := newCounter(actor.Options{Capacity: 1})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := askAdd(ctx, a, 100)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, errkind.Canceled, errkind.Of(err))
	require.NoError(t, actor.Tell(a, message(add{n: 1})), "the place of the first is free")
	run(t, a)
	require.Eventually(t, func() bool { return a.Depth() == 0 }, 5*time.Second, time.Millisecond)
	total, err := askAdd(t.Context(), a, 1)
	require.NoError(t, err)
	require.Equal(t, 2, total, "the message nobody waits for was not handled")
}

func TestWorkHandedOnDoesNotBlockTheActor(t *testing.T) {
	t.Parallel()
	a := newCounter(actor.Options{})
	run(t, a)
	gate := make(chan struct{})
	parked := make(chan error, 1)
	go func() {
		_, err := askPark(t.Context(), a, gate)
		parked <- err
	}()
	_, err := askAdd(t.Context(), a, 1)
	require.NoError(t, err)
	close(gate)
	require.NoError(t, <-parked)
}

func TestAskerGivingUpEndsTheHandlersContext(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	a := actor.New("waiter", actor.Options{}, func(context.Context) (actor.Handler[message], error) {
		return actor.HandlerFunc[message](func(ctx context.Context, _ message) {
			<-ctx.Done()
			ended <- ctx.Err()
		}), nil
	})
	run(t, a)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := askAdd(ctx, a, 1)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, errkind.Deadline, errkind.Of(err))
	require.Error(t, <-ended)
}

func TestPanicFailsTheAskerAndRestarts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var starts atomic.Int32
		var panics atomic.Int32
		a := actor.New("counter", actor.Options{Hooks: actor.Hooks{Handled: func(_ time.Duration, panicked bool) {
			if panicked {
				panics.Add(1)
			}
		}}}, func(context.Context) (actor.Handler[message], error) {
			starts.Add(1)
			return &counter{}, nil
		})
		run(t, a)
		_, err := askAdd(t.Context(), a, 7)
		require.NoError(t, err)

		parked := make(chan error, 1)
		go func() {
			_, err := askPark(context.Background(), a, nil)
			parked <- err
		}()
		synctest.Wait()

		_, err = actor.Ask(t.Context(), a, func(r actor.Reply[int]) message { return crash{r} })
		require.ErrorIs(t, err, errkind.Internal)
		require.ErrorContains(t, err, "panic while handling actor_test.crash: no way")
		require.NotContains(t, err.Error(), "goroutine", "no stack for callers")

		err = <-parked
		require.ErrorIs(t, err, errkind.Unavailable, "the question open at the restart is answered")
		require.True(t, errkind.IsRetryable(err))

		total, err := askAdd(t.Context(), a, 1)
		require.NoError(t, err)
		require.Equal(t, 1, total, "a fresh handler")
		require.EqualValues(t, 2, starts.Load())
		require.EqualValues(t, 1, panics.Load())
	})
}

func TestStartThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int32
		a := actor.New("late", actor.Options{}, func(context.Context) (actor.Handler[message], error) {
			switch tries.Add(1) {
			case 1:
				return nil, errors.New("not yet")
			case 2:
				panic("nor now")
			}
			return &counter{}, nil
		})
		run(t, a)
		total, err := askAdd(t.Context(), a, 3)
		require.NoError(t, err)
		require.Equal(t, 3, total)
	})
}

func TestStopFailsWhatIsOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newCounter(actor.Options{})
		stop := run(t, a)
		errs := make(chan error, 3)
		go func() { // handed on
			_, err := askPark(context.Background(), a, nil)
			errs <- err
		}()
		synctest.Wait()
		entered, gate := make(chan struct{}), make(chan struct{})
		require.NoError(t, actor.Tell(a, message(hold{entered, gate})))
		<-entered
		for range 2 { // waiting in the mailbox
			go func() {
				_, err := askAdd(context.Background(), a, 1)
				errs <- err
			}()
		}
		synctest.Wait()
		stopped := make(chan struct{})
		go func() { stop(); close(stopped) }()
		synctest.Wait()
		close(gate)
		<-stopped
		for range 3 {
			err := <-errs
			require.ErrorIs(t, err, errkind.Unavailable)
			require.ErrorContains(t, err, "actor counter is stopped")
		}
		_, err := askAdd(t.Context(), a, 1)
		require.ErrorIs(t, err, errkind.Unavailable)
		require.Error(t, a.Serve(t.Context()), "a stopped actor does not start again")
	})
}

func TestUnansweredAskEndsWithTheActor(t *testing.T) {
	t.Parallel()
	handled := make(chan struct{})
	a := actor.New("mute", actor.Options{}, func(context.Context) (actor.Handler[message], error) {
		return actor.HandlerFunc[message](func(context.Context, message) { close(handled) }), nil
	})
	stop := run(t, a)
	errs := make(chan error, 1)
	go func() {
		_, err := askAdd(context.Background(), a, 1)
		errs <- err
	}()
	<-handled
	stop()
	require.ErrorIs(t, <-errs, errkind.Unavailable)
}

func TestReplyCountsOnce(t *testing.T) {
	t.Parallel()
	a := actor.New("eager", actor.Options{}, func(context.Context) (actor.Handler[message], error) {
		return actor.HandlerFunc[message](func(_ context.Context, msg message) {
			m := msg.(add)
			m.Return(1)
			m.Return(2)
			m.Fail(errors.New("three"))
		}), nil
	})
	run(t, a)
	got, err := askAdd(t.Context(), a, 0)
	require.NoError(t, err)
	require.Equal(t, 1, got)
}

func TestReplyDoTurnsAPanicIntoAnError(t *testing.T) {
	t.Parallel()
	a := actor.New("worker", actor.Options{}, func(context.Context) (actor.Handler[message], error) {
		return actor.HandlerFunc[message](func(_ context.Context, msg message) {
			go msg.(add).Do(func() (int, error) { panic("in a worker") })
		}), nil
	})
	run(t, a)
	_, err := askAdd(t.Context(), a, 0)
	require.ErrorIs(t, err, errkind.Internal)
	require.ErrorContains(t, err, "in a worker")
}

// Each sender's messages are handled in the order sent, whenever the lazy address gets its actor.
func TestLazyKeepsOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		before := rapid.IntRange(0, 20).Draw(rt, "before")
		direct := rapid.IntRange(0, 3).Draw(rt, "direct")
		after := rapid.IntRange(0, 20).Draw(rt, "after")

		var got []int
		a := actor.New("counter", actor.Options{Capacity: 64}, func(context.Context) (actor.Handler[message], error) {
			return &counter{log: func(n int) { got = append(got, n) }}, nil
		})
		lazy := actor.NewLazy[message]("lazy", 20)
		var want []int
		n := 0
		send := func(to actor.Recipient[message]) {
			n++
			if err := actor.Tell(to, message(add{n: n})); err != nil {
				rt.Fatal(err)
			}
		}
		for range before {
			send(lazy)
			want = append(want, n)
		}
		var later []int
		for range direct { // straight to the actor, before the queue arrives
			send(a)
			later = append(later, n)
		}
		want = append(want, later...)
		if !lazy.Init(a) || lazy.Init(a) {
			rt.Fatal("exactly the first Init counts")
		}
		for range after {
			send(lazy)
			want = append(want, n)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- a.Serve(ctx) }()
		if _, err := askAdd(ctx, lazy, 0); err != nil {
			rt.Fatal(err)
		}
		cancel()
		require.ErrorIs(rt, <-done, context.Canceled)
		require.Equal(rt, append(want, 0), got)
	})
}

func TestLazyWaitsForItsActor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lazy := actor.NewLazy[message]("contexts", 0)
		answer := make(chan int, 1)
		go func() {
			total, err := askAdd(context.Background(), lazy, 4)
			if err == nil {
				answer <- total
			}
		}()
		time.Sleep(time.Hour) // of the bubble's clock: no deadline of its own
		a := newCounter(actor.Options{})
		run(t, a)
		require.True(t, lazy.Init(a))
		<-lazy.Ready()
		require.Equal(t, 4, <-answer)
	})
}

func TestLazyIsBoundedAndCloses(t *testing.T) {
	t.Parallel()
	lazy := actor.NewLazy[message]("contexts", 1)
	errs := make(chan error, 1)
	go func() {
		_, err := askAdd(context.Background(), lazy, 1)
		errs <- err
	}()
	require.Eventually(t, func() bool {
		err := actor.Tell(lazy, message(add{n: 1}))
		return errors.Is(err, errkind.Exhausted)
	}, 5*time.Second, time.Millisecond)
	lazy.Close()
	select {
	case err := <-errs:
		require.Error(t, err)
	case <-time.After(5 * time.Second):
		t.Fatal("the asker still waits")
	}
	require.ErrorIs(t, actor.Tell(lazy, message(add{n: 1})), errkind.Unavailable)
	require.False(t, lazy.Init(newCounter(actor.Options{})))
}

func TestLazyBehindLazy(t *testing.T) {
	t.Parallel()
	outer, inner := actor.NewLazy[message]("outer", 0), actor.NewLazy[message]("inner", 0)
	require.NoError(t, actor.Tell(inner, message(add{n: 1})))
	require.NoError(t, actor.Tell(outer, message(add{n: 2})))
	require.True(t, outer.Init(inner))
	a := newCounter(actor.Options{})
	run(t, a)
	require.True(t, inner.Init(a))
	total, err := askAdd(t.Context(), outer, 4)
	require.NoError(t, err)
	require.Equal(t, 7, total)
}
