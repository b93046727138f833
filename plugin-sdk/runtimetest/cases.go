package runtimetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/blobid"
	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

func u32(n int) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(n)) }

// keyed is a 32-byte key and a value as the kit's module takes them.
func keyed(key byte, value string) []byte {
	return append(bytes.Repeat([]byte{key}, 32), value...)
}

func stateKey(key byte) runtime.Key {
	return runtime.Key{Scope: runtime.ScopeState, K: [32]byte(bytes.Repeat([]byte{key}, 32))}
}

func (s *suite) call(method string, input []byte) *runtime.Result {
	s.Helper()
	_, r := s.core.Call(s.kit, method, input)
	return r
}

// set runs `set` and commits it.
func (s *suite) set(key byte, value string) {
	s.Helper()
	e, r := s.core.Call(s.kit, "set", keyed(key, value))
	require.Nil(s, r.Fault)
	s.core.Accept(e, r)
}

func (s *suite) wantValue(key byte, want string) *runtime.Result {
	s.Helper()
	r := s.call("get", keyed(key, ""))
	require.Nil(s, r.Fault)
	require.Equal(s, want, string(r.Value))
	return r
}

func (s *suite) wantFault(r *runtime.Result, kind runtime.FaultKind, text string) {
	s.Helper()
	require.NotNil(s, r.Fault)
	require.Equal(s, kind, r.Fault.Kind, r.Fault.Text)
	require.Contains(s, r.Fault.Text, text)
	require.Nil(s, r.Value)
	require.Nil(s, r.AppError)
}

var moduleCases = []testCase{
	{name: "module info", run: func(s *suite) {
		info, err := s.p.Inspect(s.Context(), s.kit)
		require.NoError(s, err)
		require.Equal(s, s.kit, info.ID)
		require.Equal(s, uint32(4), info.MemoryMinPages)
		require.Zero(s, info.MemoryMaxPages)
		require.False(s, info.RegistersMerge)
		require.Contains(s, info.Imports, runtime.Import{Module: "env", Name: "read_register", Kind: "func", Params: []string{"i64", "i64"}, Results: []string{"i32"}})
		kinds := map[string]string{}
		for _, e := range info.Exports {
			kinds[e.Name] = e.Kind
			if e.Name == "takes" {
				require.Equal(s, []string{"i32"}, e.Params)
			}
		}
		require.Equal(s, "memory", kinds["memory"])
		require.Equal(s, "func", kinds["echo"])
		require.Equal(s, "global", kinds["not_a_function"])
	}},
	{name: "a prepared module is not compiled again", run: func(s *suite) {
		require.True(s, Prepare(s, s.p, kit).FromCache)
	}},
	{name: "unknown module", run: func(s *suite) {
		_, err := s.p.Inspect(s.Context(), domain.Hash{1})
		require.ErrorIs(s, err, errkind.NotFound)
		_, r := s.core.Call(domain.Hash{1}, "echo", nil)
		s.wantFault(r, runtime.FaultUnknownModule, "")
	}},
	{name: "forget a module", run: func(s *suite) {
		wasm := append(bytes.Clone(kit), 0, 2, 1, 'x') // a custom section makes it another module
		info := Prepare(s, s.p, wasm)
		_, r := s.core.Call(info.ID, "nothing", nil)
		require.Nil(s, r.Fault)
		require.NoError(s, s.p.Forget(s.Context(), []domain.Hash{info.ID, {9}}, []domain.ContextID{{9}}))
		_, r = s.core.Call(info.ID, "nothing", nil)
		s.wantFault(r, runtime.FaultUnknownModule, "")
		Prepare(s, s.p, wasm)
		_, r = s.core.Call(info.ID, "nothing", nil)
		require.Nil(s, r.Fault)
	}},
	{name: "module refusals", run: func(s *suite) {
		_, err := s.p.Prepare(s.Context(), domain.Hash{1}, MaxModule, bytes.NewReader(kit))
		require.ErrorIs(s, err, errkind.Invalid, "the hash differs")
		_, err = s.p.Prepare(s.Context(), s.kit, uint64(len(kit)-1), bytes.NewReader(kit))
		require.ErrorIs(s, err, errkind.TooLarge)
		for _, bad := range [][]byte{{}, {0}, kit[:len(kit)/2]} {
			_, err = s.p.Prepare(s.Context(), sha256.Sum256(bad), MaxModule, bytes.NewReader(bad))
			var f *runtime.Fault
			require.ErrorAs(s, err, &f)
			require.Equal(s, runtime.FaultCompilation, f.Kind)
			require.True(s, strings.HasPrefix(f.Text, "compilation error: "), f.Text)
			require.ErrorIs(s, err, errkind.Invalid)
		}
	}},
}

var callCases = []testCase{
	{name: "outcomes", run: func(s *suite) {
		require.Equal(s, []byte("hello"), s.call("echo", []byte("hello")).Value)
		r := s.call("echo", nil)
		require.NotNil(s, r.Value)
		require.Empty(s, r.Value)
		require.Equal(s, []byte("bad"), s.call("fail", []byte("bad")).AppError)
		r = s.call("fail", nil)
		require.NotNil(s, r.AppError)
		require.Empty(s, r.AppError)
		r = s.call("nothing", nil)
		require.Nil(s, r.Value)
		require.Nil(s, r.AppError)
		require.Nil(s, r.Fault)
		require.Nil(s, r.RootHash)
		require.Equal(s, s.core.Context[:], s.call("whoami", nil).Value)
	}},
	{name: "methods", run: func(s *suite) {
		s.wantFault(s.call("missing", nil), runtime.FaultMethod, `method "missing" not found`)
		s.wantFault(s.call("", nil), runtime.FaultMethod, "method name is empty")
		s.wantFault(s.call("a-b", nil), runtime.FaultMethod, "method name contains invalid character at position 1: '-'")
		s.wantFault(s.call(strings.Repeat("m", 257), nil), runtime.FaultMethod, "method name too long: 257 bytes (max: 256)")
		s.wantFault(s.call("takes", nil), runtime.FaultMethod, `method "takes" has invalid signature: expected no arguments and no return value`)
		s.wantFault(s.call("memory", nil), runtime.FaultHost, "guest panicked: internal error: entered unreachable code")
	}},
	{name: "traps", run: func(s *suite) {
		s.wantFault(s.call("trap", nil), runtime.FaultTrap, "unreachable code reached")
		s.wantFault(s.call("divide", nil), runtime.FaultTrap, "illegal arithmetic operation")
		s.wantFault(s.call("beyond", nil), runtime.FaultTrap, "memory out of bounds")
		require.Equal(s, []byte("fine"), s.call("echo", []byte("fine")).Value)
	}},
	{name: "logs, events, calls", run: func(s *suite) {
		require.Equal(s, []string{"a line"}, s.call("log", []byte("a line")).Logs)
		s.wantFault(s.call("log", []byte{0xff}), runtime.FaultHost, "invalid UTF-8 string")
		handler := "ki"
		require.Equal(s, []runtime.Event{{Kind: "kind", Data: []byte("kind!"), Handler: &handler}, {Kind: "kind", Data: []byte("kind!")}},
			s.call("emit", []byte("kind!")).Events)
		require.Equal(s, []runtime.XCall{{Context: domain.ContextID(keyed(3, "")), Function: "run", Params: []byte("running")}},
			s.call("xcall", keyed(3, "running")).XCalls)
	}},
	{name: "commit", run: func(s *suite) {
		r := s.call("set", keyed(5, "artifact"))
		require.Equal(s, keyed(5, ""), r.RootHash[:])
		require.Equal(s, []byte("artifact"), r.Artifact)
		require.Equal(s, []runtime.Row{{Key: stateKey(5), Value: []byte("artifact")}}, r.Writes)
	}},
	{name: "clock", run: func(s *suite) {
		e := s.core.Request(s.kit, "clock", nil)
		e.TimeFloor = 1 << 62
		r, err := s.core.Execute(s.Context(), e)
		require.NoError(s, err)
		require.Len(s, r.Value, 16)
		first, second := binary.LittleEndian.Uint64(r.Value), binary.LittleEndian.Uint64(r.Value[8:])
		require.GreaterOrEqual(s, first, uint64(1)<<62)
		require.Greater(s, second, first)
		require.True(s, r.Usage.ClockRandom)
	}},
	{name: "usage", run: func(s *suite) {
		r := s.call("get", keyed(1, ""))
		require.EqualValues(s, 1, r.Usage.Reads)
		require.EqualValues(s, 1, r.Usage.Misses)
		require.EqualValues(s, 2, r.Usage.RoundTrips)
		require.EqualValues(s, 4, r.Usage.HostCalls)
		require.EqualValues(s, 4, r.Usage.PeakPages)
		require.NotZero(s, r.Usage.Fuel)
		require.NotZero(s, r.Usage.WallMicros)
		require.False(s, r.Usage.ClockRandom || r.Usage.Effects)
		require.Equal(s, []runtime.Key{stateKey(1)}, r.Read)
	}},
	{name: "blobs", needs: []string{runtime.CapBlobs}, run: func(s *suite) {
		content := bytes.Repeat([]byte("0123456789"), 150_000)
		want := blobid.Of(content)
		r := s.call("blob_put", content)
		require.Nil(s, r.Fault)
		require.Equal(s, want[:], r.Value)
		require.Equal(s, []runtime.BlobRef{{ID: want, Size: uint64(len(content))}}, r.Blobs)
		require.Equal(s, content, s.core.blobs[want])
		require.True(s, bytes.Equal(content, s.call("blob_get", want[:]).Value))
		require.Empty(s, s.call("blob_get", make([]byte, 32)).Value, "a missing blob has no bytes")
	}},
	{name: "private rows", run: func(s *suite) {
		e, r := s.core.Call(s.kit, "private_set", keyed(1, "secret"))
		require.Equal(s, runtime.ScopePrivate, r.Writes[0].Scope)
		s.core.Accept(e, r)
		require.Equal(s, []byte("secret"), s.call("private_get", keyed(1, "")).Value)
		require.Nil(s, s.call("get", keyed(1, "")).Value, "the stores are apart")
		e = s.core.Request(s.kit, "private_get", keyed(1, ""))
		e.HasPrivate = false
		r, err := s.core.Execute(s.Context(), e)
		require.NoError(s, err)
		require.Nil(s, r.Value)
	}},
	{name: "write detail of an index row", run: func(s *suite) {
		id := crdt.ID{7}
		key := crdt.IndexKey(id)
		index, err := borsh.Marshal(crdt.EntityIndex{ID: id})
		require.NoError(s, err)
		e := s.core.Request(s.kit, "set", append(key[:], index...))
		e.Detail = runtime.WritesHashes
		r, err := s.core.Execute(s.Context(), e)
		require.NoError(s, err)
		require.Len(s, r.Writes, 1)
		require.Nil(s, r.Writes[0].Value)
		require.Equal(s, &engine.Digest{Entity: id, Sum: sha256.Sum256(index)}, r.Writes[0].Digest)
	}},
	{name: "write detail", run: func(s *suite) {
		for detail, want := range map[runtime.WriteDetail][]runtime.Row{
			runtime.WritesNone: {}, runtime.WritesHashes: {{Key: stateKey(1), Value: []byte("v")}}, runtime.WritesFull: {{Key: stateKey(1), Value: []byte("v")}}} {
			e := s.core.Request(s.kit, "set", keyed(1, "v"))
			e.Detail = detail
			r, err := s.core.Execute(s.Context(), e)
			require.NoError(s, err)
			require.Len(s, r.Writes, len(want))
			for i := range want {
				require.Equal(s, want[i].Key, r.Writes[i].Key)
				require.Equal(s, want[i].Value, append([]byte(nil), r.Writes[i].Value...))
			}
		}
	}},
}

var rowCases = []testCase{
	{name: "one round trip for the second call", needs: []string{runtime.CapRowCopy}, run: func(s *suite) {
		s.set(1, "a")
		require.EqualValues(s, 1, s.wantValue(1, "a").Usage.RoundTrips, "the accepted overlay is in the copy")
		s.wantValue(2, "")
		r := s.wantValue(2, "")
		require.EqualValues(s, 1, r.Usage.RoundTrips, "known to be absent")
		require.Empty(s, r.Read)
	}},
	{name: "a corrected step", needs: []string{runtime.CapRowCopy}, run: func(s *suite) {
		e, r := s.core.Call(s.kit, "set", keyed(1, "guest"))
		s.core.Accept(e, r, runtime.Row{Key: stateKey(1), Value: []byte("core")})
		require.EqualValues(s, 1, s.wantValue(1, "core").Usage.RoundTrips)
	}},
	{name: "edits of rows", needs: []string{runtime.CapRowCopy}, run: func(s *suite) {
		edit := func(off, del int, ins string) []engine.Edit {
			return []engine.Edit{{Off: off, Del: del, Ins: []byte(ins)}}
		}
		s.set(1, "committed")
		e, r := s.core.Call(s.kit, "set", keyed(1, "guest's"))
		s.core.put([]runtime.Row{{Key: stateKey(1), Value: []byte("corrected")}})
		s.core.step(runtime.Step{AcceptExec: e.ID, Rows: []runtime.Row{{Key: stateKey(1), Edits: edit(1, 6, "orrect")}}})
		require.Nil(s, r.Fault)
		require.EqualValues(s, 1, s.wantValue(1, "corrected").Usage.RoundTrips, "from the value before the call")
		s.core.put([]runtime.Row{{Key: stateKey(1), Value: []byte("incorrect!")}})
		s.core.step(runtime.Step{Rows: []runtime.Row{{Key: stateKey(1), Edits: edit(0, 0, "in")}}})
		s.core.step(runtime.Step{Rows: []runtime.Row{
			{Key: stateKey(1), Edits: edit(9, 2, "")}, {Key: stateKey(1), Edits: edit(9, 0, "!")}}})
		require.EqualValues(s, 1, s.wantValue(1, "incorrect!").Usage.RoundTrips)
		s.core.put([]runtime.Row{{Key: stateKey(1), Value: []byte("other")}, {Key: stateKey(2), Value: []byte("new")}})
		s.core.step(runtime.Step{Rows: []runtime.Row{
			{Key: stateKey(1), Edits: edit(99, 1, "x")}, {Key: stateKey(2), Edits: edit(0, 0, "x")}}})
		s.wantValue(1, "other")
		s.wantValue(2, "new")
	}},
	{name: "a discarded step", needs: []string{runtime.CapRowCopy}, run: func(s *suite) {
		s.set(1, "kept")
		s.call("set", keyed(1, "dropped"))
		require.EqualValues(s, 1, s.wantValue(1, "kept").Usage.RoundTrips)
		s.wantFault(s.call("set_and_trap", keyed(1, "dropped")), runtime.FaultTrap, "")
		require.EqualValues(s, 1, s.wantValue(1, "kept").Usage.RoundTrips)
	}},
	{name: "a foreign step", needs: []string{runtime.CapRowCopy}, run: func(s *suite) {
		s.set(1, "a")
		s.core.Change(runtime.Row{Key: stateKey(1), Value: []byte("b")}, runtime.Row{Key: stateKey(2), Value: []byte("c")})
		require.EqualValues(s, 1, s.wantValue(1, "b").Usage.RoundTrips)
		require.EqualValues(s, 1, s.wantValue(2, "c").Usage.RoundTrips)
		s.core.Change(runtime.Row{Key: stateKey(1), Absent: true})
		require.EqualValues(s, 1, s.wantValue(1, "").Usage.RoundTrips)
	}},
	{name: "rows sent ahead", needs: []string{runtime.CapRowCopy}, run: func(s *suite) {
		s.core.State.Ahead = []runtime.Row{{Key: stateKey(1), Value: []byte("ahead")}}
		require.EqualValues(s, 1, s.wantValue(1, "ahead").Usage.RoundTrips)
	}},
	{name: "a forgotten row, a reset, a new epoch, a lost step", run: func(s *suite) {
		s.set(1, "a")
		s.wantValue(1, "a")
		s.core.put([]runtime.Row{{Key: stateKey(1), Value: []byte("b")}})
		s.core.step(runtime.Step{Forget: []runtime.Key{stateKey(1)}})
		s.wantValue(1, "b")
		s.core.put([]runtime.Row{{Key: stateKey(1), Value: []byte("c")}})
		s.core.step(runtime.Step{Reset: true})
		s.wantValue(1, "c")
		s.core.put([]runtime.Row{{Key: stateKey(1), Value: []byte("d")}})
		s.core.State.Epoch++
		s.wantValue(1, "d")
		s.core.put([]runtime.Row{{Key: stateKey(1), Value: []byte("e")}})
		s.core.State.Version += 5
		s.core.Change(runtime.Row{Key: stateKey(9), Value: []byte("x")})
		s.wantValue(1, "e")
		s.wantValue(9, "x")
	}},
	{name: "an overlay that is gone", run: func(s *suite) {
		e, r := s.core.Call(s.kit, "set", keyed(1, "a"))
		s.core.put(r.Writes)
		s.core.step(runtime.Step{AcceptExec: e.ID + 1_000_000})
		s.wantValue(1, "a")
	}},
	{name: "the copy is dropped between any two frames", run: func(s *suite) {
		drop := func() {
			require.NoError(s, s.p.Forget(context.Background(), nil, []domain.ContextID{s.core.Context}))
		}
		s.core.OnRows = func(context.Context, []runtime.Key) error { drop(); return nil }
		for i := range 5 {
			e, r := s.core.Call(s.kit, "set", keyed(byte(i), "v"))
			require.Nil(s, r.Fault)
			drop()
			s.core.Accept(e, r)
			s.wantValue(byte(i), "v")
			drop()
		}
		for i := range 5 {
			s.wantValue(byte(i), "v")
		}
	}},
	{name: "removed rows", run: func(s *suite) {
		s.set(1, "a")
		e, r := s.core.Call(s.kit, "remove", keyed(1, ""))
		require.Equal(s, []runtime.Row{{Key: stateKey(1), Absent: true}}, r.Writes)
		s.core.Accept(e, r)
		s.wantValue(1, "")
	}},
}
