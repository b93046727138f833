package pluginhost

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// State is where a plugin is in its life.
type State uint8

const (
	// Absent: it was never started.
	Absent State = iota
	// Starting: a process starts.
	Starting
	// Ready: it serves.
	Ready
	// Degraded: it serves, but says that it is not well.
	Degraded
	// Backoff: its process ended; the next one starts in a moment.
	Backoff
	// Stopped: closed, or given up after too many restarts in a row.
	Stopped
)

func (s State) String() string {
	return [...]string{"absent", "starting", "ready", "degraded", "backoff", "stopped"}[min(s, Stopped)]
}

// Status is a plugin's state at one moment.
type Status struct {
	Kind, Name string
	State      State
	// Generation counts the processes that served; PID is 0 when there is none.
	Generation uint64
	PID        int
	Restarts   int
	// Since is when the state began.
	Since time.Time
	// Info is what the latest process said of itself.
	Info base.Info
	// Err is why the plugin is not ready; nil if it is.
	Err error
	// LastEnd is how the latest process that ended did so, with the end of what it printed (a panic's stack).
	LastEnd string
}

// supervisor keeps one plugin running.
type supervisor struct {
	*launcher
	onState func(Status)

	calls, streams chan struct{} // places for calls in flight
	running        atomic.Int64  // calls in flight, the waiting ones included

	life     context.Context // ends when the plugin is to be closed
	end      context.CancelFunc
	loopDone chan struct{}
	stopped  chan struct{}

	closing  sync.Once
	closeCtx context.Context // set before life ends
	closeErr error           // set before loopDone

	mu      sync.Mutex
	st      Status
	gen     *generation   // nil while none serves
	changed chan struct{} // closed at the next change

	notify sync.Mutex // keeps calls of onState in order
}

func newSupervisor(l *launcher, onState func(Status)) *supervisor {
	s := &supervisor{
		launcher: l, onState: onState,
		calls: make(chan struct{}, l.block.MaxInFlight), streams: make(chan struct{}, l.block.MaxInFlight),
		loopDone: make(chan struct{}), stopped: make(chan struct{}), changed: make(chan struct{}),
		st: Status{Kind: l.kind, Name: l.block.Name, Since: time.Now()},
	}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

// start launches the first process; its failure is the caller's.
func (s *supervisor) start(ctx context.Context) error {
	s.become(func(st *Status) {
		st.State, st.Err = Starting, errkind.Retryable(errkind.Unavailable.Errorf("%s is starting", s.label))
	})
	g, err := s.launch(ctx, 1)
	if err != nil {
		s.end()
		s.become(func(st *Status) { st.State, st.Err = Stopped, err })
		close(s.loopDone)
		close(s.stopped)
		return err
	}
	s.serve(g)
	go s.run(g)
	return nil
}

// become changes the state and tells everybody.
func (s *supervisor) become(change func(*Status)) {
	s.notify.Lock()
	defer s.notify.Unlock()
	s.mu.Lock()
	before := s.st.State
	change(&s.st)
	if s.st.State != before {
		s.st.Since = time.Now()
	}
	st := s.st
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	up := 0.0
	if st.State == Ready || st.State == Degraded {
		up = 1
	}
	s.metrics.up.Set(up)
	if s.onState != nil && st.State != before {
		s.onState(st)
	}
}

func (s *supervisor) status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.st
}

// serve makes g the generation that calls go to.
func (s *supervisor) serve(g *generation) {
	s.metrics.gen.Set(float64(g.number))
	s.become(func(st *Status) {
		s.gen = g
		st.State, st.Generation, st.PID, st.Info, st.Err = Ready, g.number, g.pid, g.info, nil
	})
	s.log.Info("plugin is ready", "generation", g.number, "pid", g.pid, "version", g.info.Version)
}

// withdraw takes g out of service: answers that still come are dropped.
func (s *supervisor) withdraw(g *generation, why error) {
	g.retired.Store(true)
	s.become(func(st *Status) {
		if s.gen != g {
			return
		}
		s.gen = nil
		st.State, st.PID, st.Err = Backoff, 0, why
	})
}

// run watches g and starts its successors until the plugin is closed or given up.
func (s *supervisor) run(g *generation) {
	defer close(s.loopDone)
	failures := 0
	for {
		why := s.watch(g)
		if s.life.Err() != nil {
			s.finish(g)
			return
		}
		if time.Since(g.since) >= s.host.opts.HealthyAfter {
			failures = 0
		}
		s.bury(g, why)
		if g, failures = s.revive(g.number, failures+1); g == nil {
			return
		}
	}
}

// watch returns why g must go, or "" when the plugin is to be closed.
func (s *supervisor) watch(g *generation) string {
	ticker := time.NewTicker(s.host.opts.HealthEvery)
	defer ticker.Stop()
	var asked chan error
	misses := 0
	for {
		select {
		case <-s.life.Done():
			return ""
		case <-g.proc.exited:
			return g.reason()
		case <-g.killed:
			return g.reason()
		case <-g.broken:
			if g.waitEnd(time.Second) {
				return g.reason()
			}
			return "its connection broke"
		case <-ticker.C:
			if asked == nil {
				asked = make(chan error, 1)
				go s.askHealth(g, asked)
			}
		case err := <-asked:
			asked = nil
			if misses = s.judge(g, err, misses); misses >= s.host.opts.HealthMisses {
				return fmt.Sprintf("it left %d health checks without an answer", misses)
			}
		}
	}
}

func (s *supervisor) askHealth(g *generation, answer chan<- error) {
	ctx, cancel := context.WithTimeout(s.life, s.host.opts.HealthTimeout)
	defer cancel()
	answer <- g.plugin.Health(ctx)
}

// judge turns the answer of a health check into the state and returns the number of answers missing in a row.
func (s *supervisor) judge(g *generation, err error, misses int) int {
	if errkind.Of(err) == errkind.Deadline {
		misses++
	} else {
		misses = 0
	}
	if g.over() {
		return misses
	}
	if err != nil {
		s.log.Warn("plugin is not well", "generation", g.number, "err", err)
	}
	s.become(func(st *Status) {
		if s.gen != g {
			return
		}
		st.State, st.Err = Ready, nil
		if err != nil {
			st.State, st.Err = Degraded, err
		}
	})
	return misses
}

// bury ends what is left of g and reports how it ended.
func (s *supervisor) bury(g *generation, why string) {
	s.withdraw(g, errkind.Retryable(errkind.Unavailable.Errorf("%s is being restarted: %s", s.label, why)))
	g.kill()
	g.waitEnd(killTime)
	end, printed := g.proc.end(), g.out.last()
	g.destroy()
	attrs := []any{"generation", g.number, "pid", g.pid, "reason", why, "end", end}
	report := why + " (" + end + ")"
	if printed != "" {
		attrs = append(attrs, "printed", printed)
		report += " and printed:\n" + printed
	}
	s.log.Error("plugin process ended", attrs...)
	s.become(func(st *Status) {
		st.LastEnd = report
		st.Err = errkind.Retryable(errkind.Unavailable.Errorf("%s is being restarted: %s (%s)", s.label, why, end))
	})
}

// revive starts the next generation after a growing pause; failures in a row are counted over processes that started
// and soon ended, too. It returns nil when the plugin was closed or given up.
func (s *supervisor) revive(last uint64, failures int) (*generation, int) {
	for {
		if failures > s.block.MaxRestarts {
			s.giveUp()
			return nil, failures
		}
		select {
		case <-time.After(s.pause(failures)):
		case <-s.life.Done():
			s.halt(nil)
			return nil, failures
		}
		s.metrics.restarts.Inc()
		s.become(func(st *Status) { st.State, st.Restarts = Starting, st.Restarts+1 })
		g, err := s.launch(s.life, last+1)
		if err == nil {
			s.serve(g)
			return g, failures
		}
		if s.life.Err() != nil {
			s.halt(nil)
			return nil, failures
		}
		failures++
		s.log.Error("plugin does not restart", "failures", failures, "err", err)
		s.become(func(st *Status) {
			st.State, st.Err = Backoff, errkind.Retryable(errkind.Unavailable.Wrap(err))
		})
	}
}

// pause doubles with each failure, up to the maximum, and varies by a fifth, so that plugins do not restart in step.
func (s *supervisor) pause(failures int) time.Duration {
	d := s.host.opts.BackoffMin << min(failures-1, 20)
	if d <= 0 || d > s.host.opts.BackoffMax {
		d = s.host.opts.BackoffMax
	}
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// giveUp opens the circuit.
func (s *supervisor) giveUp() {
	err := errkind.Unavailable.Errorf("%s is stopped after %d restarts in a row (max_restarts); fix the cause and restart the node; the last: %w",
		s.label, s.block.MaxRestarts, s.status().Err)
	s.log.Error("plugin is given up", "err", err)
	s.halt(err)
}

// halt is the last state. err is nil when the plugin was closed.
func (s *supervisor) halt(err error) {
	if err == nil {
		err = errkind.Unavailable.Errorf("%s is closed", s.label)
	}
	s.become(func(st *Status) { st.State, st.PID, st.Err, s.gen = Stopped, 0, err, nil })
	close(s.stopped)
}

// finish closes g in good order.
func (s *supervisor) finish(g *generation) {
	s.become(func(st *Status) {
		s.gen = nil
		st.State, st.Err = Stopped, errkind.Unavailable.Errorf("%s is closed", s.label)
	})
	ctx, cancel := context.WithTimeout(s.closeCtx, s.closeBudget())
	defer cancel()
	if g.over() {
		g.destroy()
	} else if err := g.close(ctx); err != nil {
		s.closeErr = fmt.Errorf("close %s: %w; its process was killed", s.label, err)
		s.log.Error("plugin did not close in good order", "budget", s.closeBudget(), "err", err)
	}
	s.become(func(st *Status) { st.PID, st.LastEnd = 0, g.proc.end() })
	s.log.Info("plugin is closed", "generation", g.number, "end", g.proc.end())
	close(s.stopped)
}

func (s *supervisor) closeBudget() time.Duration {
	switch {
	case s.block.CloseTimeout > 0:
		return s.block.CloseTimeout
	case s.kind == "storage":
		return 30 * time.Second
	}
	return 5 * time.Second
}

// close ends the plugin; all callers wait for the same end.
func (s *supervisor) close(ctx context.Context) error {
	s.closing.Do(func() {
		s.closeCtx = ctx
		s.end()
	})
	<-s.loopDone
	s.host.remove(s)
	return s.closeErr
}

// kill ends the process that serves; the next one starts.
func (s *supervisor) kill(reason string) {
	s.mu.Lock()
	g := s.gen
	s.mu.Unlock()
	if g == nil {
		return
	}
	if !g.condemn(reason) {
		return
	}
	s.withdraw(g, errkind.Retryable(errkind.Unavailable.Errorf("%s is being restarted: the host killed it: %s", s.label, reason)))
	g.kill()
}

// begin counts a call; the result is called with its outcome.
func (s *supervisor) begin(method string) func(error) {
	start := time.Now()
	s.running.Add(1)
	s.metrics.inFlight.Inc()
	return func(err error) {
		s.running.Add(-1)
		s.metrics.inFlight.Dec()
		s.metrics.observe(method, start, err)
	}
}

// acquire waits for a generation above after, as long as ctx and call_wait allow.
func (s *supervisor) acquire(ctx context.Context, after uint64) (*generation, error) {
	var late <-chan time.Time
	for {
		s.mu.Lock()
		g, st, changed := s.gen, s.st, s.changed
		s.mu.Unlock()
		if g != nil && g.number > after && !g.over() {
			return g, nil
		}
		if st.State == Stopped {
			return nil, st.Err
		}
		if late == nil {
			timer := time.NewTimer(s.block.CallWait)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-changed:
		case <-late:
			return nil, s.notThere(st, fmt.Errorf("waited %v (call_wait)", s.block.CallWait))
		case <-ctx.Done():
			return nil, s.notThere(st, context.Cause(ctx))
		}
	}
}

func (s *supervisor) notThere(st Status, why error) error {
	text := st.State.String()
	if st.Err != nil {
		text += ": " + st.Err.Error()
	}
	return errkind.Retryable(errkind.Unavailable.Errorf("%s is not there (%s): %w", s.label, text, why))
}

// place takes a place among the calls in flight.
func (s *supervisor) place(ctx context.Context, places chan struct{}) error {
	select {
	case places <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(s.block.CallWait)
	defer timer.Stop()
	var why error
	select {
	case places <- struct{}{}:
		return nil
	case <-ctx.Done():
		why = context.Cause(ctx)
	case <-timer.C:
		why = fmt.Errorf("waited %v (call_wait)", s.block.CallWait)
	}
	return errkind.Retryable(errkind.Exhausted.Errorf("%s has %d calls in flight (max_in_flight): %w", s.label, cap(places), why))
}

var _ slog.LogValuer = Status{}

// LogValue is the short form.
func (s Status) LogValue() slog.Value {
	return slog.GroupValue(slog.String("state", s.State.String()), slog.Uint64("generation", s.Generation), slog.Int("pid", s.PID))
}
