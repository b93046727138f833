package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/harness"
)

// requireStartFails wants a start to fail with an output that has all the texts.
func requireStartFails(t *testing.T, n *harness.Node, texts ...string) {
	t.Helper()
	err := n.Start(t.Context())
	var failed *harness.StartError
	require.ErrorAs(t, err, &failed)
	for _, text := range texts {
		require.Contains(t, failed.Output, text)
	}
	require.NotContains(t, failed.Output, "goroutine ", "an error, not a panic")
	require.Equal(t, 1, exitCode(failed.Err))
}

func exitCode(err error) int {
	var e *exec.ExitError
	if errors.As(err, &e) {
		return e.ExitCode()
	}
	return -1
}

// copyBin copies the programs into a folder of their own, to be damaged.
func copyBin(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(harness.Bin(t))))
	return dir
}

// TestPluginBinaries: a plugin that is missing, altered, not pinned, or something else is refused by name, with the fix.
func TestPluginBinaries(t *testing.T) {
	t.Parallel()
	const storage = "merod-plugin-storage-leveldb"
	appendByte := func(t *testing.T, path string) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		require.NoError(t, err)
		_, err = f.Write([]byte{0})
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	script := func(t *testing.T, bin, text string) {
		t.Helper()
		path := filepath.Join(bin, storage)
		require.NoError(t, os.Remove(path))
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700))
	}
	for name, test := range map[string]struct {
		damage func(t *testing.T, n *harness.Node, bin string)
		pin    bool
		texts  []string
	}{
		"missing": {damage: func(t *testing.T, _ *harness.Node, bin string) {
			require.NoError(t, os.Remove(filepath.Join(bin, storage)))
		}, texts: []string{storage, "does not exist", "make build"}},
		"altered": {damage: func(t *testing.T, _ *harness.Node, bin string) { appendByte(t, filepath.Join(bin, storage)) },
			texts: []string{storage, "altered", "merod plugin pin"}},
		"library altered": {damage: func(t *testing.T, _ *harness.Node, bin string) {
			m, err := filepath.Glob(filepath.Join(bin, "libwasmer*"))
			require.NoError(t, err)
			require.Len(t, m, 1)
			appendByte(t, m[0])
		}, texts: []string{"libwasmer", "altered", "merod plugin pin"}},
		"not pinned": {damage: func(t *testing.T, n *harness.Node, _ string) {
			require.NoError(t, os.Remove(filepath.Join(n.Dir, "plugins.lock")))
		}, texts: []string{storage, "not pinned", "merod plugin pin", "  " /* the line itself */}},
		"not a plugin": {damage: func(t *testing.T, _ *harness.Node, bin string) { script(t, bin, "echo hello\n") },
			pin: true, texts: []string{`storage plugin "leveldb"`, storage, "hello", "correct the path"}},
		"ends at once": {damage: func(t *testing.T, _ *harness.Node, bin string) { script(t, bin, "echo gone wrong >&2; exit 3\n") },
			pin: true, texts: []string{`storage plugin "leveldb"`, storage, "gone wrong"}},
		"of another protocol version": {damage: func(t *testing.T, _ *harness.Node, bin string) {
			script(t, bin, `echo "1|99|unix|/nowhere|grpc|"; sleep 5`+"\n")
		}, pin: true, texts: []string{`storage plugin "leveldb"`, storage, "version 99", "this node speaks 1"}},
		"a plugin of another kind": {damage: func(t *testing.T, _ *harness.Node, bin string) {
			require.NoError(t, os.Rename(filepath.Join(bin, "merod-plugin-auth-local"), filepath.Join(bin, storage)))
		}, pin: true, texts: []string{`storage plugin "leveldb"`, "auth plugin", "correct the path"}},
		"a symbolic link": {damage: func(t *testing.T, _ *harness.Node, bin string) {
			require.NoError(t, os.Rename(filepath.Join(bin, storage), filepath.Join(bin, "real")))
			require.NoError(t, os.Symlink("real", filepath.Join(bin, storage)))
		}, texts: []string{storage, "symbolic link"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bin := copyBin(t)
			n := harness.Make(t, harness.Options{Bin: bin})
			test.damage(t, n, bin)
			if test.pin {
				out, err := n.Command(t.Context(), "plugin", "pin")
				require.NoError(t, err, out)
			}
			requireStartFails(t, n, test.texts...)
		})
	}
	t.Run("pin again", func(t *testing.T) {
		t.Parallel()
		bin := copyBin(t)
		n := harness.Make(t, harness.Options{Bin: bin})
		appendByte(t, filepath.Join(bin, storage))
		requireStartFails(t, n, "altered")
		out, err := n.Command(t.Context(), "plugin", "pin")
		require.NoError(t, err, out)
		require.NoError(t, n.Start(t.Context()))
	})
}

// TestBadConfiguration: what is wrong is named with file and line, by `config check` and by a start alike.
func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		o     harness.Options
		texts []string
		// started: only the plugin knows.
		started bool
	}{
		"unknown key":     {o: harness.Options{Server: "  jsonrcp = true"}, texts: []string{"jsonrcp", `Did you mean "jsonrpc"?`}},
		"unknown block":   {o: harness.Options{Top: "\nservr {}\n"}, texts: []string{"servr", `"server"`}},
		"wrong type":      {o: harness.Options{Execution: "  lanes = true"}, texts: []string{"execution.lanes", "number"}},
		"out of range":    {o: harness.Options{Execution: `  deadline = "1ns"`}, texts: []string{"execution.deadline"}},
		"syntax":          {o: harness.Options{Top: "\nlog {\n"}, texts: []string{"config.hcl"}},
		"bad address":     {o: harness.Options{Listen: []string{"localhost:1"}}, texts: []string{"localhost"}},
		"open to all":     {o: harness.Options{Listen: []string{"0.0.0.0:0"}}, texts: []string{"behind_proxy", "0.0.0.0"}},
		"plugin's key":    {o: harness.Options{PluginConfig: map[string]string{"storage": `    snyc = "always"`}}, texts: []string{"snyc", "config.hcl"}, started: true},
		"plugin's value":  {o: harness.Options{PluginConfig: map[string]string{"storage": `    sync = "sometimes"`}}, texts: []string{"sometimes", "config.hcl"}, started: true},
		"plugin's type":   {o: harness.Options{PluginConfig: map[string]string{"storage": `    cache_mib = "much"`}}, texts: []string{"cache_mib", "config.hcl"}, started: true},
		"plugin's bounds": {o: harness.Options{PluginConfig: map[string]string{"storage": `    cache_mib = -1`}}, texts: []string{"cache_mib", "config.hcl"}, started: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := harness.Make(t, harness.Options{})
			o := test.o
			require.NoError(t, os.WriteFile(n.Config, []byte(configText(t, o, n.Home)), 0o600))
			if !test.started {
				out, err := n.Command(t.Context(), "config", "check")
				require.Error(t, err)
				for _, text := range test.texts {
					require.Contains(t, out, text)
				}
				require.Regexp(t, `config\.hcl.*\d+`, out)
			}
			requireStartFails(t, n, test.texts...)
		})
	}
	t.Run("good", func(t *testing.T) {
		t.Parallel()
		n := harness.Make(t, harness.Options{})
		out, err := n.Command(t.Context(), "config", "check")
		require.NoError(t, err, out)
		list, err := n.Command(t.Context(), "plugin", "list")
		require.NoError(t, err, list)
		require.Contains(t, list, "leveldb")
		require.Contains(t, list, "wasmer")
	})
}

func configText(t *testing.T, o harness.Options, home string) string {
	t.Helper()
	o.Bin = harness.Bin(t)
	return o.ConfigText(home)
}

// TestAddressInUse names the address, and leaves the plugins closed.
func TestAddressInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	n := harness.Make(t, harness.Options{Listen: []string{l.Addr().String()}})
	requireStartFails(t, n, l.Addr().String(), "in use")
	require.NoError(t, harness.LeftOver(n.Home))
}

// TestHomeInUse: a second node in one home is refused and does no harm.
func TestHomeInUse(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	x := newContext(t, n, n.Client(), "kv", "")
	out, err := n.Command(t.Context(), "run")
	require.Error(t, err)
	require.Contains(t, out, fmt.Sprint(n.PID()))
	require.Contains(t, out, n.Dir)
	call[any](t, x, "set", obj{"key": "k", "value": "v"})
}

// TestBadModules: what cannot run is refused at install, and says why.
func TestBadModules(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{Execution: `  max_module = "1MiB"`})
	c := n.Client()
	for name, test := range map[string]struct {
		wasm  []byte
		texts []string
	}{
		"empty":             {nil, []string{""}},
		"no module":         {[]byte("\x7fELF and so on"), []string{"not a WebAssembly module"}},
		"cut":               {[]byte("\x00asm\x01\x00\x00\x00\x01\x05"), []string{"compilation error: "}},
		"unknown import":    {moduleImporting("env", "open_the_door"), []string{"open_the_door"}},
		"unknown namespace": {moduleImporting("wasi_snapshot_preview1", "fd_write"), []string{"wasi_snapshot_preview1", "fd_write"}},
		"js, other types":   {moduleImporting("env", "js_crdt_map_new"), []string{"js_crdt_map_new"}},
		"wrong signature":   {moduleImporting("env", "storage_read"), []string{"storage_read"}},
		"no memory":         {[]byte("\x00asm\x01\x00\x00\x00"), []string{"memory"}},
		"too large":         {append([]byte("\x00asm\x01\x00\x00\x00"), make([]byte, 1<<20)...), []string{"execution.max_module", "1048576"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, err := n.WriteFile(strings.NewReplacer(" ", "-", ",", "").Replace(name)+".wasm", test.wasm)
			require.NoError(t, err)
			_, err = c.InstallPath(t.Context(), path)
			requireStatus(t, err, http.StatusInternalServerError)
			for _, text := range test.texts {
				require.ErrorContains(t, err, text)
			}
			require.NotContains(t, err.Error(), "panic")
		})
	}
	t.Cleanup(func() {
		var list struct{ Data struct{ Apps []any } }
		require.NoError(t, c.Do(context.WithoutCancel(t.Context()), http.MethodGet, "/admin-api/applications", nil, &list))
		require.Empty(t, list.Data.Apps)
	})
}

// moduleImporting is a module with a memory and one imported function () → (), of which names have under 128 bytes.
func moduleImporting(module, name string) []byte {
	section := func(id byte, body ...byte) []byte { return append([]byte{id, byte(len(body))}, body...) }
	text := func(s string) []byte { return append([]byte{byte(len(s))}, s...) }
	return bytes.Join([][]byte{
		[]byte("\x00asm\x01\x00\x00\x00"),
		section(1, 1, 0x60, 0, 0),
		section(2, append(append(append([]byte{1}, text(module)...), text(name)...), 0, 0)...),
		section(5, 1, 0, 1),
		section(7, append(append([]byte{1}, text("memory")...), 2, 0)...),
	}, nil)
}

// TestMalformedJSONRPC: http-api.md §2.2 and §2.3.
func TestMalformedJSONRPC(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{Server: `  max_body = "1MiB"`})
	c := n.Client()
	x := newContext(t, n, c, "kv", "")
	params := with(`{"contextId":"$1","method":"get","argsJson":{"key":"k"},"executorPublicKey":"$2"}`, x.ID, x.Member)
	for name, test := range map[string]struct {
		body   string
		status int
	}{
		"syntax":            {`{"jsonrpc":`, 400},
		"no object":         {`"execute"`, 422},
		"an array":          {`[{"jsonrpc":"2.0","id":1,"method":"execute","params":` + params + `}]`, 422},
		"no id":             {`{"jsonrpc":"2.0","method":"execute","params":` + params + `}`, 422},
		"no version":        {`{"id":1,"method":"execute","params":` + params + `}`, 422},
		"another version":   {`{"jsonrpc":"1.0","id":1,"method":"execute","params":` + params + `}`, 422},
		"negative id":       {`{"jsonrpc":"2.0","id":-1,"method":"execute","params":` + params + `}`, 422},
		"fractional id":     {`{"jsonrpc":"2.0","id":1.5,"method":"execute","params":` + params + `}`, 422},
		"object id":         {`{"jsonrpc":"2.0","id":{},"method":"execute","params":` + params + `}`, 422},
		"too large":         {`{"jsonrpc":"2.0","id":1,"method":"` + strings.Repeat("x", 1<<20) + `"}`, 413},
		"deep":              {strings.Repeat("[", 200_000), 400},
		"trailing garbage":  {`{"jsonrpc":"2.0","id":1,"method":"execute","params":` + params + `} x`, 400},
		"not UTF-8 at all":  {"\xff\xfe", 400},
		"good, string id":   {`{"jsonrpc":"2.0","id":"1","method":"execute","params":` + params + `}`, 200},
		"good, null id":     {`{"jsonrpc":"2.0","id":null,"method":"execute","params":` + params + `}`, 200},
		"good, greatest id": {`{"jsonrpc":"2.0","id":18446744073709551615,"method":"execute","params":` + params + `}`, 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := c.Raw(t.Context(), http.MethodPost, "/jsonrpc", "application/json", strings.NewReader(test.body))
			if test.status == 200 {
				require.NoError(t, err)
				require.Contains(t, string(out), `"output":null`)
				return
			}
			requireStatus(t, err, test.status)
		})
	}
	replace := func(member, value string) string {
		v := map[string]string{"contextId": quote(x.ID), "method": `"get"`, "argsJson": `{"key":"k"}`, "executorPublicKey": quote(x.Member)}
		if value == "" {
			delete(v, member)
		} else {
			v[member] = value
		}
		var parts []string
		for k, val := range v {
			parts = append(parts, quote(k)+":"+val)
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	for name, test := range map[string]struct{ method, params, text string }{
		"unknown method":  {"query", params, "unknown variant `query`, expected `execute`"},
		"no params":       {"execute", "null", ""},
		"no context":      {"execute", replace("contextId", ""), "missing field `contextId`"},
		"no args":         {"execute", replace("argsJson", ""), "missing field `argsJson`"},
		"no executor":     {"execute", replace("executorPublicKey", ""), "missing field `executorPublicKey`"},
		"context no b58":  {"execute", replace("contextId", `"0OIl"`), "provided string contained invalid character '0' at byte 0"},
		"context short":   {"execute", replace("contextId", `"abc"`), "invalid length 3, expected a base58 encoded hash"},
		"method empty":    {"execute", replace("method", `""`), "Field 'method' is required but was empty"},
		"method too long": {"execute", replace("method", quote(strings.Repeat("m", 257))), "Field 'method' exceeds maximum length of 256 characters (got 257)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":%s}`, test.method, test.params)
			out, err := c.Raw(t.Context(), http.MethodPost, "/jsonrpc", "application/json", strings.NewReader(body))
			require.NoError(t, err)
			require.Contains(t, string(out), `"type":"ParseError"`)
			require.Contains(t, string(out), strings.ReplaceAll(test.text, `"`, `\"`))
		})
	}
	_, err := c.Raw(t.Context(), http.MethodPost, "/jsonrpc", "text/plain", strings.NewReader("{}"))
	requireStatus(t, err, http.StatusUnsupportedMediaType)
	_, err = c.Raw(t.Context(), http.MethodGet, "/jsonrpc", "", nil)
	requireStatus(t, err, http.StatusMethodNotAllowed)
	_, err = c.Raw(t.Context(), http.MethodPut, "/jsonrpc", "application/json", io.LimitReader(neverEnding{}, 64<<20))
	require.Error(t, err)
	require.Equal(t, "null", string(call[json.RawMessage](t, x, "get", obj{"key": "k"})))
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '['
	}
	return len(p), nil
}
