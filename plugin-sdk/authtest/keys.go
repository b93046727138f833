package authtest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/auth"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

func (k *kit) testKeys(t *testing.T) {
	p, _, g := k.owned(t)
	id := k.addKey(t, p, "bob", secret, "application", "context:list")
	bob := k.login(t, p, "bob", secret, client)
	grant := verify(t, p, bob.Access)
	require.Equal(t, id, grant.KeyID)
	require.Equal(t, []string{"application", "context:list"}, grant.Permissions)

	keys, err := p.Keys(t.Context())
	require.NoError(t, err)
	require.Len(t, keys, 2)
	require.ElementsMatch(t, []string{g.KeyID, id}, []string{keys[0].ID, keys[1].ID})
	require.False(t, keys[1].Created.Before(keys[0].Created), "oldest first")

	revoked, err := p.DeleteKey(t.Context(), id)
	require.NoError(t, err)
	require.False(t, revoked.IsZero())
	invalid(t, p, bob.Access)
	_, err = p.Token(t.Context(), k.request(t, "bob", secret, client))
	require.ErrorIs(t, err, errkind.Unauthenticated)
	again, err := p.DeleteKey(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, revoked.UnixMilli(), again.UnixMilli())
	keys, err = p.Keys(t.Context())
	require.NoError(t, err)
	require.Len(t, keys, 2, "revoked ones are listed")
	_, err = p.Permissions(t.Context(), id)
	require.ErrorIs(t, err, errkind.NotFound)

	for _, call := range []func() error{
		func() error { _, err := p.DeleteKey(t.Context(), "nothing"); return err },
		func() error { _, err := p.Revoke(t.Context(), "nothing"); return err },
		func() error { _, err := p.Permissions(t.Context(), "nothing"); return err },
		func() error { _, err := p.RevokeClientKey(t.Context(), g.KeyID, "nothing"); return err },
		func() error {
			_, err := p.CreateClientKey(t.Context(), auth.CreateClientKeyRequest{RootKeyID: "nothing"})
			return err
		},
	} {
		require.ErrorIs(t, call(), errkind.NotFound)
	}
}

func (k *kit) testReplace(t *testing.T) {
	p, _, _ := k.owned(t)
	id := k.addKey(t, p, "bob", secret, "blob")
	bob := k.login(t, p, "bob", secret, client)
	clientTokens, err := p.CreateClientKey(t.Context(), auth.CreateClientKeyRequest{RootKeyID: id, Permissions: []string{"blob"}})
	require.NoError(t, err)

	c := k.Credentials(t, "bob", "another secret")
	replace := func(grantor ...string) (string, bool, error) {
		return p.CreateKey(t.Context(), auth.CreateKeyRequest{PublicKey: c.PublicKey, Method: c.Method, ProviderData: c.Data,
			Grantor: grantor})
	}
	same, created, err := replace(auth.Admin)
	require.NoError(t, err)
	require.False(t, created)
	require.Equal(t, id, same)
	invalid(t, p, bob.Access)
	_, err = p.Token(t.Context(), k.request(t, "bob", secret, client))
	require.ErrorIs(t, err, errkind.Unauthenticated)
	bob = k.login(t, p, "bob", "another secret", client)
	require.Equal(t, []string{"blob"}, verify(t, p, bob.Access).Permissions, "new credentials are no new permissions")

	_, err = p.Revoke(t.Context(), id)
	require.NoError(t, err)
	invalid(t, p, clientTokens.Access)
	_, created, err = replace(auth.Admin)
	require.NoError(t, err)
	require.False(t, created)
	invalid(t, p, bob.Access)
	invalid(t, p, clientTokens.Access)
}

func (k *kit) testLastKey(t *testing.T) {
	p, tokens, g := k.owned(t)
	helper := k.addKey(t, p, "bob", secret, "keys")
	_, err := p.DeleteKey(t.Context(), g.KeyID)
	require.ErrorIs(t, err, errkind.Precondition)
	_, err = p.Revoke(t.Context(), g.KeyID)
	require.ErrorIs(t, err, errkind.Precondition)
	_, err = p.UpdatePermissions(t.Context(), auth.UpdatePermissionsRequest{KeyID: g.KeyID, Add: []string{"blob"},
		Remove: []string{auth.Admin}, Grantor: []string{auth.Admin}})
	require.ErrorIs(t, err, errkind.Precondition)
	verify(t, p, tokens.Access)

	_, err = p.UpdatePermissions(t.Context(), auth.UpdatePermissionsRequest{KeyID: helper, Add: []string{auth.Admin},
		Grantor: []string{auth.Admin}})
	require.NoError(t, err)
	_, err = p.DeleteKey(t.Context(), g.KeyID)
	require.NoError(t, err, "another admin is there")
	invalid(t, p, tokens.Access)
	_, err = p.Token(t.Context(), k.request(t, "mallory", secret, client))
	require.ErrorIs(t, err, errkind.Unauthenticated, "a revoked account does not reopen the start")
}

func (k *kit) testPermissions(t *testing.T) {
	p, _, _ := k.owned(t)
	id := k.addKey(t, p, "bob", secret, "context:list", "blob")
	bob := k.login(t, p, "bob", secret, client)
	update := func(add, remove []string) ([]string, error) {
		return p.UpdatePermissions(t.Context(), auth.UpdatePermissionsRequest{KeyID: id, Add: add, Remove: remove,
			Grantor: []string{auth.Admin}})
	}
	list, err := update([]string{"context:execute[c,u,m]", "blob"}, []string{"context:list"})
	require.NoError(t, err)
	require.Equal(t, []string{"blob", "context:execute[c,u,m]"}, list)
	require.Equal(t, list, verify(t, p, bob.Access).Permissions, "they hold at once, for old tokens too")
	stored, err := p.Permissions(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, list, stored)

	_, err = update(nil, list)
	require.ErrorIs(t, err, errkind.Invalid)
	require.EqualError(t, err, "Key must have at least one permission")
	for _, bad := range []string{"fly", "admin[x]", "context:list[", "context:list[a,b,c,d]"} {
		_, err = update([]string{bad}, nil)
		require.ErrorIs(t, err, errkind.Invalid, "%q", bad)
	}
	stored, err = p.Permissions(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, list, stored, "a refused change changes nothing")
}

func (k *kit) testEscalation(t *testing.T) {
	p, tokens, g := k.owned(t)
	helper := []string{"keys", "blob"}
	bob := k.addKey(t, p, "bob", secret, helper...)
	_, err := p.UpdatePermissions(t.Context(), auth.UpdatePermissionsRequest{KeyID: bob, Add: []string{auth.Admin}, Grantor: helper})
	require.ErrorIs(t, err, errkind.PermissionDenied)
	_, err = p.UpdatePermissions(t.Context(), auth.UpdatePermissionsRequest{KeyID: g.KeyID, Add: []string{"blob"}, Grantor: helper})
	require.ErrorIs(t, err, errkind.PermissionDenied)
	c := k.Credentials(t, owner, "stolen by a new secret")
	_, _, err = p.CreateKey(t.Context(), auth.CreateKeyRequest{PublicKey: c.PublicKey, Method: c.Method, ProviderData: c.Data,
		Grantor: helper})
	require.ErrorIs(t, err, errkind.PermissionDenied)
	verify(t, p, tokens.Access)
	_, _, err = p.CreateKey(t.Context(), auth.CreateKeyRequest{PublicKey: "x", Method: c.Method,
		ProviderData: k.Credentials(t, "carol", secret).Data})
	require.ErrorIs(t, err, errkind.PermissionDenied, "who has nothing gives nothing")

	_, err = p.CreateClientKey(t.Context(), auth.CreateClientKeyRequest{RootKeyID: bob, Permissions: []string{"context:list"}})
	require.ErrorIs(t, err, errkind.Invalid)
	require.EqualError(t, err, "Root key does not have permission: context:list")
	_, err = p.CreateClientKey(t.Context(), auth.CreateClientKeyRequest{RootKeyID: bob, ContextID: "c", Identity: "u"})
	require.ErrorIs(t, err, errkind.Invalid)
	child, err := p.CreateClientKey(t.Context(), auth.CreateClientKeyRequest{RootKeyID: bob, Permissions: []string{"blob", "keys:list"}})
	require.NoError(t, err)
	childID := verify(t, p, child.Access).KeyID
	_, err = p.UpdatePermissions(t.Context(), auth.UpdatePermissionsRequest{KeyID: childID, Add: []string{"context"},
		Grantor: []string{auth.Admin}})
	require.ErrorIs(t, err, errkind.Invalid, "a client key stays below its root key")
	_, err = p.UpdatePermissions(t.Context(), auth.UpdatePermissionsRequest{KeyID: bob, Remove: []string{"keys"},
		Grantor: []string{auth.Admin}})
	require.NoError(t, err)
	require.Equal(t, []string{"blob"}, verify(t, p, child.Access).Permissions, "what the root key loses, its client keys lose")
}

func (k *kit) testClientKeys(t *testing.T) {
	p, _, g := k.owned(t)
	tokens, err := p.CreateClientKey(t.Context(), auth.CreateClientKeyRequest{RootKeyID: g.KeyID, ContextID: "ctx",
		Identity: "me", Permissions: []string{"blob:add"}, NodeURL: "http://node1.example"})
	require.NoError(t, err)
	grant, err := p.Verify(t.Context(), tokens.Access, "node1.example")
	require.NoError(t, err)
	_, err = p.Verify(t.Context(), tokens.Access, "node2.example")
	require.ErrorIs(t, err, auth.KindWrongHost)
	require.Equal(t, []string{"context[ctx,me]", "blob:add"}, grant.Permissions)
	require.Equal(t, g.KeyID, grant.RootKeyID)
	require.NotEqual(t, g.KeyID, grant.KeyID)

	other, err := p.CreateClientKey(t.Context(), auth.CreateClientKeyRequest{RootKeyID: g.KeyID, ContextID: "ctx", Identity: "me"})
	require.NoError(t, err)
	require.NotEqual(t, grant.KeyID, verify(t, p, other.Access).KeyID, "each client has a key of its own")
	list, err := p.ClientKeys(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 2)
	for _, c := range list {
		require.Equal(t, g.KeyID, c.RootKeyID)
		require.True(t, c.Valid)
		require.True(t, c.Revoked.IsZero())
		require.NotEmpty(t, c.Name)
	}
	_, err = p.CreateClientKey(t.Context(), auth.CreateClientKeyRequest{RootKeyID: grant.KeyID, Permissions: []string{"blob:add"}})
	require.ErrorIs(t, err, errkind.NotFound, "a client key has no client keys")
	_, err = p.DeleteKey(t.Context(), grant.KeyID)
	require.ErrorIs(t, err, errkind.Invalid)
	_, err = p.RevokeClientKey(t.Context(), "other", grant.KeyID)
	require.ErrorIs(t, err, errkind.Invalid)
	at, err := p.RevokeClientKey(t.Context(), g.KeyID, grant.KeyID)
	require.NoError(t, err)
	require.False(t, at.IsZero())
	invalid(t, p, tokens.Access)
	verify(t, p, other.Access)
}

func (k *kit) testWatch(t *testing.T) {
	p, tokens, g := k.owned(t)
	bob := k.addKey(t, p, "bob", secret, "keys", "blob")
	child, err := p.CreateClientKey(t.Context(), auth.CreateClientKeyRequest{RootKeyID: bob, Permissions: []string{"blob"}})
	require.NoError(t, err)
	childID := verify(t, p, child.Access).KeyID
	events, second := watch(t, p), watch(t, p)
	before := verify(t, p, tokens.Access).Sequence

	_, err = p.UpdatePermissions(t.Context(), auth.UpdatePermissionsRequest{KeyID: bob, Add: []string{"package"},
		Grantor: []string{auth.Admin}})
	require.NoError(t, err)
	_, err = p.RevokeClientKey(t.Context(), bob, childID)
	require.NoError(t, err)
	_, err = p.DeleteKey(t.Context(), bob)
	require.NoError(t, err)
	for _, stream := range []<-chan auth.Event{events, second} {
		for i, want := range []auth.Event{{Kind: auth.EventChanged, KeyID: bob}, {Kind: auth.EventRevoked, KeyID: childID},
			{Kind: auth.EventRevoked, KeyID: bob}} {
			want.Sequence = before + uint64(i) + 1
			require.Equal(t, want, next(t, stream))
		}
	}
	after := verify(t, p, tokens.Access)
	require.Equal(t, before+3, after.Sequence, "a grant tells what it takes into account")
	require.Equal(t, g.KeyID, after.KeyID)
}

func (k *kit) testWatchEnd(t *testing.T) {
	p := k.open(t)
	require.ErrorIs(t, p.Watch(t.Context(), func(auth.Event) error { return errStop }), errStop)
	ctx, cancel := context.WithCancel(t.Context())
	err := p.Watch(ctx, func(auth.Event) error {
		cancel()
		return nil
	})
	require.ErrorIs(t, err, errkind.Canceled)
}

func (k *kit) testRestart(t *testing.T) {
	if k.Reopen == nil {
		t.Skip("nothing outlives the plugin")
	}
	p := k.New(t)
	tokens := k.login(t, p, owner, secret, client)
	g := verify(t, p, tokens.Access)
	bob := k.addKey(t, p, "bob", secret, "blob")
	bobs := k.login(t, p, "bob", secret, client)
	child, err := p.CreateClientKey(t.Context(), auth.CreateClientKeyRequest{RootKeyID: g.KeyID, ContextID: "c", Identity: "u"})
	require.NoError(t, err)
	gone, err := p.CreateClientKey(t.Context(), auth.CreateClientKeyRequest{RootKeyID: bob, Permissions: []string{"blob"}})
	require.NoError(t, err)
	_, err = p.DeleteKey(t.Context(), bob)
	require.NoError(t, err)
	before, err := p.Keys(t.Context())
	require.NoError(t, err)
	clients, err := p.ClientKeys(t.Context())
	require.NoError(t, err)

	p = closed(t, k.Reopen(t, p))
	require.Equal(t, g.KeyID, verify(t, p, tokens.Access).KeyID)
	require.Equal(t, []string{"context[c,u]"}, verify(t, p, child.Access).Permissions)
	invalid(t, p, bobs.Access)
	invalid(t, p, gone.Access)
	after, err := p.Keys(t.Context())
	require.NoError(t, err)
	require.Equal(t, before, after)
	clientsAfter, err := p.ClientKeys(t.Context())
	require.NoError(t, err)
	require.Equal(t, clients, clientsAfter)
	k.login(t, p, owner, secret, client)
	_, err = p.Token(t.Context(), k.request(t, "mallory", secret, client))
	require.ErrorIs(t, err, errkind.Unauthenticated)
}

func (k *kit) testConcurrency(t *testing.T) {
	p, tokens, g := k.owned(t)
	events := watch(t, p)
	const callers = 32
	var wg sync.WaitGroup
	errs := make(chan error, callers)
	for n := range callers {
		wg.Go(func() {
			errs <- func() error {
				ctx := t.Context()
				if _, err := p.Token(ctx, k.request(t, owner, secret, fmt.Sprintf("caller %d", n))); err != nil {
					return fmt.Errorf("log in: %w", err)
				}
				for range 20 {
					if _, err := p.Verify(ctx, tokens.Access, ""); err != nil {
						return fmt.Errorf("verify: %w", err)
					}
				}
				child, err := p.CreateClientKey(ctx, auth.CreateClientKeyRequest{RootKeyID: g.KeyID, ContextID: fmt.Sprint(n),
					Identity: "me"})
				if err != nil {
					return fmt.Errorf("create a client key: %w", err)
				}
				grant, err := p.Verify(ctx, child.Access, "")
				if err != nil {
					return fmt.Errorf("verify a client key: %w", err)
				}
				if _, err := p.RevokeClientKey(ctx, g.KeyID, grant.KeyID); err != nil {
					return fmt.Errorf("revoke: %w", err)
				}
				if _, err := p.Verify(ctx, child.Access, ""); errkind.Of(err) != auth.KindInvalidToken {
					return fmt.Errorf("verify a revoked key: %w", err)
				}
				_, err = p.ClientKeys(ctx)
				return err
			}()
		})
	}
	wg.Wait()
	for range callers {
		require.NoError(t, <-errs)
	}
	seen := make(map[string]bool)
	for range callers {
		e := next(t, events)
		require.Equal(t, auth.EventRevoked, e.Kind)
		require.False(t, seen[e.KeyID])
		seen[e.KeyID] = true
	}
}

func (k *kit) testBootstrapRace(t *testing.T) {
	p := k.open(t)
	const callers = 8
	var wg sync.WaitGroup
	won := make(chan string, callers)
	for n := range callers {
		wg.Go(func() {
			person := fmt.Sprintf("racer%d", n)
			if _, err := p.Token(t.Context(), k.request(t, person, secret, client)); err == nil {
				won <- person
			}
		})
	}
	wg.Wait()
	require.Len(t, won, 1, "one account is the first")
	keys, err := p.Keys(t.Context())
	require.NoError(t, err)
	require.Len(t, keys, 1)
}

func (k *kit) testHostileTokens(t *testing.T) {
	p, tokens, _ := k.owned(t)
	long := strings.Repeat("a", auth.MaxToken+1)
	bad := []string{"", "x", "Bearer " + tokens.Access, long, long + "." + long + "." + long, "a.b.c", "..", "...", "\x00",
		tokens.Access + "\n", tokens.Access + "=", tokens.Access + ".", " " + tokens.Access, "é" + tokens.Access,
		string([]byte{0xff, 0xfe}), strings.ToUpper(tokens.Access), tokens.Access[:len(tokens.Access)-1]}
	if parts := strings.Split(tokens.Access, "."); len(parts) == 3 {
		head, claims, sig := parts[0], parts[1], parts[2]
		other := strings.Split(tokens.Refresh, ".")
		none := "eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0" // {"typ":"JWT","alg":"none"}
		bad = append(bad, none+"."+claims+".", none+"."+claims+"."+sig, head+"."+claims+".", head+"."+other[1]+"."+sig,
			head+"."+claims+"."+other[2], "e30."+claims+"."+sig, head+".e30."+sig)
	}
	// One flipped character anywhere makes another token.
	for i := 0; i < len(tokens.Access); i += 1 + len(tokens.Access)/64 {
		c := byte('A')
		if tokens.Access[i] == c {
			c = 'Q'
		}
		bad = append(bad, tokens.Access[:i]+string(c)+tokens.Access[i+1:])
	}
	for _, token := range bad {
		_, err := p.Verify(t.Context(), token, "")
		require.ErrorIs(t, err, auth.KindInvalidToken, "%.80q", token)
		_, err = p.Refresh(t.Context(), auth.RefreshRequest{Tokens: auth.Tokens{Access: token, Refresh: tokens.Refresh}})
		require.ErrorIs(t, err, errkind.Unauthenticated, "%.80q", token)
	}
	// Another installation's token is worth nothing here.
	strange := k.open(t)
	invalid(t, strange, tokens.Access)
	k.login(t, strange, owner, secret, client)
	invalid(t, strange, tokens.Access)
	verify(t, p, tokens.Access)
}

func (k *kit) testHostileRequests(t *testing.T) {
	p, tokens, g := k.owned(t)
	long := strings.Repeat("x", auth.MaxText+1)
	refused := func(err error, what string) {
		t.Helper()
		require.Error(t, err, what)
		require.Contains(t, []errkind.Kind{errkind.TooLarge, errkind.Invalid, errkind.NotFound, errkind.Unauthenticated},
			errkind.Of(err), "%s: %v", what, err)
	}
	for what, change := range map[string]func(*auth.TokenRequest){
		"long method": func(r *auth.TokenRequest) { r.Method = long },
		"long key":    func(r *auth.TokenRequest) { r.PublicKey = long },
		"long name":   func(r *auth.TokenRequest) { r.ClientName = long },
		"long code":   func(r *auth.TokenRequest) { r.BootstrapCode = long },
		"not UTF-8":   func(r *auth.TokenRequest) { r.ClientName = "\xff" },
		"no JSON":     func(r *auth.TokenRequest) { r.ProviderData = []byte("{") },
		"no data":     func(r *auth.TokenRequest) { r.ProviderData = nil },
		"long data": func(r *auth.TokenRequest) {
			r.ProviderData = []byte(`"` + strings.Repeat("x", auth.MaxProviderData) + `"`)
		},
		"long secret": func(r *auth.TokenRequest) {
			r.ProviderData = k.Credentials(t, owner, strings.Repeat("x", auth.MaxProviderData/2)).Data
		},
		"long person": func(r *auth.TokenRequest) {
			r.ProviderData = k.Credentials(t, strings.Repeat("x", auth.MaxProviderData/2), secret).Data
		},
	} {
		r := k.request(t, owner, secret, client)
		change(&r)
		_, err := p.Token(t.Context(), r)
		refused(err, what)
	}
	many := make([]string, auth.MaxPermissions+1)
	for i := range many {
		many[i] = fmt.Sprintf("context:list[%d]", i)
	}
	update := func(r auth.UpdatePermissionsRequest) error {
		r.KeyID, r.Grantor = g.KeyID, []string{auth.Admin}
		_, err := p.UpdatePermissions(t.Context(), r)
		return err
	}
	refused(update(auth.UpdatePermissionsRequest{Add: many}), "many permissions")
	refused(update(auth.UpdatePermissionsRequest{Add: many[:auth.MaxPermissions]}), "more permissions than fit with the present one")
	refused(update(auth.UpdatePermissionsRequest{Add: []string{"context:list[" + long + "]"}}), "long permission")
	refused(update(auth.UpdatePermissionsRequest{Add: []string{"\xff"}}), "permission that is not UTF-8")
	_, err := p.CreateClientKey(t.Context(), auth.CreateClientKeyRequest{RootKeyID: g.KeyID, ContextID: "a],admin", Identity: "b"})
	refused(err, "context id with brackets")
	_, err = p.CreateClientKey(t.Context(), auth.CreateClientKeyRequest{RootKeyID: g.KeyID, ContextID: long, Identity: "b"})
	refused(err, "long context id")
	_, err = p.DeleteKey(t.Context(), long)
	refused(err, "long id")
	_, err = p.Verify(t.Context(), tokens.Access, long)
	refused(err, "long host")
	_, _, err = p.CreateKey(t.Context(), auth.CreateKeyRequest{Method: "no_such_method", ProviderData: []byte("{}"),
		Grantor: []string{auth.Admin}})
	refused(err, "unknown method")

	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if _, err = p.Token(ctx, k.request(t, owner, secret, client)); err != nil {
		require.Contains(t, []errkind.Kind{errkind.Deadline, errkind.Canceled}, errkind.Of(err))
	}
	verify(t, p, tokens.Access)
}
