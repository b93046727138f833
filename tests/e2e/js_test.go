package e2e_test

import (
	"crypto/sha256"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/runtimetest"
	"github.com/calimero-go/core/tests/harness"
)

// TestHostCollections: an application whose collections are kept by the host, as in JavaScript, keeps them over calls
// and over a restart of the node.
func TestHostCollections(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	c := n.Client()
	wasm, _ := runtimetest.ScriptModule()
	path, err := n.WriteFile("script.wasm", wasm)
	require.NoError(t, err)
	app, err := c.InstallPath(t.Context(), path)
	require.NoError(t, err)
	x, err := c.CreateContext(t.Context(), app, nil)
	require.NoError(t, err)
	run := func(x *harness.Context, calls ...runtimetest.HostCall) []runtimetest.HostResult {
		t.Helper()
		out, err := x.Call(t.Context(), "run", json.RawMessage(runtimetest.EncodeScript(t, calls...)))
		require.NoError(t, err)
		return runtimetest.DecodeScript(t, out)
	}
	do := runtimetest.Do
	slot := func(i int) runtimetest.Slot { return runtimetest.Slot(i) }
	frozen := sha256.Sum256([]byte("\x01\x00\x00\x00f"))
	made := run(x,
		do("read_root_state", 0),
		do("js_crdt_map_new", 0).To(0), do("js_crdt_map_insert", slot(0), "k", "v", 0),
		do("js_crdt_vector_new", 0).To(1), do("js_crdt_vector_push", slot(1), "e"),
		do("js_crdt_set_new", 0).To(2), do("js_crdt_set_insert", slot(2), "s"),
		do("js_crdt_lww_new", 0).To(3), do("js_crdt_lww_set", slot(3), "r", 1),
		do("js_crdt_counter_new", 0).To(4), do("js_crdt_counter_increment", slot(4)),
		do("js_user_storage_new", 0).To(5), do("js_user_storage_insert", slot(5), "u", 0),
		do("js_frozen_storage_new", 0).To(6), do("js_frozen_storage_add", slot(6), "f", 0),
		do("persist_root_state", "doc", 0, 0), do("flush_delta"))
	require.Equal(t, "{}", string(made[0].Register))
	id := func(i int) []byte { return made[1+2*i].Register }
	check := func(x *harness.Context) {
		t.Helper()
		got := run(x,
			do("read_root_state", 0),
			do("js_crdt_map_get", id(0), "k", 0),
			do("js_crdt_vector_get", id(1), 0, 0),
			do("js_crdt_set_contains", id(2), "s"),
			do("js_crdt_lww_get", id(3), 0),
			do("js_crdt_counter_value", id(4), 0),
			do("js_user_storage_get", id(5), 0),
			do("js_frozen_storage_get", id(6), frozen[:], 0))
		for i, want := range []string{"doc", "v", "e", "", "r", "\x02\x00\x00\x00\x00\x00\x00\x00", "u", "f"} {
			require.EqualValues(t, 1, got[i].Status, i)
			if i != 3 {
				require.Equal(t, want, string(got[i].Register), i)
			}
		}
	}
	run(x, do("js_crdt_counter_increment", id(4)), do("js_crdt_map_remove", id(0), "k", 0), do("flush_delta"))
	run(x, do("js_crdt_map_insert", id(0), "k", "v", 0), do("flush_delta"))
	run(x, do("js_crdt_counter_increment", id(4))) // not flushed: nothing stays
	check(x)
	_, err = n.Stop(t.Context())
	require.NoError(t, err)
	require.NoError(t, n.Start(t.Context()))
	check(x.With(n.Client()))
}
