package auth_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/calimero-go/core/plugin-sdk/auth"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

func TestParsePermission(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		want auth.Permission
		text string // canonical; empty = in
	}{
		{in: "admin", want: auth.Permission{Action: "admin"}},
		{in: "application", want: auth.Permission{Action: "application"}},
		{in: "application:list[app1]", want: auth.Permission{Action: "application:list", Scope: "app1"}},
		{in: "application:list[]", want: auth.Permission{Action: "application:list"}, text: "application:list"},
		{in: "package:list-versions[com.x]", want: auth.Permission{Action: "package:list-versions", Scope: "com.x"}},
		{in: "blob:add:stream", want: auth.Permission{Action: "blob:add:stream"}},
		{in: "context[c,u]", want: auth.Permission{Action: "context", Scope: "c", User: "u"}},
		{in: "context[ c , u ]", want: auth.Permission{Action: "context", Scope: "c", User: "u"}, text: "context[c,u]"},
		{in: "context:execute[c,u,m]", want: auth.Permission{Action: "context:execute", Scope: "c", User: "u", Method: "m"}},
		{in: "context:execute[,,m]", want: auth.Permission{Action: "context:execute", Method: "m"}},
		{in: "context:execute[c,,]", want: auth.Permission{Action: "context:execute", Scope: "c"}, text: "context:execute[c]"},
		{in: "context:alias:lookup:identity[ctx-123]",
			want: auth.Permission{Action: "context:alias:lookup:identity", Scope: "ctx-123"}},
		{in: "keys:revoke", want: auth.Permission{Action: "keys:delete"}, text: "keys:delete"},
		{in: "keys:clients", want: auth.Permission{Action: "keys:clients:list"}, text: "keys:clients:list"},
		{in: "keys:permissions[k]", want: auth.Permission{Action: "keys:permissions:get", Scope: "k"},
			text: "keys:permissions:get[k]"},
	}
	for _, test := range tests {
		t.Run(test.in, func(t *testing.T) {
			t.Parallel()
			got, err := auth.ParsePermission(test.in)
			require.NoError(t, err)
			require.Equal(t, test.want, got)
			if test.text == "" {
				test.text = test.in
			}
			require.Equal(t, test.text, got.String())
		})
	}
}

func TestParsePermission_Refused(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"", "Admin", "admin ", "admin:x", "admin[]", "admin[c]", "application[x]", "blob:add[x]", "context:", "context:fly",
		"context:alias:create", "context:alias:create:group", "context:list[a,b]", "context:list[a", "context:list]a[",
		"context:list[a]b", "context:list[[a]]", "context:execute[a,b,c,d]", "keys:list[x]", "context\n", "context[é]",
		"context:capabilities", "groups",
	} {
		_, err := auth.ParsePermission(in)
		require.ErrorIs(t, err, errkind.Invalid, "%q", in)
	}
	_, err := auth.ParsePermission("context:list[" + strings.Repeat("a", auth.MaxPermission) + "]")
	require.ErrorIs(t, err, errkind.TooLarge)
	_, err = auth.ParsePermissions(make([]string, auth.MaxPermissions+1))
	require.ErrorIs(t, err, errkind.TooLarge)
}

func TestPermission_Satisfies(t *testing.T) {
	t.Parallel()
	tests := []struct {
		held, need string
		want       bool
	}{
		{"admin", "context:execute[c,u,m]", true},
		{"admin", "admin", true},
		{"context", "admin", false},
		{"application", "application:install", true},
		{"application", "application:list[a]", true},
		{"application:list", "application:list[a]", true},
		{"application:list[a]", "application:list[a]", true},
		{"application:list[a]", "application:list[b]", false},
		{"application:list[a]", "application:list", false},
		{"application:list", "application", false},
		{"application", "package:list-packages", false},
		{"package", "package:list-versions[p]", true},
		{"blob:add", "blob:add:stream", true},
		{"blob:add:file", "blob:add:stream", false},
		{"blob", "blob:remove[b]", true},
		{"context", "context:delete[c]", true},
		{"context[c]", "context:delete[c]", true},
		{"context[c]", "context:delete[d]", false},
		{"context[c]", "context:create", false},
		{"context[c,u]", "context:list[c]", true},
		{"context[c,u]", "context:delete[c]", false},
		{"context[c,u]", "context:alias:lookup:identity[c]", true},
		{"context[c,u]", "context:alias:create:identity[c]", false},
		{"context[c,u]", "context:execute[c,u,m]", true},
		{"context[c,u]", "context:execute[c,v,m]", false},
		{"context[c,u]", "context:execute[c,,m]", false},
		{"context:execute[,u]", "context:execute[c,u]", true},
		{"context:execute[c]", "context:execute[c,u,m]", true},
		{"context:execute[c,,m]", "context:execute[c,u,m]", true},
		{"context:execute[c,,m]", "context:execute[c,u,n]", false},
		{"context:execute[c,,m]", "context:execute[c,u]", true},
		{"context:alias:create:context", "context:alias:create:context", true},
		{"context:alias:create:context", "context:alias:delete:context", false},
		{"keys", "keys:permissions:update[k]", true},
		{"keys:list", "keys:clients:list", false},
		{"keys:permissions:get[k]", "keys:permissions:get[k]", true},
		{"keys:permissions:get[k]", "keys:permissions:update[k]", false},
	}
	for _, test := range tests {
		t.Run(test.held+" for "+test.need, func(t *testing.T) {
			t.Parallel()
			held, err := auth.ParsePermission(test.held)
			require.NoError(t, err)
			need, err := auth.ParsePermission(test.need)
			require.NoError(t, err)
			require.Equal(t, test.want, held.Satisfies(need))
		})
	}
}

func TestPermissions_Cover(t *testing.T) {
	t.Parallel()
	tests := []struct {
		held, given string
		want        bool
	}{
		{"admin", "admin", true},
		{"context", "admin", false},
		{"context", "context[c,u]", true},
		{"context[c,u]", "context[c]", false},
		{"context[c,u]", "context:execute[c,u,m]", true},
		{"context:execute[c,u,m]", "context:execute[c,u]", false},
		{"keys:permissions:update", "keys", false},
	}
	for _, test := range tests {
		held, err := auth.ParsePermissions([]string{test.held})
		require.NoError(t, err)
		given, err := auth.ParsePermissions([]string{test.given})
		require.NoError(t, err)
		require.Equal(t, test.want, held.Cover(given), "%s gives %s", test.held, test.given)
	}
}

func TestPermissions_AllowSome(t *testing.T) {
	t.Parallel()
	ps, err := auth.ParsePermissions([]string{"context:execute[c]", "blob"})
	require.NoError(t, err)
	require.True(t, ps.AllowSome("context:execute"))
	require.True(t, ps.AllowSome("context"))
	require.True(t, ps.AllowSome("blob:add:stream"))
	require.False(t, ps.AllowSome("context:list"))
	require.False(t, ps.AllowSome("keys"))
}

// What covers a permission also satisfies it, and covering is transitive.
func TestPermissions_CoverLaws(t *testing.T) {
	t.Parallel()
	names := []string{"admin", "application", "application:list", "blob", "blob:add", "context", "context:list",
		"context:execute", "context:invite", "keys", "keys:permissions:get"}
	draw := rapid.Custom(func(t *rapid.T) auth.Permission {
		for {
			s := rapid.SampledFrom(names).Draw(t, "action") + rapid.SampledFrom([]string{"", "[a]", "[b]", "[a,u]", "[,u]",
				"[a,u,m]", "[,,m]"}).Draw(t, "limit")
			if p, err := auth.ParsePermission(s); err == nil {
				return p
			}
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := draw.Draw(t, "a"), draw.Draw(t, "b"), draw.Draw(t, "c")
		covers := func(x, y auth.Permission) bool { return auth.Permissions{x}.Cover(auth.Permissions{y}) }
		require.True(t, covers(a, a))
		if covers(a, b) {
			require.True(t, a.Satisfies(b))
		}
		if covers(a, b) && covers(b, c) {
			require.True(t, covers(a, c), "%s %s %s", a, b, c)
		}
		if covers(a, b) && b.Satisfies(c) {
			require.True(t, a.Satisfies(c), "%s gives %s, which may do %s", a, b, c)
		}
	})
}

func FuzzPermission(f *testing.F) {
	for _, s := range []string{"admin", "context:execute[c,u,m]", "context[,u]", "keys:revoke", "blob:remove[x]", "a[b]c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := auth.ParsePermission(s)
		if err != nil {
			return
		}
		again, err := auth.ParsePermission(p.String())
		require.NoError(t, err)
		require.Equal(t, p, again)
		require.True(t, p.Satisfies(p))
		if s != auth.Admin {
			require.False(t, p.Satisfies(auth.Permission{Action: auth.Admin}), "%q stands for admin", s)
		}
	})
}
