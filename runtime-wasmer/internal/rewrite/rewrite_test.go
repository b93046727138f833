package rewrite_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/runtime-wasmer/internal/engine"
	"github.com/calimero-go/core/runtime-wasmer/internal/rewrite"
)

type noHost struct{}

func (noHost) HostCall(int, []uint64, []byte) (uint64, error) { return 0, nil }

const guardBudget = 50 << 20

func start(t testing.TB, wat string, pages uint32) (*engine.Runner, *rewrite.Module) {
	t.Helper()
	wasm, err := engine.TextToBinary([]byte(wat))
	require.NoError(t, err)
	require.NoError(t, engine.Validate(wasm))
	m, err := rewrite.Parse(wasm)
	require.NoError(t, err)
	guarded, err := m.Rewrite(pages)
	require.NoError(t, err)
	require.NoError(t, engine.Validate(guarded))
	artifact, err := engine.Compile(guarded)
	require.NoError(t, err)
	var imports []engine.Import
	for _, imp := range m.Imports {
		e := engine.Import{}
		for range imp.Type.Params {
			e.Params = append(e.Params, engine.I64)
		}
		imports = append(imports, e)
	}
	r, err := engine.Load(artifact, imports, "memory", rewrite.StackExport)
	require.NoError(t, err)
	t.Cleanup(r.Close)
	require.NoError(t, r.Start(noHost{}, 1<<40))
	return r, m
}

func TestDeepRecursionIsAStackOverflow(t *testing.T) {
	t.Parallel()
	bodies := map[string]string{
		"plain":     `(call $f)`,
		"host call": `(call $h (i64.const 0)) (call $f) (call $h (i64.const 0))`,
		"copy":      `(memory.copy (i32.const 0) (i32.const 8) (i32.const 64)) (call $f) (memory.copy (i32.const 0) (i32.const 8) (i32.const 64))`,
		"grow":      `(drop (memory.grow (i32.const 1))) (call $f)`,
		"indirect":  `(call_indirect (type $t) (i32.const 0))`,
		"locals":    `(local ` + strings.Repeat("i64 ", 20000) + `) (call $f)`,
		"operands":  strings.Repeat("(i64.load (i32.const 8)) ", 3000) + `(call $f)` + strings.Repeat(" (drop)", 3000),
		"wide":      strings.Repeat("(call $wide) ", 600) + `(call $f)` + strings.Repeat(strings.Repeat(" (drop)", 90), 600),
	}
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _ := start(t, `(module (type $t (func)) (import "env" "h" (func $h (param i64)))
				(memory (export "memory") 1 100) (table 1 funcref) (elem (i32.const 0) $f)
				(func $wide (result `+strings.Repeat("i64 ", 90)+`) `+strings.Repeat("(i64.load (i32.const 8)) ", 90)+`)
				(func $f (export "go") `+body+`) (func (export "ok")))`, 64)
			err := r.Call("go", guardBudget)
			var trap *engine.TrapError
			require.ErrorAs(t, err, &trap)
			require.True(t, trap.StackOverflow, err)
			require.NoError(t, r.Call("ok", guardBudget), "the budget is set anew for each call")
		})
	}
}

func TestMemoryIsCapped(t *testing.T) {
	t.Parallel()
	r, m := start(t, `(module (memory (export "memory") 1)
		(func (export "go") (loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))))`, 17)
	require.NoError(t, r.Call("go", guardBudget))
	require.Equal(t, 17*rewrite.PageSize, r.MemoryBytes())
	_, err := m.Rewrite(0)
	require.EqualError(t, err, "module starts with 1 memory pages, the limit is 0")
}

func TestStartRunsOnlyWhenCalled(t *testing.T) {
	t.Parallel()
	r, m := start(t, `(module (memory (export "memory") 1) (start $s) (func $s unreachable) (func (export "go")))`, 4)
	require.True(t, m.HasStart())
	require.NoError(t, r.Call("go", guardBudget))
	var trap *engine.TrapError
	require.ErrorAs(t, r.Call(rewrite.StartExport, guardBudget), &trap)
	require.False(t, trap.StackOverflow)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for wat, want := range map[string]string{
		`(module (func (export "calimero:guard:stack")))`:             `export name "calimero:guard:stack" is reserved`,
		`(module (func (export "wasmer_metering_remaining_points")))`: `export name "wasmer_metering_remaining_points" is reserved`,
		`(module (table 2000000 funcref))`:                            "tables start with 2000000 entries, the limit is 1048576",
	} {
		wasm, err := engine.TextToBinary([]byte(wat))
		require.NoError(t, err)
		m, err := rewrite.Parse(wasm)
		require.NoError(t, err)
		_, err = m.Rewrite(16)
		require.EqualError(t, err, want)
	}
}

func TestWideSignaturesAreRefused(t *testing.T) {
	t.Parallel()
	wasm, err := engine.TextToBinary([]byte(`(module (func (param ` + strings.Repeat("i64 ", 60) + `) (result ` + strings.Repeat("i64 ", 41) + `) unreachable))`))
	require.NoError(t, err)
	_, err = rewrite.Parse(wasm)
	require.EqualError(t, err, "read section 1: a type with 60 parameters and 41 results, at most 100 are accepted")
}

// FuzzRewrite feeds arbitrary bytes, and checks that what the engine accepts
// it also accepts after the rewrite.
func FuzzRewrite(f *testing.F) {
	for _, wat := range []string{
		`(module)`,
		`(module (memory 1) (global i32 (i32.const 1)) (func (param i32) (result i64) (i64.const 1)) (export "a" (func 0)))`,
		`(module (import "env" "f" (func (param i64))) (table 3 funcref) (elem (i32.const 0) 0 1) (func (call 0 (i64.const 1))) (start 1) (memory 1) (data (i32.const 0) "x"))`,
	} {
		wasm, err := engine.TextToBinary([]byte(wat))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wasm)
	}
	f.Fuzz(func(t *testing.T, wasm []byte) {
		m, err := rewrite.Parse(wasm)
		if err != nil {
			return
		}
		out, err := m.Rewrite(64)
		if err != nil || engine.Validate(wasm) != nil {
			return
		}
		if err := engine.Validate(out); err != nil {
			t.Fatalf("a valid module became invalid: %v", errors.Join(err))
		}
	})
}
