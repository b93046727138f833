package leveldb

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	ldb "github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/filter"
	"github.com/syndtr/goleveldb/leveldb/iterator"
	"github.com/syndtr/goleveldb/leveldb/journal"
	"github.com/syndtr/goleveldb/leveldb/opt"
	ldbstorage "github.com/syndtr/goleveldb/leveldb/storage"
	"github.com/syndtr/goleveldb/leveldb/table"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

// Report says what Repair found, kept and lost.
type Report struct {
	// Dir is the database folder. Backup, a folder in it, has all its files as they were; empty when nothing was done.
	Dir, Backup string
	// Manifest is what was wrong with CURRENT or the manifest, or with what they name; empty = nothing.
	Manifest string
	Journals []FileReport
	Tables   []FileReport
	// Rows is how many rows can be read now.
	Rows uint64
}

// FileReport is about one journal or table. For journals Kept and Skipped count groups of batches (what was committed
// with one write); for tables Kept counts versions of rows.
type FileReport struct {
	File string
	Kept uint64
	// Skipped groups are in the tables already.
	Skipped uint64
	// Damage has one line per damaged place; its content is lost.
	Damage []string
	// LostBytes are those of a journal that could not be read; LostOps those operations whose numbers are missing. An end
	// that is lost has no known number of operations.
	LostBytes int64
	LostOps   uint64
}

// Lost tells whether anything readable before the damage is gone now.
func (r *Report) Lost() bool {
	for _, f := range append(r.Journals[:len(r.Journals):len(r.Journals)], r.Tables...) {
		if len(f.Damage) > 0 {
			return true
		}
	}
	return r.Manifest != ""
}

// String is the report for the operator.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "database %s\n", r.Dir)
	if r.Manifest == "" {
		b.WriteString("manifest: whole\n")
	} else {
		fmt.Fprintf(&b, "manifest: rebuilt from the tables, because %s\n", r.Manifest)
		b.WriteString("  tables that are missing are lost; rows deleted shortly before the damage may be back\n")
	}
	for _, f := range r.Journals {
		fmt.Fprintf(&b, "journal %s: %d groups of batches kept", f.File, f.Kept)
		if f.Skipped > 0 {
			fmt.Fprintf(&b, ", %d were in the tables already", f.Skipped)
		}
		if len(f.Damage) > 0 {
			fmt.Fprintf(&b, "; LOST: %d bytes, %d operations missing in between", f.LostBytes, f.LostOps)
		}
		b.WriteString("\n")
		f.damage(&b)
	}
	for _, f := range r.Tables {
		fmt.Fprintf(&b, "table %s: %d row versions kept", f.File, f.Kept)
		if len(f.Damage) > 0 {
			fmt.Fprintf(&b, "; LOST: what was in %d damaged places", len(f.Damage))
		}
		b.WriteString("\n")
		f.damage(&b)
	}
	switch {
	case r.Backup == "":
		b.WriteString("nothing is damaged, nothing was changed\n")
	default:
		fmt.Fprintf(&b, "the files as they were: %s (delete the folder when it is no longer needed)\n", r.Backup)
	}
	fmt.Fprintf(&b, "%d rows can be read\n", r.Rows)
	return b.String()
}

func (f *FileReport) damage(b *strings.Builder) {
	for _, d := range f.Damage {
		fmt.Fprintf(b, "  %s\n", d)
	}
}

// Repair makes the database in dir usable again: it keeps every commit and every table block that can be read, also
// those after the damage, and reports the rest. No process may have the database open. The files as they were are kept in
// a folder beside them (as links, so they take no space until the database changes).
func Repair(dir string) (report *Report, err error) {
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return nil, errkind.NotFound.Errorf("%s is not a folder with a database", dir)
	}
	d, err := openDisk(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	r := &repair{disk: d, report: &Report{Dir: dir}}
	if err := r.run(); err != nil {
		return nil, fmt.Errorf("repair %s: %w", dir, classify(dir, err))
	}
	return r.report, nil
}

type repair struct {
	disk   *disk
	report *Report
	fds    []ldbstorage.FileDesc
	// manifest is nil when it has to be rebuilt.
	manifest *manifest
	tornEnd  bool
	// inTables is the number of the last operation that is in the tables; after that of the last one in what was read.
	inTables, after uint64
	// These cannot stay as they are.
	rewriteJournals, rewriteTables []ldbstorage.FileDesc
}

func (r *repair) run() error {
	var err error
	if r.fds, err = r.disk.List(ldbstorage.TypeAll); err != nil {
		return err
	}
	if len(r.fds) == 0 {
		return errkind.NotFound.Errorf("the folder has no database files")
	}
	if err := r.inspectManifest(); err != nil {
		return err
	}
	if err := r.inspectTables(); err != nil {
		return err
	}
	if err := r.inspectJournals(); err != nil {
		return err
	}
	rebuild := r.manifest == nil || len(r.rewriteTables) > 0
	if rebuild || r.tornEnd || len(r.rewriteJournals) > 0 {
		if err := r.change(rebuild); err != nil {
			return err
		}
	}
	return r.verify(rebuild)
}

func (r *repair) inspectManifest() error {
	fd, err := r.disk.GetMeta()
	if err != nil {
		r.report.Manifest = fmt.Sprintf("%s does not lead to a manifest (%v)", filepath.Join(r.disk.dir, "CURRENT"), err)
		return nil
	}
	m, _, err := r.disk.manifest(fd)
	if err != nil {
		return err
	}
	path := r.disk.path(fd)
	if m.fault != nil && !m.fault.Torn {
		r.report.Manifest = fmt.Sprintf("%s: %v", path, m.fault)
		return nil
	}
	if err := r.disk.checkManifest(m, r.fds); err != nil {
		r.report.Manifest = fmt.Sprintf("%s does not match the folder: %v", path, err)
		return nil
	}
	r.manifest, r.tornEnd = m, m.fault != nil
	r.inTables = max(m.seq, 1) - 1
	return nil
}

func (r *repair) inspectTables() error {
	for _, fd := range r.fds {
		if fd.Type != ldbstorage.TypeTable {
			continue
		}
		if r.manifest != nil {
			if _, ok := r.manifest.tables[fd.Num]; !ok {
				continue
			}
		}
		f, seq, err := r.inspectTable(fd)
		if err != nil {
			return err
		}
		r.report.Tables = append(r.report.Tables, f)
		if r.manifest == nil {
			r.inTables = max(r.inTables, seq)
		}
	}
	return nil
}

// inspectTable reads a table; seq is its largest sequence number.
func (r *repair) inspectTable(fd ldbstorage.FileDesc) (rep FileReport, seq uint64, err error) {
	rep.File = r.disk.path(fd)
	rep.Damage, err = readTable(rep.File, fd, func(key, _ []byte) error {
		rep.Kept++
		seq = max(seq, binary.LittleEndian.Uint64(key[len(key)-8:])>>8)
		return nil
	})
	if len(rep.Damage) > 0 {
		r.rewriteTables = append(r.rewriteTables, fd)
	}
	return rep, seq, err
}

// readTable visits the rows of all blocks of a table that are whole, by internal key: key, then sequence number and kind
// in eight bytes.
func readTable(path string, fd ldbstorage.FileDesc, visit func(key, value []byte) error) (damage []string, err error) {
	f, size, err := openSized(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t, err := table.NewReader(f, size, fd, nil, nil, &opt.Options{Strict: opt.StrictBlockChecksum})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	it := t.NewIterator(nil, nil)
	defer it.Release()
	if s, ok := it.(iterator.ErrorCallbackSetter); ok {
		s.SetErrorCallback(func(err error) { damage = append(damage, err.Error()) })
	}
	for it.Next() {
		if len(it.Key()) < 8 {
			damage = append(damage, fmt.Sprintf("row key of %d bytes", len(it.Key())))
			continue
		}
		if err := visit(it.Key(), it.Value()); err != nil {
			return damage, err
		}
	}
	if err := it.Error(); err != nil {
		if !isCorrupt(err) {
			return damage, fmt.Errorf("read %s: %w", path, err)
		}
		if len(damage) == 0 {
			damage = append(damage, err.Error())
		}
	}
	return damage, nil
}

// replaceTable writes what can be read of a table in its place. goleveldb's own recovery must not do that: it builds the
// index and the filter as if internal keys were plain ones, so that reading such a table panics or misses rows.
func (r *repair) replaceTable(fd ldbstorage.FileDesc) error {
	path := r.disk.path(fd)
	rows := 0
	err := replace(path, func(w io.Writer) error {
		tw := table.NewWriter(w, &opt.Options{Comparer: internalOrder{}, Compression: opt.SnappyCompression}, nil, 0)
		_, err := readTable(path, fd, func(key, value []byte) error {
			rows++
			return tw.Append(key, value)
		})
		if err != nil {
			return err
		}
		return tw.Close()
	})
	if err == nil && rows == 0 {
		err = r.disk.Remove(fd)
	}
	return err
}

// internalOrder orders internal keys: by key, then the newest first. It shortens nothing.
type internalOrder struct{}

func (internalOrder) Name() string                    { return "internal" }
func (internalOrder) Separator(_, _, _ []byte) []byte { return nil }
func (internalOrder) Successor(_, _ []byte) []byte    { return nil }

func (internalOrder) Compare(a, b []byte) int {
	if c := bytes.Compare(a[:len(a)-8], b[:len(b)-8]); c != 0 {
		return c
	}
	return cmp.Compare(binary.LittleEndian.Uint64(b[len(b)-8:]), binary.LittleEndian.Uint64(a[len(a)-8:]))
}

func (r *repair) inspectJournals() error {
	r.after = r.inTables
	for _, fd := range journals(r.fds) {
		if r.manifest != nil && !r.manifest.live(fd) {
			continue
		}
		f, err := r.salvage(fd, io.Discard)
		if err != nil {
			return err
		}
		r.report.Journals = append(r.report.Journals, f)
		if len(f.Damage) > 0 || f.Skipped > 0 {
			r.rewriteJournals = append(r.rewriteJournals, fd)
		}
	}
	return nil
}

// salvage copies the whole groups of a journal that are not in the tables to w, and notes the last number in r.after.
func (r *repair) salvage(fd ldbstorage.FileDesc, w io.Writer) (rep FileReport, err error) {
	rep.File = r.disk.path(fd)
	f, size, err := openSized(rep.File)
	if err != nil {
		return rep, err
	}
	defer f.Close()
	out := journal.NewWriter(w)
	last := r.after
	lost := func(from, to int64, reason string) {
		rep.Damage = append(rep.Damage, fmt.Sprintf("offset %d: %s; %d bytes are lost", from, reason, to-from))
		rep.LostBytes += to - from
	}
	l := newLogReader(f, size, func(p []byte) bool { return followsSeq(p, 0) })
	for {
		rec, off, err := l.next()
		var fa *fault
		if errors.As(err, &fa) {
			next, err := l.skip(fa)
			if err != nil {
				return rep, fmt.Errorf("read %s: %w", rep.File, err)
			}
			lost(fa.Start, next, fa.Reason)
			continue
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return rep, fmt.Errorf("read %s: %w", rep.File, err)
		}
		seq, ops, err := checkGroup(rec, 0)
		if err == nil && last > 0 && seq > last+maxJump {
			err = fmt.Errorf("group is numbered %d, far from %d", seq, last)
		}
		if err != nil {
			lost(off, l.base+int64(l.pos), err.Error())
			continue
		}
		end := seq + uint64(ops) - 1
		if end <= r.inTables {
			rep.Skipped++
			continue
		}
		if last > r.inTables && seq > last+1 {
			rep.LostOps += seq - last - 1
		}
		if seq <= last {
			// Part of the group is in tables whose other part is damaged: the whole group applies again.
			seq = last + 1
			end = seq + uint64(ops) - 1
			binary.LittleEndian.PutUint64(rec, seq)
		}
		rw, err := out.Next()
		if err == nil {
			_, err = rw.Write(rec)
		}
		if err != nil {
			return rep, err
		}
		rep.Kept++
		last = end
	}
	r.after = last
	return rep, out.Close()
}

// change keeps the files as they are in a folder, and then makes the database whole.
func (r *repair) change(rebuild bool) error {
	if err := r.backup(); err != nil {
		return fmt.Errorf("keep the files as they are: %w", err)
	}
	if r.manifest != nil {
		// A rebuilt manifest would take in what the present one has abandoned.
		if err := r.removeDead(); err != nil {
			return err
		}
	}
	r.after = r.inTables
	for _, fd := range r.rewriteTables {
		if err := r.replaceTable(fd); err != nil {
			return fmt.Errorf("rewrite %s: %w", r.disk.path(fd), err)
		}
	}
	for _, fd := range r.rewriteJournals {
		if err := r.replaceJournal(fd); err != nil {
			return fmt.Errorf("rewrite %s: %w", r.disk.path(fd), err)
		}
	}
	switch {
	case rebuild:
		return r.removeManifests()
	case r.tornEnd:
		return r.cutManifest()
	}
	return nil
}

// removeManifests makes room for a new one.
func (r *repair) removeManifests() error {
	for _, pattern := range []string{"CURRENT*", "MANIFEST-*"} {
		files, err := filepath.Glob(filepath.Join(r.disk.dir, pattern))
		if err != nil {
			return err
		}
		for _, f := range files {
			if err := os.Remove(f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *repair) removeDead() error {
	for _, fd := range r.fds {
		dead := fd.Type == ldbstorage.TypeJournal && !r.manifest.live(fd)
		if fd.Type == ldbstorage.TypeTable {
			_, live := r.manifest.tables[fd.Num]
			dead = !live
		}
		if dead {
			if err := r.disk.Remove(fd); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *repair) cutManifest() error {
	fd, err := r.disk.GetMeta()
	if err != nil {
		return err
	}
	path := r.disk.path(fd)
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	// A new file, because the backup is a link to the old one.
	return replace(path, func(w io.Writer) error {
		_, err := w.Write(b[:r.manifest.fault.Start])
		return err
	})
}

func (r *repair) replaceJournal(fd ldbstorage.FileDesc) error {
	return replace(r.disk.path(fd), func(w io.Writer) error {
		_, err := r.salvage(fd, w)
		return err
	})
}

// replace writes a file durably in the place of another.
func replace(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path+".repair", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func (r *repair) backup() error {
	dir, err := os.MkdirTemp(r.disk.dir, time.Now().UTC().Format("damaged-20060102-150405-"))
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(r.disk.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || e.Name() == "LOCK" || e.Name() == "LOG" || e.Name() == "LOG.old" {
			continue
		}
		from, to := filepath.Join(r.disk.dir, e.Name()), filepath.Join(dir, e.Name())
		// goleveldb never writes to a table or journal of an earlier run, but it may to a manifest of the same number.
		if ext := filepath.Ext(e.Name()); ext == ".ldb" || ext == ".sst" || ext == ".log" {
			if os.Link(from, to) == nil {
				continue
			}
		}
		if err := copyFile(from, to); err != nil {
			return err
		}
	}
	r.report.Backup = dir
	return syncDir(dir)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// verify opens the database as the plugin does and reads every row.
func (r *repair) verify(rebuild bool) error {
	o := &opt.Options{Strict: strict, Filter: filter.NewBloomFilter(10), DisableLargeBatchTransaction: true}
	if rebuild {
		db, err := ldb.Recover(r.disk, o)
		if err != nil {
			return fmt.Errorf("rebuild the manifest: %w", err)
		}
		if err := db.Close(); err != nil {
			return err
		}
	}
	if cuts, err := r.disk.check(); err != nil || len(cuts) > 0 {
		return errkind.Internal.Errorf("the repaired database still has damage: %w (%d torn ends)", err, len(cuts))
	}
	db, err := ldb.Open(r.disk, o)
	if err != nil {
		return err
	}
	return errors.Join(r.readAll(db), db.Close())
}

func (r *repair) readAll(db *ldb.DB) error {
	it := db.NewIterator(nil, &opt.ReadOptions{DontFillCache: true})
	defer it.Release()
	for it.Next() {
		k := it.Key()
		if len(k) == 0 || len(k) <= int(k[0]) || int(k[0]) > storage.MaxColumn {
			return errkind.Precondition.Errorf("row with key %.80q is not of this plugin: the database belongs to another program", k)
		}
		if k[0] != 0 {
			r.report.Rows++
		}
	}
	if err := it.Error(); err != nil {
		return err
	}
	// The row with the format may have been in a damaged place.
	return db.Put(versionKey, []byte{formatVersion}, &opt.WriteOptions{Sync: true})
}
