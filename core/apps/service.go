// Package apps installs applications and finds what they run (network-apps.md §4).
package apps

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/semver"

	"github.com/calimero-go/core/core/blobs"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/guestabi"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// Bounds of an installation, in bytes (http-api.md §0, guest-abi.md §3.1).
const (
	MaxMetadata      = 64 << 10
	MaxPackage       = 128
	MaxVersion       = 64
	MaxPath          = 4096
	MaxURL           = 2048
	DefaultMaxModule = 10 << 20

	// DefaultDownloadTime bounds a download as a whole.
	DefaultDownloadTime = 2 * time.Minute
	maxRedirects        = 5
	maxErrorBody        = 256
)

// Options of a Service. The zero value is right.
type Options struct {
	// MaxModule is the largest module; 0 = DefaultMaxModule.
	MaxModule uint64
	// DownloadTime; 0 = DefaultDownloadTime.
	DownloadTime time.Duration
	// Transport for downloads; nil = one that uses the proxy of the environment.
	Transport http.RoundTripper
	Logger    *slog.Logger
}

// Service has the applications of the node. All methods are safe for concurrent use.
type Service struct {
	db      *store.DB
	blobs   *blobs.Store
	runtime runtime.Runtime
	opts    Options
	client  *http.Client

	mu sync.Mutex
	// raw are the bytecodes known to be WASM modules and not bundles.
	raw map[domain.BlobID]struct{}
	// arrived is closed, and another one made, when Complete has settled an application. refused are those that cannot run.
	arrived chan struct{}
	refused map[domain.ApplicationID]struct{}
}

// New makes the service.
func New(db *store.DB, b *blobs.Store, rt runtime.Runtime, opts Options) *Service {
	if opts.MaxModule == 0 {
		opts.MaxModule = DefaultMaxModule
	}
	if opts.DownloadTime <= 0 {
		opts.DownloadTime = DefaultDownloadTime
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Service{
		db: db, blobs: b, runtime: rt, opts: opts, client: newClient(opts), raw: map[domain.BlobID]struct{}{},
		arrived: make(chan struct{}), refused: map[domain.ApplicationID]struct{}{},
	}
}

// Application is an installed application.
type Application struct {
	ID domain.ApplicationID
	wire.ApplicationRecord
}

// Get is an application; false when it is not installed.
func (s *Service) Get(ctx context.Context, id domain.ApplicationID) (Application, bool, error) {
	record, found, err := store.Application.Get(ctx, s.db, id)
	if err != nil || !found {
		return Application{}, false, err
	}
	return Application{id, record}, true, nil
}

// List are all applications in the order of their ids.
func (s *Service) List(ctx context.Context) ([]Application, error) {
	var all []Application
	err := store.Application.Scan(ctx, s.db, nil, func(id domain.ApplicationID, record wire.ApplicationRecord) error {
		all = append(all, Application{id, record})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list applications: %w", err)
	}
	return all, nil
}

// Uninstall removes an application's record, as the reference also when contexts use it: their calls then fail until it
// is installed again. The blob stays. One that is not installed is fine.
func (s *Service) Uninstall(ctx context.Context, id domain.ApplicationID) error {
	app, found, err := s.Get(ctx, id)
	if err != nil || !found {
		return err
	}
	b := s.db.Batch()
	store.Application.Delete(b, id)
	if err := b.Commit(ctx); err != nil {
		return fmt.Errorf("uninstall application %s: %w", id, err)
	}
	s.forget(ctx, app)
	return nil
}

// forget drops the module of an uninstalled application from the runtime, unless another one runs it.
func (s *Service) forget(ctx context.Context, app Application) {
	all, err := s.List(ctx)
	if err == nil && slices.ContainsFunc(all, func(other Application) bool { return other.Bytecode == app.Bytecode }) {
		return
	}
	info, infoErr := s.blobs.Info(ctx, app.Bytecode)
	if err = errors.Join(err, infoErr); err == nil {
		err = s.runtime.Forget(ctx, []domain.Hash{info.Hash}, nil)
	}
	if err != nil { // it only takes space there
		s.opts.Logger.Warn("runtime keeps the module of an uninstalled application", "application", app.ID, "error", err)
	}
}

// Packages are the names of all packages, sorted.
func (s *Service) Packages(ctx context.Context) ([]string, error) {
	return s.names(ctx, func(app Application) (string, bool) { return app.Package, true })
}

// Versions are the versions installed of a package, sorted as text.
func (s *Service) Versions(ctx context.Context, pkg string) ([]string, error) {
	return s.names(ctx, func(app Application) (string, bool) { return app.Version, app.Package == pkg })
}

func (s *Service) names(ctx context.Context, name func(Application) (string, bool)) ([]string, error) {
	all, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, app := range all {
		if n, ok := name(app); ok {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Latest is the installed application of a package with the highest version: semantic versions by their order, before
// other texts by theirs. False when there is none.
func (s *Service) Latest(ctx context.Context, pkg string) (Application, bool, error) {
	all, err := s.List(ctx)
	if err != nil {
		return Application{}, false, err
	}
	var latest Application
	found := false
	for _, app := range all {
		if app.Package == pkg && (!found || newer(app.Version, latest.Version)) {
			latest, found = app, true
		}
	}
	return latest, found, nil
}

func newer(version, than string) bool {
	a, b := isSemver(version), isSemver(than)
	if a && b {
		return semver.Compare("v"+version, "v"+than) > 0
	}
	if a != b {
		return a
	}
	return version > than
}

// isSemver is strict: package semver also takes "1" and "1.2".
func isSemver(version string) bool {
	core, _, _ := strings.Cut(version, "+")
	core, _, _ = strings.Cut(core, "-")
	return strings.Count(core, ".") == 2 && semver.IsValid("v"+version)
}

// Module is what an application runs.
type Module struct {
	// ID is the SHA-256 of the WASM.
	ID domain.Hash
	// Open reads the WASM.
	Open func(ctx context.Context) (io.ReadCloser, error)
}

// Module finds the module of an application; kind NotFound when its bytecode is not on this node.
func (s *Service) Module(ctx context.Context, id domain.ApplicationID, record wire.ApplicationRecord) (Module, error) {
	info, err := s.blobs.Info(ctx, record.Bytecode)
	if err != nil {
		return Module{}, errkind.Of(err).Errorf("find bytecode of application %s: %w", id, err)
	}
	if err := s.checkRaw(ctx, record.Bytecode); err != nil {
		return Module{}, errkind.Of(err).Errorf("application %s: %w", id, err)
	}
	return Module{ID: info.Hash, Open: func(ctx context.Context) (io.ReadCloser, error) {
		return s.blobs.Open(ctx, record.Bytecode)
	}}, nil
}

// checkRaw tells whether a bytecode is a WASM module. The record does not say it: a module may be installed with a
// package and a version.
func (s *Service) checkRaw(ctx context.Context, bytecode domain.BlobID) error {
	s.mu.Lock()
	_, known := s.raw[bytecode]
	s.mu.Unlock()
	if known {
		return nil
	}
	head, err := s.blobs.ReadAt(ctx, bytecode, 0, 4)
	if err != nil {
		return err
	}
	if err := checkMagic(head); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.raw) >= 1024 {
		clear(s.raw)
	}
	s.raw[bytecode] = struct{}{}
	return nil
}

func checkMagic(head []byte) error {
	switch {
	case bytes.HasPrefix(head, []byte("\x00asm")):
		return nil
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return errBundle()
	}
	return errkind.Invalid.Errorf("file is not a WebAssembly module (it does not begin with \\0asm)")
}

func errBundle() error {
	return errkind.Unsupported.Errorf("application bundles (.mpk) are not supported by this release: " +
		"install the .wasm file instead")
}

// check refuses a module that cannot run here, and lets the runtime compile it.
func (s *Service) check(ctx context.Context, wasm []byte) error {
	if err := checkMagic(wasm); err != nil {
		return err
	}
	id := domain.Hash(sha256.Sum256(wasm))
	info, err := s.runtime.Prepare(ctx, id, s.opts.MaxModule, bytes.NewReader(wasm))
	if err != nil {
		return errkind.Of(err).Errorf("prepare module: %w", err)
	}
	if err = checkModule(info); err == nil {
		err = s.checkRuntime(ctx, info)
	}
	if err != nil {
		if ferr := s.runtime.Forget(ctx, []domain.Hash{id}, nil); ferr != nil {
			s.opts.Logger.Warn("runtime keeps a module that was refused", "module", id, "error", ferr)
		}
		return err
	}
	return nil
}

func checkModule(info runtime.ModuleInfo) error {
	if err := guestabi.CheckImports(info.Imports); err != nil {
		return err
	}
	hasMemory := slices.ContainsFunc(info.Exports, func(e runtime.Export) bool {
		return e.Name == "memory" && e.Kind == "memory"
	})
	if !hasMemory {
		return errkind.Invalid.Errorf("module exports no memory named \"memory\": build it with the Calimero SDK")
	}
	return nil
}

// checkRuntime refuses a module that needs more than the runtime plugin announces.
func (s *Service) checkRuntime(ctx context.Context, info runtime.ModuleInfo) error {
	js := slices.IndexFunc(info.Imports, func(i runtime.Import) bool {
		return i.Module == guestabi.Module && strings.HasPrefix(i.Name, "js_")
	})
	if js < 0 {
		return nil
	}
	engine, err := s.runtime.Engine(ctx)
	if err != nil {
		return fmt.Errorf("ask the runtime for its capabilities: %w", err)
	}
	if !slices.Contains(engine.Capabilities, runtime.CapJS) {
		return errkind.Unsupported.Errorf("module imports %q, for which the runtime plugin must announce the capability %q, "+
			"and %s does not: use one that does", info.Imports[js].Name, runtime.CapJS, engine.Name)
	}
	return nil
}
