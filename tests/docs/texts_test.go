package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// concatenation is a text that a Go file writes in several lines.
var concatenation = regexp.MustCompile(`"\s*\+\s*"`)

// sources are the programs' Go files without tests, each text in one piece.
func sources(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, dir := range []string{"cmd", "core", "plugin-sdk", "plugins", "runtime-wasmer", "storage-leveldb"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			b, err := os.ReadFile(path)
			all.Write(b)
			return err
		}))
	}
	return strings.ReplaceAll(concatenation.ReplaceAllString(all.String(), ""), `\"`, `"`)
}

// TestErrorTexts: each error that a table of docs/operating.md explains is one that a program gives. … stands for values.
func TestErrorTexts(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(root, "docs", "operating.md"))
	require.NoError(t, err)
	src := sources(t)
	quoted := regexp.MustCompile("`([^`]+)`")
	tables := regexp.MustCompile(`(?ms)^\| (?:The error says|Text) \|.*?\n\n`).FindAllString(string(page)+"\n\n", -1)
	require.Len(t, tables, 2)
	var unknown []string
	for _, table := range tables {
		texts := 0
		for row := range strings.Lines(table) {
			cells := strings.Split(row, " | ")
			for _, text := range quoted.FindAllStringSubmatch(cells[0], -1) {
				texts++
				for _, part := range strings.Split(text[1], "…") {
					if part = strings.Trim(part, " :,()"); len(part) > 3 && !strings.Contains(src, part) {
						unknown = append(unknown, part+" in: "+text[1])
					}
				}
			}
		}
		require.NotZero(t, texts)
	}
	require.Empty(t, unknown, "no program says this")
}

// TestMetricNames: each metric that a page names is registered by the node, by its parts or as a whole.
func TestMetricNames(t *testing.T) {
	t.Parallel()
	src := sources(t)
	names := regexp.MustCompile(`\bcalimero_[a-z_]+[a-z]`)
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	require.NoError(t, err)
	deeper, err := filepath.Glob(filepath.Join(root, "docs", "design", "*.md"))
	require.NoError(t, err)
	found := 0
	for _, path := range append(pages, deeper...) {
		page, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, name := range names.FindAllString(string(page), -1) {
			found++
			subsystem, rest, _ := strings.Cut(strings.TrimPrefix(name, "calimero_"), "_")
			require.Contains(t, src, `"`+subsystem+`"`, "%s: %s", path, name)
			require.Contains(t, src, `"`+rest+`"`, "%s: %s", path, name)
		}
	}
	require.NotZero(t, found)
}
