package harness

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// dieWithParent ends the node when the test's process dies without its clean-up.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// Processes lists the processes that this user may look into; dead ones that were not waited for are left out.
func Processes() ([]Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var all []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		p, err := readProcess(pid)
		switch {
		case err == nil:
			all = append(all, p)
		case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission), errors.Is(err, syscall.ESRCH):
		default:
			return nil, err
		}
	}
	return all, nil
}

// ticksPerSecond is USER_HZ, which is 100 on all machines that Linux runs Go on.
const ticksPerSecond = 100

func readProcess(pid int) (Process, error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return Process{}, err
	}
	// The name, in parentheses, may contain anything.
	_, rest, ok := cutLast(string(stat), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 22 {
		return Process{}, fmt.Errorf("read process %d: stat has an unknown form: %q", pid, stat)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return Process{}, os.ErrNotExist
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return Process{}, err
	}
	pages, err := strconv.ParseUint(fields[21], 10, 64)
	if err != nil {
		return Process{}, err
	}
	var ticks uint64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return Process{}, err
		}
		ticks += n
	}
	program, err := os.Readlink(filepath.Join(dir, "exe"))
	if err != nil {
		return Process{}, err
	}
	cwd, err := os.Readlink(filepath.Join(dir, "cwd"))
	if err != nil {
		return Process{}, err
	}
	args, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return Process{}, err
	}
	return Process{
		PID: pid, Parent: parent, Program: strings.TrimSuffix(program, " (deleted)"), RSS: pages * uint64(os.Getpagesize()),
		CPU:    time.Duration(ticks) * time.Second / ticksPerSecond,
		places: []string{cwd, string(args)},
	}, nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
