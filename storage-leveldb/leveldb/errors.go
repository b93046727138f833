package leveldb

import (
	"errors"

	ldb "github.com/syndtr/goleveldb/leveldb"
	ldberrors "github.com/syndtr/goleveldb/leveldb/errors"
	ldbstorage "github.com/syndtr/goleveldb/leveldb/storage"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// classify gives an error of goleveldb or of the file system its kind; one that has a kind keeps it.
func classify(dir string, err error) error {
	switch {
	case err == nil || errkind.Of(err) != errkind.Unknown:
		return err
	case isFull(err):
		return full(dir, err)
	case isCorrupt(err):
		return errkind.Corrupt.Errorf("database in %s is damaged: %w; %s", dir, err, repairHint)
	case errors.Is(err, ldb.ErrSnapshotReleased):
		return errkind.NotFound.Errorf("snapshot has ended: %w", err)
	case errors.Is(err, ldb.ErrClosed), errors.Is(err, ldbstorage.ErrClosed):
		return errkind.Unavailable.Errorf("database in %s was closed: %w", dir, err)
	}
	return errkind.Unavailable.Errorf("use the database in %s: %w", dir, err)
}

func isCorrupt(err error) bool {
	var a *ldberrors.ErrCorrupted
	var b *ldbstorage.ErrCorrupted
	return errors.As(err, &a) || errors.As(err, &b)
}
