package rewrite_test

import (
	"errors"
	"strings"
	"testing"
	"time"

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
	r, err := engine.Load(artifact, imports, engine.Guards{Memory: "memory", Stack: rewrite.StackExport, Stop: rewrite.StopExport})
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

func TestStopEndsEveryLoop(t *testing.T) {
	t.Parallel()
	wat := `(module (import "env" "h" (func $h (param i64))) (memory (export "memory") 1 2000) (type $t (func)) (table 1 funcref) (elem (i32.const 0) $ind)
		(func $ind (export "ind") (drop (i32.const 1)))
		(func (export "spin") (loop $l (br $l)))
		(func (export "multi") (i32.const 1) (i64.const 2) (loop $l (param i32 i64) (result i32 i64) (br $l)) (drop) (drop))
		(func (export "table") (local $i i32) (loop $l (block $a (block $b (br_table $a $b $l (local.get $i)))) (local.set $i (i32.const 9)) (br $l)))
		(func (export "nested") (loop $l (loop $m (loop $n (br_if $n (i32.const 0))) (br $m)) (br $l)))
		(func (export "calls") (loop $l (call $h (i64.const 0)) (br $l)))
		(func (export "indirect") (loop $l (call_indirect (type $t) (i32.const 0)) (br $l)))
		(func (export "copies") (loop $l (memory.copy (i32.const 0) (i32.const 8) (i32.const 60000)) (memory.fill (i32.const 0) (i32.const 8) (i32.const 60000)) (br $l)))
		(func (export "vectors") (loop $l (v128.store (i32.const 0) (i8x16.add (v128.load (i32.const 0)) (v128.const i32x4 1 2 3 4)))
			(drop (i8x16.extract_lane_s 3 (v128.load (i32.const 0))))
			(v128.store (i32.const 0) (i8x16.shuffle 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 (v128.load (i32.const 0)) (v128.load (i32.const 16)))) (br $l)))
		(func (export "floats") (loop $l (drop (i32.trunc_sat_f64_s (f64.const 1e10))) (drop (f32.const 1)) (drop (i64.const -1)) (br $l)))
		(func (export "grows") (loop $l (drop (memory.grow (i32.const 1))) (br $l))))`
	for _, export := range []string{"spin", "multi", "table", "nested", "calls", "indirect", "copies", "vectors", "floats", "grows"} {
		t.Run(export, func(t *testing.T) {
			t.Parallel()
			r, _ := start(t, wat, 64)
			asked := make(chan time.Time, 1)
			timer := time.AfterFunc(20*time.Millisecond, func() {
				asked <- time.Now()
				r.Stop()
			})
			defer timer.Stop()
			var trap *engine.TrapError
			require.ErrorAs(t, r.Call(export, guardBudget), &trap)
			require.Equal(t, "unreachable", trap.Message)
			require.False(t, trap.Exhausted || trap.StackOverflow)
			require.Less(t, time.Since(<-asked), time.Second)
		})
	}
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
