//go:build unix

package network

import (
	"io/fs"
	"os"
	"syscall"
)

func ownedByUser(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Getuid()
}

// networkStack names the network namespace, where there are any.
func networkStack() string {
	name, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return "host"
	}
	return name
}
