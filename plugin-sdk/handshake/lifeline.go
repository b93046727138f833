package handshake

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Lifeline is the host's end of a pipe that a plugin inherits. The kernel closes it with the host, however the host
// dies, and the plugin closes itself in good order then.
type Lifeline struct {
	host, plugin *os.File
}

// NewLifeline makes a pipe and hands its other end to cmd, which is not started yet: as a further file, with
// EnvLifeline in cmd.Env. cmd.Env must be set already if it is to be anything but this (with the host's environment
// skipped).
func NewLifeline(cmd *exec.Cmd) (*Lifeline, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make the plugin's lifeline: %w", err)
	}
	fd := 3 + len(cmd.ExtraFiles)
	cmd.ExtraFiles = append(cmd.ExtraFiles, r)
	cmd.Env = append(cmd.Env, EnvLifeline+"="+strconv.Itoa(fd))
	return &Lifeline{host: w, plugin: r}, nil
}

// Close ends the lifeline: a plugin still alive closes itself. The host calls it once the process has ended, or to
// end it.
func (l *Lifeline) Close() error { return errors.Join(l.CutHost(), l.plugin.Close()) }

// CutHost closes the host's end alone, as its death does; more than once is fine.
func (l *Lifeline) CutHost() error {
	if err := l.host.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// InheritedLifeline is the plugin's end; nil without error when the host gave none.
func InheritedLifeline() (*os.File, error) {
	text, ok := os.LookupEnv(EnvLifeline)
	if !ok {
		return nil, nil
	}
	fd, err := strconv.ParseUint(text, 10, 16)
	if err != nil || fd < 3 {
		return nil, errkind.Invalid.Errorf("read %s: %q is not the number of an inherited file", EnvLifeline, text)
	}
	f := os.NewFile(uintptr(fd), "lifeline")
	if f == nil {
		return nil, errkind.Invalid.Errorf("read %s: no file %d was inherited", EnvLifeline, fd)
	}
	if _, err := f.Stat(); err != nil {
		return nil, errkind.Invalid.Errorf("read %s: %w", EnvLifeline, err)
	}
	closeOnExec(f)
	return f, nil
}
