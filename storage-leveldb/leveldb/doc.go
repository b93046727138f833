// Package leveldb is the embedded default storage plugin, on goleveldb.
//
// All columns live in one database, as prefixes of its keys. A commit is one record in the journal; with sync = always
// it is on disk before Apply returns, and commits made at the same time share one fsync. The id of a batch is written
// as part of the batch.
//
// Before goleveldb opens a folder, the package reads CURRENT, the manifest and the live journals itself: an end torn by
// a crash is cut and reported, any other damage is an error that names file, offset and the repair command. See Repair.
//
// After a failed write (a full disk), reads go on; the next commit that fits reopens the database first, because
// goleveldb does not recover from a broken journal or manifest by itself.
package leveldb
