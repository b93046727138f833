package leveldb

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	ldbstorage "github.com/syndtr/goleveldb/leveldb/storage"
	"golang.org/x/sys/unix"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

const repairHint = "to save what can be read, stop the node and run: merod storage repair"

// disk is the folder of a database as goleveldb sees it. It adds to goleveldb's own file storage:
//   - Once a write to a journal or a manifest failed, all later ones fail until reset. goleveldb would go on behind a
//     broken or unsynced record, reusing its sequence numbers.
//   - The folder is synced after a journal is created; otherwise a power failure may lose the file.
//   - It counts syncs, and can sync the journal from outside (sync = interval).
type disk struct {
	ldbstorage.Storage
	dir string
	// keepSynced: a journal that is closed is synced before.
	keepSynced bool
	syncs      atomic.Uint64

	mu      sync.Mutex
	failed  error
	journal *logWriter
	joined  *oneJournal
}

// openDisk locks the folder and creates it if need be.
func openDisk(dir string) (*disk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the database folder: %w", classify(dir, err))
	}
	st, err := ldbstorage.OpenFile(dir, false)
	lock := filepath.Join(dir, "LOCK")
	if err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errkind.Precondition.Errorf("database folder %s is in use by another process%s; stop it or choose another path",
				dir, holder(lock))
		}
		return nil, fmt.Errorf("open the database folder %s: %w", dir, classify(dir, err))
	}
	// For the error of the next one; the lock itself is on the open file.
	if err := os.WriteFile(lock, fmt.Appendln(nil, os.Getpid()), 0o600); err != nil && !isFull(err) {
		return nil, errors.Join(fmt.Errorf("write the lock file: %w", err), st.Close())
	}
	return &disk{Storage: st, dir: dir}, nil
}

func holder(lock string) string {
	b, err := os.ReadFile(lock)
	if pid := strings.TrimSpace(string(b)); err == nil && pid != "" && len(pid) < 12 {
		return " (pid " + pid + ")"
	}
	return ""
}

func (d *disk) path(fd ldbstorage.FileDesc) string {
	name := filepath.Join(d.dir, fd.String())
	if fd.Type == ldbstorage.TypeTable {
		if old := strings.TrimSuffix(name, ".ldb") + ".sst"; !exists(name) && exists(old) {
			return old
		}
	}
	return name
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// Create implements storage.Storage.
func (d *disk) Create(fd ldbstorage.FileDesc) (ldbstorage.Writer, error) {
	strict := fd.Type == ldbstorage.TypeJournal || fd.Type == ldbstorage.TypeManifest
	if strict {
		if err := d.failure(); err != nil {
			return nil, err
		}
	}
	w, err := d.Storage.Create(fd)
	if err != nil || !strict {
		return w, err
	}
	lw := &logWriter{Writer: w, disk: d, isJournal: fd.Type == ldbstorage.TypeJournal}
	if lw.isJournal {
		if err := syncDir(d.dir); err != nil {
			return nil, errors.Join(d.fail(err), w.Close())
		}
		d.mu.Lock()
		d.journal = lw
		d.mu.Unlock()
	}
	return lw, nil
}

func (d *disk) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

func (d *disk) fail(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed == nil {
		d.failed = err
	}
	return err
}

// reset forgets the failure; the database must be closed.
func (d *disk) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed, d.journal, d.joined = nil, nil, nil
}

// syncJournal makes what was acknowledged so far durable.
func (d *disk) syncJournal() error {
	d.mu.Lock()
	w := d.journal
	d.mu.Unlock()
	if w == nil {
		return nil
	}
	return w.syncIfDirty()
}

// logWriter is a journal or a manifest being written.
type logWriter struct {
	ldbstorage.Writer
	disk      *disk
	isJournal bool
	dirty     atomic.Bool

	// closing keeps a sync from outside away from a closed file.
	closing sync.Mutex
	closed  bool
}

func (w *logWriter) Write(p []byte) (int, error) {
	if err := w.disk.failure(); err != nil {
		return 0, err
	}
	w.dirty.Store(true)
	n, err := w.Writer.Write(p)
	if err != nil {
		return n, w.disk.fail(err)
	}
	return n, nil
}

func (w *logWriter) Sync() error {
	if err := w.disk.failure(); err != nil {
		return err
	}
	w.dirty.Store(false)
	if w.isJournal {
		w.disk.syncs.Add(1)
	}
	if err := w.Writer.Sync(); err != nil {
		return w.disk.fail(err)
	}
	return nil
}

func (w *logWriter) syncIfDirty() error {
	w.closing.Lock()
	defer w.closing.Unlock()
	if w.closed || !w.dirty.Load() {
		return nil
	}
	return w.Sync()
}

func (w *logWriter) Close() error {
	var err error
	if w.isJournal && w.disk.keepSynced && w.disk.failure() == nil {
		err = w.syncIfDirty()
	}
	w.closing.Lock()
	defer w.closing.Unlock()
	w.closed = true
	return errors.Join(err, w.Writer.Close())
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	// Some file systems do not sync folders and say so with EINVAL.
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// isFull tells whether err comes from a full disk. goleveldb keeps only the text of some errors.
func isFull(err error) bool {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return true
	}
	return err != nil && (strings.Contains(err.Error(), syscall.ENOSPC.Error()) ||
		strings.Contains(err.Error(), syscall.EDQUOT.Error()))
}

// freeBytes is what this process may still write to the file system of dir.
func freeBytes(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("ask for the free space of %s: %w", dir, err)
	}
	return uint64(st.Bavail) * uint64(st.Bsize), nil //nolint:unconvert // The types differ between systems.
}

// full is the error of a commit that does not fit.
func full(dir string, err error) error {
	free := "an unknown number of"
	if n, ferr := freeBytes(dir); ferr == nil {
		free = fmt.Sprint(n)
	}
	return errkind.Exhausted.Errorf("disk of %s is full (%s bytes free): %w; free some space, writes then resume by themselves",
		dir, free, err)
}
