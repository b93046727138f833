package pluginhost

import (
	"context"
	"time"

	"github.com/calimero-go/core/plugin-sdk/auth"
)

// Auth is the auth plugin behind a handle. Calls that only read are repeated once when the process ends under them; those
// that change something are not, and may have had their effect. Watch ends with the process.
func Auth(h *Handle[auth.Plugin]) auth.Auth { return identities{h} }

type identities struct{ h *Handle[auth.Plugin] }

var _ auth.Auth = identities{}

func (i identities) Providers(ctx context.Context) ([]auth.Provider, error) {
	return Call(ctx, i.h, "Providers", Repeatable, func(ctx context.Context, p auth.Plugin) ([]auth.Provider, error) {
		return p.Providers(ctx)
	})
}

func (i identities) Challenge(ctx context.Context) (auth.Challenge, error) {
	return Call(ctx, i.h, "Challenge", Repeatable, func(ctx context.Context, p auth.Plugin) (auth.Challenge, error) {
		return p.Challenge(ctx)
	})
}

func (i identities) Token(ctx context.Context, r auth.TokenRequest) (auth.Tokens, error) {
	return Call(ctx, i.h, "Token", Once, func(ctx context.Context, p auth.Plugin) (auth.Tokens, error) {
		return p.Token(ctx, r)
	})
}

func (i identities) Refresh(ctx context.Context, r auth.RefreshRequest) (auth.Tokens, error) {
	return Call(ctx, i.h, "Refresh", Once, func(ctx context.Context, p auth.Plugin) (auth.Tokens, error) {
		return p.Refresh(ctx, r)
	})
}

func (i identities) Verify(ctx context.Context, token, host string) (auth.Grant, error) {
	return Call(ctx, i.h, "Verify", Repeatable, func(ctx context.Context, p auth.Plugin) (auth.Grant, error) {
		return p.Verify(ctx, token, host)
	})
}

func (i identities) Watch(ctx context.Context, f func(auth.Event) error) error {
	_, err := Call(ctx, i.h, "Watch", Once|Streaming, func(ctx context.Context, p auth.Plugin) (struct{}, error) {
		return struct{}{}, p.Watch(ctx, f)
	})
	return err
}

func (i identities) Keys(ctx context.Context) ([]auth.Key, error) {
	return Call(ctx, i.h, "Keys", Repeatable, func(ctx context.Context, p auth.Plugin) ([]auth.Key, error) {
		return p.Keys(ctx)
	})
}

func (i identities) CreateKey(ctx context.Context, r auth.CreateKeyRequest) (id string, created bool, err error) {
	id, err = Call(ctx, i.h, "CreateKey", Once, func(ctx context.Context, p auth.Plugin) (id string, err error) {
		id, created, err = p.CreateKey(ctx, r)
		return id, err
	})
	return id, created && err == nil, err
}

func (i identities) DeleteKey(ctx context.Context, id string) (time.Time, error) {
	return Call(ctx, i.h, "DeleteKey", Once, func(ctx context.Context, p auth.Plugin) (time.Time, error) {
		return p.DeleteKey(ctx, id)
	})
}

func (i identities) Permissions(ctx context.Context, id string) ([]string, error) {
	return Call(ctx, i.h, "Permissions", Repeatable, func(ctx context.Context, p auth.Plugin) ([]string, error) {
		return p.Permissions(ctx, id)
	})
}

func (i identities) UpdatePermissions(ctx context.Context, r auth.UpdatePermissionsRequest) ([]string, error) {
	return Call(ctx, i.h, "UpdatePermissions", Once, func(ctx context.Context, p auth.Plugin) ([]string, error) {
		return p.UpdatePermissions(ctx, r)
	})
}

func (i identities) ClientKeys(ctx context.Context) ([]auth.ClientKey, error) {
	return Call(ctx, i.h, "ClientKeys", Repeatable, func(ctx context.Context, p auth.Plugin) ([]auth.ClientKey, error) {
		return p.ClientKeys(ctx)
	})
}

func (i identities) CreateClientKey(ctx context.Context, r auth.CreateClientKeyRequest) (auth.Tokens, error) {
	return Call(ctx, i.h, "CreateClientKey", Once, func(ctx context.Context, p auth.Plugin) (auth.Tokens, error) {
		return p.CreateClientKey(ctx, r)
	})
}

func (i identities) RevokeClientKey(ctx context.Context, root, client string) (time.Time, error) {
	return Call(ctx, i.h, "RevokeClientKey", Once, func(ctx context.Context, p auth.Plugin) (time.Time, error) {
		return p.RevokeClientKey(ctx, root, client)
	})
}

func (i identities) Revoke(ctx context.Context, id string) (time.Time, error) {
	return Call(ctx, i.h, "Revoke", Once, func(ctx context.Context, p auth.Plugin) (time.Time, error) {
		return p.Revoke(ctx, id)
	})
}
