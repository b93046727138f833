package config_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/calimero-go/core/core/config"
	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/diag"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

var schema = base.Schema{
	Attributes: []base.Attribute{
		{Name: "sync", Type: cty.String, Default: cty.StringVal("always")},
		{Name: "size", Type: cty.Number, Required: true},
		{Name: "labels", Type: cty.Map(cty.String)},
		{Name: "peers", Type: cty.List(cty.Object(map[string]cty.Type{"port": cty.Number}))},
		{Name: "secret", Type: cty.String, Sensitive: true},
	},
	Blocks: []base.Block{
		{Name: "cache", Schema: base.Schema{Attributes: []base.Attribute{
			{Name: "bytes", Type: cty.Number, Default: cty.NumberIntVal(7)},
			{Name: "password", Type: cty.String, Sensitive: true},
		}}},
		{Name: "tier", Repeated: true, Schema: base.Schema{Attributes: []base.Attribute{
			{Name: "path", Type: cty.String, Required: true},
		}}},
	},
}

// plugin loads a storage plugin whose config block holds body; without a body there is no block.
func plugin(t *testing.T, body string) *config.Plugin {
	t.Helper()
	block := ""
	if body != "" {
		block = "  config {\n" + body + "\n  }\n"
	}
	src := strings.Replace(valid, "path = \"bin/storage\"\n", "path = \"bin/storage\"\n"+block, 1)
	c, diags := config.Parse(t.TempDir()+"/config.hcl", "config.hcl", []byte(src), config.WithHome(t.TempDir()))
	require.NoError(t, diags.Err())
	return c.Plugin("storage", "")
}

func TestPlugin_Decode_FillsDefaults(t *testing.T) {
	t.Parallel()
	v, diags, err := plugin(t, `
    size   = 3
    labels = { a = "b" }
    cache {
    }
    tier {
      path = "x"
    }
    tier {
      path = "y"
    }`).Decode(schema)
	require.NoError(t, err)
	require.NoError(t, diags.Err())
	require.True(t, v.Type().Equals(schema.ObjectType()), "%#v", v.Type())
	require.Equal(t, "always", v.GetAttr("sync").AsString())
	require.True(t, v.GetAttr("cache").GetAttr("bytes").RawEquals(cty.NumberIntVal(7)))
	require.Equal(t, 2, v.GetAttr("tier").LengthInt())
	require.True(t, v.GetAttr("peers").IsNull())
}

func TestPlugin_Decode_AbsentBlockPointsAtThePlugin(t *testing.T) {
	t.Parallel()
	_, diags, err := plugin(t, "").Decode(schema)
	require.NoError(t, err)
	require.Contains(t, diags.String(), `on config.hcl line 7, column 1, in plugin "storage" "leveldb"`)
	require.Contains(t, diags.String(), `"size" is required`)

	empty := base.Schema{}
	v, diags, err := plugin(t, "").Decode(empty)
	require.NoError(t, err)
	require.NoError(t, diags.Err())
	require.True(t, v.RawEquals(cty.EmptyObjectVal))
}

func TestPlugin_Decode_Complaints(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ body, want string }{
		"unknown key":        {"size = 1\nsizes = 2\nsyncc = \"x\"", `Did you mean "sync"?`},
		"wrong type":         {"size = \"many\"", "a number is required"},
		"second cache block": {"size = 1\ncache {\n}\ncache {\n}", "Duplicate cache block"},
		"missing in block":   {"size = 1\ntier {\n}", `"path" is required`},
		"variable":           {"size = x", "Variables may not be used here"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, diags, err := plugin(t, test.body).Decode(schema)
			require.NoError(t, err)
			require.Contains(t, diags.String(), test.want)
			require.Contains(t, diags.String(), "on config.hcl line ")
		})
	}
}

func TestPlugin_Decode_RefusesBadSchemas(t *testing.T) {
	t.Parallel()
	deep := base.Schema{}
	for range 9 {
		deep = base.Schema{Blocks: []base.Block{{Name: "b", Schema: deep}}}
	}
	many := base.Schema{Attributes: make([]base.Attribute, 2000)}
	tests := map[string]struct {
		schema base.Schema
		want   string
	}{
		"name":      {base.Schema{Attributes: []base.Attribute{{Name: "A-b", Type: cty.String}}}, "lower-case"},
		"twice":     {base.Schema{Attributes: []base.Attribute{{Name: "a", Type: cty.String}}, Blocks: []base.Block{{Name: "a"}}}, "stands twice"},
		"no type":   {base.Schema{Attributes: []base.Attribute{{Name: "a"}}}, "its type must be"},
		"dynamic":   {base.Schema{Attributes: []base.Attribute{{Name: "a", Type: cty.List(cty.DynamicPseudoType)}}}, "its type must be"},
		"default":   {base.Schema{Attributes: []base.Attribute{{Name: "a", Type: cty.Number, Default: cty.StringVal("x")}}}, "default is not of its type"},
		"too deep":  {deep, "nested more than"},
		"too large": {many, "more than 1024"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := plugin(t, "").Decode(test.schema)
			require.ErrorIs(t, err, errkind.Invalid)
			require.ErrorContains(t, err, test.want)
			require.ErrorContains(t, err, `plugin "storage" "leveldb"`)
		})
	}
}

func TestPlugin_Explain_FindsThePlace(t *testing.T) {
	t.Parallel()
	p := plugin(t, `    sync   = "always"
    labels = { a = "b", c = "d" }
    peers  = [{ port = 1 }, { port = 2 }]
    tier {
      path = "x"
    }
    tier {
      path = "y"
    }`) // the first line is line 10
	tests := map[string]struct {
		path []diag.Step
		want string
	}{
		"whole block":       {nil, "line 9, column 10"},
		"attribute":         {[]diag.Step{"sync"}, "line 10, column 14"},
		"map key":           {[]diag.Step{"labels", diag.Key("c")}, "line 11, column 29"},
		"list element":      {[]diag.Step{"peers", int64(1), "port"}, "line 12, column 38"},
		"element too far":   {[]diag.Step{"peers", int64(7)}, "line 12, column 14"},
		"second block":      {[]diag.Step{"tier", int64(1), "path"}, "line 17, column 14"},
		"absent in block":   {[]diag.Step{"tier", int64(1), "other"}, "line 16, column 5"},
		"block too far":     {[]diag.Step{"tier", int64(9)}, "line 13, column 5"},
		"a default":         {[]diag.Step{"size"}, "line 9, column 10"},
		"starts with index": {[]diag.Step{int64(3)}, "line 9, column 10"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var list diag.Diagnostics
			list.Errorf(test.path, "Too small", "use at least 5")
			got := p.Explain(schema, list)
			require.True(t, got.HasErrors())
			require.Contains(t, got.String(), "config.hcl "+test.want+",")
			require.Contains(t, got.String(), "use at least 5")
		})
	}
}

func TestPlugin_NeverPrintsSecrets(t *testing.T) {
	t.Parallel()
	p := plugin(t, `    secret = "hunter2"
    size   = "x"
    cache {
      password = "hunter2"
    }`)
	var list diag.Diagnostics
	list.Warnf([]diag.Step{"secret"}, "Weak", "it is short")
	list.Warnf([]diag.Step{"cache", "password"}, "Weak", "it is short")
	for _, text := range []string{p.Explain(schema, list).String()} {
		require.NotContains(t, text, "hunter2")
		require.Contains(t, text, "*********")
	}
	require.NoError(t, p.Explain(schema, list).Err())
	require.Equal(t, 2, p.Explain(schema, list).Warnings().Len())
	_, diags, err := p.Decode(schema)
	require.NoError(t, err)
	require.True(t, diags.HasErrors())
	require.NotContains(t, diags.String(), "hunter2")
}
