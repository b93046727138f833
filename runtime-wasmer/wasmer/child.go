package wasmer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/guestabi"
)

const (
	// CompileCommand is the first argument that makes the plugin's program
	// compile one module and end: CompileMain.
	CompileCommand = "compile-module"

	compileRefused = 3 // exit status: the reason is on the standard error
	compileTime    = 2 * time.Minute
	// compileMemory bounds the address space of the compiler.
	compileMemory = 8 << 30
	maxReason     = 64 << 10
)

// NewChildCompiler returns a Compiler that runs program with CompileCommand for
// each module, so that a module that crashes the engine's compiler, or makes it
// run or grow without end, is refused and harms nothing else.
func NewChildCompiler(program string) Compiler {
	return func(ctx context.Context, wasm []byte, pages uint32) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, compileTime)
		defer cancel()
		cmd := exec.CommandContext(ctx, program, CompileCommand, strconv.FormatUint(uint64(pages), 10))
		cmd.Env = []string{}
		cmd.Stdin = bytes.NewReader(wasm)
		cmd.WaitDelay = time.Second
		var out bytes.Buffer
		reason := &head{limit: maxReason}
		cmd.Stdout, cmd.Stderr = &out, reason
		err := cmd.Run()
		var exit *exec.ExitError
		switch {
		case err == nil:
			return out.Bytes(), nil
		case ctx.Err() != nil:
			return nil, fmt.Errorf("compile module: %w", ctx.Err())
		case errors.As(err, &exit) && exit.ExitCode() == compileRefused:
			return nil, guestabi.CompilationFault(strings.TrimSpace(reason.String()))
		case errors.As(err, &exit):
			line, _, _ := strings.Cut(strings.TrimSpace(reason.String()), "\n")
			return nil, guestabi.CompilationFault(fmt.Sprintf("the engine's compiler failed on the module (%v): %s", exit, line))
		}
		return nil, errkind.Internal.Errorf("start the module compiler: %w", err)
	}
}

// head keeps the first bytes written to it.
type head struct {
	bytes.Buffer
	limit int
}

func (h *head) Write(p []byte) (int, error) {
	_, _ = h.Buffer.Write(p[:min(len(p), h.limit-h.Len())]) // a Buffer never fails
	return len(p), nil
}

// CompileMain is the whole process that NewChildCompiler starts: a module from
// in, its built form to out. It returns the exit status.
func CompileMain(args []string, in io.Reader, out, errs io.Writer) int {
	report := func(status int, err error) int {
		_, _ = fmt.Fprintln(errs, err) // nothing is left to report to
		return status
	}
	if len(args) != 1 {
		return report(2, errors.New("usage: "+CompileCommand+" PAGES <MODULE"))
	}
	pages, err := strconv.ParseUint(args[0], 10, 32)
	if err != nil {
		return report(2, fmt.Errorf("read number of pages: %w", err))
	}
	for resource, limit := range map[int]uint64{syscall.RLIMIT_AS: compileMemory, syscall.RLIMIT_CPU: uint64(2 * compileTime / time.Second)} {
		// Where the system has no such limit, the timeout remains.
		_ = syscall.Setrlimit(resource, &syscall.Rlimit{Cur: limit, Max: limit})
	}
	wasm, err := io.ReadAll(in)
	if err != nil {
		return report(1, fmt.Errorf("read module: %w", err))
	}
	data, err := Build(context.Background(), wasm, uint32(pages))
	if f := guestabi.AsFault(err); f != nil {
		return report(compileRefused, errors.New(strings.TrimPrefix(f.Text, "compilation error: ")))
	}
	if err == nil {
		_, err = out.Write(data)
	}
	if err != nil {
		return report(1, err)
	}
	return 0
}

// compilerFor is the child compiler of the running program.
func compilerFor() (Compiler, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, errkind.Internal.Errorf("find the plugin's own program: %w", err)
	}
	return NewChildCompiler(self), nil
}
