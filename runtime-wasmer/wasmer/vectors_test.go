package wasmer_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/guestabi"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

type runVector struct {
	Name string
	In   struct {
		Wasm, Method, Input, Executor string
		ContextID                     string `json:"context_id"`
		Storage                       [][2]string
		PrivateStorage                *[][2]string `json:"private_storage"`
	}
	Out struct {
		Returns struct {
			Ok    *string
			Error *string
		}
		Logs   []string
		Events []struct {
			Kind, Data string
			Handler    *string
		}
		XCalls []struct {
			ContextID        string `json:"context_id"`
			Function, Params string
		}
		RootHash       *string `json:"root_hash"`
		Artifact       string
		Storage        [][2]string
		PrivateStorage *[][2]string `json:"private_storage"`
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

// judged are runs that end otherwise here, with the reason.
var judged = map[string]string{
	"apply_storage_delta_unknown_delete": "the deletion of an unknown entity is recorded (convergence.md §2.3)",
}

// engineText marks errors of which only the beginning is the reference's.
var engineText = map[string]string{"unknown_import": "link error: ", "wrong_import_type": "link error: "}

func TestRunVectors(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/runtime_run.json")
	require.NoError(t, err)
	var file struct{ Groups struct{ Run []runVector } }
	require.NoError(t, json.Unmarshal(b, &file))
	require.Len(t, file.Groups.Run, 96)
	p := newPlugin(t)
	lane := openLane(t, p)
	for _, v := range file.Groups.Run {
		wasm := unhex(t, v.In.Wasm)
		info := prepare(t, p, wasm)
		e := execution(info.ID, v.In.Method, unhex(t, v.In.Input))
		e.Context = domain.ContextID(unhex(t, v.In.ContextID))
		e.Executor = domain.PublicKey(unhex(t, v.In.Executor))
		e.State.Epoch = e.ID
		e.HasPrivate = v.In.PrivateStorage != nil
		host := &core{}
		want, isPadded := map[runtime.Key]string{}, true
		seed := func(scope runtime.Scope, rows [][2]string, into func(runtime.Key, string)) {
			for _, r := range rows {
				k, ok := crdt.GuestKey(unhex(t, r[0]))
				isPadded = isPadded && ok
				into(runtime.Key{Scope: scope, K: k}, r[1])
			}
		}
		put := func(k runtime.Key, v string) { host.apply([]runtime.Row{{Key: k, Value: unhex(t, v)}}) }
		expect := func(k runtime.Key, v string) { want[k] = v }
		seed(runtime.ScopeState, v.In.Storage, put)
		seed(runtime.ScopeState, v.Out.Storage, expect)
		if v.In.PrivateStorage != nil {
			seed(runtime.ScopePrivate, *v.In.PrivateStorage, put)
			seed(runtime.ScopePrivate, *v.Out.PrivateStorage, expect)
		}
		r := execute(t, lane, e, host)
		if v.Name == "blob_create_without_node" {
			require.Nil(t, r.Fault, "a node always has a blob store; guestabi has a test without")
			continue
		}
		if judged[v.Name] != "" {
			require.NotNil(t, v.Out.Returns.Error, v.Name)
			require.Nil(t, r.Fault, v.Name)
			continue
		}
		compareReturns(t, v, r)
		require.ElementsMatch(t, v.Out.Logs, r.Logs, v.Name)
		require.Len(t, r.Events, len(v.Out.Events), v.Name)
		for i, want := range v.Out.Events {
			require.Equal(t, runtime.Event{Kind: want.Kind, Data: unhex(t, want.Data), Handler: want.Handler}, r.Events[i], v.Name)
		}
		require.Len(t, r.XCalls, len(v.Out.XCalls), v.Name)
		for i, want := range v.Out.XCalls {
			require.Equal(t, runtime.XCall{Context: domain.ContextID(unhex(t, want.ContextID)), Function: want.Function, Params: unhex(t, want.Params)}, r.XCalls[i], v.Name)
		}
		if v.Out.RootHash == nil {
			require.Nil(t, r.RootHash, v.Name)
		} else {
			require.Equal(t, *v.Out.RootHash, hex.EncodeToString(r.RootHash[:]), v.Name)
		}
		require.Equal(t, v.Out.Artifact, hex.EncodeToString(r.Artifact), v.Name)
		host.apply(r.Writes)
		got := map[runtime.Key]string{}
		for k, value := range host.rows {
			got[k] = hex.EncodeToString(value)
		}
		require.True(t, isPadded, v.Name)
		require.Equal(t, want, got, v.Name)
	}
}

func compareReturns(t *testing.T, v runVector, r *runtime.Result) {
	t.Helper()
	if v.Out.Returns.Error == nil {
		require.Nil(t, r.Fault, v.Name)
		require.Nil(t, r.AppError, v.Name)
		if v.Out.Returns.Ok == nil {
			require.Nil(t, r.Value, v.Name)
		} else {
			require.NotNil(t, r.Value, v.Name)
			require.Equal(t, *v.Out.Returns.Ok, hex.EncodeToString(r.Value), v.Name)
		}
		return
	}
	if r.AppError != nil {
		require.Equal(t, *v.Out.Returns.Error, guestabi.ExecutionErrorText(r.AppError), v.Name)
		return
	}
	require.NotNil(t, r.Fault, v.Name)
	if prefix, ok := engineText[v.Name]; ok {
		require.True(t, strings.HasPrefix(r.Fault.Text, prefix), r.Fault.Text)
		return
	}
	require.Equal(t, *v.Out.Returns.Error, r.Fault.Text, v.Name)
}

func TestCompileVectors(t *testing.T) {
	t.Parallel()
	p := newPlugin(t)
	_, err := p.Prepare(context.Background(), domain.Hash{}, maxModule, bytes.NewReader(make([]byte, maxModule+1)))
	var f *runtime.Fault
	require.ErrorAs(t, err, &f)
	require.Equal(t, "module size limit (max_module_size) exceeded: 10485761 bytes > 10485760 bytes limit", f.Text)
	require.Equal(t, runtime.FaultModuleSize, f.Kind)
	prepare(t, p, []byte("(module)"))
	for _, bad := range []string{"\x00asm", "\x00", ""} {
		_, err := p.Prepare(context.Background(), sha256.Sum256([]byte(bad)), maxModule, strings.NewReader(bad))
		require.ErrorAs(t, err, &f, "%q", bad)
		require.Equal(t, runtime.FaultCompilation, f.Kind)
		require.True(t, strings.HasPrefix(f.Text, "compilation error: "), f.Text)
	}
}
