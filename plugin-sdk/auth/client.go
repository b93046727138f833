package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	authv1 "github.com/calimero-go/core/plugin-sdk/proto/auth/v1"
)

var _ Plugin = (*client)(nil)

// client is the host's end of an auth plugin.
type client struct {
	base.Plugin
	link base.Link
	rpc  authv1.AuthServiceClient
}

// NewClient makes the host's end of an auth plugin.
func NewClient(l base.Link) Plugin {
	return &client{Plugin: base.NewClient(l), link: l, rpc: authv1.NewAuthServiceClient(l.Conn)}
}

// answered checks an answer of the plugin: what is wrong with it is the plugin's fault, not the caller's.
func (c *client) answered(err error) error {
	if err == nil {
		return nil
	}
	return errkind.Internal.Errorf("%s answered wrongly: %w", c.link.Name, err)
}

func (c *client) Providers(ctx context.Context) ([]Provider, error) {
	call, cancel := c.link.Join(ctx)
	defer cancel()
	r, err := c.rpc.Providers(call, &authv1.ProvidersRequest{})
	if err != nil {
		return nil, c.link.Err(ctx, err)
	}
	if n := len(r.GetProviders()); n > MaxProviders {
		return nil, c.answered(errkind.TooLarge.Errorf("%d providers, the limit is %d", n, MaxProviders))
	}
	out := make([]Provider, 0, len(r.GetProviders()))
	for _, p := range r.GetProviders() {
		x := Provider{Name: p.GetName(), Type: p.GetType(), Description: p.GetDescription(), Configured: p.GetConfigured(),
			Config: p.GetConfig()}
		err := checkTexts(text{"name", x.Name}, text{"type", x.Type}, text{"description", x.Description})
		if err == nil && len(x.Config) > 0 {
			err = checkProviderData(x.Config)
		}
		if err != nil {
			return nil, c.answered(fmt.Errorf("provider %.64q: %w", x.Name, err))
		}
		out = append(out, x)
	}
	return out, nil
}

func (c *client) Challenge(ctx context.Context) (Challenge, error) {
	call, cancel := c.link.Join(ctx)
	defer cancel()
	r, err := c.rpc.Challenge(call, &authv1.ChallengeRequest{})
	if err != nil {
		return Challenge{}, c.link.Err(ctx, err)
	}
	if len(r.GetNonce()) != NonceLen {
		return Challenge{}, c.answered(errkind.Invalid.Errorf("nonce of %d bytes, it must have %d", len(r.GetNonce()), NonceLen))
	}
	if err := CheckToken(r.GetChallenge()); err != nil {
		return Challenge{}, c.answered(err)
	}
	return Challenge{Token: r.GetChallenge(), Nonce: [NonceLen]byte(r.GetNonce())}, nil
}

func (c *client) tokens(ctx context.Context, p *authv1.TokenPair, err error) (Tokens, error) {
	if err != nil {
		return Tokens{}, c.link.Err(ctx, err)
	}
	t := Tokens{Access: p.GetAccessToken(), Refresh: p.GetRefreshToken()}
	if err := errors.Join(CheckToken(t.Access), CheckToken(t.Refresh)); err != nil {
		return Tokens{}, c.answered(err)
	}
	return t, nil
}

func (c *client) Token(ctx context.Context, r TokenRequest) (Tokens, error) {
	if err := r.Check(); err != nil {
		return Tokens{}, err
	}
	call, cancel := c.link.Join(ctx)
	defer cancel()
	p, err := c.rpc.Token(call, &authv1.TokenRequest{Method: r.Method, PublicKey: r.PublicKey, ClientName: r.ClientName,
		ProviderData: r.ProviderData, Loopback: r.Loopback, BootstrapCode: r.BootstrapCode})
	return c.tokens(ctx, p, err)
}

func (c *client) Refresh(ctx context.Context, r RefreshRequest) (Tokens, error) {
	if err := r.Check(); err != nil {
		return Tokens{}, err
	}
	call, cancel := c.link.Join(ctx)
	defer cancel()
	p, err := c.rpc.Refresh(call, &authv1.RefreshRequest{AccessToken: r.Access, RefreshToken: r.Tokens.Refresh, Host: r.Host})
	return c.tokens(ctx, p, err)
}

func (c *client) Verify(ctx context.Context, token, host string) (Grant, error) {
	if err := CheckToken(token); err != nil {
		return Grant{}, err
	}
	if err := CheckText("host", host); err != nil {
		return Grant{}, err
	}
	call, cancel := c.link.Join(ctx)
	defer cancel()
	r, err := c.rpc.Verify(call, &authv1.VerifyRequest{Token: token, Host: host})
	if err != nil {
		return Grant{}, c.link.Err(ctx, err)
	}
	g := Grant{KeyID: r.GetKeyId(), RootKeyID: r.GetRootKeyId(), PublicKey: r.GetPublicKey(),
		Permissions: r.GetPermissions(), Expires: fromMillis(r.GetExpiresMs()), Sequence: r.GetSequence()}
	if g.KeyID == "" {
		return Grant{}, c.answered(errkind.Invalid.Errorf("a grant without a key"))
	}
	err = checkTexts(text{"key id", g.KeyID}, text{"root key id", g.RootKeyID}, text{"public key", g.PublicKey})
	return g, c.answered(errors.Join(err, checkPermissions(g.Permissions)))
}

func (c *client) Watch(ctx context.Context, f func(Event) error) error {
	call, cancel := c.link.Join(ctx)
	defer cancel()
	stream, err := c.rpc.Watch(call, &authv1.WatchRequest{})
	if err != nil {
		return c.link.Err(ctx, err)
	}
	var last Event
	for {
		p, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return errkind.Retryable(errkind.Unavailable.Errorf("%s ended the watch", c.link.Name))
		}
		if err != nil {
			return c.link.Err(ctx, err)
		}
		e, err := eventFromProto(p)
		if err != nil {
			return c.answered(err)
		}
		if first := last.Kind == 0; first != (e.Kind == EventStarted) {
			return c.answered(errkind.Invalid.Errorf("a watch that does not start with its start"))
		} else if !first && e.Sequence != last.Sequence+1 {
			return c.answered(errkind.Invalid.Errorf("event %d after event %d", e.Sequence, last.Sequence))
		}
		last = e
		if err := f(e); err != nil {
			return err
		}
	}
}

func (c *client) Keys(ctx context.Context) ([]Key, error) {
	call, cancel := c.link.Join(ctx)
	defer cancel()
	r, err := c.rpc.ListKeys(call, &authv1.ListKeysRequest{})
	if err != nil {
		return nil, c.link.Err(ctx, err)
	}
	return convert(c, r.GetKeys(), keyFromProto)
}

func (c *client) ClientKeys(ctx context.Context) ([]ClientKey, error) {
	call, cancel := c.link.Join(ctx)
	defer cancel()
	r, err := c.rpc.ListClientKeys(call, &authv1.ListClientKeysRequest{})
	if err != nil {
		return nil, c.link.Err(ctx, err)
	}
	return convert(c, r.GetKeys(), clientKeyFromProto)
}

func convert[P, T any](c *client, ps []P, one func(P) (T, error)) ([]T, error) {
	if len(ps) > MaxKeys {
		return nil, c.answered(errkind.TooLarge.Errorf("%d keys, the limit is %d", len(ps), MaxKeys))
	}
	out := make([]T, 0, len(ps))
	for _, p := range ps {
		t, err := one(p)
		if err != nil {
			return nil, c.answered(err)
		}
		out = append(out, t)
	}
	return out, nil
}

func (c *client) CreateKey(ctx context.Context, r CreateKeyRequest) (string, bool, error) {
	if err := r.Check(); err != nil {
		return "", false, err
	}
	call, cancel := c.link.Join(ctx)
	defer cancel()
	p, err := c.rpc.CreateKey(call, &authv1.CreateKeyRequest{PublicKey: r.PublicKey, Method: r.Method,
		ProviderData: r.ProviderData, NodeUrl: r.NodeURL, Grantor: r.Grantor})
	if err != nil {
		return "", false, c.link.Err(ctx, err)
	}
	return p.GetKeyId(), p.GetCreated(), c.answered(CheckText("key id", p.GetKeyId()))
}

func (c *client) DeleteKey(ctx context.Context, id string) (time.Time, error) {
	if err := CheckText("key id", id); err != nil {
		return time.Time{}, err
	}
	call, cancel := c.link.Join(ctx)
	defer cancel()
	r, err := c.rpc.DeleteKey(call, &authv1.DeleteKeyRequest{KeyId: id})
	return fromMillis(r.GetRevokedMs()), c.link.Err(ctx, err)
}

func (c *client) Permissions(ctx context.Context, id string) ([]string, error) {
	if err := CheckText("key id", id); err != nil {
		return nil, err
	}
	call, cancel := c.link.Join(ctx)
	defer cancel()
	r, err := c.rpc.GetPermissions(call, &authv1.GetPermissionsRequest{KeyId: id})
	if err != nil {
		return nil, c.link.Err(ctx, err)
	}
	return r.GetPermissions(), c.answered(checkPermissions(r.GetPermissions()))
}

func (c *client) UpdatePermissions(ctx context.Context, r UpdatePermissionsRequest) ([]string, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	call, cancel := c.link.Join(ctx)
	defer cancel()
	p, err := c.rpc.UpdatePermissions(call, &authv1.UpdatePermissionsRequest{KeyId: r.KeyID, Add: r.Add, Remove: r.Remove,
		Grantor: r.Grantor})
	if err != nil {
		return nil, c.link.Err(ctx, err)
	}
	return p.GetPermissions(), c.answered(checkPermissions(p.GetPermissions()))
}

func (c *client) CreateClientKey(ctx context.Context, r CreateClientKeyRequest) (Tokens, error) {
	if err := r.Check(); err != nil {
		return Tokens{}, err
	}
	call, cancel := c.link.Join(ctx)
	defer cancel()
	p, err := c.rpc.CreateClientKey(call, &authv1.CreateClientKeyRequest{RootKeyId: r.RootKeyID, ContextId: r.ContextID,
		Identity: r.Identity, Permissions: r.Permissions, NodeUrl: r.NodeURL})
	return c.tokens(ctx, p, err)
}

func (c *client) RevokeClientKey(ctx context.Context, root, clientKey string) (time.Time, error) {
	if err := checkTexts(text{"root key id", root}, text{"client key id", clientKey}); err != nil {
		return time.Time{}, err
	}
	call, cancel := c.link.Join(ctx)
	defer cancel()
	r, err := c.rpc.RevokeClientKey(call, &authv1.RevokeClientKeyRequest{RootKeyId: root, ClientKeyId: clientKey})
	return fromMillis(r.GetRevokedMs()), c.link.Err(ctx, err)
}

func (c *client) Revoke(ctx context.Context, id string) (time.Time, error) {
	if err := CheckText("key id", id); err != nil {
		return time.Time{}, err
	}
	call, cancel := c.link.Join(ctx)
	defer cancel()
	r, err := c.rpc.Revoke(call, &authv1.RevokeRequest{KeyId: id})
	return fromMillis(r.GetRevokedMs()), c.link.Err(ctx, err)
}
