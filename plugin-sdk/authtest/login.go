package authtest

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/auth"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

func (k *kit) testLife(t *testing.T) {
	p := k.open(t)
	info, err := p.Info(t.Context())
	require.NoError(t, err)
	require.Equal(t, auth.Kind, info.Kind)
	require.EqualValues(t, auth.Protocol, info.Protocol)
	require.NotEmpty(t, info.Name)
	require.NoError(t, p.Health(t.Context()))
	schema, err := p.Schema(t.Context())
	require.NoError(t, err)
	for _, a := range schema.Attributes {
		require.NotEmpty(t, a.Doc, "attribute %s", a.Name)
	}
}

func (k *kit) testProviders(t *testing.T) {
	p := k.open(t)
	method := k.Credentials(t, owner, secret).Method
	find := func() auth.Provider {
		list, err := p.Providers(t.Context())
		require.NoError(t, err)
		for _, x := range list {
			if len(x.Config) > 0 {
				require.True(t, json.Valid(x.Config))
			}
			if x.Name == method {
				return x
			}
		}
		require.FailNow(t, "the provider is not in the list", "%s in %v", method, list)
		return auth.Provider{}
	}
	before := find()
	require.False(t, before.Configured)
	require.NotEmpty(t, before.Type)
	require.NotEmpty(t, before.Description)
	k.login(t, p, owner, secret, client)
	require.True(t, find().Configured)
}

func (k *kit) testChallenge(t *testing.T) {
	p := k.open(t)
	a, err := p.Challenge(t.Context())
	if errkind.Of(err) == errkind.Unsupported {
		t.Skip("no provider uses challenges")
	}
	require.NoError(t, err)
	b, err := p.Challenge(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, a.Nonce, b.Nonce)
	require.NotEqual(t, [auth.NonceLen]byte{}, a.Nonce)
	require.NotEqual(t, a.Token, b.Token)
	invalid(t, p, a.Token) // it grants nothing
}

func (k *kit) testBootstrap(t *testing.T) {
	p := k.open(t)
	remote := k.request(t, owner, secret, client)
	remote.Loopback = false
	_, err := p.Token(t.Context(), remote)
	require.ErrorIs(t, err, errkind.PermissionDenied, "without a code")
	remote.BootstrapCode = k.BootstrapCode + "x"
	_, err = p.Token(t.Context(), remote)
	require.ErrorIs(t, err, errkind.PermissionDenied, "with a wrong code")
	keys, err := p.Keys(t.Context())
	require.NoError(t, err)
	require.Empty(t, keys)

	remote.BootstrapCode = k.BootstrapCode
	tokens, err := p.Token(t.Context(), remote)
	require.NoError(t, err)
	require.Equal(t, []string{auth.Admin}, verify(t, p, tokens.Access).Permissions)

	other := k.request(t, "mallory", "some other secret", client)
	other.BootstrapCode = k.BootstrapCode
	_, err = p.Token(t.Context(), other)
	require.ErrorIs(t, err, errkind.Unauthenticated, "there is an account: neither loopback nor the code makes another")

	remote.BootstrapCode = ""
	_, err = p.Token(t.Context(), remote)
	require.NoError(t, err, "who has an account logs in from anywhere")
}

func (k *kit) testToken(t *testing.T) {
	before := time.Now()
	p, tokens, g := k.owned(t)
	require.NotEqual(t, tokens.Access, tokens.Refresh)
	require.Equal(t, []string{auth.Admin}, g.Permissions)
	require.Equal(t, g.KeyID, g.RootKeyID)
	require.NotEmpty(t, g.KeyID)
	require.NotEmpty(t, g.PublicKey)
	if k.Advance == nil {
		require.WithinRange(t, g.Expires, before.Add(k.AccessLife-2*time.Second), time.Now().Add(k.AccessLife+2*time.Second))
	}
	again := k.login(t, p, owner, secret, client)
	require.NotEqual(t, tokens.Access, again.Access, "tokens are unique")
	require.Equal(t, g.KeyID, verify(t, p, again.Access).KeyID, "the same account has the same key")
	require.Equal(t, g.KeyID, verify(t, p, tokens.Access).KeyID, "a login does not end other tokens")
}

func (k *kit) testWrongCredentials(t *testing.T) {
	p, _, _ := k.owned(t)
	_, err := p.Token(t.Context(), k.request(t, owner, "wrong secret 1", client))
	require.ErrorIs(t, err, errkind.Unauthenticated)
	wrong := err.Error()
	_, err = p.Token(t.Context(), k.request(t, "nobody", secret, client))
	require.ErrorIs(t, err, errkind.Unauthenticated)
	require.Equal(t, wrong, err.Error(), "the answer does not tell whether the account exists")

	r := k.request(t, owner, secret, client)
	r.Method = "no_such_method"
	_, err = p.Token(t.Context(), r)
	require.ErrorIs(t, err, errkind.Invalid)
	require.Contains(t, err.Error(), "no_such_method")
	for _, data := range []string{`{}`, `[]`, `null`, `"x"`, `{"username":1,"password":2}`} {
		r := k.request(t, owner, secret, client)
		r.ProviderData = json.RawMessage(data)
		_, err = p.Token(t.Context(), r)
		require.ErrorIs(t, err, errkind.Invalid, "%s", data)
	}
}

func (k *kit) testGuessing(t *testing.T) {
	p, _, _ := k.owned(t)
	k.addKey(t, p, "victor", secret, "blob")
	for n := 0; ; n++ {
		require.Less(t, n, 1000, "a thousand guesses and nobody minds")
		_, err := p.Token(t.Context(), k.request(t, "victor", "wrong secret 2", client))
		require.Error(t, err)
		if errkind.Of(err) == errkind.Exhausted {
			break
		}
		require.ErrorIs(t, err, errkind.Unauthenticated)
	}
	_, err := p.Token(t.Context(), k.request(t, "victor", "wrong secret 2", client))
	require.Error(t, err)
	k.login(t, p, owner, secret, client) // others are not kept waiting
}

func (k *kit) testHost(t *testing.T) {
	p, unbound, _ := k.owned(t)
	bound := k.login(t, p, owner, secret, "http://node1.example:2528/path")
	for _, host := range []string{"node1.example", "node1.example:80", "NODE1.example:2528", ""} {
		_, err := p.Verify(t.Context(), bound.Access, host)
		require.NoError(t, err, "%q", host)
	}
	for _, host := range []string{"node2.example", "node1.example.evil", "localhost:2528", "[::1]:2528", "node1.example@x"} {
		_, err := p.Verify(t.Context(), bound.Access, host)
		require.ErrorIs(t, err, auth.KindWrongHost, "%q", host)
		_, err = p.Verify(t.Context(), unbound.Access, host)
		require.NoError(t, err, "%q: a client name that is no URL binds to nothing", host)
	}
	six := k.login(t, p, owner, secret, "http://[::1]:2528")
	for _, host := range []string{"[::1]", "[::1]:99"} {
		_, err := p.Verify(t.Context(), six.Access, host)
		require.NoError(t, err, "%q", host)
	}
}

func (k *kit) testUses(t *testing.T) {
	p, tokens, _ := k.owned(t)
	invalid(t, p, tokens.Refresh)
	_, err := p.Refresh(t.Context(), auth.RefreshRequest{Tokens: auth.Tokens{Access: tokens.Refresh, Refresh: tokens.Refresh}})
	require.ErrorIs(t, err, errkind.Unauthenticated)
	_, err = p.Refresh(t.Context(), auth.RefreshRequest{Tokens: tokens})
	require.ErrorIs(t, err, errkind.Unauthenticated)
	require.EqualError(t, err, "Access token still valid")
}

func (k *kit) testRefresh(t *testing.T) {
	if k.Advance == nil {
		t.Skip("time cannot be advanced here")
	}
	p, tokens, g := k.owned(t)
	k.addKey(t, p, "bob", secret, auth.Admin)
	bob := k.login(t, p, "bob", secret, client)
	bound := k.login(t, p, owner, secret, "http://node1.example")
	clientTokens, err := p.CreateClientKey(t.Context(), auth.CreateClientKeyRequest{RootKeyID: g.KeyID, ContextID: "ctx",
		Identity: "me"})
	require.NoError(t, err)
	clientID := verify(t, p, clientTokens.Access).KeyID

	k.Advance(t, p, k.AccessLife+time.Minute)
	_, err = p.Verify(t.Context(), tokens.Access, "")
	require.ErrorIs(t, err, auth.KindExpired)
	require.Contains(t, err.Error(), "expired")
	refresh := func(access, refresh, host string) (auth.Tokens, error) {
		return p.Refresh(t.Context(), auth.RefreshRequest{Tokens: auth.Tokens{Access: access, Refresh: refresh}, Host: host})
	}
	_, err = refresh(tokens.Access, tokens.Access, "")
	require.ErrorIs(t, err, errkind.Unauthenticated, "an access token does not refresh")
	_, err = refresh(bob.Access, tokens.Refresh, "")
	require.ErrorIs(t, err, errkind.Unauthenticated, "both are of one key")
	_, err = refresh(bound.Access, bound.Refresh, "node2.example")
	require.ErrorIs(t, err, auth.KindWrongHost)

	renewed, err := refresh(tokens.Access, tokens.Refresh, "")
	require.NoError(t, err)
	require.Equal(t, g.KeyID, verify(t, p, renewed.Access).KeyID)
	renewed, err = refresh(bound.Access, bound.Refresh, "node1.example:1")
	require.NoError(t, err)
	_, err = p.Verify(t.Context(), renewed.Access, "node2.example")
	require.ErrorIs(t, err, auth.KindWrongHost, "the binding is kept")

	rotated, err := refresh(clientTokens.Access, clientTokens.Refresh, "")
	require.NoError(t, err)
	grant := verify(t, p, rotated.Access)
	require.NotEqual(t, clientID, grant.KeyID, "a client key gets a new id")
	require.Equal(t, g.KeyID, grant.RootKeyID)
	require.Equal(t, []string{"context[ctx,me]"}, grant.Permissions)
	_, err = refresh(clientTokens.Access, clientTokens.Refresh, "")
	require.ErrorIs(t, err, errkind.NotFound, "the old id is gone")

	k.Advance(t, p, k.RefreshLife)
	_, err = refresh(renewed.Access, renewed.Refresh, "node1.example")
	require.ErrorIs(t, err, errkind.Unauthenticated)
}

func (k *kit) testShort(t *testing.T) {
	if k.Short == nil {
		t.Skip("no plugin with short-lived tokens")
	}
	p := closed(t, k.Short(t))
	tokens := k.login(t, p, owner, secret, client)
	var err error
	require.Eventually(t, func() bool {
		_, err = p.Verify(t.Context(), tokens.Access, "")
		return err != nil
	}, time.Minute, 50*time.Millisecond)
	require.ErrorIs(t, err, auth.KindExpired)
	_, err = p.Refresh(t.Context(), auth.RefreshRequest{Tokens: tokens})
	require.NoError(t, err)
}
