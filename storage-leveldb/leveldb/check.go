package leveldb

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	ldbstorage "github.com/syndtr/goleveldb/leveldb/storage"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// cut is a torn end of a file that may go: nothing in it was acknowledged.
type cut struct {
	path string
	keep int64
	lost int64
}

// check reads what goleveldb relies on at its start (CURRENT, the manifest, the live journals) before goleveldb does,
// because goleveldb either skips damage silently or, told to be strict, also refuses a merely torn end. The error is of
// kind Corrupt and names file, offset and what to do. An empty folder is fine.
func (d *disk) check() ([]cut, error) {
	fds, err := d.List(ldbstorage.TypeAll)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", d.dir, err)
	}
	fd, err := d.GetMeta()
	if err != nil {
		return nil, d.checkEmpty(fds, err)
	}
	path := d.path(fd)
	m, size, err := d.manifest(fd)
	if err != nil {
		return nil, err
	}
	if m.fault != nil && !m.fault.Torn {
		return nil, damaged(path, m.fault)
	}
	if err := d.checkManifest(m, fds); err != nil {
		if m.fault != nil {
			return nil, errkind.Corrupt.Errorf("%s is truncated (%w) and tells an old state: %w; %s", path, m.fault, err, repairHint)
		}
		return nil, errkind.Corrupt.Errorf("%s does not match the folder: %w; %s", path, err, repairHint)
	}
	cuts, err := d.checkJournals(m, fds)
	if err == nil && m.fault != nil {
		cuts = append(cuts, cut{path: path, keep: m.fault.Start, lost: size - m.fault.Start})
	}
	return cuts, err
}

func damaged(path string, f *fault) error {
	return errkind.Corrupt.Errorf("%s is damaged at offset %d: %s; %s", path, f.Off, f.Reason, repairHint)
}

// checkEmpty decides what a folder without a valid CURRENT is: new, left by a first start that was interrupted (then it
// is cleaned), or damaged.
func (d *disk) checkEmpty(fds []ldbstorage.FileDesc, cause error) error {
	current := filepath.Join(d.dir, "CURRENT")
	if !errors.Is(cause, fs.ErrNotExist) && !isCorrupt(cause) {
		return fmt.Errorf("read %s: %w", current, cause)
	}
	if len(fds) == 0 && !exists(current) {
		return nil
	}
	unused := true
	for _, fd := range fds {
		if fd.Type != ldbstorage.TypeManifest {
			unused = false
			break
		}
		m, _, err := d.manifest(fd)
		if err != nil {
			return err
		}
		// The first start writes a manifest without journal and tables, then CURRENT, then a journal.
		unused = unused && m.journal == 0 && len(m.tables) == 0 && (m.fault == nil || m.fault.Torn)
	}
	if unused && len(fds) > 0 {
		return d.removeUnused(fds)
	}
	b, err := os.ReadFile(current)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errkind.Corrupt.Errorf("%s is missing, but the folder has a database; %s", current, repairHint)
	case err != nil:
		return fmt.Errorf("read %s: %w", current, err)
	}
	if fd, ok := currentTarget(b); ok {
		return errkind.Corrupt.Errorf("%s, named by %s, is missing; %s", d.path(fd), current, repairHint)
	}
	return errkind.Corrupt.Errorf("%s is damaged: %.64q is not the name of a manifest; %s", current, b, repairHint)
}

func currentTarget(b []byte) (fd ldbstorage.FileDesc, ok bool) {
	fd.Type = ldbstorage.TypeManifest
	n, err := fmt.Sscanf(string(b), "MANIFEST-%d\n", &fd.Num)
	return fd, err == nil && n == 1 && string(b) == fd.String()+"\n"
}

func (d *disk) removeUnused(fds []ldbstorage.FileDesc) error {
	for _, fd := range fds {
		if err := d.Remove(fd); err != nil {
			return fmt.Errorf("remove the rest of an interrupted first start: %w", err)
		}
	}
	left, err := filepath.Glob(filepath.Join(d.dir, "CURRENT*"))
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove the rest of an interrupted first start: %w", err)
		}
	}
	return nil
}

func (d *disk) manifest(fd ldbstorage.FileDesc) (*manifest, int64, error) {
	f, size, err := openSized(d.path(fd))
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	m, err := readManifest(f, size)
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return m, size, nil
}

func openSized(path string) (*os.File, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, st.Size(), nil
}

// checkManifest compares the manifest's state with the files that are there. A manifest whose end is lost fails here
// unless the lost records did not matter: each record that removes a file's content from the folder names its new place.
func (d *disk) checkManifest(m *manifest, fds []ldbstorage.FileDesc) error {
	if err := m.complete(); err != nil {
		return err
	}
	journal := m.journal == 0 // a first start that was interrupted
	for _, fd := range fds {
		journal = journal || fd.Type == ldbstorage.TypeJournal && fd.Num == m.journal
	}
	if !journal {
		return fmt.Errorf("journal %s is missing", d.path(ldbstorage.FileDesc{Type: ldbstorage.TypeJournal, Num: m.journal}))
	}
	for num, want := range m.tables {
		path := d.path(ldbstorage.FileDesc{Type: ldbstorage.TypeTable, Num: num})
		st, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("table %s is missing", path)
		case err != nil:
			return err
		case st.Size() < want:
			return fmt.Errorf("table %s has %d bytes instead of %d", path, st.Size(), want)
		}
	}
	return nil
}

func (m *manifest) live(fd ldbstorage.FileDesc) bool {
	return fd.Type == ldbstorage.TypeJournal && (fd.Num >= m.journal || m.prevJournal != 0 && fd.Num == m.prevJournal)
}

func (d *disk) checkJournals(m *manifest, fds []ldbstorage.FileDesc) ([]cut, error) {
	var cuts []cut
	// The first operation may have the manifest's number: goleveldb notes the next number when it recovers a journal.
	last := m.seq
	if last > 0 {
		last--
	}
	for _, fd := range journals(fds) {
		if !m.live(fd) {
			continue
		}
		path := d.path(fd)
		f, size, err := openSized(path)
		if err != nil {
			return nil, err
		}
		if len(cuts) > 0 && size > 0 {
			// Writing went on in a newer journal, so the end of the older one was not torn by a crash.
			return nil, errors.Join(errkind.Corrupt.Errorf("%s is truncated at offset %d, but is not the newest journal; %s",
				cuts[0].path, cuts[0].keep, repairHint), f.Close())
		}
		s, err := scanJournal(f, size, last)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		if s.Fault != nil {
			if !s.Fault.Torn {
				return nil, damaged(path, s.Fault)
			}
			cuts = append(cuts, cut{path: path, keep: s.Fault.Start, lost: size - s.Fault.Start})
		}
		last = s.Last
	}
	return cuts, nil
}

// journals are the journals among fds, oldest first.
func journals(fds []ldbstorage.FileDesc) []ldbstorage.FileDesc {
	var js []ldbstorage.FileDesc
	for _, fd := range fds {
		if fd.Type == ldbstorage.TypeJournal {
			js = append(js, fd)
		}
	}
	slices.SortFunc(js, func(a, b ldbstorage.FileDesc) int { return int(a.Num - b.Num) })
	return js
}

// apply cuts the torn end off, durably.
func (c cut) apply() error {
	f, err := os.OpenFile(c.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	err = f.Truncate(c.keep)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
