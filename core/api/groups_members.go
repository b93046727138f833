package api

import (
	"errors"
	"net/http"

	"github.com/calimero-go/core/core/admin"
	"github.com/calimero-go/core/core/api/schema"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

func (s *Server) groupMembers(w http.ResponseWriter, r *http.Request) {
	id, p, ok := under(s, w, r, paging, nil)
	if !ok {
		return
	}
	members, self, err := s.deps.Groups.Members(r.Context(), id, p.offset, p.limit)
	if err != nil {
		s.failure(w, r, err)
		return
	}
	list := schema.GroupMembers{Data: make([]schema.GroupMember, len(members)), SelfIdentity: &self}
	for i, m := range members {
		list.Data[i] = schema.GroupMember(m)
	}
	s.answer(w, list)
}

func (s *Server) addMembers(w http.ResponseWriter, r *http.Request) {
	var req schema.AddGroupMembersRequest
	id, ok := s.onGroup(w, r, &req)
	if !ok {
		return
	}
	members := make([]admin.Member, len(req.Members))
	for i, m := range req.Members {
		members[i] = admin.Member{Identity: m.Identity, Role: m.Role}
	}
	s.done(w, r, s.deps.Groups.AddMembers(r.Context(), id, members, requester(r, req.Requester)))
}

func (s *Server) removeMembers(w http.ResponseWriter, r *http.Request) {
	var req schema.RemoveGroupMembersRequest
	if id, ok := s.onGroup(w, r, &req); ok {
		s.done(w, r, s.deps.Groups.RemoveMembers(r.Context(), id, req.Members, requester(r, req.Requester)))
	}
}

// onMember reads group and member of the path, and the body.
func (s *Server) onMember(w http.ResponseWriter, r *http.Request, body schema.Request) (domain.GroupID, domain.PublicKey, bool) {
	return under(s, w, r, memberOf, body)
}

func (s *Server) setRole(w http.ResponseWriter, r *http.Request) {
	var req schema.UpdateMemberRoleRequest
	if id, who, ok := s.onMember(w, r, &req); ok { // the body's requester counts, as in the reference
		s.done(w, r, s.deps.Groups.SetRole(r.Context(), id, who, req.Role, req.Requester.Requester))
	}
}

func (s *Server) setMemberAlias(w http.ResponseWriter, r *http.Request) {
	var req schema.SetAliasRequest
	if id, who, ok := s.onMember(w, r, &req); ok {
		s.done(w, r, s.deps.Groups.SetMemberAlias(r.Context(), id, who, req.Alias, requester(r, req.Requester)))
	}
}

func (s *Server) memberCapabilities(w http.ResponseWriter, r *http.Request) {
	id, who, ok := s.onMember(w, r, nil)
	if !ok {
		return
	}
	caps, err := s.deps.Groups.Capabilities(r.Context(), id, who)
	if err != nil {
		s.failure(w, r, err)
		return
	}
	s.answerData(w, schema.Capabilities{Capabilities: uint32(caps)})
}

func (s *Server) setMemberCapabilities(w http.ResponseWriter, r *http.Request) {
	var req schema.SetMemberCapabilitiesRequest
	if id, who, ok := s.onMember(w, r, &req); ok {
		caps := domain.GroupCapabilities(req.Capabilities)
		s.done(w, r, s.deps.Groups.SetCapabilities(r.Context(), id, who, caps, requester(r, req.Requester)))
	}
}

// isNoMember tells the one error of groups that has a status of its own.
func isNoMember(err error) bool { return errors.Is(err, errkind.PermissionDenied) }
