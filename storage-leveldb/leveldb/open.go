package leveldb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	ldb "github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// open checks the folder and opens the database; p.mu is held for writing and p.db is nil.
func (p *Plugin) open() error {
	p.disk.reset()
	cuts, err := p.disk.check()
	if err != nil {
		return classify(p.disk.dir, err)
	}
	for _, c := range cuts {
		if err := c.apply(); err != nil {
			return fmt.Errorf("cut the torn end of %s: %w", c.path, classify(p.disk.dir, err))
		}
		p.tornBytes.Add(uint64(c.lost))
		p.log.Warn("cut the end of a write that was interrupted before it was acknowledged", "file", c.path, "bytes", c.lost)
	}
	o := p.settings.options()
	db, err := ldb.Open(p.disk, o)
	if err == nil {
		if err = prepare(db, true); err != nil {
			err = errors.Join(err, db.Close())
		}
	}
	if err != nil && isFull(err) {
		return p.openForReading(o, err)
	}
	if err != nil {
		return fmt.Errorf("open the database: %w", classify(p.disk.dir, err))
	}
	return p.serve(db, nil)
}

// openForReading is for a disk too full to open the database for writing, which needs space for a table.
func (p *Plugin) openForReading(o *opt.Options, cause error) error {
	cause = full(p.disk.dir, cause)
	p.disk.reset()
	if err := p.disk.joinJournals(); err != nil {
		return errkind.Exhausted.Errorf("%w; reading the journals failed as well: %w", cause, err)
	}
	o.ReadOnly = true
	db, err := ldb.Open(p.disk, o)
	if err != nil {
		return errkind.Exhausted.Errorf("%w; opening it only for reading failed as well: %w", cause, err)
	}
	if err := prepare(db, false); err != nil {
		return errors.Join(err, db.Close())
	}
	p.log.Error("writes are refused", "error", cause)
	return p.serve(db, cause)
}

func (p *Plugin) serve(db *ldb.DB, refuse error) error {
	if err := p.ids.load(db); err != nil {
		return errors.Join(classify(p.disk.dir, err), db.Close())
	}
	p.db, p.down = db, nil
	p.broken.Store(nil)
	if refuse != nil {
		p.broken.Store(&refuse)
	}
	return nil
}

// prepare notes the format in a new database and refuses others.
func prepare(db *ldb.DB, write bool) error {
	v, err := db.Get(versionKey, nil)
	if err == nil {
		if len(v) != 1 || v[0] != formatVersion {
			return errkind.Unsupported.Errorf("database has format %x, this plugin knows %d", v, formatVersion)
		}
		return nil
	}
	if !errors.Is(err, ldb.ErrNotFound) {
		return err
	}
	it := db.NewIterator(nil, nil)
	foreign := it.First()
	it.Release()
	if err := it.Error(); err != nil {
		return err
	}
	if foreign {
		return errkind.Precondition.Errorf("the folder has a LevelDB of another program; choose another path")
	}
	if !write {
		return nil
	}
	return db.Put(versionKey, []byte{formatVersion}, &opt.WriteOptions{Sync: true})
}

func (p *Plugin) brokenBy() error {
	if err := p.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// breakDown refuses commits from now on, until heal.
func (p *Plugin) breakDown(err error) error {
	err = classify(p.settings.dir, err)
	if p.broken.CompareAndSwap(nil, &err) {
		p.log.Error("writes are refused", "error", err)
	}
	return err
}

// healPause is the least time between two attempts to reopen.
const healPause = 100 * time.Millisecond

// heal reopens the database after a failed write, when there is space for a commit of that size. It returns nil when
// commits may go on.
func (p *Plugin) heal(size int) error {
	why := p.brokenBy()
	if why == nil {
		return nil
	}
	if errkind.Of(why) == errkind.Corrupt {
		return why
	}
	if err := p.spaceFor(size, why); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.db == nil && p.disk == nil {
		return p.down
	}
	if why = p.brokenBy(); why == nil || time.Since(p.healed) < healPause {
		return why
	}
	p.healed = time.Now()
	p.snapshots.endAll()
	if p.db != nil {
		// Its error is the one known already.
		if err := p.db.Close(); err != nil {
			p.log.Debug("close the database after a failed write", "error", err)
		}
		p.db = nil
	}
	if err := p.open(); err != nil {
		p.down = err
		return err
	}
	p.reopens.Add(1)
	if why = p.brokenBy(); why == nil {
		p.log.Info("writes resumed", "path", p.disk.dir)
	}
	return why
}

// spaceFor tells whether reopening and a commit of size bytes fit: the journals become a table, the commit is written to
// a journal.
func (p *Plugin) spaceFor(size int, why error) error {
	if !isFull(why) {
		return nil
	}
	need := uint64(2*size + 1<<20)
	js, err := filepath.Glob(filepath.Join(p.settings.dir, "*.log"))
	if err != nil {
		return err
	}
	for _, j := range js {
		// A journal may be removed meanwhile.
		if st, err := os.Stat(j); err == nil {
			need += uint64(st.Size())
		}
	}
	free, err := freeBytes(p.settings.dir)
	if err != nil {
		return err
	}
	if free < need {
		return errkind.Exhausted.Errorf("disk of %s is full (%d bytes free, %d needed to write again); free some space, "+
			"writes then resume by themselves", p.settings.dir, free, need)
	}
	return nil
}
