package serve

import (
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

// deathSignal is sent by the kernel when the thread that started this process ends. It is not one that means anything
// to plugins, and it may come while the host lives on without that thread.
const deathSignal = syscall.SIGUSR2

// waitForParent returns when the parent process is not parent any more.
func waitForParent(parent int) {
	deaths := make(chan os.Signal, 1)
	signal.Notify(deaths, deathSignal)
	defer signal.Stop(deaths)
	// The kernel keeps the setting per thread: this one must live as long as the wait.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, uintptr(deathSignal), 0)
	if errno != 0 {
		pollParent(parent)
		return
	}
	for os.Getppid() == parent {
		<-deaths
		// The thread's end is signalled before the kernel has named the new parent.
		for range 10 {
			if os.Getppid() != parent {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}
