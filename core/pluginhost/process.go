package pluginhost

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	goruntime "runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"golang.org/x/sys/unix"

	"github.com/calimero-go/core/core/timerslack"
)

// process is one plugin process. It is go-plugin's runner: unlike go-plugin's own it gives the plugin no stdin, kills the
// whole process group, and reads output of any length after the handshake line.
type process struct {
	cmd *exec.Cmd
	sum string // of the binary, hex
	out *output

	shake       *io.PipeReader // what go-plugin reads: the handshake line
	shakeWriter *io.PipeWriter

	exited chan struct{} // closed when the process was reaped and its output read
	state  *os.ProcessState

	mu      sync.Mutex
	pid     int
	done    bool // the pid is not ours any more
	killed  bool // by the host
	greeted bool // a first line was printed
	first   string
}

var _ runner.Runner = (*process)(nil)

func newProcess(cmd *exec.Cmd, sum string, out *output) *process {
	p := &process{cmd: cmd, sum: sum, out: out, exited: make(chan struct{})}
	p.shake, p.shakeWriter = io.Pipe()
	return p
}

// Start checks the binary once more and runs it.
func (p *process) Start(context.Context) error {
	want, err := hex.DecodeString(p.sum)
	if err != nil {
		return fmt.Errorf("read the checksum: %w", err)
	}
	secure := &goplugin.SecureConfig{Checksum: want, Hash: sha256.New()}
	if ok, err := secure.Check(p.cmd.Path); err != nil {
		return fmt.Errorf("check the binary: %w", err)
	} else if !ok {
		return goplugin.ErrChecksumsDoNotMatch
	}
	started := make(chan error, 1)
	go p.run(started)
	return <-started
}

func (p *process) run(started chan<- error) {
	// The kernel ties a parent-death signal to the thread that forks: this one lives as long as the process.
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	defer close(p.exited)

	stdout, stderr, closeWriters, err := p.pipes()
	if err == nil {
		err = startRetrying(p.cmd)
	}
	closeWriters()
	if err != nil {
		_ = p.shakeWriter.Close()
		closeFiles(stdout, stderr)
		started <- err
		return
	}
	p.mu.Lock()
	p.pid = p.cmd.Process.Pid
	p.mu.Unlock()

	var readers sync.WaitGroup
	readers.Go(func() { p.readStdout(stdout) })
	readers.Go(func() { p.out.readStderr(stderr) })
	started <- nil

	p.wait()
	// Somebody the plugin started may still hold the pipes.
	late := time.AfterFunc(time.Second, func() {
		closeFiles(stdout, stderr)
		_ = p.shake.Close()
	})
	readers.Wait()
	late.Stop()
	closeFiles(stdout, stderr)
}

// wait reaps the process and kills what is left of its group.
func (p *process) wait() {
	zombie := awaitExit(p.pid)
	if zombie {
		p.release()
	}
	_ = p.cmd.Wait() // the state says how it ended
	p.state = p.cmd.ProcessState
	if !zombie {
		p.release()
	}
}

// release kills the rest of the process group and gives up the pid.
func (p *process) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = true
	_ = unix.Kill(-p.pid, unix.SIGKILL) // no such group: nothing is left
}

func (p *process) pipes() (stdout, stderr *os.File, closeWriters func(), err error) {
	stdout, outWriter, err := os.Pipe()
	if err != nil {
		return nil, nil, func() {}, fmt.Errorf("make a pipe: %w", err)
	}
	stderr, errWriter, err := os.Pipe()
	if err != nil {
		closeFiles(outWriter)
		return stdout, nil, func() {}, fmt.Errorf("make a pipe: %w", err)
	}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = nil, outWriter, errWriter
	return stdout, stderr, func() { closeFiles(outWriter, errWriter) }, nil
}

func closeFiles(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close() // closed twice, or a pipe: nothing is lost
		}
	}
}

// startRetrying starts cmd. A binary just written may be busy for a moment: another process being forked at that time
// holds the file open for writing until it execs.
func startRetrying(cmd *exec.Cmd) error {
	for try := 0; ; try++ {
		err := timerslack.Start(cmd.Start)
		if !errors.Is(err, unix.ETXTBSY) || try == 100 {
			return err
		}
		again := exec.Command(cmd.Path)
		again.Args, again.Env, again.Dir, again.ExtraFiles, again.SysProcAttr = cmd.Args, cmd.Env, cmd.Dir, cmd.ExtraFiles, cmd.SysProcAttr
		again.Stdout, again.Stderr = cmd.Stdout, cmd.Stderr
		*cmd = *again
		time.Sleep(10 * time.Millisecond)
	}
}

// readStdout hands the first line to go-plugin; what follows is stray.
func (p *process) readStdout(r io.Reader) {
	readLines(r, maxLine, func(line []byte, _ bool) {
		p.mu.Lock()
		first := !p.greeted
		if first {
			p.greeted, p.first = true, string(line[:min(len(line), 512)])
		}
		p.mu.Unlock()
		if !first {
			p.out.stray("stdout", line)
			return
		}
		_, _ = p.shakeWriter.Write(append(bytes.Clone(line), '\n')) // an error means that go-plugin has given up
		_ = p.shakeWriter.Close()
	})
	_ = p.shakeWriter.Close()
}

// Kill ends the process and its group at once.
func (p *process) Kill(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pid == 0 || p.done {
		return nil
	}
	p.killed = true
	if err := unix.Kill(-p.pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return p.cmd.Process.Kill()
	}
	return nil
}

// Wait returns when the process has been reaped.
func (p *process) Wait(context.Context) error {
	<-p.exited
	if p.state != nil && !p.state.Success() {
		return errors.New(p.state.String())
	}
	return nil
}

// Stdout has the handshake line.
func (p *process) Stdout() io.ReadCloser { return p.shake }

// Stderr is empty: output reads the real one.
func (p *process) Stderr() io.ReadCloser { return io.NopCloser(bytes.NewReader(nil)) }

// Name is the binary.
func (p *process) Name() string { return p.cmd.Path }

// ID is the pid, empty before the start.
func (p *process) ID() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pid == 0 {
		return ""
	}
	return strconv.Itoa(p.pid)
}

func (p *process) pidNow() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

// Diagnose adds nothing: explain says more.
func (p *process) Diagnose(context.Context) string { return "" }

// PluginToHost is the identity: both are on one machine.
func (p *process) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

// HostToPlugin is the identity.
func (p *process) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// end is how the process ended: "exit status 1", "signal: killed", with "by the host" if so; empty while it runs.
func (p *process) end() string {
	select {
	case <-p.exited:
	default:
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == nil {
		return "not started"
	}
	if p.killedByHost() {
		return p.state.String() + " by the host"
	}
	return p.state.String()
}

// diedAlone tells whether the process ended and the host had not killed it.
func (p *process) diedAlone() bool {
	select {
	case <-p.exited:
	default:
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state != nil && !p.killedByHost()
}

// killedByHost tells whether the host's signal ended the process, or came too late; the caller holds mu.
func (p *process) killedByHost() bool {
	status, ok := p.state.Sys().(syscall.WaitStatus)
	return p.killed && (!ok || status.Signaled() && status.Signal() == syscall.SIGKILL)
}

func (p *process) firstLine() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.first
}
