//go:build !linux

package harness

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func dieWithParent() *syscall.SysProcAttr { return nil }

// Processes lists the processes that ps shows; their working folders are not known here.
func Processes() ([]Process, error) {
	out, err := exec.Command("ps", "-axww", "-o", "pid=,ppid=,rss=,stat=,time=,command=").Output()
	if err != nil {
		return nil, fmt.Errorf("list the processes: %w", err)
	}
	var all []Process
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) < 6 || strings.HasPrefix(f[3], "Z") {
			continue
		}
		pid, err := strconv.Atoi(f[0])
		if err != nil {
			return nil, err
		}
		parent, err := strconv.Atoi(f[1])
		if err != nil {
			return nil, err
		}
		kib, err := strconv.ParseUint(f[2], 10, 64)
		if err != nil {
			return nil, err
		}
		minutes, seconds, _ := strings.Cut(f[4], ":")
		cpu, err := time.ParseDuration(minutes + "m" + seconds + "s")
		if err != nil {
			return nil, fmt.Errorf("list the processes: processor time %q: %w", f[4], err)
		}
		all = append(all, Process{
			PID: pid, Parent: parent, RSS: kib << 10, CPU: cpu, Program: f[5], places: []string{strings.Join(f[5:], " ")},
		})
	}
	return all, nil
}
