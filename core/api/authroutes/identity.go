package authroutes

import (
	"context"
	"slices"

	"github.com/calimero-go/core/plugin-sdk/auth"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Identity is who makes a request that Guard let pass.
type Identity struct {
	// KeyID is the root or client key, RootKeyID that key or its root key. Both are empty when no auth plugin is
	// configured.
	KeyID, RootKeyID string
	// Permissions are the key's; with no auth plugin, admin.
	Permissions auth.Permissions
	// PublicKey is the key's, when it is one in base58; nil otherwise. It overrides a requester in group requests.
	PublicKey *domain.PublicKey
}

type identityKey struct{}

// FromContext answers who makes the request; nil for a public route.
func FromContext(ctx context.Context) *Identity {
	id, _ := ctx.Value(identityKey{}).(*Identity)
	return id
}

// With returns a context of a request by id, for tests of handlers.
func With(ctx context.Context, id *Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

// Can tells whether the caller may do p. A request that did not pass Guard may do nothing.
func Can(ctx context.Context, p auth.Permission) bool {
	id := FromContext(ctx)
	return id != nil && id.Permissions.Allow(p)
}

// CanSubscribe tells whether the caller may be told of a context's events: who may list the context, or execute in it.
func CanSubscribe(ctx context.Context, context string) bool {
	if Can(ctx, auth.Permission{Action: "context:list", Scope: context}) {
		return true
	}
	id := FromContext(ctx)
	return id != nil && slices.ContainsFunc(id.Permissions, func(p auth.Permission) bool {
		return p.Action == "context:execute" && (p.Scope == "" || p.Scope == context)
	})
}

func newIdentity(g auth.Grant, ps auth.Permissions) *Identity {
	id := &Identity{KeyID: g.KeyID, RootKeyID: g.RootKeyID, Permissions: ps}
	if key, err := domain.ParsePublicKey(g.PublicKey); err == nil {
		id.PublicKey = &key
	}
	return id
}

// everybody is the caller when there is no auth plugin.
var everybody = &Identity{Permissions: auth.Permissions{{Action: auth.Admin}}}
