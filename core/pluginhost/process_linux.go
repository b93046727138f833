package pluginhost

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes put the plugin into a group of its own. A plugin that keeps nothing is killed with the host's thread that
// started it; one that does closes itself when its lifeline breaks.
func attributes(keepsData bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true}
	if !keepsData {
		a.Pdeathsig = syscall.SIGKILL
	}
	return a
}

// awaitExit returns when the process has ended, without reaping it, so that its pid stays ours.
func awaitExit(pid int) bool {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err == nil
		}
	}
}
