package harness

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Process is a process of this machine.
type Process struct {
	PID, Parent int
	// Program is the path of what it runs; deleted files keep theirs.
	Program string
	// RSS is its memory in bytes, CPU the processor time it has used.
	RSS uint64
	CPU time.Duration
	// places are paths that tell where it belongs: working folder, arguments.
	places []string
}

// Below finds the processes that run from dir, work there or were given paths in it.
func Below(dir string) ([]Process, error) {
	all, err := Processes()
	if err != nil {
		return nil, err
	}
	var found []Process
	for _, p := range all {
		for _, place := range append(p.places, p.Program) {
			if p.PID != os.Getpid() && within(place, dir) {
				found = append(found, p)
				break
			}
		}
	}
	return found, nil
}

func within(text, dir string) bool {
	_, after, ok := strings.Cut(text, dir)
	return ok && (after == "" || strings.ContainsAny(after[:1], "/ \x00:"))
}

// LeftOver is an error that names the processes and sockets below dir; nil when there are none.
func LeftOver(dir string) error {
	processes, err := Below(dir)
	if err != nil {
		return err
	}
	var left []error
	for _, p := range processes {
		left = append(left, fmt.Errorf("left over: process %d (parent %d) %s", p.PID, p.Parent, p.Program))
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && d.Type()&fs.ModeSocket != 0 {
			left = append(left, fmt.Errorf("left over: socket %s", path))
		}
		return err
	})
	return errors.Join(append(left, err)...)
}

// KillBelow ends the processes below dir with SIGKILL.
func KillBelow(dir string) error {
	processes, err := Below(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range processes {
		if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("kill process %d: %w", p.PID, err))
		}
	}
	return errors.Join(errs...)
}
