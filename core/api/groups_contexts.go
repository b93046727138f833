package api

import (
	"context"
	"net/http"

	"github.com/calimero-go/core/core/admin"
	"github.com/calimero-go/core/core/api/schema"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

func (s *Server) groupContexts(w http.ResponseWriter, r *http.Request) {
	id, p, ok := under(s, w, r, paging, nil)
	if !ok {
		return
	}
	all, err := s.deps.Groups.Contexts(r.Context(), id, p.offset, p.limit)
	if err != nil {
		s.failure(w, r, err)
		return
	}
	list := make([]schema.GroupContext, len(all))
	for i, c := range all {
		list[i] = schema.GroupContext{ContextID: schema.Hex32(c.ID), Alias: c.Alias}
	}
	s.answerData(w, list)
}

// onContext reads group and context of the path, and the body.
func (s *Server) onContext(w http.ResponseWriter, r *http.Request, body schema.Request) (domain.GroupID, domain.ContextID, bool) {
	return under(s, w, r, groupContextOf, body)
}

func (s *Server) detachContext(w http.ResponseWriter, r *http.Request) {
	id, ok := s.groupOf(w, r)
	if !ok {
		return
	}
	c, err := eitherID(r.PathValue("context_id")) // the reference reads base58 only here
	if err != nil {
		fail(w, http.StatusBadRequest, "Invalid context_id format")
		return
	}
	var req schema.GroupRequest
	if s.validJSON(w, r, &req) {
		s.done(w, r, s.deps.Groups.Detach(r.Context(), id, c, requester(r, req.Requester)))
	}
}

// setContextAlias is ours: the reference names a context at its creation only.
func (s *Server) setContextAlias(w http.ResponseWriter, r *http.Request) {
	var req schema.SetAliasRequest
	if id, c, ok := s.onContext(w, r, &req); ok {
		s.done(w, r, s.deps.Groups.SetContextAlias(r.Context(), id, c, req.Alias, requester(r, req.Requester)))
	}
}

func (s *Server) contextVisibility(w http.ResponseWriter, r *http.Request) {
	id, c, ok := s.onContext(w, r, nil)
	if !ok {
		return
	}
	v, err := s.deps.Groups.Visibility(r.Context(), id, c)
	if err != nil {
		s.failure(w, r, err)
		return
	}
	s.answerData(w, schema.ContextVisibility{Mode: schema.VisibilityOf(v.Mode), Creator: v.Creator})
}

func (s *Server) setContextVisibility(w http.ResponseWriter, r *http.Request) {
	var req schema.SetContextVisibilityRequest
	if id, c, ok := s.onContext(w, r, &req); ok {
		s.done(w, r, s.deps.Groups.SetVisibility(r.Context(), id, c, req.Mode.Mode(), requester(r, req.Requester)))
	}
}

func (s *Server) contextAllowlist(w http.ResponseWriter, r *http.Request) {
	id, c, ok := s.onContext(w, r, nil)
	if !ok {
		return
	}
	list, err := s.deps.Groups.Allowlist(r.Context(), id, c)
	if err != nil {
		s.failure(w, r, err)
		return
	}
	s.answerData(w, orNone(list))
}

func (s *Server) changeAllowlist(w http.ResponseWriter, r *http.Request) {
	var req schema.ManageAllowlistRequest
	if id, c, ok := s.onContext(w, r, &req); ok {
		s.done(w, r, s.deps.Groups.ChangeAllowlist(r.Context(), id, c, req.Add, req.Remove, requester(r, req.Requester)))
	}
}

// contextCapabilities grants or revokes what members may do in a context.
func (s *Server) contextCapabilities(change func(Groups, context.Context, domain.ContextID, []admin.Grant, domain.PublicKey) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, ok := contextOf(w, r)
		if !ok {
			return
		}
		var req schema.CapabilitiesRequest
		if !s.validJSON(w, r, &req) {
			return
		}
		if s.deps.Groups == nil {
			unavailable(w, "governing groups")
			return
		}
		grants := make([]admin.Grant, len(req.Capabilities))
		for i, g := range req.Capabilities {
			capability, err := domain.ParseContextCapability(g.Capability)
			if err != nil { // the body was checked
				fail(w, http.StatusBadRequest, err.Error())
				return
			}
			grants[i] = admin.Grant{Member: g.Member, Capability: capability}
		}
		s.done(w, r, change(s.deps.Groups, r.Context(), c, grants, req.SignerID))
	}
}

func (s *Server) upgradeGroup(w http.ResponseWriter, r *http.Request) {
	var req schema.UpgradeGroupRequest
	id, ok := s.onGroup(w, r, &req)
	if !ok || !s.canUpgrade(w) {
		return
	}
	status, err := s.deps.Upgrades.Upgrade(r.Context(), id, req.TargetApplicationID, req.MigrateMethod, requester(r, req.Requester))
	s.answerUpgrade(w, r, id, status, err)
}

func (s *Server) retryUpgrade(w http.ResponseWriter, r *http.Request) {
	var req schema.GroupRequest
	id, ok := s.onGroup(w, r, &req)
	if !ok || !s.canUpgrade(w) {
		return
	}
	status, err := s.deps.Upgrades.Retry(r.Context(), id, requester(r, req.Requester))
	s.answerUpgrade(w, r, id, status, err)
}

func (s *Server) canUpgrade(w http.ResponseWriter) bool {
	if s.deps.Upgrades == nil {
		unavailable(w, "upgrading groups")
	}
	return s.deps.Upgrades != nil
}

func (s *Server) answerUpgrade(w http.ResponseWriter, r *http.Request, id domain.GroupID, status wire.GroupUpgradeStatus, err error) {
	if err != nil {
		s.failure(w, r, err)
		return
	}
	u := upgradeOf(&wire.GroupUpgrade{Status: status})
	s.answerData(w, schema.StartedUpgrade{GroupID: id, Status: u.Status, Total: u.Total, Completed: u.Completed, Failed: u.Failed})
}

func (s *Server) upgradeStatus(w http.ResponseWriter, r *http.Request) {
	id, ok := s.groupOf(w, r)
	if !ok || !s.canUpgrade(w) {
		return
	}
	u, err := s.deps.Upgrades.Status(r.Context(), id)
	if err != nil {
		s.failure(w, r, err)
		return
	}
	s.answerData(w, upgradeOf(u))
}

func upgradeOf(u *wire.GroupUpgrade) *schema.GroupUpgrade {
	if u == nil {
		return nil
	}
	out := &schema.GroupUpgrade{
		FromVersion: u.FromVersion, ToVersion: u.ToVersion, InitiatedAt: u.InitiatedAt, InitiatedBy: u.InitiatedBy,
		Status: schema.UpgradeCompleted, CompletedAt: u.Status.CompletedAt,
	}
	if !u.Status.Completed {
		out.Status = schema.UpgradeInProgress
		out.Total, out.Completed, out.Failed = &u.Status.Total, &u.Status.Finished, &u.Status.Failed
	}
	return out
}
