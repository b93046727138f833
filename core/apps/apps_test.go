package apps_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/calimero-go/core/core/apps"
	"github.com/calimero-go/core/core/blobs"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/blobid"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/runtimetest"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
	"github.com/calimero-go/core/runtime-wasmer/wasmer"
	samples "github.com/calimero-go/core/tests/apps"
)

type fixture struct {
	*apps.Service
	db      *store.DB
	blobs   *blobs.Store
	runtime runtime.Plugin
	dir     string
}

func newFixture(t *testing.T, opts apps.Options) *fixture {
	t.Helper()
	f := &fixture{db: store.Open(storagetest.NewMemory(), store.Options{}), dir: t.TempDir(), runtime: newRuntime(t)}
	// Sources are canonical paths.
	dir, err := filepath.EvalSymlinks(f.dir)
	require.NoError(t, err)
	f.dir = dir
	f.blobs, err = blobs.Open(t.Context(), f.db, filepath.Join(f.dir, "blobs"), blobs.Options{})
	require.NoError(t, err)
	f.Service = apps.New(f.db, f.blobs, f.runtime, opts)
	return f
}

func newRuntime(t *testing.T) runtime.Plugin {
	t.Helper()
	p := wasmer.New()
	schema, err := p.Schema(t.Context())
	require.NoError(t, err)
	values := map[string]cty.Value{}
	for _, a := range schema.Attributes {
		values[a.Name] = a.Default
	}
	diags, err := p.Configure(t.Context(), base.Config{Value: cty.ObjectVal(values), DataDir: t.TempDir(), Node: "test"})
	require.NoError(t, err)
	require.Empty(t, diags)
	t.Cleanup(func() { require.NoError(t, p.Close(context.Background())) })
	return p
}

func (f *fixture) file(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(f.dir, name)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

// empty tells that a refused installation left nothing.
func (f *fixture) empty(t *testing.T) {
	t.Helper()
	all, err := f.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, all)
	list, err := f.blobs.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, list)
}

func sample(t *testing.T, name string) []byte {
	t.Helper()
	wasm, err := samples.Wasm(name)
	require.NoError(t, err)
	return wasm
}

// importing is a module that imports the functions given as "module.name", all () -> (), and exports a memory or not.
func importing(memory bool, imports ...string) []byte {
	section := func(id byte, body []byte) []byte {
		return append(binary.AppendUvarint([]byte{id}, uint64(len(body))), body...)
	}
	name := func(s string) []byte { return append(binary.AppendUvarint(nil, uint64(len(s))), s...) }
	wasm := []byte("\x00asm\x01\x00\x00\x00")
	wasm = append(wasm, section(1, []byte{1, 0x60, 0, 0})...)
	body := binary.AppendUvarint(nil, uint64(len(imports)))
	for _, imp := range imports {
		module, fn, _ := strings.Cut(imp, ".")
		body = append(append(append(body, name(module)...), name(fn)...), 0, 0)
	}
	wasm = append(wasm, section(2, body)...)
	wasm = append(wasm, section(5, []byte{1, 0, 1})...)
	if memory {
		wasm = append(wasm, section(7, append(append([]byte{1}, name("memory")...), 2, 0))...)
	}
	return wasm
}

func TestInstallFromPath(t *testing.T) {
	t.Parallel()
	f := newFixture(t, apps.Options{})
	ctx := t.Context()
	wasm := sample(t, "kv")
	path := f.file(t, "my app.wasm", wasm)
	id, err := f.InstallPath(ctx, path, []byte(`{"a":1}`), "", "")
	require.NoError(t, err)

	app, found, err := f.Get(ctx, id)
	require.NoError(t, err)
	require.True(t, found)
	source := "file://" + f.dir + "/my%20app.wasm"
	require.Equal(t, apps.Application{ID: id, ApplicationRecord: wire.ApplicationRecord{
		Bytecode: blobid.Of(wasm), Size: uint64(len(wasm)), Source: source, Metadata: []byte(`{"a":1}`),
		Package: "unknown", Version: "0.0.0",
	}}, app)
	require.Equal(t, domain.WASMApplicationID(blobid.Of(wasm), uint64(len(wasm)), source, []byte(`{"a":1}`)), id)

	link := filepath.Join(f.dir, "link.wasm")
	require.NoError(t, os.Symlink(path, link))
	again, err := f.InstallPath(ctx, link, []byte(`{"a":1}`), "", "")
	require.NoError(t, err)
	require.Equal(t, id, again, "the path is canonical")
	other, err := f.InstallPath(ctx, path, nil, "", "")
	require.NoError(t, err)
	require.NotEqual(t, id, other, "metadata is part of the id")
	all, err := f.List(ctx)
	require.NoError(t, err)
	require.Len(t, all, 2)

	module, err := f.Module(ctx, id, app.ApplicationRecord)
	require.NoError(t, err)
	require.Equal(t, domain.Hash(sha256.Sum256(wasm)), module.ID)
	r, err := module.Open(ctx)
	require.NoError(t, err)
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.True(t, bytes.Equal(wasm, got))
	_, err = f.runtime.Inspect(ctx, module.ID)
	require.NoError(t, err, "compiled at install")

	require.NoError(t, f.Uninstall(ctx, id))
	require.NoError(t, f.Uninstall(ctx, id), "an absent one is fine")
	_, err = f.runtime.Inspect(ctx, module.ID)
	require.NoError(t, err, "the other application runs it")
	require.NoError(t, f.Uninstall(ctx, other))
	_, err = f.runtime.Inspect(ctx, module.ID)
	require.ErrorIs(t, err, errkind.NotFound)
	_, found, err = f.Get(ctx, id)
	require.NoError(t, err)
	require.False(t, found)
}

func TestReferencesWASMID(t *testing.T) {
	t.Parallel()
	id := domain.WASMApplicationID(domain.BlobID(bytes.Repeat([]byte{1}, 32)), 1024, "file:///tmp/a.wasm", nil)
	require.Equal(t, "8p9SYk951A1Ei8F8tfnPUCLjJBXxCujFy9sdZmXLnVD", id.String()) // governance.md §11
}

func TestSamplesInstall(t *testing.T) {
	t.Parallel()
	f := newFixture(t, apps.Options{})
	for _, name := range []string{"blobs", "rogue"} { // the widest imports
		_, err := f.InstallPath(t.Context(), f.file(t, name+".wasm", sample(t, name)), nil, "", "")
		require.NoError(t, err, name)
	}
}

func TestRefusedModules(t *testing.T) {
	t.Parallel()
	f := newFixture(t, apps.Options{MaxModule: 1 << 20})
	for name, c := range map[string]struct {
		content []byte
		kind    errkind.Kind
		text    []string
	}{
		"js.wasm":      {importing(true, "env.js_crdt_map_new", "env.js_std_d_print"), errkind.Unsupported, []string{`"env"."js_crdt_map_new"`, `"env"."js_std_d_print"`}},
		"unknown.wasm": {importing(true, "env.teleport"), errkind.Unsupported, []string{`"env"."teleport"`}},
		"wasi.wasm":    {importing(true, "wasi_snapshot_preview1.fd_write"), errkind.Unsupported, []string{"wasi_snapshot_preview1"}},
		"nomem.wasm":   {importing(false), errkind.Invalid, []string{"exports no memory"}},
		"text.wasm":    {[]byte("#!/bin/sh"), errkind.Invalid, []string{"not a WebAssembly module"}},
		"empty.wasm":   {nil, errkind.Invalid, []string{"not a WebAssembly module"}},
		"broken.wasm":  {append(importing(true), 0xff, 0xff), errkind.Invalid, []string{"prepare module"}},
		"large.wasm":   {append([]byte("\x00asm\x01\x00\x00\x00"), make([]byte, 1<<20)...), errkind.TooLarge, []string{"larger than 1048576 bytes"}},
		"a.mpk":        {[]byte{0x1f, 0x8b, 8}, errkind.Unsupported, []string{"bundles (.mpk)"}},
		"mpk.wasm":     {[]byte{0x1f, 0x8b, 8}, errkind.Unsupported, []string{"bundles (.mpk)"}},
	} {
		_, err := f.InstallPath(t.Context(), f.file(t, name, c.content), nil, "", "")
		require.ErrorIs(t, err, c.kind, name)
		for _, text := range append(c.text, name) {
			require.ErrorContains(t, err, text)
		}
		_, err = f.runtime.Inspect(t.Context(), sha256.Sum256(c.content))
		require.ErrorIs(t, err, errkind.NotFound, "%s: the runtime forgot it", name)
		f.empty(t)
	}
}

// TestArrive: what is expected is waited for until it is complete or turns out not to run here; nothing else is.
func TestArrive(t *testing.T) {
	t.Parallel()
	f := newFixture(t, apps.Options{})
	arrive := func(id domain.ApplicationID) bool {
		come, err := f.Arrive(t.Context(), id)
		require.NoError(t, err)
		return come
	}
	expect := func(id domain.ApplicationID, wasm []byte) {
		b := f.db.Batch()
		info, err := f.blobs.Add(t.Context(), b, bytes.NewReader(wasm), nil, 1<<20)
		require.NoError(t, err)
		require.NoError(t, b.Commit(t.Context()))
		require.NoError(t, f.Expect(t.Context(), id, info.ID, "calimero://context/x"))
	}
	good, bad := domain.ApplicationID{1}, domain.ApplicationID{2}
	require.False(t, arrive(good), "nobody expects it")

	expect(good, importing(true))
	expect(bad, importing(false))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := f.Arrive(ctx, good)
	require.ErrorIs(t, err, context.Canceled)
	answers := make(chan bool, 3)
	for range cap(answers) {
		go func() {
			come, err := f.Arrive(t.Context(), good)
			answers <- come && err == nil
		}()
	}
	require.ErrorIs(t, f.Complete(t.Context(), bad), errkind.Invalid)
	require.False(t, arrive(bad), "it cannot run here")
	require.Empty(t, answers)
	require.NoError(t, f.Complete(t.Context(), good))
	for range cap(answers) {
		require.True(t, <-answers)
	}
	require.True(t, arrive(good))
}

func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	f := newFixture(t, apps.Options{})
	ctx := t.Context()
	good := f.file(t, "good.wasm", importing(true))
	for text, install := range map[string]func() error{
		"application file not found at /no/such/app.wasm": func() error { _, err := f.InstallPath(ctx, "/no/such/app.wasm", nil, "", ""); return err },
		"not a regular file":                              func() error { _, err := f.InstallPath(ctx, f.dir, nil, "", ""); return err },
		"not a file name":                                 func() error { _, err := f.InstallPath(ctx, "", nil, "", ""); return err },
		"path has 5000 bytes":                             func() error { _, err := f.InstallPath(ctx, strings.Repeat("a", 5000), nil, "", ""); return err },
		"metadata has 65537 bytes":                        func() error { _, err := f.InstallPath(ctx, good, make([]byte, 65537), "", ""); return err },
		"package has 129 bytes":                           func() error { _, err := f.InstallPath(ctx, good, nil, strings.Repeat("p", 129), ""); return err },
		"version has 65 bytes":                            func() error { _, err := f.InstallPath(ctx, good, nil, "", strings.Repeat("1", 65)); return err },
		"package is not valid UTF-8":                      func() error { _, err := f.InstallPath(ctx, good, nil, "\xff", ""); return err },
		`scheme "file"`:                                   func() error { _, err := f.InstallURL(ctx, "file://"+good, nil, nil); return err },
		`scheme "ftp"`:                                    func() error { _, err := f.InstallURL(ctx, "ftp://example.com/a", nil, nil); return err },
		"has no host":                                     func() error { _, err := f.InstallURL(ctx, "http:///a.wasm", nil, nil); return err },
		"read application url":                            func() error { _, err := f.InstallURL(ctx, "http://[", nil, nil); return err },
		"url has 2100 bytes":                              func() error { _, err := f.InstallURL(ctx, strings.Repeat("u", 2100), nil, nil); return err },
		"bundles (.mpk)":                                  func() error { _, err := f.InstallURL(ctx, "http://example.com/a.mpk?x=1", nil, nil); return err },
		"download application: Get \"":                    func() error { _, err := f.InstallURL(ctx, "http://127.0.0.1:1/a.wasm", nil, nil); return err },
	} {
		err := install()
		require.ErrorContains(t, err, text)
		require.NotEqual(t, errkind.Unknown, errkind.Of(err), text)
	}
	f.empty(t)
}

func TestInstallFromURL(t *testing.T) {
	t.Parallel()
	f := newFixture(t, apps.Options{MaxModule: 1 << 20, DownloadTime: 20 * time.Second})
	ctx := t.Context()
	wasm := importing(true)
	mux := http.NewServeMux()
	mux.HandleFunc("/app.wasm", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(wasm) })
	mux.HandleFunc("/missing", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, strings.Repeat("é", 300), http.StatusNotFound)
	})
	mux.HandleFunc("/big", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(1<<20+1))
		_, _ = w.Write(make([]byte, 1<<20+1))
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/app.wasm", http.StatusFound) })
	mux.HandleFunc("/local", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write(wasm)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)

	id, err := f.InstallURL(ctx, "HTTP"+strings.TrimPrefix(server.URL, "http")+"/x/../app.wasm", []byte("{}"), nil)
	require.NoError(t, err)
	app, _, err := f.Get(ctx, id)
	require.NoError(t, err)
	require.Equal(t, server.URL+"/app.wasm", app.Source)
	hash := domain.Hash(sha256.Sum256(wasm))
	again, err := f.InstallURL(ctx, server.URL+"/app.wasm", []byte("{}"), &hash)
	require.NoError(t, err)
	require.Equal(t, id, again)
	moved, err := f.InstallURL(ctx, server.URL+"/moved", nil, nil)
	require.NoError(t, err)
	app, _, err = f.Get(ctx, moved)
	require.NoError(t, err)
	require.Equal(t, server.URL+"/moved", app.Source, "the address asked for")

	for path, want := range map[string]struct {
		kind errkind.Kind
		text string
	}{
		"/missing": {errkind.Unavailable, "Registry returned HTTP 404 Not Found for " + server.URL + "/missing: " + strings.Repeat("é", 256)},
		"/big":     {errkind.TooLarge, "limit 1048576"},
		"/endless": {errkind.TooLarge, "larger than 1048576 bytes"},
		"/loop":    {errkind.Invalid, "more than 5 redirects"},
		"/local":   {errkind.Invalid, `scheme "file"`},
		"/cut":     {errkind.Unavailable, "unexpected EOF"},
	} {
		_, err := f.InstallURL(ctx, server.URL+path, nil, nil)
		require.ErrorIs(t, err, want.kind, path)
		require.ErrorContains(t, err, want.text)
	}
	_, err = f.InstallURL(ctx, server.URL+"/app.wasm", nil, &domain.Hash{1})
	require.ErrorIs(t, err, errkind.Invalid)
	require.ErrorContains(t, err, "hash mismatch")
	all, err := f.List(ctx)
	require.NoError(t, err)
	require.Len(t, all, 2)
}

type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// The normalised address is part of the id.
func TestSourceIsTheNormalisedURL(t *testing.T) {
	t.Parallel()
	f := newFixture(t, apps.Options{Transport: transport(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(importing(true))), Request: r}, nil
	})})
	for address, want := range map[string]string{
		"HTTP://EXAMPLE.com:80/a b":          "http://example.com/a%20b", // primitives vector wasm_normalised_url
		"https://example.com/a.wasm?x=1":     "https://example.com/a.wasm?x=1",
		"https://example.com:443":            "https://example.com/",
		"http://example.com:443/./a/../b%2F": "http://example.com:443/b%2F",
	} {
		id, err := f.InstallURL(t.Context(), address, nil, nil)
		require.NoError(t, err)
		app, _, err := f.Get(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, want, app.Source)
	}
}

func TestDownloadEnds(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	f := newFixture(t, apps.Options{DownloadTime: 50 * time.Millisecond})
	_, err := f.InstallURL(t.Context(), server.URL, nil, nil)
	require.ErrorIs(t, err, errkind.Deadline)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = f.InstallURL(ctx, server.URL, nil, nil)
	require.ErrorIs(t, err, errkind.Canceled)
}

func TestPackagesAndVersions(t *testing.T) {
	t.Parallel()
	f := newFixture(t, apps.Options{})
	ctx := t.Context()
	for i, app := range []struct{ pkg, version string }{
		{"com.example.a", "1.2.0"}, {"com.example.a", "1.10.0"}, {"com.example.a", "1.10.0-rc.1"}, {"com.example.a", "9"},
		{"com.example.b", "beta"}, {"com.example.b", "alpha"}, {"", ""},
	} {
		path := f.file(t, fmt.Sprintf("%d.wasm", i), importing(true))
		_, err := f.InstallPath(ctx, path, nil, app.pkg, app.version)
		require.NoError(t, err)
	}
	packages, err := f.Packages(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"com.example.a", "com.example.b", "unknown"}, packages)
	versions, err := f.Versions(ctx, "com.example.b")
	require.NoError(t, err)
	require.Equal(t, []string{"alpha", "beta"}, versions)
	versions, err = f.Versions(ctx, "none")
	require.NoError(t, err)
	require.Equal(t, []string{}, versions)
	for pkg, version := range map[string]string{"com.example.a": "1.10.0", "com.example.b": "beta"} {
		latest, found, err := f.Latest(ctx, pkg)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, version, latest.Version)
		_, err = f.Module(ctx, latest.ID, latest.ApplicationRecord)
		require.NoError(t, err, "a package and a version do not make it a bundle")
	}
	_, found, err := f.Latest(ctx, "none")
	require.NoError(t, err)
	require.False(t, found)
}

func TestModuleOfAnApplicationThatIsNotHere(t *testing.T) {
	t.Parallel()
	f := newFixture(t, apps.Options{})
	_, err := f.Module(t.Context(), domain.ApplicationID{1}, wire.ApplicationRecord{Bytecode: domain.BlobID{2}})
	require.ErrorIs(t, err, errkind.NotFound)
	id, _, err := f.blobs.Put(t.Context(), bytes.NewReader([]byte{0x1f, 0x8b, 8, 0}), nil)
	require.NoError(t, err)
	_, err = f.Module(t.Context(), domain.ApplicationID{1}, wire.ApplicationRecord{Bytecode: id})
	require.ErrorIs(t, err, errkind.Unsupported)
}

// withoutJS is a runtime that does not announce what apps in JavaScript need.
type withoutJS struct{ runtime.Plugin }

func (r withoutJS) Engine(ctx context.Context) (runtime.Engine, error) {
	e, err := r.Plugin.Engine(ctx)
	e.Capabilities = slices.DeleteFunc(slices.Clone(e.Capabilities), func(c string) bool { return c == runtime.CapJS })
	return e, err
}

func TestInstall_JavaScript(t *testing.T) {
	t.Parallel()
	f := newFixture(t, apps.Options{})
	wasm, id := runtimetest.ScriptModule()
	path := f.file(t, "js.wasm", wasm)
	refuses := apps.New(f.db, f.blobs, withoutJS{f.runtime}, apps.Options{})
	_, err := refuses.InstallPath(t.Context(), path, nil, "", "")
	require.ErrorIs(t, err, errkind.Unsupported)
	require.ErrorContains(t, err, `capability "js"`)
	f.empty(t)
	_, err = f.runtime.Inspect(t.Context(), id)
	require.ErrorIs(t, err, errkind.NotFound, "the runtime forgot the module")
	_, err = f.InstallPath(t.Context(), path, nil, "", "")
	require.NoError(t, err)
}
