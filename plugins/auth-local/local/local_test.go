package local_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/calimero-go/core/plugin-sdk/auth"
	"github.com/calimero-go/core/plugin-sdk/authtest"
	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/diag"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugins/auth-local/local"
)

const secret = "correct horse battery"

// start configures a plugin in process.
func start(tb testing.TB, dir string, changes map[string]cty.Value, options ...local.Option) auth.Plugin {
	tb.Helper()
	p := local.NewWith(options...)
	authtest.Configure(tb, p, dir, cheap(changes))
	tb.Cleanup(func() { require.NoError(tb, p.Close(context.Background())) })
	return p
}

func request(tb testing.TB, person, secret string) auth.TokenRequest {
	tb.Helper()
	c := authtest.UserPassword(tb, person, secret)
	return auth.TokenRequest{Method: c.Method, PublicKey: c.PublicKey, ClientName: "test", ProviderData: c.Data, Loopback: true}
}

func login(tb testing.TB, p auth.Auth, person, secret string) auth.Tokens {
	tb.Helper()
	tokens, err := p.Token(tb.Context(), request(tb, person, secret))
	require.NoError(tb, err)
	return tokens
}

// configure answers the complaints about a data folder or a configuration.
func configure(tb testing.TB, dir string, changes map[string]cty.Value) diag.Diagnostics {
	tb.Helper()
	p := local.New()
	schema, err := p.Schema(tb.Context())
	require.NoError(tb, err)
	d, err := p.Configure(tb.Context(), base.Config{Value: authtest.Value(schema, cheap(changes)), DataDir: dir, Node: "n"})
	require.NoError(tb, err)
	return d
}

func TestFiles_ModeAndContent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := start(t, dir, nil)
	login(t, p, "olga", secret)
	for _, name := range []string{local.KeysFile, local.SecretFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), name)
		b, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.NotContains(t, string(b), secret)
	}
	b, err := os.ReadFile(filepath.Join(dir, local.KeysFile))
	require.NoError(t, err)
	require.Contains(t, string(b), "$argon2id$v=19$m=19456,t=2,p=1$")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2, "nothing is left over")
}

func TestFiles_Damage(t *testing.T) {
	t.Parallel()
	flip := func(b []byte) []byte {
		i := bytes.Index(b, []byte("olga"))
		require.Positive(t, i)
		b[i] = 'O'
		return b
	}
	tests := []struct {
		name, file string
		damage     func([]byte) []byte
		want       []string
	}{
		{"a flipped byte", local.KeysFile, flip, []string{"checksum", "restore it from a backup"}},
		{"a torn end", local.KeysFile, func(b []byte) []byte { return b[:len(b)/2] }, []string{"damaged", "backup"}},
		{"empty", local.KeysFile, func([]byte) []byte { return nil }, []string{"damaged"}},
		{"something behind", local.KeysFile, func(b []byte) []byte { return append(b, '{') }, []string{"damaged"}},
		{"a later version", local.KeysFile, func(b []byte) []byte { return bytes.Replace(b, []byte(`"version":1`), []byte(`"version":2`), 1) },
			[]string{"version 2", "use the plugin that wrote it"}},
		{"an unknown field", local.KeysFile, func(b []byte) []byte { return bytes.Replace(b, []byte(`"version"`), []byte(`"more":1,"version"`), 1) },
			[]string{"damaged"}},
		{"secret: a torn end", local.SecretFile, func(b []byte) []byte { return b[:len(b)/2] }, []string{"damaged", "which ends all tokens"}},
		{"secret: too short", local.SecretFile, func([]byte) []byte {
			return []byte(`{"version":1,"token_secret":"AAAA","challenge_secret":"AAAA"}`)
		}, []string{"32 bytes"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			login(t, start(t, dir, nil), "olga", secret)
			path := filepath.Join(dir, test.file)
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			damaged := test.damage(b)
			require.NoError(t, os.WriteFile(path, damaged, 0o600))
			d := configure(t, dir, nil)
			require.True(t, d.HasErrors())
			for _, want := range append(test.want, path) {
				require.Contains(t, d[0].String(), want)
			}
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(damaged), string(after), "nothing is reset")
		})
	}
}

func TestFiles_Missing(t *testing.T) {
	t.Parallel()
	for _, name := range []string{local.KeysFile, local.SecretFile} {
		dir := t.TempDir()
		login(t, start(t, dir, nil), "olga", secret)
		require.NoError(t, os.Remove(filepath.Join(dir, name)))
		d := configure(t, dir, nil)
		require.True(t, d.HasErrors(), name)
		require.Contains(t, d[0].String(), filepath.Join(dir, name)+" is missing")
		require.NoFileExists(t, filepath.Join(dir, name))
	}
	// The end of the first start between the two files.
	dir := t.TempDir()
	start(t, dir, nil)
	require.NoError(t, os.Remove(filepath.Join(dir, local.SecretFile)))
	require.False(t, configure(t, dir, nil).HasErrors())
}

func TestFiles_OpenToOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start(t, dir, nil)
	path := filepath.Join(dir, local.SecretFile)
	require.NoError(t, os.Chmod(path, 0o644))
	d := configure(t, dir, nil)
	require.True(t, d.HasErrors())
	require.Contains(t, d[0].String(), "chmod 600")
}

func TestFiles_UnfinishedWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	login(t, start(t, dir, nil), "olga", secret)
	left := filepath.Join(dir, local.KeysFile+".new123")
	require.NoError(t, os.WriteFile(left, []byte("{"), 0o600))
	login(t, start(t, dir, nil), "olga", secret)
	require.NoFileExists(t, left)
}

func TestChange_DiskGone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "auth")
	require.NoError(t, os.Mkdir(dir, 0o700))
	p := start(t, dir, nil)
	tokens := login(t, p, "olga", secret)
	require.NoError(t, os.RemoveAll(dir))
	g, err := p.Verify(t.Context(), tokens.Access, "")
	require.NoError(t, err)
	_, err = p.CreateClientKey(t.Context(), auth.CreateClientKeyRequest{RootKeyID: g.KeyID, Permissions: []string{"blob"}})
	require.ErrorIs(t, err, errkind.Unavailable)
	require.Contains(t, err.Error(), local.KeysFile)
	list, err := p.ClientKeys(t.Context())
	require.NoError(t, err)
	require.Empty(t, list, "what is not on disk did not happen")
}

func TestBootstrapFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, local.BootstrapFile)
	require.NoError(t, os.WriteFile(path, []byte("a-code-of-some-length\n"), 0o600))
	p := start(t, dir, map[string]cty.Value{"bootstrap_code": cty.NullVal(cty.String)})
	r := request(t, "olga", secret)
	r.Loopback = false
	_, err := p.Token(t.Context(), r)
	require.ErrorIs(t, err, errkind.PermissionDenied)
	require.NotContains(t, err.Error(), dir)
	r.BootstrapCode = "a-code-of-some-length"
	_, err = p.Token(t.Context(), r)
	require.NoError(t, err)
	require.NoFileExists(t, path, "the code is for one time")

	dir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, local.BootstrapFile), []byte("short"), 0o600))
	d := configure(t, dir, map[string]cty.Value{"bootstrap_code": cty.NullVal(cty.String)})
	require.True(t, d.HasErrors())
	require.Contains(t, d[0].String(), local.BootstrapFile)
}

func TestBootstrap_GuessingTheCode(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir(), nil)
	r := request(t, "olga", secret)
	r.Loopback = false
	for range 5 {
		r.BootstrapCode = "wrong code, wrong code"
		_, err := p.Token(t.Context(), r)
		require.ErrorIs(t, err, errkind.PermissionDenied)
	}
	r.BootstrapCode = bootstrapCode
	_, err := p.Token(t.Context(), r)
	require.ErrorIs(t, err, errkind.Exhausted)
	r.Loopback = true
	_, err = p.Token(t.Context(), r)
	require.NoError(t, err, "who sits at the machine is not kept out")
}

func TestConfig_Bounds(t *testing.T) {
	t.Parallel()
	number := cty.NumberFloatVal
	for name, v := range map[string]cty.Value{
		"access_token_expiry": number(0), "refresh_token_expiry": number(1e12), "min_password_length": number(0),
		"max_password_length": number(4), "argon2_memory_kib": number(1024), "argon2_iterations": number(1),
		"argon2_parallelism": number(0), "max_password_checks": number(1.5), "max_waiting_checks": number(-1),
		"max_failures": number(0), "issuer": cty.StringVal(""), "bootstrap_code": cty.StringVal("short"),
	} {
		d := configure(t, t.TempDir(), map[string]cty.Value{name: v})
		require.True(t, d.HasErrors(), name)
		require.Equal(t, []diag.Step{name}, d[0].Path)
	}
	d := configure(t, t.TempDir(), map[string]cty.Value{"access_token_expiry": number(100), "refresh_token_expiry": number(100)})
	require.True(t, d.HasErrors())
}

func TestPassword_Lengths(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir(), nil)
	for _, bad := range []string{"1234567", strings.Repeat("x", 129)} {
		_, err := p.Token(t.Context(), request(t, "olga", bad))
		require.ErrorIs(t, err, errkind.Invalid)
	}
	for _, name := range []string{"a\nb", strings.Repeat("x", 129), "\x00bootstrap", "\ufffd"} {
		_, err := p.Token(t.Context(), request(t, name, secret))
		require.ErrorIs(t, err, errkind.Invalid, "%q", name)
	}
	login(t, p, "olga", "12345678")
}

func TestPassword_NewCost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := start(t, dir, nil)
	old := login(t, first, "olga", secret)
	require.NoError(t, first.Close(t.Context()))
	p := start(t, dir, map[string]cty.Value{"argon2_iterations": cty.NumberIntVal(3)})
	login(t, p, "olga", secret)
	b, err := os.ReadFile(filepath.Join(dir, local.KeysFile))
	require.NoError(t, err)
	require.Contains(t, string(b), "t=3,p=1$")
	login(t, p, "olga", secret)
	_, err = p.Verify(t.Context(), old.Access, "")
	require.NoError(t, err)
}

func TestLimiter_Waits(t *testing.T) {
	t.Parallel()
	c := &clock{}
	p := start(t, t.TempDir(), map[string]cty.Value{"max_failures": cty.NumberIntVal(2)}, local.WithClock(c.now))
	login(t, p, "olga", secret)
	wrong := func() error {
		_, err := p.Token(t.Context(), request(t, "olga", "wrong wrong wrong"))
		return err
	}
	require.ErrorIs(t, wrong(), errkind.Unauthenticated)
	require.ErrorIs(t, wrong(), errkind.Unauthenticated)
	_, err := p.Token(t.Context(), request(t, "olga", secret))
	require.ErrorIs(t, err, errkind.Exhausted)
	require.Contains(t, err.Error(), "try again in")
	c.advance(2 * time.Minute)
	require.ErrorIs(t, wrong(), errkind.Unauthenticated)
	c.advance(time.Second)
	require.ErrorIs(t, wrong(), errkind.Exhausted, "the wait grows")
	c.advance(time.Minute)
	login(t, p, "olga", secret)
	require.ErrorIs(t, wrong(), errkind.Unauthenticated, "a success forgets")
}

// signer makes tokens with a plugin's own secret, as a thief or an older release could.
func signer(tb testing.TB, dir string) func(method jwt.SigningMethod, claims jwt.MapClaims) string {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join(dir, local.SecretFile))
	require.NoError(tb, err)
	var s struct {
		Token string `json:"token_secret"`
	}
	require.NoError(tb, json.Unmarshal(b, &s))
	raw, err := base64.RawURLEncoding.DecodeString(s.Token)
	require.NoError(tb, err)
	require.Len(tb, raw, 32)
	return func(method jwt.SigningMethod, claims jwt.MapClaims) string {
		var key any = []byte(s.Token) // http-api.md §5.3: the text, not the bytes
		if method == jwt.SigningMethodNone {
			key = jwt.UnsafeAllowNoneSignatureType
		}
		text, err := jwt.NewWithClaims(method, claims).SignedString(key)
		require.NoError(tb, err)
		return text
	}
}

func TestVerify_Claims(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := start(t, dir, nil)
	tokens := login(t, p, "olga", secret)
	claims := func(token string) jwt.MapClaims {
		var c jwt.MapClaims
		_, _, err := jwt.NewParser().ParseUnverified(token, &c)
		require.NoError(t, err)
		return c
	}
	c := claims(tokens.Access)
	require.Equal(t, "calimero-auth", c["iss"])
	require.Equal(t, "calimero-auth", c["aud"])
	require.Equal(t, []any{"admin"}, c["permissions"])
	require.Equal(t, "test", c["node_url"])
	require.EqualValues(t, 3600, c["exp"].(float64)-c["iat"].(float64))
	require.Len(t, c["jti"], 36)
	require.EqualValues(t, 2592000, claims(tokens.Refresh)["exp"].(float64)-c["iat"].(float64))
	sign := signer(t, dir)
	_, err := p.Verify(t.Context(), sign(jwt.SigningMethodHS256, c), "")
	require.NoError(t, err)

	changed := func(change func(jwt.MapClaims)) jwt.MapClaims {
		c := claims(tokens.Access)
		change(c)
		return c
	}
	for name, token := range map[string]string{
		"HS512":             sign(jwt.SigningMethodHS512, c),
		"none":              sign(jwt.SigningMethodNone, c),
		"issuer":            sign(jwt.SigningMethodHS256, changed(func(c jwt.MapClaims) { c["iss"] = "other" })),
		"no issuer":         sign(jwt.SigningMethodHS256, changed(func(c jwt.MapClaims) { delete(c, "iss") })),
		"audience":          sign(jwt.SigningMethodHS256, changed(func(c jwt.MapClaims) { c["aud"] = "other" })),
		"audiences":         sign(jwt.SigningMethodHS256, changed(func(c jwt.MapClaims) { c["aud"] = []string{"calimero-auth"} })),
		"no audience":       sign(jwt.SigningMethodHS256, changed(func(c jwt.MapClaims) { delete(c, "aud") })),
		"no expiry":         sign(jwt.SigningMethodHS256, changed(func(c jwt.MapClaims) { delete(c, "exp") })),
		"text as expiry":    sign(jwt.SigningMethodHS256, changed(func(c jwt.MapClaims) { c["exp"] = "never" })),
		"huge expiry":       sign(jwt.SigningMethodHS256, changed(func(c jwt.MapClaims) { c["exp"] = 1e300 })),
		"no use":            sign(jwt.SigningMethodHS256, changed(func(c jwt.MapClaims) { delete(c, "token_use") })),
		"refresh":           tokens.Refresh,
		"no subject":        sign(jwt.SigningMethodHS256, changed(func(c jwt.MapClaims) { delete(c, "sub") })),
		"strange subject":   sign(jwt.SigningMethodHS256, changed(func(c jwt.MapClaims) { c["sub"] = "x" })),
		"other credentials": sign(jwt.SigningMethodHS256, changed(func(c jwt.MapClaims) { c["gen"] = 7 })),
		"expired and other issuer": sign(jwt.SigningMethodHS256, changed(func(c jwt.MapClaims) {
			c["exp"], c["iss"] = 1, "other"
		})),
	} {
		_, err := p.Verify(t.Context(), token, "")
		require.ErrorIs(t, err, auth.KindInvalidToken, name)
		require.NotContains(t, err.Error(), token)
	}
	_, err = p.Verify(t.Context(), sign(jwt.SigningMethodHS256, changed(func(c jwt.MapClaims) { c["exp"] = 1 })), "")
	require.ErrorIs(t, err, auth.KindExpired)
	require.EqualError(t, err, "Invalid token: Token has expired")
}

func TestToken_NodeURLOfKey(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir(), nil)
	login(t, p, "olga", secret)
	c := authtest.UserPassword(t, "bob", secret)
	_, _, err := p.CreateKey(t.Context(), auth.CreateKeyRequest{PublicKey: "bob", Method: c.Method, ProviderData: c.Data,
		NodeURL: "http://a.example", Grantor: []string{"blob"}})
	require.NoError(t, err)
	for name, good := range map[string]bool{"http://a.example": true, "http://a.example:2528/x": true, "http://a.example.evil": false, "x": false} {
		r := request(t, "bob", secret)
		r.ClientName = name
		_, err := p.Token(t.Context(), r)
		if good {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorIs(t, err, errkind.Unauthenticated, name)
		require.EqualError(t, err, "Key is not valid for this node")
	}
}

func TestHashing_Bounded(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir(), map[string]cty.Value{"max_password_checks": cty.NumberIntVal(1),
		"max_waiting_checks": cty.NumberIntVal(0), "max_failures": cty.NumberIntVal(1000)})
	login(t, p, "olga", secret)
	const callers = 16
	errs := make(chan error, callers)
	for range callers {
		go func() {
			_, err := p.Token(context.Background(), request(t, "olga", "wrong wrong wrong"))
			errs <- err
		}()
	}
	for range callers {
		require.Contains(t, []errkind.Kind{errkind.Unauthenticated, errkind.Exhausted}, errkind.Of(<-errs))
	}
	login(t, p, "olga", secret)
}

func TestNotReady(t *testing.T) {
	t.Parallel()
	p := local.New()
	_, err := p.Verify(t.Context(), "a.b.c", "")
	require.ErrorIs(t, err, errkind.Unavailable)
	require.ErrorIs(t, p.Health(t.Context()), errkind.Unavailable)
	authtest.Configure(t, p, t.TempDir(), cheap(nil))
	require.NoError(t, p.Close(t.Context()))
	require.NoError(t, p.Close(t.Context()))
	_, err = p.Token(t.Context(), request(t, "olga", secret))
	require.ErrorIs(t, err, errkind.Unavailable)
	require.Error(t, p.Watch(t.Context(), func(auth.Event) error { return nil }))
}

func TestWatch_SlowWatcher(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir(), nil)
	g, err := p.Verify(t.Context(), login(t, p, "olga", secret).Access, "")
	require.NoError(t, err)
	started, release, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		first := true
		done <- p.Watch(context.Background(), func(auth.Event) error {
			if first {
				first = false
				close(started)
				<-release
			}
			return nil
		})
	}()
	<-started
	for i := range 300 {
		permission := []string{"blob"}
		r := auth.UpdatePermissionsRequest{KeyID: g.KeyID, Add: permission, Grantor: []string{auth.Admin}}
		if i%2 == 1 {
			r.Add, r.Remove = nil, permission
		}
		_, err := p.UpdatePermissions(t.Context(), r)
		require.NoError(t, err)
	}
	close(release)
	require.ErrorIs(t, <-done, errkind.Exhausted)
}

func FuzzVerify(f *testing.F) {
	dir := f.TempDir()
	p := start(f, dir, nil)
	tokens := login(f, p, "olga", secret)
	f.Add(tokens.Access, "localhost")
	f.Add(tokens.Refresh, "")
	f.Add("a.b.c", "[::1]:80")
	f.Add("eyJhbGciOiJub25lIn0.e30.", "x:y:z")
	sign := signer(f, dir)
	f.Add(sign(jwt.SigningMethodHS512, jwt.MapClaims{"sub": "x", "exp": 1 << 40}), "\xff")
	f.Fuzz(func(t *testing.T, token, host string) {
		g, err := p.Verify(t.Context(), token, host)
		if err == nil {
			require.Equal(t, tokens.Access, token, "another token is good")
			require.NotEmpty(t, g.KeyID)
			return
		}
		require.Contains(t, []errkind.Kind{errkind.Unauthenticated, errkind.Precondition, errkind.PermissionDenied,
			errkind.TooLarge, errkind.Invalid}, errkind.Of(err))
		_, err = p.Refresh(t.Context(), auth.RefreshRequest{Tokens: auth.Tokens{Access: token, Refresh: token}, Host: host})
		require.Error(t, err)
	})
}
