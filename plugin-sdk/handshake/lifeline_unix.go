//go:build unix

package handshake

import (
	"os"
	"syscall"
)

// closeOnExec keeps the lifeline from children of the plugin.
func closeOnExec(f *os.File) { syscall.CloseOnExec(int(f.Fd())) }
