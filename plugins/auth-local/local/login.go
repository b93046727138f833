package local

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"strings"
	"unicode"

	"github.com/calimero-go/core/plugin-sdk/auth"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

const (
	// userPassword is the name of the only provider.
	userPassword = "user_password"
	description  = "Authenticates users with username and password credentials"
	maxUsername  = 128
	// bootstrapName counts wrong bootstrap codes; it is no possible user name.
	bootstrapName = "\x00bootstrap"
)

var errCredentials = errkind.Unauthenticated.Errorf("Invalid username or password")

func (p *plugin) Providers(context.Context) ([]auth.Provider, error) {
	s, err := p.current()
	if err != nil {
		return nil, err
	}
	provider := auth.Provider{Name: userPassword, Type: "credentials", Description: description}
	for _, id := range s.users {
		provider.Configured = provider.Configured || s.keys[id].live()
	}
	provider.Config, err = json.Marshal(map[string]any{"enabled": true, "description": description})
	return []auth.Provider{provider}, err
}

func (p *plugin) Challenge(context.Context) (auth.Challenge, error) {
	if _, err := p.current(); err != nil {
		return auth.Challenge{}, err
	}
	return p.tokens.challenge()
}

// credentials is the provider data.
type credentials struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

func (p *plugin) credentials(method string, data json.RawMessage) (credentials, error) {
	var c credentials
	if method != userPassword {
		return c, errkind.Invalid.Errorf("Unsupported authentication method: %s", method)
	}
	if err := json.Unmarshal(data, &c); err != nil || c.Username == "" || c.Password == "" {
		return c, errkind.Invalid.Errorf("provider_data needs the texts username and password")
	}
	if len(c.Username) > maxUsername || strings.ContainsFunc(c.Username, unicode.IsControl) ||
		strings.ContainsRune(c.Username, unicode.ReplacementChar) {
		return c, errkind.Invalid.Errorf("username has %d bytes or control characters; the limit is %d", len(c.Username),
			maxUsername)
	}
	if len(c.Password) > p.settings.maxPassword {
		return c, errkind.Invalid.Errorf("password has %d bytes, the limit is %d", len(c.Password), p.settings.maxPassword)
	}
	return c, nil
}

// checkNewPassword holds new passwords to the configured minimum.
func (p *plugin) checkNewPassword(c credentials) error {
	if len(c.Password) < p.settings.minPassword {
		return errkind.Invalid.Errorf("password has %d bytes; a new one needs at least %d", len(c.Password),
			p.settings.minPassword)
	}
	return nil
}

func (p *plugin) Token(ctx context.Context, r auth.TokenRequest) (auth.Tokens, error) {
	if err := r.Check(); err != nil {
		return auth.Tokens{}, err
	}
	s, err := p.current()
	if err != nil {
		return auth.Tokens{}, err
	}
	c, err := p.credentials(r.Method, r.ProviderData)
	if err != nil {
		return auth.Tokens{}, err
	}
	if len(s.users) == 0 {
		key, err := p.bootstrap(ctx, r, c)
		if !errors.Is(err, errNotFirst) {
			return p.issue(key, r.ClientName, err)
		}
	}
	key, err := p.login(ctx, c)
	if err == nil && !underURL(key.NodeURL, r.ClientName) {
		return auth.Tokens{}, errkind.Unauthenticated.Errorf("Key is not valid for this node")
	}
	return p.issue(key, r.ClientName, err)
}

// underURL tells whether a client's name starts with the URL a key is for, at a boundary.
func underURL(nodeURL, name string) bool {
	rest, ok := strings.CutPrefix(name, nodeURL)
	return ok && (nodeURL == "" || rest == "" || strings.HasSuffix(nodeURL, "/") || strings.ContainsRune(":/?#", rune(rest[0])))
}

func (p *plugin) issue(key *record, nodeURL string, err error) (auth.Tokens, error) {
	if err != nil {
		return auth.Tokens{}, err
	}
	return p.tokens.pair(key, nodeURL)
}

// login checks a password. User names that do not exist cost and answer the same as wrong passwords.
func (p *plugin) login(ctx context.Context, c credentials) (*record, error) {
	now := p.now()
	if err := p.limiter.allow(c.Username, now); err != nil {
		return nil, err
	}
	s, err := p.current()
	if err != nil {
		return nil, err
	}
	key := s.valid(s.users[c.Username])
	hash := p.hasher.nobody
	if key != nil {
		hash = key.hash
	}
	ok, err := p.hasher.matches(ctx, hash, c.Password)
	if err != nil {
		return nil, err
	}
	if !ok || key == nil {
		p.limiter.failure(c.Username, now)
		return nil, errCredentials
	}
	p.limiter.success(c.Username)
	if hash.cost != p.hasher.cost {
		return p.rehash(ctx, key, c)
	}
	return key, nil
}

// rehash stores the password at the configured cost.
func (p *plugin) rehash(ctx context.Context, key *record, c credentials) (*record, error) {
	hash, err := p.hasher.make(ctx, c.Password)
	if err != nil {
		return nil, err
	}
	var renewed *record
	err = p.change(func(d *draft) error {
		now := d.valid(key.ID)
		if now == nil || now.Password != key.Password {
			return errCredentials // revoked or changed meanwhile
		}
		if renewed, err = now.with(func(r *record) { r.Password = hash.String() }); err != nil {
			return err
		}
		d.put(renewed)
		return nil
	})
	return renewed, err
}

// errNotFirst: somebody else created the first account meanwhile.
var errNotFirst = errkind.Precondition.Errorf("there is an account")

// bootstrap creates the first root key.
func (p *plugin) bootstrap(ctx context.Context, r auth.TokenRequest, c credentials) (*record, error) {
	if err := p.mayBootstrap(r); err != nil {
		return nil, err
	}
	key, err := p.newRoot(ctx, c, c.Username, "", []string{auth.Admin})
	if err != nil {
		return nil, err
	}
	err = p.change(func(d *draft) error {
		if len(d.users) > 0 {
			return errNotFirst
		}
		d.put(key)
		return nil
	})
	if err != nil {
		return nil, err
	}
	logger().Info("created the first account", "user", c.Username, "key", key.ID, "loopback", r.Loopback)
	if err := p.files.removeBootstrapCode(); err != nil {
		logger().Warn("the bootstrap code is of no use any more but cannot be removed", "error", err)
	}
	return key, nil
}

// mayBootstrap tells whether a request may create the first account.
func (p *plugin) mayBootstrap(r auth.TokenRequest) error {
	if r.Loopback {
		return nil
	}
	if r.BootstrapCode == "" || p.settings.bootstrapCode == "" {
		return errkind.PermissionDenied.Errorf("There is no account yet. The first one is created from the node's own machine, " +
			"or with the bootstrap code that the node's operator has (bootstrap_code in the request)")
	}
	now := p.now()
	if err := p.limiter.allow(bootstrapName, now); err != nil {
		return err
	}
	given, want := sha256.Sum256([]byte(r.BootstrapCode)), sha256.Sum256([]byte(p.settings.bootstrapCode))
	if subtle.ConstantTimeCompare(given[:], want[:]) != 1 {
		p.limiter.failure(bootstrapName, now)
		return errkind.PermissionDenied.Errorf("Wrong bootstrap code")
	}
	return nil
}

// newRoot makes a root key that is not stored yet.
func (p *plugin) newRoot(ctx context.Context, c credentials, publicKey, nodeURL string, permissions []string) (*record, error) {
	if err := p.checkNewPassword(c); err != nil {
		return nil, err
	}
	hash, err := p.hasher.make(ctx, c.Password)
	if err != nil {
		return nil, err
	}
	r := &record{ID: newID(), PublicKey: publicKey, Method: userPassword, Username: c.Username, Password: hash.String(),
		NodeURL: nodeURL, Permissions: permissions, Created: p.millis()}
	return r, r.prepare()
}

func (p *plugin) Verify(_ context.Context, token, host string) (auth.Grant, error) {
	if err := auth.CheckText("host", host); err != nil {
		return auth.Grant{}, err
	}
	s, err := p.current()
	if err != nil {
		return auth.Grant{}, err
	}
	c, err := p.tokens.parse(token, useAccess)
	if err != nil {
		return auth.Grant{}, err
	}
	if err := checkHost(c.NodeURL, host); err != nil {
		return auth.Grant{}, err
	}
	key := s.valid(c.Subject)
	if key == nil || key.Generation != c.Generation {
		return auth.Grant{}, auth.KindInvalidToken.Errorf("Key not found")
	}
	g := auth.Grant{KeyID: key.ID, RootKeyID: s.root(key).ID, PublicKey: key.PublicKey, Permissions: s.permissions(key),
		Sequence: s.sequence}
	g.Expires = date(c.Expires).UTC()
	return g, nil
}

func (p *plugin) Refresh(_ context.Context, r auth.RefreshRequest) (auth.Tokens, error) {
	if err := r.Check(); err != nil {
		return auth.Tokens{}, err
	}
	if _, err := p.current(); err != nil {
		return auth.Tokens{}, err
	}
	access, err := p.tokens.parse(r.Access, useAccess)
	if err == nil {
		return auth.Tokens{}, errkind.Unauthenticated.Errorf("Access token still valid")
	}
	if !errors.Is(err, auth.KindExpired) {
		return auth.Tokens{}, errkind.Unauthenticated.Errorf("Invalid access token: %v", err)
	}
	refresh, err := p.tokens.parse(r.Refresh, useRefresh)
	if err != nil {
		return auth.Tokens{}, errkind.Unauthenticated.Errorf("Invalid refresh token: %v", err)
	}
	if access.Subject != refresh.Subject {
		return auth.Tokens{}, errkind.Unauthenticated.Errorf("Invalid refresh token: it is not of the access token's key")
	}
	if err := checkHost(refresh.NodeURL, r.Host); err != nil {
		return auth.Tokens{}, err
	}
	key, err := p.rotate(refresh.Subject, refresh.Generation)
	return p.issue(key, refresh.NodeURL, err)
}

// rotate gives a client key a new id, so that its older tokens end; a root key stays.
func (p *plugin) rotate(id string, generation uint64) (*record, error) {
	s, err := p.current()
	if err != nil {
		return nil, err
	}
	errGone := errkind.NotFound.Errorf("Key not found")
	key := s.valid(id)
	if key == nil || key.Generation != generation {
		return nil, errGone
	}
	if !key.client() {
		return key, nil
	}
	var moved *record
	err = p.change(func(d *draft) error {
		now := d.valid(id)
		if now == nil {
			return errGone // refreshed or revoked meanwhile
		}
		if moved, err = now.with(func(r *record) { r.ID = newID() }); err != nil {
			return err
		}
		delete(d.keys, id)
		d.put(moved)
		d.event(auth.EventRevoked, id)
		return nil
	})
	return moved, err
}
