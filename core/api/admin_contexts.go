package api

import (
	"fmt"
	"net/http"
	"time"

	"github.com/calimero-go/core/core/api/schema"
	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/membership"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

func (s *Server) listContexts(w http.ResponseWriter, r *http.Request) {
	all, err := s.deps.Contexts.List(r.Context())
	s.answerContexts(w, r, all, err)
}

func (s *Server) contextsForApplication(w http.ResponseWriter, r *http.Request) {
	app, ok := pathID(w, r, "application_id", domain.ParseApplicationID)
	if !ok {
		return
	}
	all, err := s.deps.Contexts.ForApplication(r.Context(), app)
	s.answerContexts(w, r, all, err)
}

func (s *Server) answerContexts(w http.ResponseWriter, r *http.Request, all []contexts.Info, err error) {
	if err != nil {
		s.failure(w, r, err)
		return
	}
	list := schema.Contexts{Contexts: make([]schema.Context, len(all))}
	for i, c := range all {
		list.Contexts[i] = describe(c)
	}
	s.answerData(w, list)
}

func describe(c contexts.Info) schema.Context {
	d := schema.Context{ID: c.ID, ApplicationID: c.Application, RootHash: c.RootHash, GuestMerge: c.GuestMerge, UpgradeError: c.UpgradeError}
	for _, h := range c.DagHeads {
		d.DagHeads = append(d.DagHeads, schema.IntBytes32(h))
	}
	return d
}

func (s *Server) contextsWithExecutors(w http.ResponseWriter, r *http.Request) {
	app, ok := pathID(w, r, "application_id", domain.ParseApplicationID)
	if !ok {
		return
	}
	all, err := s.deps.Contexts.ForApplication(r.Context(), app)
	if err != nil {
		s.failure(w, r, err)
		return
	}
	list := schema.ContextsWithExecutors{Contexts: []schema.ContextWithExecutors{}}
	for _, c := range all {
		members, err := s.deps.Contexts.Identities(r.Context(), c.ID, false)
		if isContextNotFound(err) {
			continue // deleted meanwhile
		}
		if err != nil {
			s.failure(w, r, err)
			return
		}
		list.Contexts = append(list.Contexts, schema.ContextWithExecutors{
			ID: c.ID, ApplicationID: c.Application, RootHash: c.RootHash, Executors: orNone(members),
		})
	}
	s.answer(w, list)
}

func (s *Server) createContext(w http.ResponseWriter, r *http.Request) {
	var req schema.CreateContextRequest
	if !s.validJSON(w, r, &req) {
		return
	}
	create := contexts.CreateRequest{
		Application: req.ApplicationID, Seed: req.ContextSeed, Alias: req.Alias, InitParams: req.InitializationParams,
	}
	group, err := optionalHex("group_id", req.GroupID)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	create.Group = (*domain.GroupID)(group)
	if create.IdentitySecret, err = optionalHex("identity_secret", req.IdentitySecret); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	created, err := s.deps.Contexts.Create(r.Context(), create)
	if err != nil {
		s.failure(w, r, err)
		return
	}
	s.answerData(w, schema.CreatedContext{ContextID: created.Context, MemberPublicKey: created.Member})
}

func optionalHex(name string, text *string) (*[32]byte, error) {
	if text == nil {
		return nil, nil
	}
	raw, err := domain.ParseHex32(*text)
	if err != nil {
		return nil, fmt.Errorf("Invalid %s: %w", name, err) //nolint:staticcheck // the reference's text
	}
	return &raw, nil
}

func (s *Server) getContext(w http.ResponseWriter, r *http.Request) {
	id, ok := pathID(w, r, "context_id", domain.ParseContextID)
	if !ok {
		return
	}
	c, err := s.deps.Contexts.Get(r.Context(), id)
	if s.contextFailed(w, r, err) {
		return
	}
	described := describe(c)
	if s.deps.Peers != nil {
		described.SyncError = s.deps.Peers.Trouble(id)
	}
	s.answerData(w, described)
}

// contextFailed answers an error, 404 for a context that is not here.
func (s *Server) contextFailed(w http.ResponseWriter, r *http.Request, err error) bool {
	switch {
	case err == nil:
		return false
	case isContextNotFound(err):
		fail(w, http.StatusNotFound, "Context not found")
	default:
		s.failure(w, r, err)
	}
	return true
}

// contextOf reads the context's id from the path of those routes that answer a bad one with kind A.
func contextOf(w http.ResponseWriter, r *http.Request) (domain.ContextID, bool) {
	id, err := domain.ParseContextID(r.PathValue("context_id"))
	if err != nil {
		fail(w, http.StatusBadRequest, "Invalid context id")
	}
	return id, err == nil
}

// deleteContext takes the requester from a body that may be missing; one that cannot be read counts as missing.
func (s *Server) deleteContext(w http.ResponseWriter, r *http.Request) {
	id, ok := contextOf(w, r)
	if !ok {
		return
	}
	var req schema.DeleteContextRequest
	if body, fault := s.readJSON(w, r); fault == nil {
		if err := schema.Decode(body, &req); err != nil {
			req = schema.DeleteContextRequest{}
		}
	}
	deleted, err := s.deps.Contexts.Delete(r.Context(), id, req.Requester)
	if err != nil {
		s.failure(w, r, err)
		return
	}
	s.answerData(w, schema.Deleted{IsDeleted: deleted})
}

func (s *Server) setApplication(w http.ResponseWriter, r *http.Request) {
	id, ok := contextOf(w, r)
	if !ok {
		return
	}
	var req schema.UpdateContextApplicationRequest
	if !s.validJSON(w, r, &req) {
		return
	}
	setter, ok := s.deps.Contexts.(ApplicationSetter)
	if !ok {
		fail(w, http.StatusInternalServerError, "changing the application of a context is not available in this version")
		return
	}
	err := setter.SetApplication(r.Context(), id, req.ApplicationID, req.ExecutorPublicKey, req.MigrateMethod)
	if err != nil {
		s.failure(w, r, err)
		return
	}
	s.answerData(w, nil)
}

// contextStorage is always 0 in the reference, without a look at the id.
func (s *Server) contextStorage(w http.ResponseWriter, _ *http.Request) {
	s.answerData(w, schema.ContextStorage{})
}

func (s *Server) identities(ownedOnly bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, ok := pathID(w, r, "context_id", domain.ParseContextID)
		if !ok {
			return
		}
		all, err := s.deps.Contexts.Identities(r.Context(), id, ownedOnly)
		if s.contextFailed(w, r, err) {
			return
		}
		s.answerData(w, schema.Identities{Identities: orNone(all)})
	}
}

func (s *Server) contextGroup(w http.ResponseWriter, r *http.Request) {
	id, ok := pathID(w, r, "context_id", domain.ParseContextID)
	if !ok {
		return
	}
	group, err := s.deps.Contexts.Group(r.Context(), id)
	if err != nil {
		s.failure(w, r, err)
		return
	}
	s.answerData(w, group)
}

// sync brings contexts together with peers. As in the reference, an id that cannot be read stands for all; what cannot be
// done now is done as soon as it can, and is no error.
func (s *Server) sync(w http.ResponseWriter, r *http.Request) {
	var one *domain.ContextID
	if id, err := domain.ParseContextID(r.PathValue("context_id")); err == nil {
		one = &id
	}
	if s.deps.Peers != nil {
		if err := s.deps.Peers.Sync(r.Context(), one); err != nil && r.Context().Err() == nil {
			s.log.Warn("contexts are not synchronised yet", "error", err)
		}
	}
	s.answerData(w, nil)
}

func (s *Server) invite(w http.ResponseWriter, r *http.Request) {
	var req schema.InviteToContextRequest
	if !s.validJSON(w, r, &req) {
		return
	}
	if s.deps.Peers == nil {
		unavailable(w, "inviting to a context")
		return
	}
	inv, err := s.deps.Peers.Invite(r.Context(), req.ContextID, req.InviterID,
		time.Duration(req.ValidForSeconds)*time.Second) //nolint:gosec // validated: at most a year
	switch {
	case err != nil:
		s.failure(w, r, err)
	case inv == nil:
		s.answerData(w, nil)
	default:
		s.answerData(w, sealed(inv))
	}
}

func sealed(inv *membership.Invitation) schema.SignedOpenInvitation {
	return schema.SignedOpenInvitation{
		Invitation: schema.OpenInvitation{
			InviterIdentity: schema.IntBytes32(inv.Inviter), ContextID: schema.IntBytes32(inv.Target),
			ExpirationTimestamp: inv.Expiration, SecretSalt: inv.Salt,
		},
		InviterSignature: inv.Signature, ApplicationID: (*schema.IntBytes32)(inv.Application),
		BlobID: (*schema.IntBytes32)(inv.Blob), Source: inv.Source, GroupID: (*schema.IntBytes32)(inv.Group),
		Genesis: inv.Genesis,
	}
}

func opened(signed *schema.SignedOpenInvitation) membership.Invitation {
	inv := membership.Invitation{
		Signature: signed.InviterSignature, Application: (*domain.ApplicationID)(signed.ApplicationID),
		Blob: (*domain.BlobID)(signed.BlobID), Source: signed.Source, Group: (*domain.GroupID)(signed.GroupID),
		Genesis: signed.Genesis,
	}
	inv.Inviter, inv.Target = domain.PublicKey(signed.Invitation.InviterIdentity), domain.ContextID(signed.Invitation.ContextID)
	inv.Expiration, inv.Salt = signed.Invitation.ExpirationTimestamp, signed.Invitation.SecretSalt
	return inv
}

func (s *Server) join(w http.ResponseWriter, r *http.Request) {
	var req schema.JoinContextRequest
	if !s.validJSON(w, r, &req) {
		return
	}
	if s.deps.Peers == nil {
		unavailable(w, "joining a context")
		return
	}
	inv := opened(&req.Invitation)
	if err := s.deps.Peers.Join(r.Context(), inv, req.NewMemberPublicKey); err != nil {
		s.failure(w, r, err)
		return
	}
	s.answerData(w, schema.JoinedContext{ContextID: inv.Target, MemberPublicKey: req.NewMemberPublicKey})
}

func (s *Server) inviteSpecializedNode(w http.ResponseWriter, r *http.Request) {
	if s.validJSON(w, r, &schema.InviteSpecializedNodeRequest{}) {
		unavailable(w, "inviting a specialized node")
	}
}

func (s *Server) newIdentity(w http.ResponseWriter, r *http.Request) {
	key, err := s.deps.Identity.NewIdentity(r.Context())
	if err != nil {
		s.failure(w, r, err)
		return
	}
	s.answerData(w, schema.NewIdentity{PublicKey: key})
}
