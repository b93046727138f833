package engine_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/runtime-wasmer/internal/engine"
)

type hostFunc func(index int, args []uint64, mem []byte) (uint64, error)

func (f hostFunc) HostCall(index int, args []uint64, mem []byte) (uint64, error) {
	return f(index, args, mem)
}

var guards = engine.Guards{Memory: "memory", Stack: "stack", Stop: "stop"}

func load(t testing.TB, wat string, imports ...engine.Import) *engine.Runner {
	t.Helper()
	wasm, err := engine.TextToBinary([]byte(wat))
	require.NoError(t, err)
	require.NoError(t, engine.Validate(wasm))
	artifact, err := engine.Compile(wasm)
	require.NoError(t, err)
	r, err := engine.Load(artifact, imports, guards)
	require.NoError(t, err)
	t.Cleanup(r.Close)
	return r
}

func TestHostCall(t *testing.T) {
	t.Parallel()
	r := load(t, `(module (import "env" "f" (func $f (param i64 i32) (result i32)))
		(memory (export "memory") 1)
		(func (export "go") (i32.store (i32.const 8) (call $f (i64.const -1) (i32.const -2)))
			(drop (call $f (i64.const 1) (i32.load (i32.const 8))))))`,
		engine.Import{Params: []engine.ValType{engine.I64, engine.I32}, Results: []engine.ValType{engine.I32}})
	var got [][]uint64
	host := hostFunc(func(_ int, args []uint64, mem []byte) (uint64, error) {
		require.Len(t, mem, 65536)
		got = append(got, append([]uint64(nil), args...))
		return 0xffffffff, nil
	})
	require.NoError(t, r.Start(host, 1<<40))
	require.NoError(t, r.Call("go", 1<<20))
	r.Finish()
	require.Equal(t, [][]uint64{{0xffffffffffffffff, 0xfffffffe}, {1, 0xffffffff}}, got)
}

var errHost = errors.New("refused by the host")

const loops = `(module (import "env" "f" (func $f (param i64) (result i64)))
	(memory (export "memory") 1 2000)
	(func (export "spin") (loop $l (br $l)))
	(func (export "calls") (loop $l (drop (call $f (i64.const 0))) (br $l)))
	(func (export "copies") (loop $l (memory.copy (i32.const 0) (i32.const 8) (i32.const 60000)) (br $l)))
	(func (export "grows") (loop $l (drop (memory.grow (i32.const 1))) (br $l)))
	(func (export "trap") unreachable)
	(func (export "div") (drop (i32.div_s (i32.const 1) (i32.const 0))))
	(func (export "bounds") (drop (i32.load (i32.const -1))))
	(func (export "ok") (drop (call $f (i64.const 7)))))`

var oneImport = engine.Import{Params: []engine.ValType{engine.I64}, Results: []engine.ValType{engine.I64}}

func nop(int, []uint64, []byte) (uint64, error) { return 0, nil }

func TestTrapsAndErrors(t *testing.T) {
	t.Parallel()
	r := load(t, loops, oneImport)
	for export, text := range map[string]string{"trap": "unreachable", "div": "integer divide by zero", "bounds": "out of bounds memory access"} {
		require.NoError(t, r.Start(hostFunc(nop), 1<<40))
		var trap *engine.TrapError
		require.ErrorAs(t, r.Call(export, 1<<20), &trap)
		require.Equal(t, text, trap.Message)
		require.False(t, trap.Exhausted)
		r.Finish()
	}
	require.NoError(t, r.Start(hostFunc(func(int, []uint64, []byte) (uint64, error) { return 0, errHost }), 1<<40))
	require.ErrorIs(t, r.Call("ok", 1<<20), errHost)
	r.Finish()
	require.NoError(t, r.Start(hostFunc(func(int, []uint64, []byte) (uint64, error) { panic("bad host") }), 1<<40))
	var p *engine.HostPanic
	require.ErrorAs(t, r.Call("ok", 1<<20), &p)
	require.Equal(t, "bad host", p.Value)
	r.Finish()
	require.EqualError(t, r.Call("nothing", 1<<20), `module has no export "nothing"`)
}

func TestFuelRunsOut(t *testing.T) {
	t.Parallel()
	r := load(t, loops, oneImport)
	require.NoError(t, r.Start(hostFunc(nop), 1000))
	var trap *engine.TrapError
	require.ErrorAs(t, r.Call("spin", 1<<20), &trap)
	require.True(t, trap.Exhausted)
	r.Finish()
	require.NoError(t, r.Start(hostFunc(nop), 1000))
	require.NoError(t, r.Call("ok", 1<<20))
	require.Less(t, r.Fuel(), uint64(1000))
	require.Greater(t, r.Fuel(), uint64(900))
	r.Finish()
}

// TestMemoryStaysFlat runs calls of every ending and compares the resident
// size late with early. SCALE=full runs the full 50,000.
func TestMemoryStaysFlat(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc/self/statm")
	}
	warm, total := 4000, 12000
	if os.Getenv("SCALE") == "full" {
		warm, total = 10_000, 50_000
	}
	wasm, err := engine.TextToBinary([]byte(loops))
	require.NoError(t, err)
	artifact, err := engine.Compile(wasm)
	require.NoError(t, err)
	var r *engine.Runner
	var early int
	exports := []string{"ok", "ok", "ok", "trap", "ok", "bounds", "ok", "refused"}
	for i := range total {
		if r == nil || r.Worn() {
			if r != nil {
				r.Close()
			}
			r, err = engine.Load(artifact, []engine.Import{oneImport}, guards)
			require.NoError(t, err)
		}
		export, host := exports[i%len(exports)], hostFunc(nop)
		if export == "refused" {
			export, host = "ok", func(int, []uint64, []byte) (uint64, error) { return 0, errHost }
		}
		require.NoError(t, r.Start(host, 1<<40))
		_ = r.Call(export, 1<<20)
		r.Finish()
		if i == warm {
			early = residentBytes(t)
		}
	}
	r.Close()
	grown := residentBytes(t) - early
	t.Logf("%d calls: resident %d KiB, grown %d KiB", total, (early+grown)>>10, grown>>10)
	require.LessOrEqual(t, grown, 10<<20)
}

// TestHostCallsLeaveNothingBehind makes a million calls of each kind; the
// library itself leaks the values of every one.
func TestHostCallsLeaveNothingBehind(t *testing.T) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("the list of results is taken over only from the library of linux/amd64")
	}
	loop := `(local $i i32) (loop $l %s (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000000))))`
	r := load(t, fmt.Sprintf(`(module (import "env" "b" (func $b (param i64 i64 i64))) (import "env" "c" (func $c (result i64))) (memory (export "memory") 1)
		(func (export "params") %s) (func (export "result") %s))`,
		fmt.Sprintf(loop, "(call $b (i64.const 0) (i64.const 0) (i64.const 0))"), fmt.Sprintf(loop, "(drop (call $c))")),
		engine.Import{Params: []engine.ValType{engine.I64, engine.I64, engine.I64}}, engine.Import{Results: []engine.ValType{engine.I64}})
	for _, export := range []string{"params", "result"} {
		before := residentBytes(t)
		require.NoError(t, r.Start(hostFunc(nop), 1<<40))
		require.NoError(t, r.Call(export, 1<<20))
		r.Finish()
		require.Less(t, residentBytes(t)-before, 8<<20, export)
	}
}

func residentBytes(t testing.TB) int {
	t.Helper()
	runtime.GC()
	debug.FreeOSMemory()
	b, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	var size, resident int
	_, err = fmt.Sscan(string(b), &size, &resident)
	require.NoError(t, err)
	return resident * os.Getpagesize()
}

// TestNilDereferenceStillPanics shows that the library's signal handlers pass
// on faults that are not the guest's.
func TestNilDereferenceStillPanics(t *testing.T) {
	t.Parallel()
	r := load(t, loops, oneImport)
	require.NoError(t, r.Start(hostFunc(nop), 1<<40))
	require.Error(t, r.Call("bounds", 1<<20))
	r.Finish()
	var p *int
	require.Panics(t, func() { *p = 1 })
}

func TestDeepTextIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{strings.Repeat("(", 1<<20), "(module (func " + strings.Repeat("(block ", 200_000)} {
		_, err := engine.TextToBinary([]byte(text))
		require.Error(t, err)
	}
}

func BenchmarkInstance(b *testing.B) {
	r := load(b, loops, oneImport)
	for b.Loop() {
		if err := r.Start(hostFunc(nop), 1<<40); err != nil {
			b.Fatal(err)
		}
		if err := r.Call("ok", 1<<20); err != nil {
			b.Fatal(err)
		}
		r.Finish()
	}
}

func BenchmarkHostCall(b *testing.B) {
	r := load(b, loops, oneImport)
	n := 0
	host := hostFunc(func(int, []uint64, []byte) (uint64, error) {
		if n++; n > b.N {
			return 0, errHost
		}
		return 0, nil
	})
	if err := r.Start(host, 1<<62); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	if err := r.Call("calls", 1<<20); !errors.Is(err, errHost) {
		b.Fatal(err)
	}
	r.Finish()
}
