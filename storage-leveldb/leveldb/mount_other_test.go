//go:build !linux

package leveldb_test

import "errors"

func mountTmpfs(string, int) error { return errors.ErrUnsupported }
