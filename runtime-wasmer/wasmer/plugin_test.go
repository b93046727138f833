package wasmer_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	goruntime "runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/runtimetest"
	"github.com/calimero-go/core/runtime-wasmer/wasmer"
	"github.com/calimero-go/core/tests/apps"
)

func TestConfigureNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	p := wasmer.New()
	_, err := p.Engine(context.Background())
	require.ErrorIs(t, err, errkind.Precondition)
	value := func(lanes float64) cty.Value {
		return cty.ObjectVal(map[string]cty.Value{"lanes": cty.NumberFloatVal(lanes), "memory_budget": cty.NumberIntVal(64),
			"row_cache": cty.NumberIntVal(1), "module_cache": cty.NumberIntVal(1)})
	}
	for _, lanes := range []float64{0, 1.5, 1e9} {
		diags, err := p.Configure(context.Background(), base.Config{Value: value(lanes), DataDir: t.TempDir()})
		require.NoError(t, err)
		require.Len(t, diags, 1)
		require.Equal(t, "lanes must be a whole number from 1 to 1024.", diags[0].Detail)
	}
	diags, err := p.Configure(context.Background(), base.Config{Value: value(3), DataDir: t.TempDir()})
	require.NoError(t, err)
	require.Empty(t, diags)
	require.NoError(t, p.Health(context.Background()))
	for range 3 {
		lane, err := p.OpenLane(context.Background())
		require.NoError(t, err)
		defer func() { require.NoError(t, lane.Close()) }()
	}
	_, err = p.OpenLane(context.Background())
	require.ErrorIs(t, err, errkind.Exhausted)
	require.NoError(t, p.Close(context.Background()))
	_, err = p.Engine(context.Background())
	require.ErrorIs(t, err, errkind.Unavailable)
}

// TestModuleCacheSurvivesDamage restarts on the same folder, with every file
// damaged in turn, and with a foreign one.
func TestModuleCacheSurvivesDamage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	wasm, id := runtimetest.Kit()
	first := wasmer.New()
	configuredOpen(t, first, dir)
	require.False(t, prepare(t, first, wasm).FromCache)
	require.NoError(t, first.Close(context.Background()))
	files, err := filepath.Glob(filepath.Join(dir, "modules", "*"))
	require.NoError(t, err)
	require.Len(t, files, 2)
	damage := map[string]func(b []byte) []byte{
		"none":      func(b []byte) []byte { return b },
		"flipped":   func(b []byte) []byte { b = bytes.Clone(b); b[len(b)/2] ^= 1; return b },
		"truncated": func(b []byte) []byte { return b[:len(b)/3] },
		"empty":     func([]byte) []byte { return nil },
		"foreign":   func([]byte) []byte { return []byte(strings.Repeat("something else ", 100)) },
	}
	for name, change := range damage {
		for _, file := range files {
			good, err := os.ReadFile(file)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(file, change(good), 0o600))
			p := wasmer.New()
			configuredOpen(t, p, dir)
			lane, err := p.OpenLane(context.Background())
			require.NoError(t, err)
			r := execute(t, lane, execution(id, "echo", []byte("x")), &core{})
			require.Equal(t, "x", string(r.Value), "%s %s", name, file)
			require.NoError(t, lane.Close())
			prepare(t, p, wasm) // writes the module again where it was lost
			require.NoError(t, p.Close(context.Background()))
			require.NoError(t, os.WriteFile(file, good, 0o600))
		}
	}
}

func configuredOpen(t *testing.T, p runtime.Plugin, dir string) {
	t.Helper()
	runtimetest.Configure(t, p, dir, nil)
}

// TestHostileModulesAreRefused prepares modules that make the engine's compiler
// abort, in the isolated compiler.
func TestHostileModulesAreRefused(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	compile := wasmer.NewChildCompiler(self)
	_, err = compile(context.Background(), []byte(`(module (func (param `+strings.Repeat("i64 ", 600)+`)))`), 16)
	require.ErrorContains(t, err, "compilation error: read section 1: 600 parameters, at most 100 are accepted")
	_, err = compile(context.Background(), []byte(`(module (memory 17))`), 16)
	require.ErrorContains(t, err, "module starts with 17 memory pages, the limit is 16")
	// A program that dies stands for a compiler that does.
	_, err = wasmer.NewChildCompiler("/bin/false")(context.Background(), nil, 16)
	var fault *runtime.Fault
	require.ErrorAs(t, err, &fault)
	require.Equal(t, runtime.FaultCompilation, fault.Kind)
	require.Contains(t, fault.Text, "the engine's compiler failed on the module (exit status 1)")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = compile(ctx, []byte(`(module)`), 16)
	require.ErrorIs(t, err, context.Canceled)
}

// TestMemoryBudgetMakesCallsWait lets one instance fill the budget.
func TestMemoryBudgetMakesCallsWait(t *testing.T) {
	t.Parallel()
	p := configured(t, wasmer.New(), t.TempDir(), map[string]int64{"memory_budget": 64, "lanes": 2})
	wasm, id := runtimetest.Kit()
	prepare(t, p, wasm)
	request := func(context byte, method string, input []byte) *runtime.Execute {
		e := execution(id, method, input)
		e.Context[5] = context
		e.Budget.MemoryPages = 1024
		return e
	}
	blocked := &core{block: make(chan struct{})}
	first, second := openLane(t, p), openLane(t, p)
	done := make(chan *runtime.Result, 1)
	go func() {
		r, _ := first.Execute(context.Background(), request(1, "get", make([]byte, 32)), blocked)
		done <- r
	}()
	require.Eventually(t, func() bool { return blocked.asked.Load() == 1 }, 10e9, 1e6)
	late := request(2, "nothing", nil)
	late.Budget.DeadlineMillis = 50
	require.Equal(t, runtime.FaultDeadline, execute(t, second, late, &core{}).Fault.Kind)
	close(blocked.block)
	require.Nil(t, (<-done).Fault)
	require.Nil(t, execute(t, second, request(2, "nothing", nil), &core{}).Fault)
	e := request(3, "nothing", nil)
	e.Budget.MemoryPages = 1025
	require.Contains(t, execute(t, second, e, &core{}).Fault.Text, "memory_budget")
}

// TestResidentSizeStaysFlat makes calls of a sample app, good ones and bad ones.
// SCALE=full makes 50,000.
func TestResidentSizeStaysFlat(t *testing.T) {
	if goruntime.GOOS != "linux" {
		t.Skip("reads /proc/self/statm")
	}
	if testing.Short() {
		t.Skip("thousands of calls")
	}
	warm, total := 1000, 3000
	if os.Getenv("SCALE") == "full" {
		warm, total = 10_000, 50_000
	}
	defer debug.SetGCPercent(debug.SetGCPercent(50))
	a := startApp(t, newPlugin(t), "kv")
	early := 0
	for i := range total {
		switch i % 8 {
		case 0, 4:
			a.commit("set", fmt.Sprintf(`{"key":"k%d","value":"v%d"}`, i%16, i))
		case 3:
			require.NotNil(t, a.call("get_unchecked", `{"key":"none"}`).Fault)
		case 7:
			require.NotNil(t, a.call("missing", ``).Fault)
		default:
			require.Nil(t, a.call("get", `{"key":"k0"}`).Fault)
		}
		if i == warm {
			early = resident(t)
		}
	}
	grown := resident(t) - early
	t.Logf("calls %d to %d: resident grew %d KiB to %d KiB", warm, total, grown>>10, (early+grown)>>10)
	require.LessOrEqual(t, grown, 10<<20)
}

func resident(t testing.TB) int {
	t.Helper()
	debug.FreeOSMemory()
	b, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	var size, pages int
	_, err = fmt.Sscan(string(b), &size, &pages)
	require.NoError(t, err)
	return pages * os.Getpagesize()
}

// TestUnderConstantCollection runs host calls while the collector runs all the
// time: no Go memory is referred to from C.
func TestUnderConstantCollection(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(1))
	a := startApp(t, newPlugin(t), "kv")
	for i := range 100 {
		a.commit("set", fmt.Sprintf(`{"key":"k%d","value":"v%d"}`, i%8, i))
		require.NotNil(t, a.call("get_unchecked", `{"key":"none"}`).Fault)
		if i%10 == 0 {
			goruntime.GC()
		}
	}
	require.Equal(t, `"v99"`, string(a.call("get", `{"key":"k3"}`).Value))
}

func TestHashIsChecked(t *testing.T) {
	t.Parallel()
	p := newPlugin(t)
	wasm, _ := runtimetest.Kit()
	_, err := p.Prepare(context.Background(), sha256.Sum256([]byte("other")), maxModule, bytes.NewReader(wasm))
	require.ErrorIs(t, err, errkind.Invalid)
}

// TestRepeatable: with sources of the test's own, an execution runs twice the same.
func TestRepeatable(t *testing.T) {
	t.Parallel()
	wasm, err := apps.Wasm("rogue")
	require.NoError(t, err)
	var asked atomic.Int64
	p := configured(t, wasmer.NewRepeatable(func(e *runtime.Execute) (func() uint64, io.Reader) {
		asked.Add(1)
		if e.Executor == (domain.PublicKey{9}) {
			return nil, nil
		}
		return func() uint64 { return 1234 }, bytes.NewReader(bytes.Repeat([]byte{7}, 100))
	}), t.TempDir(), nil)
	info := prepare(t, p, wasm)
	lane := openLane(t, p)
	host := &core{}
	first := execution(info.ID, "init", []byte("{}"))
	first.Kind = runtime.Init
	host.apply(execute(t, lane, first, host).Writes)
	call := func(method, input string) *runtime.Execute {
		e := execution(info.ID, method, []byte(input))
		e.State.Version = 2 // init's rows are the core's now
		return e
	}
	require.Equal(t, "[7,7,7]", string(execute(t, lane, call("random", `{"n":3}`), host).Value))
	require.Equal(t, "1234", string(execute(t, lane, call("now", `{}`), host).Value))
	require.EqualValues(t, 3, asked.Load())
	system := call("random", `{"n":8}`)
	system.Executor = domain.PublicKey{9}
	require.NotEqual(t, "[7,7,7,7,7,7,7,7]", string(execute(t, lane, system, host).Value))
}
