package api

import (
	"errors"
	"net/http"

	"github.com/calimero-go/core/core/api/schema"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// aliasKind is what an alias names.
type aliasKind uint8

const (
	contextAlias aliasKind = iota
	applicationAlias
	identityAlias
)

func (k aliasKind) wire() wire.AliasKind {
	switch k {
	case contextAlias:
		return wire.AliasContext
	case applicationAlias:
		return wire.AliasApplication
	}
	return wire.AliasPublicKey
}

func (s *Server) createContextAlias(w http.ResponseWriter, r *http.Request) {
	var req schema.CreateContextAliasRequest
	if s.plainJSON(w, r, &req) {
		s.createAlias(w, r, identity.ContextAlias(req.Alias, req.ContextID))
	}
}

func (s *Server) createApplicationAlias(w http.ResponseWriter, r *http.Request) {
	var req schema.CreateApplicationAliasRequest
	if s.plainJSON(w, r, &req) {
		s.createAlias(w, r, identity.ApplicationAlias(req.Alias, req.ApplicationID))
	}
}

func (s *Server) createIdentityAlias(w http.ResponseWriter, r *http.Request) {
	var req schema.CreateIdentityAliasRequest
	if !s.plainJSON(w, r, &req) {
		return
	}
	scope, err := domain.ParseContextID(r.PathValue("context"))
	if err != nil {
		failText(w, http.StatusInternalServerError, "alias requires scope to be present")
		return
	}
	s.createAlias(w, r, identity.IdentityAlias(scope, req.Alias, req.Identity))
}

func (s *Server) createAlias(w http.ResponseWriter, r *http.Request, a identity.Alias) {
	if err := s.deps.Identity.CreateAlias(r.Context(), a); err != nil {
		s.failureText(w, r, err)
		return
	}
	s.answerData(w, nil)
}

// pathAlias reads the alias that the path names.
func pathAlias(r *http.Request, kind aliasKind) (identity.Alias, error) {
	name, err := domain.ParseAlias(r.PathValue("name"))
	a := identity.Alias{Kind: kind.wire(), Name: name}
	if kind == identityAlias {
		var scopeErr error
		a.Scope, scopeErr = domain.ParseContextID(r.PathValue("context"))
		err = errors.Join(err, scopeErr)
	}
	return a, err
}

func (s *Server) lookupAlias(kind aliasKind) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a, err := pathAlias(r, kind)
		if err != nil {
			failText(w, http.StatusBadRequest, "invalid path params")
			return
		}
		target, found, err := s.deps.Identity.LookupAlias(r.Context(), a)
		if err != nil {
			s.failureText(w, r, err)
			return
		}
		var answer schema.AliasTarget
		if found {
			text := domain.Hash(target).String()
			answer.Value = &text
		}
		s.answerData(w, answer)
	}
}

func (s *Server) deleteAlias(kind aliasKind) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a, err := pathAlias(r, kind)
		if err != nil {
			failText(w, http.StatusBadRequest, "invalid path params")
			return
		}
		if err := s.deps.Identity.DeleteAlias(r.Context(), a); err != nil {
			s.failure(w, r, err)
			return
		}
		s.answerData(w, nil)
	}
}

// listAliases lists those of all contexts when the path's context cannot be read, as the reference does.
func (s *Server) listAliases(kind aliasKind) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var scope *domain.ContextID
		if kind == identityAlias {
			if id, err := domain.ParseContextID(r.PathValue("context")); err == nil {
				scope = &id
			}
		}
		all, err := s.deps.Identity.ListAliases(r.Context(), kind.wire(), scope)
		if err != nil {
			s.failure(w, r, err)
			return
		}
		list := make(map[string]domain.Hash, len(all)) // printed in the order of its keys
		for _, a := range all {
			list[string(a.Name)] = a.Target
		}
		s.answerData(w, list)
	}
}
