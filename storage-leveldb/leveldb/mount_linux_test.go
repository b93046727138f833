package leveldb_test

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func mountTmpfs(dir string, kib int) error {
	return unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dk", kib))
}
