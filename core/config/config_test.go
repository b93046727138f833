package config_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/config"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const valid = `
version = 1
node {
  name = "n1"
  home = "home"
}
plugin "storage" "leveldb" {
  path = "bin/storage"
}
plugin "runtime" "wasmer" {
  path  = "/opt/runtime"
  files = ["bin/lib.so"]
  args  = ["-x"]
  env   = { A = "b" }
}
plugin "auth" "local" {
  path = "bin/auth"
}
`

// golden compares text with a file beside the tests, or rewrites it.
func golden(t *testing.T, file, text string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "run the test with -update to make the golden file")
	require.Empty(t, cmp.Diff(string(want), text))
}

func TestLoad_BadFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/bad/*.hcl")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			c, diags := config.Load(file, config.WithHome(t.TempDir()))
			require.Nil(t, c)
			require.True(t, diags.HasErrors())
			require.ErrorIs(t, diags.Err(), errkind.Invalid)
			golden(t, strings.TrimSuffix(file, ".hcl")+".golden", diags.String())
		})
	}
}

func TestLoad_BadNodeFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/toml/*.toml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			src := `
version = 1
plugin "storage" "leveldb" {
  path = "storage"
}
plugin "runtime" "wasmer" {
  path = "runtime"
}
`
			write(t, filepath.Join(dir, "config.hcl"), src)
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			write(t, filepath.Join(dir, "n", "config.toml"), string(text))
			c, diags := config.Load(filepath.Join(dir, "config.hcl"), config.WithHome(dir), config.WithNode("n"))
			require.Nil(t, c)
			require.True(t, diags.HasErrors())
			golden(t, strings.TrimSuffix(file, ".toml")+".golden", strings.ReplaceAll(diags.String(), dir, "HOME"))
		})
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
}

// load writes src as config.hcl and loads it, with a home of its own.
func load(t *testing.T, src string, opts ...config.Option) *config.Config {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "config.hcl"), src)
	c, diags := config.Load(filepath.Join(dir, "config.hcl"), opts...)
	require.NoError(t, diags.Err())
	require.Zero(t, diags.Len(), diags.String())
	return c
}

func TestLoad_Missing(t *testing.T) {
	t.Parallel()
	_, diags := config.Load(filepath.Join(t.TempDir(), "config.hcl"))
	require.ErrorContains(t, diags.Err(), "merod init")
	_, diags = config.Load(t.TempDir())
	require.ErrorContains(t, diags.Err(), "not a regular file")
}

func TestLoad_ResolvesPaths(t *testing.T) {
	t.Parallel()
	c := load(t, valid)
	require.Equal(t, filepath.Join(c.Dir, "home"), c.Node.Home)
	require.Equal(t, filepath.Join(c.Dir, "home", "n1"), c.NodeDir())
	require.Equal(t, filepath.Join(c.Dir, "plugins.lock"), c.LockPath())
	storage, runtime := c.Plugin("storage", ""), c.Plugin("runtime", "wasmer")
	require.Equal(t, filepath.Join(c.Dir, "bin", "storage"), storage.Path)
	require.Equal(t, "bin/storage", storage.Given(storage.Path))
	require.Equal(t, "/opt/runtime", runtime.Path)
	require.Equal(t, []string{filepath.Join(c.Dir, "bin", "lib.so")}, runtime.Files)
	require.Equal(t, []string{"-x"}, runtime.Args)
	require.Equal(t, map[string]string{"A": "b"}, runtime.Env)
	require.Nil(t, c.Plugin("auth", "other"))
	require.Equal(t, filepath.Join(c.NodeDir(), "data"), c.DataDir(storage))
	require.Equal(t, filepath.Join(c.NodeDir(), "blobs"), c.Node.Blobs)
}

func TestLoad_CommandLineWins(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	c := load(t, valid, config.WithHome(home), config.WithNode("n2"))
	require.Equal(t, filepath.Join(home, "n2"), c.NodeDir())
	_, diags := config.Load(c.Path, config.WithNode("../x"))
	require.ErrorContains(t, diags.Err(), "not a node name")
}

func TestLoad_DefaultsHold(t *testing.T) {
	t.Parallel()
	c := load(t, valid)
	want := config.Default(c.Dir)
	ignore := cmpopts.IgnoreFields(config.Config{}, "Path", "Node", "Plugins")
	require.Empty(t, cmp.Diff(want, c, ignore, cmpopts.IgnoreUnexported(config.Config{})))
	require.Equal(t, 30*time.Second, c.Execution.Deadline)
	require.Equal(t, uint64(100_000_000_000), c.Execution.Fuel)
	require.Equal(t, uint32(4096), c.Execution.MemoryPages)
}

// The annotated file at the root says what the defaults are; it must be right.
func TestRootFile_StatesTheDefaults(t *testing.T) {
	t.Parallel()
	c, diags := config.Load("../../config.hcl", config.WithHome(t.TempDir()))
	require.NoError(t, diags.Err())
	want := config.Default(c.Dir)
	want.Server.Auth = "local"
	ignore := cmpopts.IgnoreFields(config.Config{}, "Path", "Plugins")
	require.Empty(t, cmp.Diff(want, c, ignore, cmpopts.IgnoreFields(config.Node{}, "Home", "Data", "Blobs"),
		cmpopts.IgnoreUnexported(config.Config{})))
	require.Len(t, c.Plugins, 3)
	require.NotNil(t, c.Plugin("auth", c.Server.Auth))

	text, err := os.ReadFile("../../config.hcl")
	require.NoError(t, err)
	for _, setting := range []string{"start_timeout", "call_wait", "close_timeout", "max_in_flight", "max_restarts", "args", "env", "sha256"} {
		require.Contains(t, string(text), "#   "+setting)
	}
}

func TestLoad_BehindProxyMayListenAnywhere(t *testing.T) {
	t.Parallel()
	server := "server {\n  listen = [\"0.0.0.0:1\"]\n%s}\n"
	load(t, valid+strings.ReplaceAll(server, "%s", "  behind_proxy = true\n"))
	load(t, valid+strings.ReplaceAll(server, "%s", "  auth = \"local\"\n"))
}

func TestNewFile_Loads(t *testing.T) {
	t.Parallel()
	src := config.NewFile(config.Seed{
		Name: "n1", Home: ".", Listen: []string{"127.0.0.1:9"}, Auth: "local", SwarmPort: 77,
		Plugins: []config.SeedPlugin{
			{Kind: "storage", Name: "leveldb", Path: `/a "b"/${x}`},
			{Kind: "runtime", Name: "wasmer", Path: "r", Files: []string{"l.so"}},
			{Kind: "auth", Name: "local", Path: "a"},
		},
	})
	c := load(t, string(src))
	require.Equal(t, []string{"127.0.0.1:9"}, c.Server.Listen)
	require.Equal(t, "local", c.Server.Auth)
	require.Equal(t, uint16(77), c.Network.SwarmPort)
	require.Equal(t, `/a "b"/${x}`, c.Plugin("storage", "").Path)
	require.Equal(t, []string{filepath.Join(c.Dir, "l.so")}, c.Plugin("runtime", "").Files)
}

func TestParse_RefusesWhatWouldHang(t *testing.T) {
	t.Parallel()
	for name, src := range map[string]string{
		"deep":      "version = " + strings.Repeat("[", 10_000),
		"operators": "version = " + strings.Repeat("- ", 10_000) + "1",
		"ternaries": "version = " + strings.Repeat("true ? ", 10_000) + "1",
		"exponent":  "version = 1e999999999",
		"digits":    "version = " + strings.Repeat("9", 100),
		"size":      strings.Repeat("\n", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, diags := config.Parse("/x/config.hcl", "config.hcl", []byte(src), config.WithHome(t.TempDir()))
			require.Contains(t, diags.String(), "Configuration ")
		})
	}
	_, diags := config.ParseNodeFile("config.toml", []byte("a = "+strings.Repeat("[", 10_000)))
	require.Contains(t, diags.String(), "Configuration refused")
}

func TestDiagnostics_WarningsAreNoError(t *testing.T) {
	t.Parallel()
	require.NoError(t, config.Diagnostics{}.Err())
	require.Empty(t, config.Diagnostics{}.String())
}

func FuzzConfig(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.hcl")
	require.NoError(f, err)
	for _, file := range append(files, "../../config.hcl") {
		src, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(src)
	}
	home := f.TempDir()
	f.Fuzz(func(t *testing.T, src []byte) {
		c, diags := config.Parse("/etc/node/config.hcl", "config.hcl", src, config.WithHome(home))
		_ = diags.String()
		if (c == nil) != diags.HasErrors() {
			t.Fatalf("configuration %v with %s", c, diags)
		}
		if c == nil {
			return
		}
		if len(c.Server.Listen) == 0 || c.Plugin("storage", "") == nil || c.Plugin("runtime", "") == nil {
			t.Fatalf("incomplete configuration accepted: %+v", c)
		}
	})
}

func FuzzNodeFile(f *testing.F) {
	files, err := filepath.Glob("testdata/toml/*.toml")
	require.NoError(f, err)
	for _, file := range files {
		src, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		n, diags := config.ParseNodeFile("config.toml", src)
		_ = diags.String()
		if (n == nil) != diags.HasErrors() {
			t.Fatalf("node file %v with %s", n, diags)
		}
	})
}
