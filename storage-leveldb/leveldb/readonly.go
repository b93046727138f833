package leveldb

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/syndtr/goleveldb/leveldb/journal"
	ldbstorage "github.com/syndtr/goleveldb/leveldb/storage"
)

// oneJournal is all live journals as if they were one. goleveldb fails to open a database with more than one journal for
// reading only: it takes the end of the first for an error.
type oneJournal struct {
	fd   ldbstorage.FileDesc
	data []byte
}

type journalBytes struct{ *bytes.Reader }

func (journalBytes) Close() error { return nil }

// joinJournals makes the disk show one journal, until reset. The check of the folder has passed.
func (d *disk) joinJournals() error {
	meta, err := d.GetMeta()
	if err != nil {
		return err
	}
	m, _, err := d.manifest(meta)
	if err != nil {
		return err
	}
	fds, err := d.Storage.List(ldbstorage.TypeJournal)
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	w := journal.NewWriter(&buf)
	one := &oneJournal{}
	for _, fd := range journals(fds) {
		if !m.live(fd) {
			continue
		}
		if one.fd.Zero() {
			one.fd = fd
		}
		if err := d.copyJournal(fd, w); err != nil {
			return fmt.Errorf("read %s: %w", d.path(fd), err)
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	one.data = buf.Bytes()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.joined = one
	return nil
}

func (d *disk) copyJournal(fd ldbstorage.FileDesc, w *journal.Writer) error {
	f, size, err := openSized(d.path(fd))
	if err != nil {
		return err
	}
	defer f.Close()
	l := newLogReader(f, size, nil)
	for {
		rec, _, err := l.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		rw, err := w.Next()
		if err != nil {
			return err
		}
		if _, err := rw.Write(rec); err != nil {
			return err
		}
	}
}

func (d *disk) joinedJournal() *oneJournal {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.joined
}

// List implements storage.Storage.
func (d *disk) List(ft ldbstorage.FileType) ([]ldbstorage.FileDesc, error) {
	fds, err := d.Storage.List(ft)
	one := d.joinedJournal()
	if err != nil || one == nil {
		return fds, err
	}
	var shown []ldbstorage.FileDesc
	for _, fd := range fds {
		if fd.Type != ldbstorage.TypeJournal || fd == one.fd {
			shown = append(shown, fd)
		}
	}
	return shown, nil
}

// Open implements storage.Storage.
func (d *disk) Open(fd ldbstorage.FileDesc) (ldbstorage.Reader, error) {
	if one := d.joinedJournal(); one != nil && fd == one.fd {
		return journalBytes{bytes.NewReader(one.data)}, nil
	}
	return d.Storage.Open(fd)
}
