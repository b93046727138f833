package leveldb

import (
	"encoding/binary"

	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/calimero-go/core/plugin-sdk/storage"
)

// A row's key in the database is the length of its column's name (one byte, 1 to 64), the name, and the key. What
// starts with a zero byte is the plugin's own:
//
//	00 'v'            format version, one byte
//	00 'b' slot(u16)  a remembered batch: id(16) seq(u64 big endian)
const formatVersion = 1

var (
	versionKey  = []byte{0, 'v'}
	batchPrefix = []byte{0, 'b'}
)

func appendColumn(b []byte, column string) []byte {
	return append(append(b, byte(len(column))), column...)
}

func appendKey(b []byte, column string, key []byte) []byte {
	return append(appendColumn(b, column), key...)
}

func slotKey(seq uint64) []byte {
	return binary.BigEndian.AppendUint16(append([]byte(nil), batchPrefix...), uint16(seq%slots))
}

// columnRange is [start, end) of a column; an empty end means to the end of the column.
func columnRange(column string, start, end []byte) (r util.Range, empty bool) {
	r.Start = appendKey(nil, column, start)
	if len(end) > 0 {
		r.Limit = appendKey(nil, column, end)
	} else {
		// A length byte and a name never consist of ff only, so the prefix has an end.
		r.Limit = storage.Prefix("", appendColumn(nil, column)).End
	}
	return r, string(r.Start) >= string(r.Limit)
}
