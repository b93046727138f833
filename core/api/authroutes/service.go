// Package authroutes is the HTTP side of authentication: the guard in front of the node's routes, which permission each
// of them needs, and the routes /auth/* and /admin/* (http-api.md §1 and §5). Who may do what is the auth plugin's
// business.
//
// It departs from the reference where that leaves doors open: permissions are enforced on every route, a route that is
// not in the table does not exist, and a key cannot give away more than it has.
package authroutes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/calimero-go/core/plugin-sdk/auth"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

const (
	// maxBody bounds bodies of /auth and /admin.
	maxBody = 1 << 20
	// defaultGuardBody bounds a body that the guard must look into.
	defaultGuardBody = 2 << 20
	callTime         = 20 * time.Second
	watchPause       = 250 * time.Millisecond
	maxWatchPause    = 5 * time.Second
)

// Options are what a Service is made of.
type Options struct {
	// Auth is the plugin; nil lets everybody in and serves no routes (the mode "none", the reference's "proxy").
	Auth auth.Auth
	Log  *slog.Logger
	// PathPrefix is NODE_PATH_PREFIX: put before /jsonrpc, /ws, /admin-api and /admin-dashboard.
	PathPrefix string
	// Version is told by /admin/identity.
	Version string
	// BehindProxy says that a reverse proxy passes requests on, so that a loopback address says nothing about who asks.
	BehindProxy bool
	// Routes replaces the table; nil = Routes().
	Routes []Route
	// MaxBody bounds a body that the guard must look into, in bytes; 0 = 2 MiB.
	MaxBody int64
	// Now is the clock; nil = time.Now.
	Now func() time.Time
}

// Service guards routes and serves those of authentication. Its methods may be called concurrently.
type Service struct {
	o       Options
	log     *slog.Logger
	table   *table
	keys    *table
	cache   *cache
	started time.Time
	counts  counts
}

// counts are shown by /admin/metrics.
type counts struct {
	attempts, successes, failures, refreshes, revocations, micros atomic.Int64
}

// New makes a service. Run must run beside it: without, every request asks the plugin anew, and lasting requests are
// refused.
func New(o Options) (*Service, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Routes == nil {
		o.Routes = Routes()
	}
	if o.MaxBody == 0 {
		o.MaxBody = defaultGuardBody
	}
	nodes, err := newTable(o.Routes, o.PathPrefix)
	if err != nil {
		return nil, err
	}
	keys, err := newTable(keyRoutes(), "")
	if err != nil {
		return nil, err
	}
	return &Service{o: o, log: o.Log, table: nodes, keys: keys, cache: newCache(o.Now), started: o.Now()}, nil
}

// Run watches the plugin for revocations until ctx ends, and returns ctx's error. Whenever the watch breaks, everything
// remembered is forgotten and lasting requests end.
func (s *Service) Run(ctx context.Context) error {
	if s.o.Auth == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	pause := watchPause
	for {
		started := s.o.Now()
		err := s.o.Auth.Watch(ctx, func(e auth.Event) error {
			s.cache.event(e)
			return nil
		})
		s.cache.drop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.log.Warn("watch of the auth plugin ended; verified tokens are forgotten", "error", err)
		if s.o.Now().Sub(started) > maxWatchPause {
			pause = watchPause
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause = min(2*pause, maxWatchPause)
	}
}

// verify asks the cache, then the plugin. refused tells apart a token that is not good from a plugin that cannot say.
func (s *Service) verify(ctx context.Context, token, host string) (g auth.Grant, refused bool, err error) {
	k := keyOf(token, host)
	if g, ok := s.cache.get(k); ok {
		return g, false, nil
	}
	if err := errors.Join(auth.CheckToken(token), auth.CheckText("host", host)); err != nil {
		return auth.Grant{}, true, auth.KindInvalidToken.Wrap(err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	watch := s.cache.begin()
	g, err = s.o.Auth.Verify(ctx, token, host)
	if err != nil {
		return auth.Grant{}, isRefusal(err), err
	}
	if g.KeyID == "" || !s.o.Now().Before(g.Expires) {
		return auth.Grant{}, true, auth.KindExpired.Errorf("Invalid token: Token has expired")
	}
	s.cache.put(k, g, watch)
	return g, false, nil
}

func isRefusal(err error) bool {
	return errors.Is(err, auth.KindInvalidToken) || errors.Is(err, auth.KindExpired) || errors.Is(err, auth.KindWrongHost)
}

// Guarded tells what the table asks for a request with this method and path; false when the table has no such route.
// The router's own tests use it to show that each of its routes has an entry.
func (s *Service) Guarded(method, path string) (Route, bool) {
	r, err := http.NewRequestWithContext(context.Background(), method, "http://node"+path, http.NoBody)
	if err != nil {
		return Route{}, false
	}
	e, _, fits := s.table.find(method, r.URL)
	if e == nil || !fits {
		return Route{}, false
	}
	return e.Route, true
}

// unavailable tells whether an error means that the plugin cannot answer at the moment.
func unavailable(err error) bool {
	switch errkind.Of(err) {
	case errkind.Unavailable, errkind.Deadline, errkind.Canceled:
		return true
	}
	return false
}

// permissions parses what a grant allows. What this build does not understand allows nothing.
func permissions(list []string) (auth.Permissions, error) {
	var ps auth.Permissions
	var errs []error
	for _, s := range list {
		p, err := auth.ParsePermission(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("permission ignored: %w", err))
			continue
		}
		ps = append(ps, p)
	}
	return ps, errors.Join(errs...)
}
