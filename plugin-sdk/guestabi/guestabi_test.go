package guestabi_test

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/guestabi"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// rowMap is a View in memory.
type rowMap map[runtime.Key][]byte

func (m rowMap) Row(k runtime.Key) ([]byte, bool, error) {
	v, ok := m[k]
	return v, ok, nil
}

func function(t testing.TB, name string) *guestabi.Function {
	t.Helper()
	for _, f := range guestabi.Imports() {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("no function %q", name)
	return nil
}

// guest lays out memory by hand and calls host functions.
type guest struct {
	t   testing.TB
	x   *guestabi.Execution
	mem []byte
	top uint64
}

func newGuest(t testing.TB, cfg guestabi.Config) *guest {
	if cfg.View == nil {
		cfg.View = rowMap{}
	}
	return &guest{t: t, x: guestabi.New(cfg), mem: make([]byte, 1<<16), top: 16}
}

func (g *guest) put(b []byte) uint64 {
	at := g.top
	copy(g.mem[at:], b)
	g.top += uint64(len(b)+7) &^ 7
	return at
}

func (g *guest) u64s(v ...uint64) uint64 {
	var b []byte
	for _, x := range v {
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	return g.put(b)
}

func (g *guest) buf(b []byte) uint64 { return g.u64s(g.put(b), uint64(len(b))) }

func (g *guest) call(name string, args ...uint64) (uint64, error) {
	return g.x.Call(function(g.t, name), g.mem, args)
}

func (g *guest) must(name string, args ...uint64) uint64 {
	g.t.Helper()
	v, err := g.call(name, args...)
	require.NoError(g.t, err)
	return v
}

func (g *guest) register(id uint64) []byte {
	n := g.must("register_len", id)
	at := g.put(make([]byte, n))
	require.Equal(g.t, uint64(1), g.must("read_register", id, g.u64s(at, n)))
	return append([]byte(nil), g.mem[at:at+n]...)
}

type vector struct {
	Name string          `json:"name"`
	In   json.RawMessage `json:"in"`
	Out  json.RawMessage `json:"out"`
}

func vectors(t *testing.T, group string) []vector {
	t.Helper()
	b, err := os.ReadFile("testdata/runtime_texts.json")
	require.NoError(t, err)
	var f struct {
		Groups map[string][]vector `json:"groups"`
	}
	require.NoError(t, json.Unmarshal(b, &f))
	require.NotEmpty(t, f.Groups[group])
	return f.Groups[group]
}

func TestErrorTexts(t *testing.T) {
	t.Parallel()
	at := &guestabi.Location{File: "src/lib.rs", Line: 7, Column: 4294967295}
	have := map[string]error{
		"invalid_signature": guestabi.InvalidSignature(`a"b`), "method_not_found": guestabi.MethodNotFound("x"),
		"method_name_too_long":          guestabi.CheckMethod(strings.Repeat("n", 300), 256),
		"invalid_method_name_character": guestabi.CheckMethod("a'b", 256), "empty_method_name": guestabi.CheckMethod("", 256),
		"trap_stack_overflow": guestabi.TrapStackOverflow, "trap_memory_out_of_bounds": guestabi.TrapMemoryOutOfBounds,
		"trap_heap_misaligned": guestabi.TrapHeapMisaligned, "trap_table": guestabi.TrapTableOutOfBounds,
		"trap_indirect": guestabi.TrapIndirectCallToNull, "trap_bad_signature": guestabi.TrapBadSignature,
		"trap_arithmetic": guestabi.TrapIllegalArithmetic, "trap_unreachable": guestabi.TrapUnreachable,
		"trap_atomic": guestabi.TrapUnalignedAtomic, "trap_indeterminate": guestabi.TrapIndeterminate,
		"invalid_register_id": guestabi.InvalidRegister(1<<64 - 1), "invalid_memory_access": guestabi.ErrInvalidMemoryAccess,
		"panic_guest_at": guestabi.GuestPanic("boom é", at), "panic_guest_unknown": guestabi.GuestPanic("", nil),
		"panic_host_at": guestabi.HostPanic("m", at), "panic_host_unknown": guestabi.HostPanic("m", nil),
		"bad_utf8": guestabi.ErrBadUTF8, "key_length": guestabi.ErrKeyLength, "value_length": guestabi.ErrValueLength,
		"log_length": guestabi.ErrLogLength, "logs": guestabi.ErrLogs, "events": guestabi.ErrEvents,
		"event_kind": guestabi.ErrEventKindSize, "event_data": guestabi.ErrEventDataSize, "xcalls": guestabi.ErrXCalls,
		"xcall_function": guestabi.ErrXCallFunctionSize, "xcall_params": guestabi.ErrXCallParamsSize,
		"blobs_not_supported": guestabi.ErrBlobsNotSupported, "invalid_blob_handle": guestabi.ErrInvalidBlobHandle,
		"too_many_blob_handles": guestabi.TooManyBlobHandles(100), "blob_buffer": guestabi.BlobBufferTooLarge(5, 4),
		"blob_write": guestabi.BlobWriteTooLarge(5, 4), "ed25519": guestabi.ErrEd25519PublicKey,
		"execution_error":       errors.New(guestabi.ExecutionErrorText([]byte(`"no"`))),
		"execution_error_empty": errors.New(guestabi.ExecutionErrorText(nil)),
		"module_size":           guestabi.ModuleSizeFault(11, 10),
	}
	// Defined in the reference, never produced there (guest-abi.md §4.4).
	unused := map[string]bool{"deserialization": true, "serialization": true, "integer_overflow": true,
		"total_blob_memory": true, "blob_context": true, "blob_handles": true, "blob_memory": true,
		"alias_exists": true, "alias_long": true, "node_client": true}
	for _, v := range vectors(t, "function_call_error") {
		if unused[v.Name] {
			continue
		}
		var out struct{ Display string }
		require.NoError(t, json.Unmarshal(v.Out, &out))
		require.Contains(t, have, v.Name)
		require.Equal(t, out.Display, have[v.Name].Error(), v.Name)
	}
}

func TestDefaultLimits(t *testing.T) {
	t.Parallel()
	var out map[string]uint64
	require.NoError(t, json.Unmarshal(vectors(t, "constants")[0].Out, &out))
	l := runtime.DefaultLimits()
	for name, have := range map[string]uint64{
		"max_stack_size": l.MaxStackSize, "max_registers": l.MaxRegisters, "max_register_size": l.MaxRegisterSize,
		"max_registers_capacity": l.MaxRegistersCapacity, "max_logs": l.MaxLogs, "max_log_size": l.MaxLogSize,
		"max_events": l.MaxEvents, "max_event_kind_size": l.MaxEventKindSize, "max_event_data_size": l.MaxEventDataSize,
		"max_xcalls": l.MaxXCalls, "max_xcall_function_size": l.MaxXCallFunctionSize,
		"max_xcall_params_size": l.MaxXCallParamsSize, "max_storage_key_size": l.MaxStorageKeySize,
		"max_storage_value_size": l.MaxStorageValueSize, "max_blob_handles": l.MaxBlobHandles,
		"max_blob_chunk_size": l.MaxBlobChunkSize, "max_method_name_length": l.MaxMethodNameLength,
	} {
		require.Equal(t, out[name], have, name)
	}
}

func TestImportTable(t *testing.T) {
	t.Parallel()
	all := guestabi.Imports()
	require.Len(t, all, 71)
	js := 0
	for _, f := range all {
		if strings.HasPrefix(f.Name, "js_") {
			js++
		}
	}
	require.Equal(t, 38, js)
}

func TestCheckImports(t *testing.T) {
	t.Parallel()
	ok := runtime.Import{Module: "env", Name: "commit", Kind: "func", Params: []string{"i64", "i64"}}
	ext := runtime.Import{Module: "ext:mail", Name: "send", Kind: "func", Params: []string{"i64"}}
	js := runtime.Import{Module: "env", Name: "js_crdt_map_new", Kind: "func", Params: []string{"i64"}, Results: []string{"i32"}}
	require.NoError(t, guestabi.CheckImports([]runtime.Import{ok, ext, js}))
	err := guestabi.CheckImports([]runtime.Import{ok,
		{Module: "wasi", Name: "fd_write", Kind: "func"},
		{Module: "env", Name: "memory", Kind: "memory"},
		{Module: "env", Name: "commit", Kind: "func", Params: []string{"i32"}}})
	require.ErrorIs(t, err, errkind.Unsupported)
	require.EqualError(t, err, `module imports what this node does not offer: "wasi"."fd_write": unknown import. Expected Function(FunctionType { params: [], results: [] }); `+
		`"env"."memory": unknown import. Expected Memory; `+
		`"env"."commit": incompatible import type. Expected Function(FunctionType { params: [I32], results: [] }) but received Function(FunctionType { params: [I64, I64], results: [] })`)
	_, fault := guestabi.Link([]runtime.Import{ok, ext})
	require.Equal(t, &runtime.Fault{Kind: runtime.FaultLink, Text: `link error: Error while importing "ext:mail"."send": host function is not granted to this application`}, fault)
}

func TestKeysArePaddedOrDropped(t *testing.T) {
	t.Parallel()
	g := newGuest(t, guestabi.Config{Private: true})
	require.Zero(t, g.must("storage_write", g.buf([]byte("a")), g.buf([]byte("1")), 1))
	require.Equal(t, uint64(1), g.must("storage_read", g.buf([]byte("a\x00")), 1))
	require.Equal(t, []byte("1"), g.register(1))
	long := g.buf(make([]byte, 33))
	require.Zero(t, g.must("storage_write", long, g.buf([]byte("x")), 2))
	require.Zero(t, g.must("storage_read", long, 2))
	require.Equal(t, uint64(1), g.must("private_storage_write", long, g.buf([]byte("x"))))
	require.Zero(t, g.must("private_storage_read", long, 2))
	require.Equal(t, ^uint64(0), g.must("register_len", 2))
	r := g.x.Finish(nil, runtime.WritesFull)
	require.Len(t, r.Writes, 1)
	require.Equal(t, byte('a'), r.Writes[0].K[0])
	require.Len(t, r.Read, 1)
}

func TestOverlayInFirstWrittenOrder(t *testing.T) {
	t.Parallel()
	k := func(c byte) runtime.Key { return runtime.Key{Scope: runtime.ScopeState, K: [32]byte{c}} }
	g := newGuest(t, guestabi.Config{View: rowMap{k('b'): []byte("old")}})
	for _, key := range []string{"c", "a", "b"} {
		g.must("storage_write", g.buf([]byte(key)), g.buf([]byte("v"+key)), 1)
	}
	require.Equal(t, uint64(1), g.must("storage_remove", g.buf([]byte("c")), 1))
	require.Zero(t, g.must("storage_remove", g.buf([]byte("c")), 1))
	r := g.x.Finish(guestabi.TrapUnreachable.Fault(), runtime.WritesFull)
	require.Equal(t, []runtime.Row{{Key: k('c'), Absent: true}, {Key: k('a'), Value: []byte("va")}, {Key: k('b'), Value: []byte("vb")}}, r.Writes)
	require.Equal(t, []runtime.Key{k('c'), k('a'), k('b')}, r.Read)
	require.Equal(t, "unreachable code reached", r.Fault.Text)
}

func TestBounds(t *testing.T) {
	t.Parallel()
	g := newGuest(t, guestabi.Config{Limits: runtime.Limits{MaxRegisters: 2, MaxRegisterSize: 10, MaxRegistersCapacity: 30, MaxStorageValueSize: 9, MaxEvents: 1}})
	g.must("storage_write", g.buf([]byte("k")), g.buf(make([]byte, 9)), 0)
	_, err := g.call("storage_write", g.buf([]byte("k")), g.buf(make([]byte, 10)), 0)
	require.ErrorIs(t, err, guestabi.ErrValueLength)
	g.must("storage_read", g.buf([]byte("k")), 1) // 17
	_, err = g.call("storage_read", g.buf([]byte("k")), 2)
	require.ErrorIs(t, err, guestabi.ErrInvalidMemoryAccess, "34 bytes of registers, 30 allowed")
	require.Equal(t, ^uint64(0), g.must("register_len", 2))
	event := g.u64s(g.put([]byte("kind")), 4, 0, 0)
	g.must("emit", event)
	_, err = g.call("emit", event)
	require.ErrorIs(t, err, guestabi.ErrEvents)
	_, err = g.call("context_id", 3)
	require.ErrorIs(t, err, guestabi.ErrInvalidMemoryAccess, "32 bytes in a register of 10")
}

func TestStoppedGuestReportsNoWrites(t *testing.T) {
	t.Parallel()
	for _, kind := range []runtime.FaultKind{runtime.FaultDeadline, runtime.FaultCancelled} {
		g := newGuest(t, guestabi.Config{})
		g.must("storage_write", g.buf([]byte("key")), g.buf([]byte("value")), 1)
		require.Empty(t, g.x.Finish(&runtime.Fault{Kind: kind}, runtime.WritesFull).Writes)
	}
}

func TestWritesAreBounded(t *testing.T) {
	t.Parallel()
	g := newGuest(t, guestabi.Config{})
	key, value := g.put(make([]byte, 32)), g.buf(nil)
	kb := g.u64s(key, 32)
	for i := range uint32(runtime.MaxWrites) {
		binary.LittleEndian.PutUint32(g.mem[key:], i)
		g.must("storage_write", kb, value, 0)
	}
	binary.LittleEndian.PutUint32(g.mem[key:], runtime.MaxWrites)
	_, err := g.call("storage_write", kb, value, 0)
	f := guestabi.AsFault(err)
	require.NotNil(t, f)
	require.Equal(t, runtime.Fault{Kind: runtime.FaultTooLarge, Text: "more than 65536 rows written"}, *f)
}

func TestClockAdvancesByStepsAndDoesNotRunAway(t *testing.T) {
	t.Parallel()
	now := uint64(5)
	g := newGuest(t, guestabi.Config{Clock: func() uint64 { return now }, TimeFloor: 100})
	require.Zero(t, g.x.Finish(nil, runtime.WritesFull).Usage.Time)
	at := g.put(make([]byte, 8))
	b := g.u64s(at, 8)
	var got []uint64
	for _, now = range []uint64{5, 90, 101, 20_000, 150} {
		g.must("time_now", b)
		got = append(got, binary.LittleEndian.Uint64(g.mem[at:]))
	}
	require.Equal(t, []uint64{100, 4100, 8100, 20_000, 24_000}, got)
	usage := g.x.Finish(nil, runtime.WritesFull).Usage
	require.True(t, usage.ClockRandom)
	require.EqualValues(t, 24_000, usage.Time)
	last := uint64(24_000)
	timeNow := function(t, "time_now")
	for range 255_000 {
		_, err := g.x.Call(timeNow, g.mem, []uint64{b})
		next := binary.LittleEndian.Uint64(g.mem[at:])
		if err != nil || next <= last {
			t.Fatal(next, last, err)
		}
		last = next
	}
	require.Less(t, last, uint64(1_010_000_000), "a loop does not lead far into the future")
}

func TestStoppedEndsLongFunctions(t *testing.T) {
	t.Parallel()
	deadline := &runtime.Fault{Kind: runtime.FaultDeadline, Text: "late"}
	g := newGuest(t, guestabi.Config{Stopped: func() error { return deadline }})
	g.mem = make([]byte, 4<<20)
	big := g.u64s(1<<20, 3<<20)
	for name, args := range map[string][]uint64{
		"random_bytes": {big}, "log_utf8": {big}, "storage_read": {g.buf([]byte("k")), 1},
		"ed25519_verify": {g.buf(make([]byte, 64)), g.buf(append([]byte{1}, make([]byte, 31)...)), big},
	} {
		_, err := g.call(name, args...)
		require.ErrorIs(t, err, deadline, name)
		clear(g.mem[1<<20:])
	}
}

func TestPersistRootState(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/persist_root_state.json")
	require.NoError(t, err)
	var all []struct {
		Name string
		In   struct {
			ContextID string `json:"context_id"`
			Steps     []struct {
				Doc       string
				CreatedAt json.Number `json:"created_at"`
				UpdatedAt json.Number `json:"updated_at"`
				Now       json.Number
			}
		}
		Out struct {
			Steps []struct {
				Error    string
				RootHash string `json:"root_hash"`
			}
			Final map[string]struct{ State map[string]string }
		}
	}
	require.NoError(t, json.Unmarshal(b, &all))
	require.Len(t, all, 3)
	for _, v := range all {
		ctx, err := hex.DecodeString(v.In.ContextID)
		require.NoError(t, err)
		rows := rowMap{}
		for i, s := range v.In.Steps {
			doc, err := hex.DecodeString(s.Doc)
			require.NoError(t, err)
			// A new execution for each step: its clock starts fresh, as in the vectors.
			g := newGuest(t, guestabi.Config{Context: domain.ContextID(ctx), View: rows, Clock: func() uint64 { return number(t, s.Now) }})
			_, err = g.call("persist_root_state", g.buf(doc), number(t, s.CreatedAt), number(t, s.UpdatedAt))
			require.NoError(t, err, v.Name)
			if v.Out.Steps[i].Error != "" { // the reference cannot write a document twice (convergence.md §2.3)
				require.Equal(t, uint64(1), g.must("read_root_state", 0))
				require.Equal(t, s.Doc, hex.EncodeToString(g.register(0)))
				continue
			}
			require.Equal(t, uint64(1), g.must("flush_delta"))
			require.Zero(t, g.must("flush_delta"))
			require.Equal(t, uint64(1), g.must("read_root_state", 0))
			require.Equal(t, s.Doc, hex.EncodeToString(g.register(0)))
			r := g.x.Finish(nil, runtime.WritesFull)
			require.Equal(t, v.Out.Steps[i].RootHash, hex.EncodeToString(r.RootHash[:]))
			require.NotEmpty(t, r.Artifact)
			for _, w := range r.Writes {
				rows[w.Key] = w.Value
			}
		}
		got := map[string]string{}
		for k, value := range rows {
			got[hex.EncodeToString(k.K[:])] = hex.EncodeToString(value)
		}
		require.Equal(t, v.Out.Final["A"].State, got, v.Name)
	}
}

func number(t testing.TB, n json.Number) uint64 {
	t.Helper()
	if n == "" {
		return 0
	}
	var v uint64
	require.NoError(t, json.Unmarshal([]byte(strings.Trim(n.String(), `"`)), &v))
	return v
}

// FuzzGuestPointers calls every function with random arguments over a small
// random memory: whatever the descriptors say, a call returns or gives a fault.
func FuzzGuestPointers(f *testing.F) {
	f.Add([]byte{1, 2, 3, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0}, uint8(6), uint64(0), uint64(8), uint64(1), uint64(0))
	f.Add(make([]byte, 64), uint8(18), uint64(0), uint64(16), ^uint64(0), uint64(3))
	f.Add(make([]byte, 64), uint8(12), uint64(16), ^uint64(0)-3, uint64(0), uint64(3))
	f.Fuzz(func(t *testing.T, mem []byte, first uint8, a, b, c, d uint64) {
		x := guestabi.New(guestabi.Config{View: rowMap{}, Private: true, Blobs: fakeBlobs{},
			Limits: runtime.Limits{MaxBlobChunkSize: 1 << 16, MaxRegisterSize: 1 << 16}})
		args := []uint64{a, b, c, d, a}
		all := guestabi.Imports()
		for i := range all {
			fn := all[(int(first)+i)%len(all)]
			in := args[:len(fn.Params)]
			if len(mem) > 8 && i%2 == 1 { // a pointer into the memory half of the time
				in = append([]uint64{binary.LittleEndian.Uint64(mem) % uint64(len(mem))}, args[1:]...)[:len(fn.Params)]
			}
			if _, err := x.Call(fn, mem, in); err != nil && guestabi.AsFault(err) == nil {
				t.Fatalf("%s: %v is no fault", fn.Name, err)
			}
		}
		x.Finish(nil, runtime.WritesFull)
	})
}
