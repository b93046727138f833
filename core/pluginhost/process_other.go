//go:build !linux

package pluginhost

import "syscall"

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// awaitExit cannot wait without reaping here.
func awaitExit(int) bool { return false }
