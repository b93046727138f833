package timerslack

import (
	"errors"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// again is in the environment of a program that was run anew, until it calls Adopt.
const again = "MEROD_TIMERSLACK_ADOPTED"

// Adopt gives this process the slack, all threads of it: it runs its program anew, with the same arguments and
// environment, once. So it is to be called first thing. Without an error the process has the slack already, or more; an
// error leaves it as it was.
func Adopt() error {
	_, ran := os.LookupEnv(again)
	if err := os.Unsetenv(again); err != nil {
		return err
	}
	// The threads of a process inherit the slack of the one that made it, but Go's are there before main.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	old, err := set()
	if err != nil || old >= Slack.Nanoseconds() {
		return err
	}
	defer restore(old)
	if ran { // processes of real-time priority have none, whatever they set
		return errors.New("the system does not keep the slack of timers")
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(program, os.Args, append(os.Environ(), again+"=1"))
}

// Start runs start, which starts a process: that has the slack, or what this one has if it is more, and its children too.
func Start(start func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if old, err := set(); err == nil { // a sandbox may forbid it; the process only costs more then
		defer restore(old)
	}
	return start()
}

// set raises the thread's slack and returns the one before, in nanoseconds.
func set() (old int64, err error) {
	n, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil || int64(n) >= Slack.Nanoseconds() {
		return int64(n), err
	}
	return int64(n), unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(Slack.Nanoseconds()), 0, 0, 0)
}

// restore ends set; the thread goes back to others.
func restore(old int64) {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(old), 0, 0, 0) // it worked before
}
