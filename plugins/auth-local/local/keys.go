package local

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/calimero-go/core/plugin-sdk/auth"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

func (p *plugin) Keys(context.Context) ([]auth.Key, error) {
	s, err := p.current()
	if err != nil {
		return nil, err
	}
	list := []auth.Key{}
	for _, r := range s.sorted(false) {
		list = append(list, r.key())
	}
	return list, nil
}

func (p *plugin) CreateKey(ctx context.Context, r auth.CreateKeyRequest) (string, bool, error) {
	if err := r.Check(); err != nil {
		return "", false, err
	}
	if _, err := p.current(); err != nil {
		return "", false, err
	}
	grantor, err := auth.ParsePermissions(r.Grantor)
	if err != nil {
		return "", false, err
	}
	if len(grantor) == 0 {
		return "", false, errkind.PermissionDenied.Errorf("Who creates a key must have a permission to give it")
	}
	c, err := p.credentials(r.Method, r.ProviderData)
	if err != nil {
		return "", false, err
	}
	key, err := p.newRoot(ctx, c, r.PublicKey, r.NodeURL, slices.Clone(r.Grantor))
	if err != nil {
		return "", false, err
	}
	created := true
	err = p.change(func(d *draft) error {
		old := d.keys[d.users[c.Username]]
		if old == nil {
			d.put(key)
			return nil
		}
		created = false
		if !grantor.Cover(old.parsed) {
			return errkind.PermissionDenied.Errorf("The key %s has permissions that you do not have", old.ID)
		}
		replaced, err := old.with(func(o *record) {
			o.Password, o.PublicKey, o.NodeURL, o.Revoked = key.Password, key.PublicKey, key.NodeURL, 0
			o.Generation++ // whoever has the old password may have tokens
		})
		if err != nil {
			return err
		}
		key = replaced
		d.put(key)
		d.event(auth.EventRevoked, key.ID)
		return nil
	})
	if err != nil {
		return "", false, err
	}
	if !created {
		p.limiter.success(c.Username)
	}
	return key.ID, created, nil
}

func (p *plugin) DeleteKey(_ context.Context, id string) (time.Time, error) {
	return p.revoke(id, func(r *record) error {
		if r.client() {
			return errkind.Invalid.Errorf("Not a root key")
		}
		return nil
	}, "Root key not found")
}

func (p *plugin) RevokeClientKey(_ context.Context, root, client string) (time.Time, error) {
	return p.revoke(client, func(r *record) error {
		if !r.client() || r.Root != root {
			return errkind.Invalid.Errorf("Client key does not belong to specified root key")
		}
		return nil
	}, "Client key not found")
}

func (p *plugin) Revoke(_ context.Context, id string) (time.Time, error) {
	return p.revoke(id, func(*record) error { return nil }, "Key not found")
}

var errNoChange = errors.New("nothing to change")

// revoke revokes a key that passes check.
func (p *plugin) revoke(id string, check func(*record) error, missing string) (time.Time, error) {
	if err := auth.CheckText("key id", id); err != nil {
		return time.Time{}, err
	}
	var revoked *record
	err := p.change(func(d *draft) error {
		r := d.keys[id]
		if r == nil {
			return errkind.NotFound.Errorf("%s", missing)
		}
		if err := check(r); err != nil {
			return err
		}
		if revoked = r; !r.live() {
			return errNoChange
		}
		if !r.client() && isAdmin(r) && d.admins() == 1 {
			return errkind.Precondition.Errorf("Cannot delete the last active root key")
		}
		var err error
		if revoked, err = d.revoke(r, p.millis()); err != nil {
			return err
		}
		d.event(auth.EventRevoked, id)
		return nil
	})
	if err != nil && !errors.Is(err, errNoChange) {
		return time.Time{}, err
	}
	return fromMillis(revoked.Revoked), nil
}

// revoke marks a key and its client keys, which must stay revoked when the root key gets new credentials.
func (d *draft) revoke(r *record, at int64) (*record, error) {
	for _, x := range d.state.keys {
		if x != r && (x.Root != r.ID || !x.live()) {
			continue
		}
		changed, err := x.with(func(c *record) { c.Revoked = at })
		if err != nil {
			return nil, err
		}
		d.put(changed)
	}
	return d.keys[r.ID], nil
}

func (p *plugin) Permissions(_ context.Context, id string) ([]string, error) {
	s, err := p.current()
	if err != nil {
		return nil, err
	}
	r := s.valid(id)
	if r == nil {
		return nil, errkind.NotFound.Errorf("Key not found")
	}
	return slices.Clone(r.Permissions), nil
}

func (p *plugin) UpdatePermissions(_ context.Context, q auth.UpdatePermissionsRequest) ([]string, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	grantor, err := auth.ParsePermissions(q.Grantor)
	if err != nil {
		return nil, err
	}
	var result []string
	err = p.change(func(d *draft) error {
		r := d.valid(q.KeyID)
		if r == nil {
			return errkind.NotFound.Errorf("Key not found")
		}
		result = slices.DeleteFunc(slices.Clone(r.Permissions), func(s string) bool { return slices.Contains(q.Remove, s) })
		for _, s := range q.Add {
			if !slices.Contains(result, s) {
				result = append(result, s)
			}
		}
		if len(result) == 0 {
			return errkind.Invalid.Errorf("Key must have at least one permission")
		}
		changed, err := r.with(func(r *record) { r.Permissions = result })
		if err != nil {
			return errkind.Invalid.Errorf("Invalid permission format: Invalid permission format")
		}
		if !grantor.Cover(r.parsed) || !grantor.Cover(changed.parsed) {
			return errkind.PermissionDenied.Errorf("You cannot change permissions that you do not have")
		}
		if root := d.root(r); r.client() {
			for i, perm := range changed.parsed {
				if !root.parsed.Cover(auth.Permissions{perm}) {
					return errkind.Invalid.Errorf("Root key does not have permission: %s", result[i])
				}
			}
		} else if isAdmin(r) && !isAdmin(changed) && d.admins() == 1 {
			return errkind.Precondition.Errorf("Cannot take admin from the last active root key")
		}
		if slices.Equal(result, r.Permissions) {
			return errNoChange
		}
		d.put(changed)
		d.event(auth.EventChanged, r.ID)
		return nil
	})
	if err != nil && !errors.Is(err, errNoChange) {
		return nil, err
	}
	return result, nil
}

func (p *plugin) ClientKeys(context.Context) ([]auth.ClientKey, error) {
	s, err := p.current()
	if err != nil {
		return nil, err
	}
	list := []auth.ClientKey{}
	for _, r := range s.sorted(true) {
		list = append(list, auth.ClientKey{ID: r.ID, RootKeyID: r.Root, Name: r.Name, Permissions: slices.Clone(r.Permissions),
			Created: fromMillis(r.Created), Revoked: fromMillis(r.Revoked), Valid: s.valid(r.ID) != nil})
	}
	return list, nil
}

func (p *plugin) CreateClientKey(_ context.Context, q auth.CreateClientKeyRequest) (auth.Tokens, error) {
	if err := q.Check(); err != nil {
		return auth.Tokens{}, err
	}
	var key *record
	err := p.change(func(d *draft) error {
		root := d.valid(q.RootKeyID)
		if root == nil || root.client() {
			return errkind.NotFound.Errorf("Root key not found")
		}
		permissions, err := clientPermissions(root, q)
		if err != nil {
			return err
		}
		key = &record{ID: newID(), Root: root.ID, NodeURL: q.NodeURL, Permissions: permissions, Created: p.millis(),
			Name: "Context Client - " + q.ContextID + " (" + q.Identity + ")"}
		if err := key.prepare(); err != nil {
			return errkind.Invalid.Wrap(err)
		}
		d.put(key)
		return nil
	})
	return p.issue(key, q.NodeURL, err)
}

// clientPermissions are those of a new client key: nothing that the root key has not.
func clientPermissions(root *record, q auth.CreateClientKeyRequest) ([]string, error) {
	wanted := slices.Clone(q.Permissions)
	if q.ContextID != "" && q.Identity != "" {
		all := auth.Permission{Action: "context", Scope: q.ContextID, User: q.Identity}.String()
		wanted = append([]string{all}, wanted...)
	}
	list := []string{}
	for _, s := range wanted {
		perm, err := auth.ParsePermission(s)
		if err != nil || !root.parsed.Cover(auth.Permissions{perm}) {
			return nil, errkind.Invalid.Errorf("Root key does not have permission: %s", s)
		}
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list, nil
}
