package local

import (
	"encoding/base64"
	"errors"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/calimero-go/core/plugin-sdk/auth"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Uses of a token.
const (
	useAccess  = "access"
	useRefresh = "refresh"
)

const challengeLife = 5 * time.Minute

// claims of an access or refresh token (http-api.md §5.3), and token_use, without which a refresh token would serve as
// an access token.
type claims struct {
	Subject     string   `json:"sub"`
	Issuer      string   `json:"iss"`
	Audience    string   `json:"aud"`
	Expires     int64    `json:"exp"`
	Issued      int64    `json:"iat"`
	ID          string   `json:"jti"`
	Permissions []string `json:"permissions"`
	NodeURL     string   `json:"node_url,omitempty"`
	Use         string   `json:"token_use"`
	Generation  uint64   `json:"gen,omitempty"` // of the key's credentials
}

type challengeClaims struct {
	Issuer  string `json:"iss"`
	ID      string `json:"jti"`
	Issued  int64  `json:"iat"`
	Expires int64  `json:"exp"`
	Nonce   string `json:"nonce"`
}

var (
	_ jwt.Claims = (*claims)(nil)
	_ jwt.Claims = (*challengeClaims)(nil)
)

func date(unix int64) *jwt.NumericDate {
	if unix == 0 {
		return nil
	}
	return jwt.NewNumericDate(time.Unix(unix, 0))
}

func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return date(c.Expires), nil }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return date(c.Issued), nil }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (c *claims) GetIssuer() (string, error)                   { return c.Issuer, nil }
func (c *claims) GetSubject() (string, error)                  { return c.Subject, nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)       { return jwt.ClaimStrings{c.Audience}, nil }

func (c *challengeClaims) GetExpirationTime() (*jwt.NumericDate, error) { return date(c.Expires), nil }
func (c *challengeClaims) GetIssuedAt() (*jwt.NumericDate, error)       { return date(c.Issued), nil }
func (c *challengeClaims) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (c *challengeClaims) GetIssuer() (string, error)                   { return c.Issuer, nil }
func (c *challengeClaims) GetSubject() (string, error)                  { return "", nil }
func (c *challengeClaims) GetAudience() (jwt.ClaimStrings, error)       { return nil, nil }

// tokens signs and checks.
type tokens struct {
	issuer          string
	access, refresh time.Duration
	secret          []byte
	challengeSecret []byte
	now             func() time.Time
	parser          *jwt.Parser
}

func newTokens(s settings, k secrets, now func() time.Time) tokens {
	return tokens{
		issuer: s.issuer, access: s.access, refresh: s.refresh, now: now,
		secret: []byte(k.Token), challengeSecret: []byte(k.Challenge),
		// No leeway: who issued a token checks it, by the same clock.
		parser: jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithIssuer(s.issuer),
			jwt.WithAudience(s.issuer), jwt.WithExpirationRequired(), jwt.WithTimeFunc(now), jwt.WithStrictDecoding()),
	}
}

// pair issues both tokens for a key.
func (t *tokens) pair(key *record, nodeURL string) (auth.Tokens, error) {
	var out auth.Tokens
	now := t.now()
	for _, x := range []struct {
		use  string
		life time.Duration
		to   *string
	}{{useAccess, t.access, &out.Access}, {useRefresh, t.refresh, &out.Refresh}} {
		jti, err := uuid.NewRandom()
		if err != nil {
			return auth.Tokens{}, err
		}
		*x.to, err = jwt.NewWithClaims(jwt.SigningMethodHS256, &claims{
			Subject: key.ID, Issuer: t.issuer, Audience: t.issuer, Expires: now.Add(x.life).Unix(), Issued: now.Unix(),
			ID: jti.String(), Permissions: append([]string{}, key.Permissions...), NodeURL: nodeURL, Use: x.use,
			Generation: key.Generation,
		}).SignedString(t.secret)
		if err != nil {
			return auth.Tokens{}, err
		}
		if err := auth.CheckToken(*x.to); err != nil {
			return auth.Tokens{}, errkind.TooLarge.Errorf("The token would be too long: give the key fewer permissions or the client a shorter name")
		}
	}
	return out, nil
}

// parse checks signature, method, issuer, audience, expiry and use. An expired token is of auth.KindExpired, and its
// claims are answered too.
func (t *tokens) parse(token, use string) (*claims, error) {
	if err := auth.CheckToken(token); err != nil {
		return nil, err
	}
	var c claims
	_, err := t.parser.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return t.secret, nil })
	// Errors of validation come joined: expiry alone is expiry.
	expired := errors.Is(err, jwt.ErrTokenExpired) && !errors.Is(err, jwt.ErrTokenInvalidIssuer) &&
		!errors.Is(err, jwt.ErrTokenInvalidAudience) && !errors.Is(err, jwt.ErrTokenRequiredClaimMissing)
	if err != nil && !expired {
		return nil, auth.KindInvalidToken.Errorf("Invalid token: %s", reason(err))
	}
	if c.Use != use {
		return nil, auth.KindInvalidToken.Errorf("Invalid token: not %s token", map[string]string{
			useAccess: "an access", useRefresh: "a refresh"}[use])
	}
	if expired {
		return &c, auth.KindExpired.Errorf("Invalid token: Token has expired")
	}
	return &c, nil
}

// reason names what is wrong without echoing the token.
func reason(err error) string {
	for _, x := range []struct {
		err  error
		text string
	}{
		{jwt.ErrTokenMalformed, "Malformed token"},
		{jwt.ErrTokenUnverifiable, "Unverifiable token"},
		{jwt.ErrTokenInvalidIssuer, "InvalidIssuer"},
		{jwt.ErrTokenInvalidAudience, "InvalidAudience"},
		{jwt.ErrTokenRequiredClaimMissing, "a claim is missing"},
		{jwt.ErrTokenSignatureInvalid, "InvalidSignature"},
	} {
		if errors.Is(err, x.err) {
			return x.text
		}
	}
	return "refused"
}

// challenge makes a nonce and the token that holds it.
func (t *tokens) challenge() (auth.Challenge, error) {
	var c auth.Challenge
	copy(c.Nonce[:], random(auth.NonceLen))
	jti, err := uuid.NewRandom()
	if err != nil {
		return c, err
	}
	now := t.now()
	c.Token, err = jwt.NewWithClaims(jwt.SigningMethodHS256, &challengeClaims{
		Issuer: t.issuer, ID: jti.String(), Issued: now.Unix(), Expires: now.Add(challengeLife).Unix(),
		Nonce: base64.StdEncoding.EncodeToString(c.Nonce[:]),
	}).SignedString(t.challengeSecret)
	return c, err
}

// checkHost tells whether a token bound to nodeURL is valid for a request to host; ports and schemes are ignored. A node
// URL without a host binds to nothing, and without a request's host there is nothing to compare.
func checkHost(nodeURL, host string) error {
	if nodeURL == "" || host == "" {
		return nil
	}
	u, err := url.Parse(nodeURL)
	if err != nil || u.Hostname() == "" {
		return nil
	}
	if !strings.EqualFold(u.Hostname(), hostname(host)) {
		return auth.KindWrongHost.Errorf("Token is not valid for this host. Token is for '%s' but request is to '%s'",
			u.Hostname(), host)
	}
	return nil
}

// hostname is a Host header without its port and brackets.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}
