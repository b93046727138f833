package runtimetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// expected is a call and what it gives: a status and register 0, which is not looked at when it is nil.
type expected struct {
	HostCall
	status   int32
	register []byte
}

func (c HostCall) gives(status int32, register ...byte) expected {
	if register == nil {
		register = []byte{}
	}
	return expected{c, status, register}
}

func (c HostCall) givesText(status int32, text string) expected {
	return expected{c, status, []byte(text)}
}

// is looks at the status alone.
func (c HostCall) is(status int32) expected { return expected{c, status, nil} }

func (s *suite) script(executor domain.PublicKey, calls ...HostCall) (*runtime.Execute, *runtime.Result) {
	s.Helper()
	wasm, id := ScriptModule()
	Prepare(s, s.p, wasm)
	e := s.core.Request(id, "run", EncodeScript(s, calls...))
	e.Executor = executor
	r, err := s.core.Execute(s.Context(), e)
	require.NoError(s, err)
	return e, r
}

// steps runs a script in one execution and commits it; it returns the artifact's actions.
func (s *suite) steps(executor domain.PublicKey, steps ...expected) []crdt.Action {
	s.Helper()
	var calls []HostCall
	for _, step := range steps {
		calls = append(calls, step.HostCall)
	}
	e, r := s.script(executor, append(calls, Do("flush_delta"))...)
	require.Nil(s, r.Fault)
	results := DecodeScript(s, r.Value)
	require.Len(s, results, len(steps)+1)
	for i, step := range steps {
		require.Equal(s, step.status, results[i].Status, "%d: %s: %q", i, step.Function, results[i].Register)
		if step.register != nil {
			require.Equal(s, string(step.register), string(results[i].Register), "%d: %s", i, step.Function)
		}
	}
	require.NotNil(s, r.RootHash)
	require.Equal(s, results[len(steps)].Status, int32(min(1, len(r.Artifact))))
	s.core.Accept(e, r)
	if len(r.Artifact) == 0 {
		return nil
	}
	delta, err := crdt.DecodeArtifact(r.Artifact)
	require.NoError(s, err)
	return delta.Actions
}

func counted(parts ...string) []byte {
	out := u32(len(parts))
	for _, p := range parts {
		out = append(append(out, u32(len(p))...), p...)
	}
	return out
}

func pairs(parts ...string) []byte {
	out := counted(parts...)
	binary.LittleEndian.PutUint32(out, uint32(len(parts)/2))
	return out
}

func u64(n int) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(n)) }

var (
	alice = domain.PublicKey{0xa}
	bob   = domain.PublicKey{0xb}
)

var collectionCases = []testCase{
	{name: "host collections: map", needs: []string{runtime.CapJS}, run: func(s *suite) {
		actions := s.steps(alice,
			Do("js_crdt_map_new", 0).To(0).is(0),
			Do("js_crdt_map_contains", Slot(0), "k").is(0),
			Do("js_crdt_map_get", Slot(0), "k", 0).gives(0),
			Do("js_crdt_map_insert", Slot(0), "k", "one", 0).gives(0),
			Do("js_crdt_map_insert", Slot(0), "k", "", 0).givesText(1, "one"),
			Do("js_crdt_map_get", Slot(0), "k", 0).gives(1),
			Do("js_crdt_map_insert", Slot(0), "", "two", 0).gives(0),
			Do("js_crdt_map_contains", Slot(0), "k").is(1),
			Do("js_crdt_map_iter", Slot(0), 0).gives(1, pairs("k", "", "", "two")...),
			Do("js_crdt_map_remove", Slot(0), "k", 0).gives(1),
			Do("js_crdt_map_remove", Slot(0), "k", 0).gives(0),
			Do("js_crdt_map_iter", Slot(0), 0).gives(1, pairs("", "two")...),
			Do("js_crdt_map_insert", Slot(0), "k", "again", 0).gives(0),
			Do("js_crdt_map_get", Slot(0), "k", 0).givesText(1, "again"),
		)
		var kinds []string
		for i := range actions {
			kinds = append(kinds, actions[i].Kind.String())
		}
		require.Equal(s, []string{"Add", "Add", "Add", "Update", "Add", "DeleteRef", "Add"}, kinds)
		require.Equal(s, crdt.TreeRoot(s.core.Context), actions[0].Ancestors[0].ID)
		require.Len(s, actions[2].Ancestors, 2)
		id := actions[1].ID
		require.Empty(s, s.steps(bob,
			Do("js_crdt_map_get", id[:], "k", 0).givesText(1, "again"),
			Do("js_crdt_map_iter", id[:], 0).gives(1, pairs("", "two", "k", "again")...)), "reading records nothing")
	}},
	{name: "host collections: vector", needs: []string{runtime.CapJS}, run: func(s *suite) {
		s.steps(alice,
			Do("js_crdt_vector_new", 0).To(0).is(0),
			Do("js_crdt_vector_pop", Slot(0), 0).gives(0),
			Do("js_crdt_vector_push", Slot(0), "a").is(1),
			Do("js_crdt_vector_push", Slot(0), "b").is(1),
			Do("js_crdt_vector_push", Slot(0), "").is(1),
			Do("js_crdt_vector_len", Slot(0), 0).gives(1, u64(3)...),
			Do("js_crdt_vector_get", Slot(0), 1, 0).givesText(1, "b"),
			Do("js_crdt_vector_get", Slot(0), 3, 0).gives(0),
			Do("js_crdt_vector_get", Slot(0), ^uint64(0), 0).givesText(-1,
				"arithmetic overflow: addition overflow: 18446744073709551615 + 1 exceeds usize::MAX"),
			Do("js_crdt_vector_pop", Slot(0), 0).gives(1),
			Do("js_crdt_vector_pop", Slot(0), 0).givesText(1, "b"),
			Do("js_crdt_vector_len", Slot(0), 0).gives(1, u64(1)...),
		)
	}},
	{name: "host collections: set", needs: []string{runtime.CapJS}, run: func(s *suite) {
		s.steps(alice,
			Do("js_crdt_set_new", 0).To(0).is(0),
			Do("js_crdt_set_clear", Slot(0)).is(0),
			Do("js_crdt_set_insert", Slot(0), "a").is(1),
			Do("js_crdt_set_insert", Slot(0), "a").is(0),
			Do("js_crdt_set_insert", Slot(0), "b").is(1),
			Do("js_crdt_set_contains", Slot(0), "b").is(1),
			Do("js_crdt_set_len", Slot(0), 0).gives(1, u64(2)...),
			Do("js_crdt_set_remove", Slot(0), "b").is(1),
			Do("js_crdt_set_remove", Slot(0), "b").is(0),
			Do("js_crdt_set_contains", Slot(0), "b").is(0),
			Do("js_crdt_set_insert", Slot(0), "c").is(1),
			Do("js_crdt_set_iter", Slot(0), 0).gives(1, counted("a", "c")...),
			Do("js_crdt_set_clear", Slot(0)).is(1),
			Do("js_crdt_set_iter", Slot(0), 0).gives(1, counted()...),
		)
	}},
	{name: "host collections: register", needs: []string{runtime.CapJS}, run: func(s *suite) {
		s.steps(alice,
			Do("js_crdt_lww_new", 0).To(0).is(0),
			Do("js_crdt_lww_get", Slot(0), 0).gives(0),
			Do("js_crdt_lww_timestamp", Slot(0), 0).gives(0),
			Do("js_crdt_lww_set", Slot(0), "v", 1).is(1),
			Do("js_crdt_lww_set", Slot(0), "v", 1).is(0),
			Do("js_crdt_lww_get", Slot(0), 0).givesText(1, "v"),
			Do("js_crdt_lww_timestamp", Slot(0), 0).is(1),
			Do("js_crdt_lww_set", Slot(0), "", 1).is(1),
			Do("js_crdt_lww_get", Slot(0), 0).gives(1),
			Do("js_crdt_lww_set", Slot(0), 0xffff_ffff, 0).is(1),
			Do("js_crdt_lww_get", Slot(0), 0).gives(0),
		)
		_, r := s.script(alice, Do("js_crdt_lww_new", 0).To(0), Do("js_crdt_lww_set", Slot(0), "v", 1), Do("js_crdt_lww_timestamp", Slot(0), 0))
		require.Nil(s, r.Fault)
		require.Len(s, DecodeScript(s, r.Value)[2].Register, 24)
	}},
	{name: "host collections: counter", needs: []string{runtime.CapJS}, run: func(s *suite) {
		actions := s.steps(alice,
			Do("js_crdt_counter_new", 0).To(0).is(0),
			Do("js_crdt_counter_value", Slot(0), 0).gives(1, u64(0)...),
			Do("js_crdt_counter_increment", Slot(0)).is(1),
			Do("js_crdt_counter_increment", Slot(0)).is(1),
			Do("js_crdt_counter_value", Slot(0), 0).gives(1, u64(2)...),
		)
		id := actions[1].ID
		s.steps(bob,
			Do("js_crdt_counter_increment", id[:]).is(1),
			Do("js_crdt_counter_value", id[:], 0).gives(1, u64(3)...),
			Do("js_crdt_counter_get_executor_count", id[:], 0, 0, 0).gives(1, u64(1)...),
			Do("js_crdt_counter_get_executor_count", id[:], alice[:], 1, 0).gives(1, u64(2)...),
			Do("js_crdt_counter_get_executor_count", id[:], make([]byte, 32), 1, 0).gives(1, u64(0)...),
			Do("js_crdt_counter_get_executor_count", id[:], "short", 1, 0).givesText(-1, "executor id must be exactly 32 bytes"),
		)
	}},
	{name: "host collections: user storage", needs: []string{runtime.CapJS}, run: func(s *suite) {
		actions := s.steps(alice,
			Do("js_user_storage_new", 0).To(0).is(0),
			Do("js_user_storage_contains", Slot(0)).is(0),
			Do("js_user_storage_insert", Slot(0), "one", 0).gives(0),
			Do("js_user_storage_insert", Slot(0), "two", 0).givesText(1, "one"),
			Do("js_user_storage_contains", Slot(0)).is(1),
			Do("js_user_storage_get", Slot(0), 0).givesText(1, "two"),
		)
		require.Equal(s, crdt.StorageType{Kind: crdt.User, Owner: alice,
			Signature: &crdt.SignatureData{Nonce: actions[2].Metadata.UpdatedAt}}, actions[2].Metadata.Storage, "it waits for its signature")
		id := actions[1].ID
		s.steps(bob,
			Do("js_user_storage_get", id[:], 0).gives(0),
			Do("js_user_storage_get_for_user", id[:], alice[:], 0).givesText(1, "two"),
			Do("js_user_storage_get_for_user", id[:], bob[:], 0).gives(0),
			Do("js_user_storage_get_for_user", id[:], "x", 0).givesText(-1, "user key must be exactly 32 bytes"),
			Do("js_user_storage_contains_user", id[:], alice[:]).is(1),
			Do("js_user_storage_contains_user", id[:], bob[:]).is(0),
			Do("js_user_storage_remove", id[:], 0).gives(0),
		)
		s.steps(alice,
			Do("js_user_storage_remove", id[:], 0).givesText(1, "two"),
			Do("js_user_storage_get", id[:], 0).gives(0))
	}},
	{name: "host collections: frozen storage", needs: []string{runtime.CapJS}, run: func(s *suite) {
		hash := sha256.Sum256(append(u32(3), "one"...))
		s.steps(alice,
			Do("js_frozen_storage_new", 0).To(0).is(0),
			Do("js_frozen_storage_contains", Slot(0), hash[:]).is(0),
			Do("js_frozen_storage_get", Slot(0), hash[:], 0).gives(0),
			Do("js_frozen_storage_add", Slot(0), "one", 0).gives(1, hash[:]...),
			Do("js_frozen_storage_add", Slot(0), "one", 0).gives(1, hash[:]...),
			Do("js_frozen_storage_contains", Slot(0), hash[:]).is(1),
			Do("js_frozen_storage_get", Slot(0), hash[:], 0).givesText(1, "one"),
			Do("js_frozen_storage_get", Slot(0), "x", 0).givesText(-1, "hash must be exactly 32 bytes"),
		)
	}},
	{name: "host collections: wrong and unknown ids", needs: []string{runtime.CapJS}, run: func(s *suite) {
		unknown := bytes.Repeat([]byte{5}, 32)
		actions := s.steps(alice,
			Do("js_crdt_map_contains", "short", "k").givesText(-1, "mapId must be exactly 32 bytes (received 5)"),
			Do("js_crdt_vector_len", "", 0).givesText(-1, "mapId must be exactly 32 bytes (received 0)"),
			Do("js_crdt_map_get", unknown, "k", 0).gives(0),
			Do("js_crdt_set_len", unknown, 0).gives(1, u64(0)...),
			Do("js_user_storage_get", unknown, 0).givesText(-1, "Deserialization error: Unexpected length of input"),
			Do("js_crdt_map_get", s.core.Context[:], "k", 0).givesText(-1, "Unexpected ID: "+crdt.TreeRoot(s.core.Context).String()),
		)
		require.Len(s, actions, 2, "a collection of an unknown id is made, with its entries")
		require.Equal(s, unknown, actions[1].ID[:])
	}},
	{name: "host collections: document and flush", needs: []string{runtime.CapJS}, run: func(s *suite) {
		first := s.steps(alice,
			Do("read_root_state", 0).is(0),
			Do("persist_root_state", "one", 0, 0).is(0),
			Do("read_root_state", 0).givesText(1, "one"))
		require.Len(s, first, 1)
		again := s.steps(alice,
			Do("persist_root_state", "two", 0, 0).is(0),
			Do("read_root_state", 0).givesText(1, "two"))
		require.Len(s, again, 1)
		require.Equal(s, first[0].Metadata.CreatedAt, again[0].Metadata.CreatedAt)
		require.Greater(s, again[0].Metadata.UpdatedAt, first[0].Metadata.UpdatedAt)
		require.Empty(s, s.steps(alice))
	}},
	{name: "host collections: rows are there for other functions", needs: []string{runtime.CapJS}, run: func(s *suite) {
		root := crdt.IndexKey(crdt.TreeRoot(s.core.Context))
		_, r := s.script(alice,
			Do("js_crdt_map_new", 0),
			Do("storage_read", root[:], 0),
			Do("js_crdt_map_new", 0),
			Do("storage_read", root[:], 0))
		require.Nil(s, r.Fault)
		results := DecodeScript(s, r.Value)
		require.EqualValues(s, 1, results[1].Status)
		require.Less(s, len(results[1].Register), len(results[3].Register), "two more children")
		_, r = s.script(alice, Do("js_crdt_map_new", 0).To(0), Do("storage_write", root[:], "garbage", 0), Do("js_crdt_map_new", 0))
		require.Nil(s, r.Fault)
		results = DecodeScript(s, r.Value)
		require.EqualValues(s, -1, results[2].Status)
		require.True(s, strings.HasPrefix(string(results[2].Register), "Deserialization error: "), "%q", results[2].Register)
	}},
	{name: "host collections: a delta", needs: []string{runtime.CapJS}, run: func(s *suite) {
		_, r := s.script(alice, Do("js_crdt_map_new", 0).To(0), Do("js_crdt_map_insert", Slot(0), "k", "v", 0), Do("flush_delta"))
		require.Nil(s, r.Fault)
		id := DecodeScript(s, r.Value)[0].Register
		_, applied := s.script(bob, Do("apply_storage_delta", r.Artifact), Do("js_crdt_map_get", id, "k", 0))
		require.Nil(s, applied.Fault)
		require.Equal(s, r.RootHash, applied.RootHash)
		require.Equal(s, "v", string(DecodeScript(s, applied.Value)[1].Register))
		_, r = s.script(bob, Do("apply_storage_delta", "\x00\x01"))
		s.wantFault(r, runtime.FaultHost, "host panicked: apply_storage_delta failed: ")
	}},
	{name: "host collections: print", needs: []string{runtime.CapJS}, run: func(s *suite) {
		_, r := s.script(alice, Do("js_std_d_print", "text"), Do("js_std_d_print", ""), Do("js_std_d_print", "a\xffb\xe2\x82c\xf0\x9f\xa6"))
		require.Nil(s, r.Fault)
		require.Equal(s, []string{"text", "", "a\uFFFDb\uFFFDc\uFFFD"}, r.Logs)
		_, r = s.script(alice, Do("js_std_d_print", strings.Repeat("x", 16385)))
		s.wantFault(r, runtime.FaultHost, "log size overflow")
	}},
	{name: "host collections: every function", needs: []string{runtime.CapJS}, run: func(s *suite) {
		wasm, id := ScriptModule()
		Prepare(s, s.p, wasm)
		info, err := s.p.Inspect(s.Context(), id)
		require.NoError(s, err)
		imported := map[string]bool{}
		for _, imp := range info.Imports {
			imported[imp.Name] = true
		}
		for _, name := range ScriptFunctions() {
			require.True(s, imported[name], name)
		}
	}},
}
