package local

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/calimero-go/core/plugin-sdk/auth"
	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/diag"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

var _ auth.Plugin = (*plugin)(nil)

var (
	errClosed        = errkind.Unavailable.Errorf("auth plugin is closed")
	errNotConfigured = errkind.Unavailable.Errorf("auth plugin is not configured")
)

type plugin struct {
	version string
	now     func() time.Time

	// Set by Configure.
	settings settings
	files    files
	secrets  secrets
	tokens   tokens
	hasher   *hasher
	limiter  *limiter

	state    atomic.Pointer[state]
	writing  sync.Mutex
	watchers map[watcher]struct{}
	closing  sync.Once
	closed   chan struct{}
}

// Option changes a plugin.
type Option func(*plugin)

// WithVersion sets the version that Info tells.
func WithVersion(version string) Option { return func(p *plugin) { p.version = version } }

// WithClock sets the clock.
func WithClock(now func() time.Time) Option { return func(p *plugin) { p.now = now } }

// New makes a plugin that is not configured yet.
func New() auth.Plugin { return NewWith() }

// NewWith is New with options.
func NewWith(options ...Option) auth.Plugin {
	p := &plugin{version: "dev", now: time.Now, watchers: make(map[watcher]struct{}), closed: make(chan struct{})}
	for _, o := range options {
		o(p)
	}
	return p
}

func (p *plugin) Info(context.Context) (base.Info, error) {
	return base.Info{Kind: auth.Kind, Name: "local", Version: p.version, Protocol: auth.Protocol}, nil
}

func (p *plugin) Schema(context.Context) (base.Schema, error) { return schema(), nil }

func (p *plugin) Configure(_ context.Context, c base.Config) (diag.Diagnostics, error) {
	p.writing.Lock()
	defer p.writing.Unlock()
	if p.state.Load() != nil {
		return nil, errkind.Precondition.Errorf("configure auth plugin: it was configured before")
	}
	var d diag.Diagnostics
	s := read(c.Value, &d)
	if d.HasErrors() {
		return d, nil
	}
	fs := files{dir: c.DataDir}
	keys, secrets, err := fs.open()
	if err != nil {
		d.Errorf(nil, "Cannot open the accounts", "%v", err)
		return d, nil
	}
	st, err := newState(keys)
	if err != nil {
		d.Errorf(nil, "Cannot open the accounts", "%s is damaged: %v; restore it from a backup", fs.path(KeysFile), err)
		return d, nil
	}
	if s.bootstrapCode == "" && len(st.users) == 0 {
		if s.bootstrapCode, err = fs.bootstrapCode(); err != nil {
			d.Errorf(nil, "Cannot read the bootstrap code", "%v", err)
			return d, nil
		}
	}
	p.settings, p.files, p.secrets = s, fs, secrets
	p.tokens = newTokens(s, secrets, p.now)
	p.hasher = newHasher(s.cost, s.hashing, s.waiting)
	p.limiter = newLimiter(s.failures)
	p.state.Store(st)
	return d, nil
}

// current answers the state if calls may be made.
func (p *plugin) current() (*state, error) {
	select {
	case <-p.closed:
		return nil, errClosed
	default:
	}
	s := p.state.Load()
	if s == nil {
		return nil, errNotConfigured
	}
	return s, nil
}

func (p *plugin) Health(context.Context) error {
	_, err := p.current()
	return err
}

// Close waits for a change that is being written; there is nothing to flush.
func (p *plugin) Close(context.Context) error {
	p.closing.Do(func() { close(p.closed) })
	p.writing.Lock()
	defer p.writing.Unlock()
	return nil
}

func logger() hclog.Logger { return hclog.Default() }
