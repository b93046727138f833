// Package pluginhost runs plugin processes: it copies and checks their binaries, starts them in a small environment over
// mutual TLS, configures them, restarts them when they end, and closes them in good order. Callers hold handles that
// stay valid over restarts.
package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/calimero-go/core/core/config"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Options are a host's. Zero times stand for the defaults.
type Options struct {
	// RunDir is the host's own folder, absolute: copies of the binaries, sockets, its lock. One host uses it at a time.
	RunDir string
	// LockPath is plugins.lock.
	LockPath string
	// Node is the node's name, for the plugins' logs.
	Node string
	// Logger gets what plugins log; LogLevel (trace, debug, info, warn, error) is the lowest level they send.
	Logger   *slog.Logger
	LogLevel string
	// Registerer may be nil. DialOptions are added to every connection to a plugin.
	Registerer  prometheus.Registerer
	DialOptions []grpc.DialOption

	// HealthEvery is the time between health checks, HealthTimeout bounds one, and a plugin that lets HealthMisses in a
	// row go unanswered is killed.
	HealthEvery, HealthTimeout time.Duration
	HealthMisses               int
	// BackoffMin, BackoffMax bound the time before a restart; after HealthyAfter it starts over.
	BackoffMin, BackoffMax, HealthyAfter time.Duration
	// StaleWait bounds the wait for plugins of an earlier host that still close.
	StaleWait time.Duration
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		to *time.Duration
		v  time.Duration
	}{
		{&o.HealthEvery, 5 * time.Second}, {&o.HealthTimeout, 10 * time.Second},
		{&o.BackoffMin, 250 * time.Millisecond}, {&o.BackoffMax, 30 * time.Second}, {&o.HealthyAfter, time.Minute},
		{&o.StaleWait, 40 * time.Second},
	} {
		if *d.to == 0 {
			*d.to = d.v
		}
	}
	if o.HealthMisses == 0 {
		o.HealthMisses = 3
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.LogLevel == "" {
		o.LogLevel = "info"
	}
	return o
}

// FromConfig are the options that a configuration gives; the caller adds Logger and Registerer.
func FromConfig(c *config.Config) Options {
	return Options{
		RunDir: filepath.Join(c.NodeDir(), "run"), LockPath: c.LockPath(), Node: c.Node.Name, LogLevel: c.Log.Level,
	}
}

// Host runs plugins. Its methods may be called concurrently.
type Host struct {
	opts    Options
	run     *runDir
	metrics *hostMetrics

	mu      sync.Mutex
	closed  bool
	started []*supervisor
}

// Open takes the run folder and removes what a killed host left there. A folder in use is an error of kind
// Precondition.
func Open(ctx context.Context, o Options) (*Host, error) {
	o = o.withDefaults()
	if !filepath.IsAbs(o.RunDir) || !filepath.IsAbs(o.LockPath) {
		return nil, errkind.Invalid.Errorf("open plugin host: the paths %q and %q must be absolute", o.RunDir, o.LockPath)
	}
	metrics, err := newHostMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register plugin metrics: %w", err)
	}
	run, err := openRunDir(ctx, filepath.Clean(o.RunDir), o.StaleWait, o.Logger)
	if err != nil {
		return nil, fmt.Errorf("open plugin host: %w", err)
	}
	return &Host{opts: o, run: run, metrics: metrics}, nil
}

// add takes a supervisor into the host's care.
func (h *Host) add(s *supervisor) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errkind.Precondition.Errorf("start %s: the plugin host is closed", s.label)
	}
	h.started = append(h.started, s)
	return nil
}

func (h *Host) remove(s *supervisor) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.started = slices.DeleteFunc(h.started, func(x *supervisor) bool { return x == s })
}

// Status is the state of all plugins, in the order of their start.
func (h *Host) Status() []Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]Status, len(h.started))
	for i, s := range h.started {
		list[i] = s.status()
	}
	return list
}

// InFlight is the number of calls to all plugins that have not returned.
func (h *Host) InFlight() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, s := range h.started {
		n += int(s.running.Load())
	}
	return n
}

// Close closes the plugins that still run, the last started first, each with its own budget, and gives up the run folder.
func (h *Host) Close(ctx context.Context) error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	started := slices.Clone(h.started)
	h.mu.Unlock()
	var all []error
	for _, s := range slices.Backward(started) {
		all = append(all, s.close(ctx))
	}
	return errors.Join(append(all, h.run.close())...)
}
