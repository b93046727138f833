package leveldb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	ldb "github.com/syndtr/goleveldb/leveldb"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/diag"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

// Option changes what NewWith makes.
type Option func(*Plugin)

// WithVersion sets the version that Info tells; "dev" if unset.
func WithVersion(v string) Option { return func(p *Plugin) { p.version = v } }

// WithLogger logs there; the default is hclog's default logger.
func WithLogger(l hclog.Logger) Option { return func(p *Plugin) { p.log = l } }

// WithSnapshotLease is for tests.
func WithSnapshotLease(d time.Duration) Option { return func(p *Plugin) { p.lease = d } }

// Plugin is the storage plugin. Its methods may be called concurrently.
type Plugin struct {
	version  string
	log      hclog.Logger
	lease    time.Duration
	settings settings
	disk     *disk

	// mu guards db: users hold it for reading while they use it; opening and closing holds it for writing.
	mu sync.RWMutex
	db *ldb.DB
	// down is why db is nil.
	down error
	// broken is why commits are refused until the database was reopened; nil in normal use.
	broken atomic.Pointer[error]
	// healed is when reopening was last tried.
	healed time.Time

	ids       batchIDs
	inFlight  chan struct{}
	ranges    sync.RWMutex // held for writing by batches that delete ranges
	snapshots snapshots
	tornBytes atomic.Uint64
	batches   atomic.Uint64
	reopens   atomic.Uint64

	stopSync chan struct{}
	synced   sync.WaitGroup
}

// New makes an unconfigured plugin.
func New() storage.Plugin { return NewWith() }

// NewWith is New with options.
func NewWith(options ...Option) *Plugin {
	p := &Plugin{
		version:  "dev",
		lease:    storage.SnapshotLease,
		down:     errkind.Precondition.Errorf("storage is not configured"),
		inFlight: make(chan struct{}, maxInFlight),
	}
	for _, o := range options {
		o(p)
	}
	if p.log == nil {
		p.log = hclog.Default()
	}
	return p
}

// Info implements base.Plugin.
func (p *Plugin) Info(context.Context) (base.Info, error) {
	return base.Info{
		Kind: storage.Kind, Name: "leveldb", Version: p.version, Protocol: storage.Protocol,
		Capabilities: []string{storage.CapSnapshot, storage.CapStats, storage.CapCompact},
	}, nil
}

// Schema implements base.Plugin.
func (p *Plugin) Schema(context.Context) (base.Schema, error) { return schema(), nil }

// Configure opens the database. Damage is an error of kind Corrupt that names the repair command; a folder in use by
// another process one of kind Precondition. When the disk is too full to open for writing, the database is opened for
// reading and writes are refused until there is space.
func (p *Plugin) Configure(_ context.Context, c base.Config) (diag.Diagnostics, error) {
	s, d := decode(c)
	if d.HasErrors() {
		return d, nil
	}
	if st, err := os.Stat(s.dir); err == nil && !st.IsDir() {
		d.Errorf(path("path"), "Not a folder", "%s is a file.", s.dir)
		return d, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.disk != nil {
		return d, errkind.Precondition.Errorf("storage is configured already")
	}
	disk, err := openDisk(s.dir)
	if err != nil {
		if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EROFS) {
			d.Errorf(path("path"), "Folder not accessible", "%v", err)
			return d, nil
		}
		return d, err
	}
	disk.keepSynced = s.sync == syncInterval
	p.settings, p.disk = s, disk
	if err := p.open(); err != nil {
		p.disk = nil
		return d, errors.Join(err, disk.Close())
	}
	p.down = nil
	if s.sync == syncInterval {
		p.stopSync = make(chan struct{})
		p.synced.Go(p.syncLoop)
	}
	return d, nil
}

func (p *Plugin) syncLoop() {
	t := time.NewTicker(p.settings.interval)
	defer t.Stop()
	for {
		select {
		case <-p.stopSync:
			return
		case <-t.C:
		}
		if err := p.disk.syncJournal(); err != nil {
			_ = p.breakDown(fmt.Errorf("sync the journal: %w", err)) // commits get the error
		}
	}
}

// Health fails when the database cannot be read, or is damaged. A full disk is not a failure of the plugin: reads go
// on, commits fail with kind Exhausted.
func (p *Plugin) Health(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.db == nil {
		return p.down
	}
	if err := p.brokenBy(); err != nil && errkind.Of(err) == errkind.Corrupt {
		return err
	}
	return nil
}

// Close waits for calls in flight, as long as ctx allows, and closes the database.
func (p *Plugin) Close(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- p.close() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("close the database: %w", ctx.Err())
	}
}

func (p *Plugin) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.disk == nil {
		return nil
	}
	if p.stopSync != nil {
		close(p.stopSync)
		p.synced.Wait()
	}
	p.snapshots.endAll()
	var err error
	if p.db != nil {
		if p.settings.sync == syncInterval && p.disk.failure() == nil {
			err = p.disk.syncJournal()
		}
		cerr := p.db.Close()
		if isFull(cerr) || isCorrupt(cerr) {
			// Of a compaction in the background: its rows are still where they were.
			p.log.Warn("closed the database with an unfinished compaction", "error", cerr)
			cerr = nil
		}
		err = errors.Join(err, cerr)
	}
	err = errors.Join(err, p.disk.Close())
	p.db, p.disk = nil, nil
	p.down = errkind.Unavailable.Errorf("storage is closed")
	return classify(p.settings.dir, err)
}

// use returns the database, locked against closing until release is called.
func (p *Plugin) use(ctx context.Context) (db *ldb.DB, release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	p.mu.RLock()
	if p.db == nil {
		defer p.mu.RUnlock()
		return nil, nil, p.down
	}
	return p.db, p.mu.RUnlock, nil
}
