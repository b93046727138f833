package leveldb

import (
	"math/big"
	"path/filepath"
	"time"

	"github.com/syndtr/goleveldb/leveldb/filter"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/zclconf/go-cty/cty"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/diag"
)

// Values of the attribute sync.
const (
	syncAlways   = "always"
	syncInterval = "interval"
	syncNever    = "never"
)

const (
	defaultInterval = 100 * time.Millisecond
	minInterval     = time.Millisecond
	maxInterval     = time.Minute
)

// settings is the decoded config block.
type settings struct {
	dir         string
	sync        string
	interval    time.Duration
	cacheMiB    int
	bufferMiB   int
	compression string
	compaction  compaction
}

type compaction struct {
	tableMiB, level1MiB, l0Trigger, slowdown, pause int
}

// number is an integer attribute with its bounds.
type number struct {
	name          string
	def, min, max int64
	doc           string
}

var (
	numbers = []number{
		{"cache_mib", 32, 0, 64 << 10, "Memory for uncompressed table blocks in MiB, 0 to 65536."},
		{"write_buffer_mib", 8, 1, 1024, "Memory for recent writes in MiB before they become a table, 1 to 1024."},
	}
	compactionNumbers = []number{
		{"table_mib", 4, 1, 1024, "Size of a table in MiB, 1 to 1024."},
		{"level1_mib", 20, 1, 64 << 10, "Size of level 1 in MiB, 1 to 65536; each further level has ten times as much."},
		{"l0_trigger", 4, 1, 1000, "Tables at level 0 that start a compaction, 1 to 1000."},
		{"slowdown", 8, 1, 1000, "Tables at level 0 that slow writes down, 1 to 1000."},
		{"pause", 12, 1, 1000, "Tables at level 0 that stop writes until compaction caught up, 1 to 1000."},
	}
)

func attributes(numbers []number) []base.Attribute {
	var as []base.Attribute
	for _, n := range numbers {
		as = append(as, base.Attribute{Name: n.name, Type: cty.Number, Default: cty.NumberIntVal(n.def), Doc: n.doc})
	}
	return as
}

func schema() base.Schema {
	return base.Schema{
		Attributes: append([]base.Attribute{
			{
				Name: "path", Type: cty.String,
				Doc: "Folder of the database; a relative one is inside the plugin's data folder, which is also the default.",
			},
			{
				Name: "sync", Type: cty.String, Default: cty.StringVal(syncAlways),
				Doc: `"always": a commit is on disk before it is acknowledged. "interval": a power failure may lose the last ` +
					`sync_interval. "never": the operating system decides. A crash of the process loses nothing in any case.`,
			},
			{
				Name: "sync_interval", Type: cty.String, Default: cty.StringVal(defaultInterval.String()),
				Doc: "Time between syncs with sync = interval, 1ms to 1m.",
			},
			{
				Name: "compression", Type: cty.String, Default: cty.StringVal("snappy"),
				Doc: `Compression of tables: "snappy" or "none".`,
			},
		}, attributes(numbers)...),
		Blocks: []base.Block{{
			Name: "compaction", Schema: base.Schema{Attributes: attributes(compactionNumbers)},
			Doc: "Tuning of the engine's compaction.",
		}},
	}
}

func path(steps ...diag.Step) []diag.Step { return steps }

// decode reads the config block; it reports everything that is wrong at once.
func decode(c base.Config) (settings, diag.Diagnostics) {
	var d diag.Diagnostics
	want := schema().ObjectType()
	v := c.Value
	if v == cty.NilVal || v.IsNull() {
		v = cty.EmptyObjectVal
	}
	if !v.IsWhollyKnown() || !v.Type().IsObjectType() {
		d.Errorf(nil, "Wrong config block", "A known object is needed.")
		return settings{}, d
	}
	for name, t := range v.Type().AttributeTypes() {
		switch {
		case !want.HasAttribute(name):
			d.Errorf(path(name), "Unknown attribute", "There is no %q; see the plugin's schema.", name)
		case !t.Equals(want.AttributeType(name)) && !v.GetAttr(name).IsNull():
			d.Errorf(path(name), "Wrong type", "Needs %s, not %s.", want.AttributeType(name).FriendlyName(), t.FriendlyName())
		}
	}
	if !filepath.IsAbs(c.DataDir) {
		d.Errorf(nil, "No data folder", "The host gave %q as data folder, which is not an absolute path.", c.DataDir)
	}
	if d.HasErrors() {
		return settings{}, d
	}
	s := settings{
		dir:         c.DataDir,
		sync:        oneOf(&d, v, "sync", syncAlways, syncInterval, syncNever),
		compression: oneOf(&d, v, "compression", "snappy", "none"),
		interval:    interval(&d, v),
	}
	if p := text(v, "path", ""); p != "" {
		s.dir = filepath.Clean(p)
		if !filepath.IsAbs(p) {
			s.dir = filepath.Join(c.DataDir, p)
		}
	}
	if s.sync != syncInterval && s.interval != defaultInterval && !d.HasErrors() {
		d.Warnf(path("sync_interval"), "Attribute without effect", "It matters only with sync = %q.", syncInterval)
	}
	ns := ints(&d, v, nil, numbers)
	s.cacheMiB, s.bufferMiB = ns[0], ns[1]
	block := cty.EmptyObjectVal
	if v.Type().HasAttribute("compaction") && !v.GetAttr("compaction").IsNull() {
		block = v.GetAttr("compaction")
	}
	ns = ints(&d, block, path("compaction"), compactionNumbers)
	s.compaction = compaction{ns[0], ns[1], ns[2], ns[3], ns[4]}
	if k := s.compaction; k.l0Trigger > k.slowdown || k.slowdown > k.pause {
		d.Errorf(path("compaction"), "Thresholds out of order", "l0_trigger (%d) ≤ slowdown (%d) ≤ pause (%d) must hold.",
			k.l0Trigger, k.slowdown, k.pause)
	}
	return s, d
}

func text(v cty.Value, name, def string) string {
	if !v.Type().HasAttribute(name) || v.GetAttr(name).IsNull() {
		return def
	}
	return v.GetAttr(name).AsString()
}

// oneOf reads an attribute whose first allowed value is the default.
func oneOf(d *diag.Diagnostics, v cty.Value, name string, allowed ...string) string {
	s := text(v, name, allowed[0])
	for _, a := range allowed {
		if s == a {
			return s
		}
	}
	d.Errorf(path(name), "Unknown value", "%q is not one of %q.", s, allowed)
	return allowed[0]
}

func interval(d *diag.Diagnostics, v cty.Value) time.Duration {
	s := text(v, "sync_interval", defaultInterval.String())
	t, err := time.ParseDuration(s)
	if err != nil || t < minInterval || t > maxInterval {
		d.Errorf(path("sync_interval"), "Wrong duration", "%q is not a duration from %v to %v, such as \"100ms\".", s,
			minInterval, maxInterval)
		return defaultInterval
	}
	return t
}

func ints(d *diag.Diagnostics, v cty.Value, at []diag.Step, ns []number) []int {
	out := make([]int, len(ns))
	for i, n := range ns {
		x := n.def
		if v.Type().HasAttribute(n.name) && !v.GetAttr(n.name).IsNull() {
			f := v.GetAttr(n.name).AsBigFloat()
			y, acc := f.Int64()
			if acc != big.Exact || y < n.min || y > n.max {
				d.Errorf(append(at[:len(at):len(at)], n.name), "Number out of bounds", "%s is not an integer from %d to %d.",
					f.Text('g', 10), n.min, n.max)
				y = n.def
			}
			x = y
		}
		out[i] = int(x)
	}
	return out
}

const mib = 1 << 20

// strict: everything that is damaged is an error. What a crash leaves behind is cut before.
const strict = opt.StrictManifest | opt.StrictJournal | opt.StrictJournalChecksum | opt.StrictBlockChecksum |
	opt.StrictCompaction | opt.StrictReader

func (s settings) options() *opt.Options {
	o := &opt.Options{
		Strict:                 strict,
		Filter:                 filter.NewBloomFilter(10),
		BlockCacheCapacity:     s.cacheMiB * mib,
		WriteBuffer:            s.bufferMiB * mib,
		Compression:            opt.SnappyCompression,
		CompactionTableSize:    s.compaction.tableMiB * mib,
		CompactionTotalSize:    s.compaction.level1MiB * mib,
		CompactionL0Trigger:    s.compaction.l0Trigger,
		WriteL0SlowdownTrigger: s.compaction.slowdown,
		WriteL0PauseTrigger:    s.compaction.pause,
		DisableSeeksCompaction: true,
		// Large batches go through the journal as well: in a transaction goleveldb writes them to tables first, and a
		// repair after a crash could not tell a half-written one from a committed one.
		DisableLargeBatchTransaction: true,
	}
	if s.compression == "none" {
		o.Compression = opt.NoCompression
	}
	if s.cacheMiB == 0 {
		o.BlockCacheCapacity = -1
	}
	return o
}
