// Package authtest is the conformance kit of auth plugins: the contract of package auth as tests. A plugin's author runs
// it against the implementation in process, over gRPC, and in a child process:
//
//	for _, h := range sdktest.Heights(auth.Wire, myauth.New, sdktest.Reexec("myauth")) {
//		t.Run(h.Name, func(t *testing.T) { authtest.Run(t, authtest.Factory{…}) })
//	}
package authtest

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/calimero-go/core/plugin-sdk/auth"
	"github.com/calimero-go/core/plugin-sdk/base"
)

// Credentials are what somebody logs in with.
type Credentials struct {
	Method, PublicKey string
	Data              json.RawMessage
}

// Factory makes the plugins of the tests.
type Factory struct {
	// New makes a configured plugin without accounts. The kit closes it.
	New func(tb testing.TB) auth.Plugin
	// Reopen closes p in good order and opens its data anew; nil when nothing outlives the plugin.
	Reopen func(tb testing.TB, p auth.Plugin) auth.Plugin
	// Credentials are those of a person with a secret: the same for equal arguments, and for one person with another
	// secret, what that person would send by mistake or after a change.
	Credentials func(tb testing.TB, person, secret string) Credentials
	// BootstrapCode is the code that New configures.
	BootstrapCode string
	// Advance lets time pass for p; nil leaves out the tests of expiry, unless Short is there.
	Advance func(tb testing.TB, p auth.Plugin, d time.Duration)
	// Short makes a plugin as New does, whose access tokens last about a second.
	Short func(tb testing.TB) auth.Plugin
	// AccessLife and RefreshLife are how long tokens of New last.
	AccessLife, RefreshLife time.Duration
}

// UserPassword makes credentials for the provider user_password.
func UserPassword(tb testing.TB, person, secret string) Credentials {
	tb.Helper()
	data, err := json.Marshal(map[string]string{"username": person, "password": secret})
	require.NoError(tb, err)
	return Credentials{Method: "user_password", PublicKey: person, Data: data}
}

// Run holds a plugin to the contract.
func Run(t *testing.T, f Factory) {
	k := &kit{f}
	for _, c := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"life", k.testLife},
		{"providers tell whether somebody can log in", k.testProviders},
		{"challenges are fresh", k.testChallenge},
		{"the first account", k.testBootstrap},
		{"tokens are issued and verified", k.testToken},
		{"wrong credentials are refused", k.testWrongCredentials},
		{"guessing is slowed", k.testGuessing},
		{"tokens are bound to a host", k.testHost},
		{"a refresh token is no access token", k.testUses},
		{"expiry and refresh", k.testRefresh},
		{"expiry in real time", k.testShort},
		{"root keys", k.testKeys},
		{"new credentials end old tokens", k.testReplace},
		{"the last root key stays", k.testLastKey},
		{"permissions", k.testPermissions},
		{"nobody gives more than they have", k.testEscalation},
		{"client keys", k.testClientKeys},
		{"revocation is watched", k.testWatch},
		{"watches end with their context", k.testWatchEnd},
		{"everything survives a restart", k.testRestart},
		{"hostile tokens", k.testHostileTokens},
		{"hostile requests", k.testHostileRequests},
		{"32 callers", k.testConcurrency},
		{"racing for the first account", k.testBootstrapRace},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t)
		})
	}
}

const (
	owner  = "olga"
	secret = "correct horse battery"
	client = "authtest"
)

type kit struct{ Factory }

// open makes a plugin that is closed at the end of t.
func (k *kit) open(t *testing.T) auth.Plugin {
	t.Helper()
	return closed(t, k.New(t))
}

func closed(t *testing.T, p auth.Plugin) auth.Plugin {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, p.Close(ctx))
	})
	return p
}

// owned makes a plugin with the first account and answers its tokens and grant.
func (k *kit) owned(t *testing.T) (auth.Plugin, auth.Tokens, auth.Grant) {
	t.Helper()
	p := k.open(t)
	tokens := k.login(t, p, owner, secret, client)
	return p, tokens, verify(t, p, tokens.Access)
}

func (k *kit) request(tb testing.TB, person, secret, name string) auth.TokenRequest {
	tb.Helper()
	c := k.Credentials(tb, person, secret)
	return auth.TokenRequest{Method: c.Method, PublicKey: c.PublicKey, ClientName: name, ProviderData: c.Data, Loopback: true}
}

func (k *kit) login(t *testing.T, p auth.Plugin, person, secret, name string) auth.Tokens {
	t.Helper()
	tokens, err := p.Token(t.Context(), k.request(t, person, secret, name))
	require.NoError(t, err)
	return tokens
}

// addKey makes a root key for a person and answers its id.
func (k *kit) addKey(t *testing.T, p auth.Plugin, person, secret string, permissions ...string) string {
	t.Helper()
	c := k.Credentials(t, person, secret)
	id, created, err := p.CreateKey(t.Context(), auth.CreateKeyRequest{PublicKey: c.PublicKey, Method: c.Method,
		ProviderData: c.Data, Grantor: permissions})
	require.NoError(t, err)
	require.True(t, created)
	require.NotEmpty(t, id)
	return id
}

func verify(t *testing.T, p auth.Auth, token string) auth.Grant {
	t.Helper()
	g, err := p.Verify(t.Context(), token, "")
	require.NoError(t, err)
	return g
}

func invalid(t *testing.T, p auth.Auth, token string) {
	t.Helper()
	_, err := p.Verify(t.Context(), token, "")
	require.ErrorIs(t, err, auth.KindInvalidToken)
}

// watch collects events until the test ends.
func watch(t *testing.T, p auth.Auth) <-chan auth.Event {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	events, done := make(chan auth.Event, 1000), make(chan error, 1)
	go func() {
		done <- p.Watch(ctx, func(e auth.Event) error {
			events <- e
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		require.Error(t, <-done, "a watch says why it ended")
	})
	started := next(t, events)
	require.Equal(t, auth.EventStarted, started.Kind)
	require.Empty(t, started.KeyID)
	return events
}

func next(t *testing.T, events <-chan auth.Event) auth.Event {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(time.Minute):
		require.FailNow(t, "no event within a minute")
		return auth.Event{}
	}
}

// errStop ends a watch from inside.
var errStop = errors.New("stop")

// Configure configures p with the defaults of its schema, changed by attributes, and requires that nothing is wrong.
func Configure(tb testing.TB, p auth.Plugin, dataDir string, attributes map[string]cty.Value) {
	tb.Helper()
	ctx := context.Background()
	schema, err := p.Schema(ctx)
	require.NoError(tb, err)
	d, err := p.Configure(ctx, base.Config{Value: Value(schema, attributes), DataDir: dataDir, Node: "authtest"})
	require.NoError(tb, err)
	require.False(tb, d.HasErrors(), "%v", d)
}

// Value is the config block with the defaults of s, changed by attributes. Blocks are left out.
func Value(s base.Schema, attributes map[string]cty.Value) cty.Value {
	m := make(map[string]cty.Value)
	for name, t := range s.ObjectType().AttributeTypes() {
		m[name] = cty.NullVal(t)
	}
	for _, a := range s.Attributes {
		if a.Default != cty.NilVal {
			m[a.Name] = a.Default
		}
		if v, ok := attributes[a.Name]; ok {
			m[a.Name] = v
		}
	}
	for _, b := range s.Blocks {
		if b.Repeated {
			m[b.Name] = cty.ListValEmpty(b.Schema.ObjectType())
		}
	}
	return cty.ObjectVal(m)
}
