// Package auth is the contract of auth plugins: who may log in, the tokens they get, what the tokens allow and until
// when. The plugin owns keys and permissions. The host owns HTTP and decides which permission a route needs, in the
// grammar of this package (Permission).
package auth

import (
	"context"
	"encoding/json"
	"time"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Bounds of the contract, in bytes unless said otherwise. A plugin refuses what is above with kind TooLarge, an invalid
// token with KindInvalidToken whatever its size.
const (
	// MaxToken is the longest token, issued or received.
	MaxToken = 8 << 10
	// MaxText is the longest name, id, host, URL or public key.
	MaxText = 512
	// MaxProviderData is the longest provider data.
	MaxProviderData = 64 << 10
	// MaxPermission is the longest permission, MaxPermissions the most of one key.
	MaxPermission  = 256
	MaxPermissions = 128
	// MaxKeys is the most keys of one list.
	MaxKeys = 10_000
	// MaxProviders is the most providers.
	MaxProviders = 32
	// NonceLen is the length of a challenge's nonce.
	NonceLen = 32
)

// Kinds of the errors by which Verify refuses a token. An error of any other kind says nothing about the token: whoever
// asked must refuse the request and may ask again.
const (
	// KindInvalidToken: malformed, wrongly signed or for another purpose ("Invalid token: …"), or of a key that is not
	// there or revoked ("Key not found").
	KindInvalidToken = errkind.Unauthenticated
	// KindExpired: valid once.
	KindExpired = errkind.Precondition
	// KindWrongHost: valid for another host; the text says "Token is not valid for this host. …".
	KindWrongHost = errkind.PermissionDenied
)

// Plugin is an auth plugin. First-party plugins keep the implementation in an importable package beside their main,
// with a constructor New that returns this interface.
type Plugin interface {
	base.Plugin
	Auth
}

// Auth is what an auth plugin does. Methods may be called concurrently. What they changed is on disk when they return.
// The texts of errors of the kinds Unauthenticated, Invalid, NotFound, Precondition, PermissionDenied and Exhausted are
// shown to clients: they name what is wrong and hold no secret.
type Auth interface {
	// Providers lists the enabled ways to log in, in a stable order.
	Providers(ctx context.Context) ([]Provider, error)
	// Challenge makes a nonce for wallets to sign. Unsupported when no provider uses one.
	Challenge(ctx context.Context) (Challenge, error)
	// Token checks credentials and issues tokens. Refused credentials are of kind Unauthenticated, an unknown method or
	// malformed provider data Invalid, too many attempts Exhausted. While there has never been a root key, the
	// credentials become the first one, with the permission admin, if the request is from loopback or has the right
	// bootstrap code; otherwise the error is of kind PermissionDenied and says so.
	Token(ctx context.Context, r TokenRequest) (Tokens, error)
	// Refresh exchanges an expired access token and the refresh token of the same key for new ones. Errors of kind
	// Unauthenticated: "Access token still valid", "Invalid access token: …", "Invalid refresh token: …"; NotFound when
	// the key is gone; KindWrongHost. A client key gets a new id, and its older tokens end.
	Refresh(ctx context.Context, r RefreshRequest) (Tokens, error)
	// Verify checks an access token for a request to host (as in the Host header; empty skips that check). Errors:
	// KindInvalidToken, KindExpired, KindWrongHost.
	Verify(ctx context.Context, token, host string) (Grant, error)
	// Watch calls f with EventStarted at once and then with every event, in order, until ctx ends, f returns an error,
	// the process ends or the watcher is too slow; it returns why, never nil. When it has returned, events may have been
	// missed: forget all grants. A handle that survives restarts must end Watch with the process.
	Watch(ctx context.Context, f func(Event) error) error

	// Keys lists the root keys, revoked ones too, oldest first.
	Keys(ctx context.Context) ([]Key, error)
	// CreateKey adds a root key, or gives the live or revoked key of the same identity new credentials, which makes it
	// live again; the tokens it had end.
	CreateKey(ctx context.Context, r CreateKeyRequest) (id string, created bool, err error)
	// DeleteKey revokes a root key and its client keys; a revoked one keeps its time. NotFound, Invalid when it is a
	// client key, Precondition when it is the last live root key with the permission admin.
	DeleteKey(ctx context.Context, id string) (revoked time.Time, err error)
	// Permissions tells what a live root or client key may do.
	Permissions(ctx context.Context, id string) ([]string, error)
	// UpdatePermissions removes, then adds, and returns the result. Invalid: a malformed permission, none left, or a
	// client key would have what its root key has not. PermissionDenied: beyond the grantor. Precondition: the last live
	// root key would lose the permission admin.
	UpdatePermissions(ctx context.Context, r UpdatePermissionsRequest) ([]string, error)
	// ClientKeys lists the client keys of all root keys, revoked ones too, oldest first.
	ClientKeys(ctx context.Context) ([]ClientKey, error)
	// CreateClientKey derives a key from a live root key and issues its tokens. Invalid: "Root key does not have
	// permission: …".
	CreateClientKey(ctx context.Context, r CreateClientKeyRequest) (Tokens, error)
	// RevokeClientKey revokes a client key. NotFound, or Invalid when it belongs to another root key.
	RevokeClientKey(ctx context.Context, root, client string) (revoked time.Time, err error)
	// Revoke revokes a root key, as DeleteKey, or a client key.
	Revoke(ctx context.Context, id string) (revoked time.Time, err error)
}

// Provider is a way to log in.
type Provider struct {
	// Name is the method of a TokenRequest. Type is credentials or wallet. Description is a sentence for people.
	Name, Type, Description string
	// Configured says that somebody can log in with it; clients offer to create an account otherwise.
	Configured bool
	// Config is a JSON object with what a client needs to know; nil = {}.
	Config json.RawMessage
}

// Challenge is a nonce to be signed.
type Challenge struct {
	// Token proves that Nonce is ours and recent.
	Token string
	Nonce [NonceLen]byte
}

// TokenRequest asks for tokens.
type TokenRequest struct {
	// Method names a provider.
	Method string
	// PublicKey is a wallet's key, or a name.
	PublicKey string
	// ClientName, if an absolute URL, binds the tokens to its host.
	ClientName string
	// ProviderData is a JSON object of the provider's own.
	ProviderData json.RawMessage
	// Loopback says that the request was made on this machine and not by a web page of another site.
	Loopback bool
	// BootstrapCode is the one-time code that came with the request, if any.
	BootstrapCode string
}

// Tokens are a pair as issued. Their form is the plugin's own.
type Tokens struct {
	Access, Refresh string
}

// RefreshRequest asks for new tokens in exchange for old ones.
type RefreshRequest struct {
	Tokens
	// Host is that of the request, as for Verify.
	Host string
}

// Grant is what a valid token stands for.
type Grant struct {
	// KeyID is a root or client key, RootKeyID that key or its root key.
	KeyID, RootKeyID string
	// PublicKey is what the key was created with; it may be a user name.
	PublicKey string
	// Permissions are those of the key now, not when the token was issued.
	Permissions []string
	// Expires is when the grant ends at the latest.
	Expires time.Time
	// Sequence is that of the last event the grant takes into account: it may be kept unless a later event names its key.
	Sequence uint64
}

// EventKind says what happened to a key.
type EventKind uint8

const (
	// EventStarted is the first event of a watch; no key is named.
	EventStarted EventKind = iota + 1
	// EventRevoked: the key is gone.
	EventRevoked
	// EventChanged: its permissions changed.
	EventChanged
)

// Event tells to forget the grants of a key and of its client keys: those with this KeyID or RootKeyID.
type Event struct {
	// Sequence counts the events of one plugin process; consecutive events have consecutive numbers.
	Sequence uint64
	Kind     EventKind
	KeyID    string
}

// Key is a root key.
type Key struct {
	ID, PublicKey string
	// Method names the provider that checks it.
	Method      string
	Permissions []string
	Created     time.Time
	// Revoked is zero while the key lives.
	Revoked time.Time
}

// ClientKey is derived from a root key.
type ClientKey struct {
	ID, RootKeyID string
	// Name is for people.
	Name        string
	Permissions []string
	Created     time.Time
	// Revoked is zero unless the key itself was revoked.
	Revoked time.Time
	// Valid says that neither the key nor its root key is revoked.
	Valid bool
}

// CreateKeyRequest asks for a root key.
type CreateKeyRequest struct {
	PublicKey, Method string
	// ProviderData is a JSON object of the provider's own, with the new credentials.
	ProviderData json.RawMessage
	// NodeURL, if set, must be a prefix of the client name of the key's token requests.
	NodeURL string
	// Grantor are the permissions of who asks. A new key gets them; an existing key with more is not replaced.
	Grantor []string
}

// UpdatePermissionsRequest asks to change what a key may do.
type UpdatePermissionsRequest struct {
	KeyID       string
	Add, Remove []string
	// Grantor are the permissions of who asks: nothing beyond them is added, no key beyond them is changed.
	Grantor []string
}

// CreateClientKeyRequest asks for a client key.
type CreateClientKeyRequest struct {
	RootKeyID string
	// ContextID and Identity, both or none: the key may do everything in that context as that identity.
	ContextID, Identity string
	// Permissions are further ones.
	Permissions []string
	// NodeURL, if set, binds the tokens to its host.
	NodeURL string
}
