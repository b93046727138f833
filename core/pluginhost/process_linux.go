package pluginhost

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes put the plugin into a group of its own. It closes itself and removes its socket when its lifeline breaks;
// the kernel's parent-death signal would not let it.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// awaitExit returns when the process has ended, without reaping it, so that its pid stays ours.
func awaitExit(pid int) bool {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err == nil
		}
	}
}
