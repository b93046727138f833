package local

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/calimero-go/core/plugin-sdk/auth"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// record is a key as it stands in keys.json. Once in a state it is never changed: a change is a new record.
type record struct {
	ID string `json:"id"`
	// Root is the id of a client key's root key, empty for a root key.
	Root      string `json:"root_key_id,omitempty"`
	PublicKey string `json:"public_key,omitempty"`
	Method    string `json:"method,omitempty"`
	// Username and Password are a root key's credentials.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
	Name     string `json:"name,omitempty"`
	NodeURL  string `json:"node_url,omitempty"`
	// Generation counts new credentials: tokens of an older one have ended.
	Generation  uint64   `json:"generation,omitempty"`
	Permissions []string `json:"permissions"`
	Created     int64    `json:"created_ms"`
	Revoked     int64    `json:"revoked_ms,omitempty"`

	parsed auth.Permissions
	hash   password
}

// newID draws an id of a key: 32 random bytes in hex.
func newID() string { return hex.EncodeToString(random(32)) }

func (r *record) client() bool { return r.Root != "" }
func (r *record) live() bool   { return r.Revoked == 0 }

// prepare checks a record and parses what is in it.
func (r *record) prepare() error {
	if r.ID == "" || r.Created <= 0 {
		return errkind.Invalid.Errorf("it has no id or no time of creation")
	}
	for _, s := range []string{r.ID, r.Root, r.PublicKey, r.Method, r.Username, r.NodeURL} {
		if err := auth.CheckText("text", s); err != nil {
			return err
		}
	}
	var err error
	if r.parsed, err = auth.ParsePermissions(r.Permissions); err != nil {
		return err
	}
	if r.client() {
		return nil
	}
	if r.Method != userPassword || r.Username == "" {
		return errkind.Invalid.Errorf("it has no user name or an unknown method %q", r.Method)
	}
	r.hash, err = parsePassword(r.Password)
	return err
}

// with returns a changed copy.
func (r *record) with(change func(*record)) (*record, error) {
	c := *r
	c.Permissions = slices.Clone(r.Permissions)
	change(&c)
	return &c, c.prepare()
}

func (r *record) key() auth.Key {
	return auth.Key{ID: r.ID, PublicKey: r.PublicKey, Method: r.Method, Permissions: slices.Clone(r.Permissions),
		Created: fromMillis(r.Created), Revoked: fromMillis(r.Revoked)}
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// state is an immutable view of all keys.
type state struct {
	keys map[string]*record
	// users maps the user name of every root key, live or revoked, to its id.
	users map[string]string
	// sequence is that of the last event.
	sequence uint64
}

func newState(list []*record) (*state, error) {
	s := &state{keys: make(map[string]*record, len(list)), users: make(map[string]string)}
	for _, r := range list {
		if s.keys[r.ID] != nil {
			return nil, errkind.Corrupt.Errorf("key %s stands there twice", r.ID)
		}
		s.keys[r.ID] = r
		if r.client() {
			continue
		}
		if s.users[r.Username] != "" {
			return nil, errkind.Corrupt.Errorf("user name %q stands there twice", r.Username)
		}
		s.users[r.Username] = r.ID
	}
	var errs []error
	for _, r := range s.keys {
		if root := s.keys[r.Root]; r.client() && (root == nil || root.client()) {
			errs = append(errs, fmt.Errorf("client key %s has no root key", r.ID))
		}
	}
	if len(errs) > 0 {
		return nil, errkind.Corrupt.Wrap(errors.Join(errs...))
	}
	return s, nil
}

// sorted lists the records of one sort, oldest first.
func (s *state) sorted(clients bool) []*record {
	var list []*record
	for _, r := range s.keys {
		if r.client() == clients {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b *record) int {
		if a.Created != b.Created {
			return int(min(max(a.Created-b.Created, -1), 1))
		}
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return list
}

// valid answers a key that is not revoked, nor is its root key.
func (s *state) valid(id string) *record {
	r := s.keys[id]
	if r == nil || !r.live() || r.client() && !s.keys[r.Root].live() {
		return nil
	}
	return r
}

// root answers the root key of r, which may be r itself.
func (s *state) root(r *record) *record {
	if r.client() {
		return s.keys[r.Root]
	}
	return r
}

// permissions are what r allows now: a client key's end where its root key's do.
func (s *state) permissions(r *record) []string {
	if !r.client() {
		return slices.Clone(r.Permissions)
	}
	root := s.keys[r.Root]
	var list []string
	for i, p := range r.parsed {
		if root.parsed.Cover(auth.Permissions{p}) {
			list = append(list, r.Permissions[i])
		}
	}
	return list
}

// admins counts the live root keys with the permission admin.
func (s *state) admins() int {
	n := 0
	for _, r := range s.keys {
		if !r.client() && r.live() && isAdmin(r) {
			n++
		}
	}
	return n
}

func isAdmin(r *record) bool { return slices.Contains(r.Permissions, auth.Admin) }
