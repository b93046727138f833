package tests_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/calimero-go/core"

// The third-party modules that plugin-sdk may import: whatever it imports, every plugin author inherits.
var sdkModules = []string{
	"filippo.io/edwards25519",
	"github.com/hashicorp/go-hclog",
	"github.com/hashicorp/go-plugin",
	"github.com/mr-tron/base58", // no dependencies; identifiers are shown in it
	"github.com/zclconf/go-cty",
	"google.golang.org/grpc",
	"google.golang.org/protobuf",
}

// What the conformance kits may import besides: they run in their users' tests only.
var kitModules = []string{
	"github.com/google/go-cmp",
	"github.com/stretchr/testify",
	"go.uber.org/goleak",
	"pgregory.net/rapid",
}

// The packages that may import generated protocol code, besides the kits: the kinds, whose clients and servers
// translate it, and what they share.
var protoUsers = []string{
	"plugin-sdk/auth",
	"plugin-sdk/base",
	"plugin-sdk/diag",
	"plugin-sdk/errkind",
	"plugin-sdk/hostfn",
	"plugin-sdk/runtime",
	"plugin-sdk/serve",
	"plugin-sdk/storage",
}

var badNames = []string{"common", "helper", "helpers", "util", "utils"}

// goPackage is the part of `go list -json` that the rules need.
type goPackage struct {
	ImportPath   string
	Name         string
	Standard     bool
	Module       *struct{ Path string }
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// TestImports holds the tree to its import directions: cmd → core/node → core/* → plugin-sdk, and plugin → plugin-sdk.
func TestImports(t *testing.T) {
	t.Parallel()
	packages := listPackages(t)
	require.True(t, slices.ContainsFunc(packages, func(p goPackage) bool { return p.ImportPath == module+"/plugin-sdk/base" }),
		"go list did not answer the tree")
	if found := violations(packages); len(found) > 0 {
		t.Fatalf("imports against the layout:\n  %s", strings.Join(found, "\n  "))
	}
}

// TestImportsRefused shows that each rule finds what it forbids, and what it leaves alone.
func TestImportsRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		from, imports string // below the module; a path with a dot in its first part is a third-party module
		inTest        bool
		want          string // part of the violation; empty: allowed
	}{
		{from: "plugin-sdk/storage", imports: "plugin-sdk/proto/storage/v1"},
		{from: "plugin-sdk/storage", imports: "google.golang.org/grpc"},
		{from: "plugin-sdk/storage", imports: "core/store", want: "plugin-sdk imports plugin-sdk only"},
		{from: "plugin-sdk/storage", imports: "core/store", inTest: true, want: "plugin-sdk imports plugin-sdk only"},
		{from: "plugin-sdk/storage", imports: "github.com/syndtr/goleveldb", want: "module github.com/syndtr/goleveldb"},
		{from: "plugin-sdk/storage", imports: "github.com/stretchr/testify", want: "module github.com/stretchr/testify"},
		{from: "plugin-sdk/storage", imports: "github.com/stretchr/testify", inTest: true},
		{from: "plugin-sdk/storagetest", imports: "github.com/stretchr/testify"},
		{from: "plugin-sdk/storagetest", imports: "github.com/syndtr/goleveldb", want: "module github.com/syndtr/goleveldb"},
		{from: "plugin-sdk/storagetest", imports: "plugin-sdk/sdktest"},
		{from: "plugin-sdk/serve", imports: "plugin-sdk/sdktest", want: "only tests import a kit"},
		{from: "plugin-sdk/crdt", imports: "plugin-sdk/proto/runtime/v1", want: "generated protocol code"},
		{from: "storage-leveldb", imports: "plugin-sdk/serve"},
		{from: "storage-leveldb", imports: "github.com/syndtr/goleveldb"},
		{from: "storage-leveldb", imports: "plugin-sdk/storagetest", inTest: true},
		{from: "storage-leveldb", imports: "plugin-sdk/proto/storage/v1", want: "generated protocol code"},
		{from: "storage-leveldb", imports: "core/store", want: "a plugin imports plugin-sdk only"},
		{from: "runtime-wasmer", imports: "runtime-wasmer/internal/engine"},
		{from: "runtime-wasmer", imports: "storage-leveldb", want: "a plugin imports plugin-sdk only"},
		{from: "plugins/auth-local", imports: "plugins/auth-local/tokens"},
		{from: "plugins/auth-local", imports: "plugins/auth-other", want: "a plugin imports plugin-sdk only"},
		{from: "plugins/auth-local", imports: "core/config", inTest: true, want: "a plugin imports plugin-sdk only"},
		{from: "core/store", imports: "plugin-sdk/storage"},
		{from: "core/store", imports: "cmd/merod", want: "core imports core and plugin-sdk only"},
		{from: "core/store", imports: "storage-leveldb", want: "core imports core and plugin-sdk only"},
		{from: "core/store", imports: "plugin-sdk/proto/storage/v1", want: "generated protocol code"},
		{from: "core/store", imports: "core/api", want: "core/api is for core/node and cmd"},
		{from: "core/store", imports: "core/node", want: "core/node is for cmd"},
		{from: "core/node", imports: "core/api"},
		{from: "core/api", imports: "core/api/jsonrpc"},
		{from: "core/actor", imports: "github.com/thejerf/suture/v4"},
		{from: "core/actor", imports: "golang.org/x/sync", want: "module golang.org/x/sync"},
		{from: "core/actor", imports: "plugin-sdk/errkind"},
		{from: "core/actor", imports: "plugin-sdk/crdt", want: "core/actor imports the standard library, suture and errkind only"},
		{from: "cmd/merod", imports: "core/node"},
		{from: "cmd/merod", imports: "core/api"},
		{from: "cmd/merod", imports: "runtime-wasmer/internal/engine", want: "cmd imports core and plugin-sdk only"},
		{from: "cmd/merod", imports: "tests/harness", want: "cmd imports core and plugin-sdk only"},
		{from: "tests/bench", imports: "storage-leveldb"},
		{from: "core/util", imports: "plugin-sdk/base", want: `name "util"`},
		{from: "stray", imports: "plugin-sdk/base", want: "no place in the layout"},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%s imports %s test=%t", test.from, test.imports, test.inTest), func(t *testing.T) {
			t.Parallel()
			from, imported := fakePackage(test.from), fakePackage(test.imports)
			if test.inTest {
				from.XTestImports = []string{imported.ImportPath}
			} else {
				from.Imports = []string{imported.ImportPath}
			}
			found := violations([]goPackage{from, imported})
			if test.want == "" {
				require.Empty(t, found)
				return
			}
			require.NotEmpty(t, found)
			require.Contains(t, found[0], test.want)
			require.Contains(t, found[0], from.ImportPath)
		})
	}
}

func fakePackage(rel string) goPackage {
	p := goPackage{ImportPath: module + "/" + rel, Name: path.Base(rel)}
	if first, _, _ := strings.Cut(rel, "/"); strings.Contains(first, ".") {
		p.ImportPath = rel
		p.Module = &struct{ Path string }{rel}
	}
	return p
}

// listPackages answers all packages of the module and everything they depend on.
func listPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps",
		"-json=ImportPath,Name,Standard,Module,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = ".."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "go list: %s", stderr.String())

	var packages []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		require.NoError(t, err)
		packages = append(packages, p)
	}
}

// violations answers one line for each import, and each package name, that a rule forbids.
func violations(packages []goPackage) []string {
	byPath := make(map[string]goPackage, len(packages))
	for _, p := range packages {
		byPath[p.ImportPath] = p
	}
	var found []string
	for _, p := range packages {
		from, own := ownPath(p.ImportPath)
		if !own {
			continue
		}
		if slices.Contains(badNames, p.Name) || slices.Contains(badNames, path.Base(from)) {
			found = append(found, fmt.Sprintf("%s: the name %q says nothing about what is in it", p.ImportPath, path.Base(from)))
		}
		if !placed(from) {
			found = append(found, fmt.Sprintf("%s: has no place in the layout; the rules know %s",
				p.ImportPath, "cmd, core, plugin-sdk, plugins, runtime-wasmer, storage-leveldb, tests"))
		}
		for _, imported := range p.Imports {
			if why := forbidden(from, byPath[imported], imported, false); why != "" {
				found = append(found, fmt.Sprintf("%s imports %s: %s", p.ImportPath, imported, why))
			}
		}
		for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
			if why := forbidden(from, byPath[imported], imported, true); why != "" {
				found = append(found, fmt.Sprintf("%s imports %s in a test: %s", p.ImportPath, imported, why))
			}
		}
	}
	return found
}

// forbidden says why package from, a path below the module, may not import a package; "" when it may. The package's
// listing is empty for an import of tests alone, whose third-party modules are not restricted.
func forbidden(from string, listed goPackage, imported string, inTest bool) string {
	to, own := ownPath(imported)
	if !own {
		if inTest || listed.Standard || listed.Module == nil {
			return ""
		}
		return forbiddenModule(from, listed.Module.Path)
	}
	switch {
	case within(from, "tests"):
		return ""
	case within(from, "plugin-sdk") && !within(to, "plugin-sdk"):
		return "plugin-sdk imports plugin-sdk only"
	case plugin(from) != "" && !within(to, "plugin-sdk") && !within(to, plugin(from)) && (!inTest || to != "tests/apps"):
		return "a plugin imports plugin-sdk only"
	case within(from, "core") && !within(to, "core") && !within(to, "plugin-sdk") && !inTest:
		return "core imports core and plugin-sdk only"
	case within(from, "core") && within(to, "cmd"):
		return "core never imports cmd"
	case within(from, "cmd") && !within(to, "cmd") && !within(to, "core") && !within(to, "plugin-sdk") && !inTest:
		return "cmd imports core and plugin-sdk only"
	}
	if inTest {
		return ""
	}
	switch {
	case within(from, "core/actor") && !within(to, "core/actor") && to != "plugin-sdk/errkind":
		return "core/actor imports the standard library, suture and errkind only"
	case within(to, "core/api") && !within(from, "core/api") && !within(from, "core/node") && !within(from, "cmd"):
		return "core/api is for core/node and cmd"
	case within(to, "core/node") && !within(from, "core/node") && !within(from, "cmd"):
		return "core/node is for cmd"
	case within(to, "plugin-sdk/proto") && !within(from, "plugin-sdk/proto") && !kit(from) && !slices.Contains(protoUsers, from):
		return "generated protocol code is for the clients and servers in plugin-sdk"
	case kit(to) && !kit(from):
		return "only tests import a kit"
	}
	return ""
}

// forbiddenModule says why a package may not import a third-party module outside its tests.
func forbiddenModule(from, module string) string {
	allowed := slices.Contains(sdkModules, module) || kit(from) && slices.Contains(kitModules, module)
	if within(from, "plugin-sdk") && !allowed {
		return fmt.Sprintf("module %s is not one that plugin-sdk may hand to plugin authors", module)
	}
	if within(from, "core/actor") && !strings.HasPrefix(module, "github.com/thejerf/suture/") {
		return fmt.Sprintf("module %s: core/actor imports the standard library and suture only", module)
	}
	return ""
}

// ownPath answers an import path's part below the module.
func ownPath(importPath string) (string, bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

func within(rel, dir string) bool {
	return rel == dir || strings.HasPrefix(rel, dir+"/")
}

// placed reports whether a package lies in a folder that the rules cover.
func placed(rel string) bool {
	return within(rel, "cmd") || within(rel, "core") || within(rel, "plugin-sdk") || within(rel, "tests") || plugin(rel) != ""
}

// plugin answers the folder of the first-party plugin that a package belongs to, "" for none.
func plugin(rel string) string {
	first, rest, _ := strings.Cut(rel, "/")
	switch first {
	case "runtime-wasmer", "storage-leveldb":
		return first
	case "plugins":
		name, _, _ := strings.Cut(rest, "/")
		return "plugins/" + name
	}
	return ""
}

// kit reports whether a package is part of a conformance kit or test harness: plugin-sdk/storagetest, sdktest, ….
func kit(rel string) bool {
	rest, ok := strings.CutPrefix(rel, "plugin-sdk/")
	first, _, _ := strings.Cut(rest, "/")
	return ok && strings.HasSuffix(first, "test")
}
