package identity

import (
	"context"
	"fmt"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Alias names what it points to. Scope is the context an identity's alias belongs to, else zero.
type Alias struct {
	Kind   wire.AliasKind
	Scope  domain.ContextID
	Name   domain.Alias
	Target [32]byte
}

func (a Alias) key() store.AliasKey {
	return store.AliasKey{Kind: a.Kind, Scope: a.Scope, Name: a.Name}
}

// ContextAlias is an alias of a context.
func ContextAlias(name domain.Alias, target domain.ContextID) Alias {
	return Alias{Kind: wire.AliasContext, Name: name, Target: target}
}

// ApplicationAlias is an alias of an application.
func ApplicationAlias(name domain.Alias, target domain.ApplicationID) Alias {
	return Alias{Kind: wire.AliasApplication, Name: name, Target: target}
}

// IdentityAlias is an alias of an identity in a context.
func IdentityAlias(scope domain.ContextID, name domain.Alias, target domain.PublicKey) Alias {
	return Alias{Kind: wire.AliasPublicKey, Scope: scope, Name: name, Target: target}
}

// CreateAlias stores an alias; it never overwrites one: kind AlreadyExists, text "alias already exists".
func (s *Service) CreateAlias(ctx context.Context, a Alias) error {
	b := s.db.Batch()
	defer b.Abandon()
	if err := s.PutAlias(ctx, b, a); err != nil {
		return err
	}
	if err := b.Commit(ctx); err != nil {
		return fmt.Errorf("create alias %q: %w", a.Name, err)
	}
	return nil
}

// PutAlias adds an alias to b, unless it exists: kind AlreadyExists. Until b is committed or abandoned nobody else can
// create it, so the caller must do one of both.
func (s *Service) PutAlias(ctx context.Context, b *store.Batch, a Alias) error {
	if err := checkAlias(a); err != nil {
		return err
	}
	if !s.claim(a.key()) {
		return errExists()
	}
	exists, err := store.Alias.Has(ctx, s.db, a.key())
	if err == nil && exists {
		err = errExists()
	}
	if err != nil {
		s.release(a.key())
		return err
	}
	b.AfterCommit(func(error) { s.release(a.key()) })
	store.Alias.Put(b, a.key(), a.Target)
	return nil
}

// LookupAlias finds the target of an alias; false when there is none. Kind, Scope and Name count.
func (s *Service) LookupAlias(ctx context.Context, a Alias) (target [32]byte, found bool, err error) {
	if err := checkAlias(a); err != nil {
		return target, false, err
	}
	target, found, err = store.Alias.Get(ctx, s.db, a.key())
	return target, found, err
}

// DeleteAlias removes an alias; an absent one is fine. Kind, Scope and Name count.
func (s *Service) DeleteAlias(ctx context.Context, a Alias) error {
	if err := checkAlias(a); err != nil {
		return err
	}
	b := s.db.Batch()
	store.Alias.Delete(b, a.key())
	if err := b.Commit(ctx); err != nil {
		return fmt.Errorf("delete alias %q: %w", a.Name, err)
	}
	return nil
}

// ListAliases are the aliases of a kind, ordered by scope and name; scope nil = of all scopes.
func (s *Service) ListAliases(ctx context.Context, kind wire.AliasKind, scope *domain.ContextID) ([]Alias, error) {
	prefix := []byte{byte(kind)}
	if scope != nil {
		prefix = wire.AliasPrefix(kind, *scope)
	}
	var all []Alias
	err := store.Alias.Scan(ctx, s.db, prefix, func(key store.AliasKey, target wire.ID32) error {
		all = append(all, Alias{Kind: key.Kind, Scope: key.Scope, Name: key.Name, Target: target})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list aliases: %w", err)
	}
	return all, nil
}

func errExists() error { return errkind.AlreadyExists.Errorf("alias already exists") }

func checkAlias(a Alias) error {
	switch a.Kind {
	case wire.AliasContext, wire.AliasApplication:
		if a.Scope != (domain.ContextID{}) {
			return errkind.Invalid.Errorf("alias %q: only aliases of identities have a scope", a.Name)
		}
	case wire.AliasPublicKey:
		if a.Scope == (domain.ContextID{}) {
			return errkind.Invalid.Errorf("alias requires scope to be present")
		}
	default:
		return errkind.Invalid.Errorf("alias %q: unknown kind %d", a.Name, a.Kind)
	}
	if _, err := domain.ParseAlias(string(a.Name)); err != nil {
		return errkind.Invalid.Errorf("alias %.60q: %w", a.Name, err)
	}
	return nil
}

func (s *Service) claim(key store.AliasKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.claimed[key]; taken {
		return false
	}
	s.claimed[key] = struct{}{}
	return true
}

func (s *Service) release(key store.AliasKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.claimed, key)
}

// LookupIdentityAlias finds the identity that name stands for in a context: kind NotFound when it stands for none, kind
// Invalid when it can be no alias.
func (s *Service) LookupIdentityAlias(ctx context.Context, scope domain.ContextID, name string) (domain.PublicKey, error) {
	target, found, err := s.LookupAlias(ctx, IdentityAlias(scope, domain.Alias(name), domain.PublicKey{}))
	if err != nil {
		return domain.PublicKey{}, err
	}
	if !found {
		return domain.PublicKey{}, errkind.NotFound.Errorf("no alias %q in context %s", name, scope)
	}
	return target, nil
}
