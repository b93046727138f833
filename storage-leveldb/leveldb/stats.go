package leveldb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	ldb "github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/calimero-go/core/plugin-sdk/storage"
)

// maxColumns bounds the columns that Stats names.
const maxColumns = 4096

// Stats implements storage.Store. Sizes of columns are those of their tables on disk; rows that are still only in the
// journal are not in them.
//
// Engine has: sync, commits (since the start), journal_fsyncs, torn_bytes_cut (at opening, since the start), reopens
// (after failed writes), free_bytes, writes ("ok" or why they are refused), snapshots, tables, levels, block_cache_bytes,
// read_bytes, written_bytes, write_delays, and compactions.
func (p *Plugin) Stats(ctx context.Context) (storage.Stats, error) {
	db, release, err := p.use(ctx)
	if err != nil {
		return storage.Stats{}, err
	}
	defer release()
	var s storage.Stats
	if s.DiskBytes, err = diskBytes(p.settings.dir); err != nil {
		return storage.Stats{}, err
	}
	if s.Columns, err = columnSizes(ctx, db); err != nil {
		return storage.Stats{}, classify(p.settings.dir, err)
	}
	if s.Engine, err = p.engine(db); err != nil {
		return storage.Stats{}, classify(p.settings.dir, err)
	}
	return s, nil
}

// diskBytes adds up the files of the database, not what else is in or below the folder.
func diskBytes(dir string) (uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("list the database folder: %w", err)
	}
	var sum uint64
	for _, e := range entries {
		st, err := e.Info()
		switch {
		case errors.Is(err, fs.ErrNotExist): // compaction removed it
		case err != nil:
			return 0, err
		case st.Mode().IsRegular():
			sum += uint64(st.Size())
		}
	}
	return sum, nil
}

func columnSizes(ctx context.Context, db *ldb.DB) (map[string]uint64, error) {
	it := db.NewIterator(nil, nil)
	defer it.Release()
	var names []string
	var ranges []util.Range
	for ok := it.Seek([]byte{1}); ok && len(names) < maxColumns; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		k := it.Key()
		if len(k) < 1+int(k[0]) {
			return nil, fmt.Errorf("row with key %x has no column", k)
		}
		name := string(k[1 : 1+int(k[0])])
		r, _ := columnRange(name, nil, nil)
		names, ranges = append(names, name), append(ranges, r)
		ok = it.Seek(r.Limit)
	}
	if err := it.Error(); err != nil {
		return nil, err
	}
	sizes, err := db.SizeOf(ranges)
	if err != nil {
		return nil, err
	}
	columns := make(map[string]uint64, len(names))
	for i, n := range names {
		columns[n] = uint64(sizes[i])
	}
	return columns, nil
}

func (p *Plugin) engine(db *ldb.DB) (map[string]string, error) {
	var s ldb.DBStats
	if err := db.Stats(&s); err != nil {
		return nil, err
	}
	free, err := freeBytes(p.settings.dir)
	if err != nil {
		return nil, err
	}
	writes := "ok"
	if err := p.brokenBy(); err != nil {
		writes = err.Error()
	}
	tables := 0
	var levels []string
	for i, n := range s.LevelTablesCounts {
		tables += n
		levels = append(levels, fmt.Sprintf("L%d %d tables %d bytes", i, n, s.LevelSizes[i]))
	}
	u := func(n uint64) string { return strconv.FormatUint(n, 10) }
	return map[string]string{
		"engine":            "goleveldb",
		"path":              p.settings.dir,
		"sync":              p.settings.sync,
		"commits":           u(p.batches.Load()),
		"journal_fsyncs":    u(p.disk.syncs.Load()),
		"torn_bytes_cut":    u(p.tornBytes.Load()),
		"reopens":           u(p.reopens.Load()),
		"free_bytes":        u(free),
		"writes":            writes,
		"snapshots":         strconv.Itoa(p.snapshots.count()),
		"tables":            strconv.Itoa(tables),
		"levels":            strings.Join(levels, ", "),
		"block_cache_bytes": strconv.Itoa(s.BlockCacheSize),
		"read_bytes":        u(s.IORead),
		"written_bytes":     u(s.IOWrite),
		"write_delays":      fmt.Sprintf("%d, %v", s.WriteDelayCount, s.WriteDelayDuration),
		"compactions": fmt.Sprintf("memory %d, level 0 %d, others %d", s.MemComp, s.Level0Comp,
			s.NonLevel0Comp),
	}, nil
}

// Compact implements storage.Store. When the caller gives up, the compaction goes on in the background.
func (p *Plugin) Compact(ctx context.Context) (before, after uint64, err error) {
	db, release, err := p.use(ctx)
	if err != nil {
		return 0, 0, err
	}
	// Not held while compacting: closing the database ends the compaction.
	release()
	dir := filepath.Clean(p.settings.dir)
	if before, err = diskBytes(dir); err != nil {
		return 0, 0, err
	}
	done := make(chan error, 1)
	go func() { done <- db.CompactRange(util.Range{}) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		return before, 0, ctx.Err()
	}
	if err != nil {
		return before, 0, classify(dir, fmt.Errorf("compact: %w", err))
	}
	after, err = diskBytes(dir)
	return before, after, err
}
