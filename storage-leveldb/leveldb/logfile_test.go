package leveldb_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/syndtr/goleveldb/leveldb/journal"
	"pgregory.net/rapid"

	"github.com/calimero-go/core/storage-leveldb/leveldb"
)

// group is a journal record with one put of a value of that size.
func group(seq uint64, size int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, seq)
	b = binary.LittleEndian.AppendUint32(b, 1)
	b = append(b, 1, 3, 'k', 'e', 'y')
	b = binary.AppendUvarint(b, uint64(size))
	for i := range size {
		b = append(b, byte(i*7+int(seq)))
	}
	return b
}

// writeJournal writes records as goleveldb does, each flushed, and returns where each one ends.
func writeJournal(t require.TestingT, records [][]byte) (file []byte, ends []int) {
	var buf bytes.Buffer
	w := journal.NewWriter(&buf)
	for _, r := range records {
		rw, err := w.Next()
		require.NoError(t, err)
		_, err = rw.Write(r)
		require.NoError(t, err)
		require.NoError(t, w.Flush())
		ends = append(ends, buf.Len())
	}
	return buf.Bytes(), ends
}

// readStrict reads a journal as goleveldb does with the plugin's options.
func readStrict(b []byte) (records [][]byte, err error) {
	r := journal.NewReader(bytes.NewReader(b), nil, true, true)
	for {
		j, err := r.Next()
		if errors.Is(err, io.EOF) {
			return records, nil
		}
		if err != nil {
			return records, err
		}
		rec, err := io.ReadAll(j)
		if err != nil {
			return records, err
		}
		records = append(records, rec)
	}
}

func drawJournal(t *rapid.T) [][]byte {
	// Sizes around the block's, so that records end at, before and behind its end in every way.
	size := rapid.OneOf(rapid.IntRange(0, 200), rapid.IntRange(32<<10-60, 32<<10+20), rapid.IntRange(60_000, 100_000))
	sizes := rapid.SliceOfN(size, 1, 6).Draw(t, "sizes")
	var records [][]byte
	for i, n := range sizes {
		records = append(records, group(uint64(i+1), n))
	}
	return records
}

func TestWholeJournal(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		records := drawJournal(t)
		file, _ := writeJournal(t, records)
		end, err := leveldb.CheckJournal(file)
		require.NoError(t, err)
		require.Equal(t, leveldb.JournalEnd{Records: uint64(len(records)), Whole: int64(len(file))}, end)
		got, err := leveldb.SalvageRecords(file)
		require.NoError(t, err)
		require.Equal(t, records, got)
	})
}

// A journal that merely ends early is whole up to its last complete record, and never taken for damaged.
func TestTornJournal(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		records := drawJournal(t)
		file, ends := writeJournal(t, records)
		at := rapid.IntRange(0, len(file)).Draw(t, "size")
		want, whole := 0, uint64(0)
		for _, e := range ends {
			if e <= at {
				want, whole = e, whole+1
			}
		}
		torn := append([]byte(nil), file[:at]...)
		// What was never written may also be there as zeros.
		if rapid.Bool().Draw(t, "zeros") {
			torn = append(torn[:min(at, want)], make([]byte, rapid.IntRange(0, 40_000).Draw(t, "zero bytes"))...)
		}
		end, err := leveldb.CheckJournal(torn)
		require.NoError(t, err)
		require.False(t, end.Damage, end.Reason)
		require.Equal(t, whole, end.Records)
		got, err := readStrict(torn[:end.Whole])
		require.NoError(t, err, "goleveldb must read what is left")
		require.Len(t, got, int(whole))
	})
}

// Any flipped byte of a journal is noticed, also in its last record, and costs only the record it is in.
func TestFlippedByteInJournal(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		records := drawJournal(t)
		file, ends := writeJournal(t, records)
		at := rapid.OneOf(rapid.IntRange(0, len(file)-1), rapid.IntRange(max(0, len(file)-40), len(file)-1)).Draw(t, "offset")
		if rapid.Bool().Draw(t, "near a block") && len(file) > 32<<10 {
			at = min(32<<10-10+rapid.IntRange(0, 30).Draw(t, "distance"), len(file)-1)
		}
		file[at] ^= rapid.ByteRange(1, 255).Draw(t, "flip")
		end, err := leveldb.CheckJournal(file)
		require.NoError(t, err)
		require.True(t, end.Damage, "byte %d of %d", at, len(file))
		hit := 0
		for ends[hit] <= at {
			hit++
		}
		require.LessOrEqual(t, end.Records, uint64(hit))
		got, err := leveldb.SalvageRecords(file)
		require.NoError(t, err)
		for i, r := range records {
			if i == hit || hit > 0 && i == hit-1 { // padding belongs to no record
				continue
			}
			require.True(t, contains(got, r), "record %d is lost, the flipped byte is in %d", i, hit)
		}
	})
}

func contains(records [][]byte, r []byte) bool {
	for _, x := range records {
		if bytes.Equal(x, r) {
			return true
		}
	}
	return false
}

// A value that looks like a journal does not make a torn end look like damage.
func TestTornJournalWithJournalInside(t *testing.T) {
	t.Parallel()
	inner, _ := writeJournal(t, [][]byte{group(1, 100), group(2, 100)})
	rec := group(7, 0)
	rec = append(rec[:len(rec)-1], binary.AppendUvarint(nil, uint64(len(inner)))...)
	rec = append(rec, inner...)
	file, ends := writeJournal(t, [][]byte{group(6, 10), rec})
	for at := ends[0] + 1; at < len(file); at++ {
		end, err := leveldb.CheckJournal(file[:at])
		require.NoError(t, err)
		require.True(t, end.Torn, "%d: %s", at, end.Reason)
		require.EqualValues(t, ends[0], end.Whole)
	}
}

func FuzzJournal(f *testing.F) {
	// Small ones: the fuzzer is slow to make large inputs smaller. The properties above have the large journals.
	file, _ := writeJournal(f, [][]byte{group(1, 10), group(2, 100), group(3, 0)})
	f.Add(file, 0, byte(0))
	f.Add(file[:len(file)-3], 5, byte(1))
	f.Add(file[:40], 6, byte(3))
	f.Add(make([]byte, 20), 0, byte(0))
	f.Fuzz(func(t *testing.T, b []byte, at int, flip byte) {
		if len(b) > 0 {
			b[uint(at)%uint(len(b))] ^= flip
		}
		end, err := leveldb.CheckJournal(b)
		require.NoError(t, err)
		if !end.Damage {
			records, err := readStrict(b[:end.Whole])
			require.NoError(t, err, "goleveldb refuses what the check lets pass")
			require.Len(t, records, int(end.Records))
		}
		if end.Torn {
			again, err := leveldb.CheckJournal(b[:end.Whole])
			require.NoError(t, err)
			require.False(t, again.Torn || again.Damage, "what is left after the cut is not whole: %s", again.Reason)
		}
		_, err = leveldb.SalvageRecords(b)
		require.NoError(t, err)
		_, _, err = leveldb.CheckManifest(b)
		require.NoError(t, err)
	})
}
