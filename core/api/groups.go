package api

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/calimero-go/core/core/admin"
	"github.com/calimero-go/core/core/api/authroutes"
	"github.com/calimero-go/core/core/api/schema"
	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/membership"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// groupOf reads the group's id from the path; false when it answered, also when the node has no groups.
func (s *Server) groupOf(w http.ResponseWriter, r *http.Request) (domain.GroupID, bool) {
	return s.groupNamed(w, r, "group_id")
}

func (s *Server) groupNamed(w http.ResponseWriter, r *http.Request, name string) (domain.GroupID, bool) {
	if s.deps.Groups == nil {
		unavailable(w, "governing groups")
		return domain.GroupID{}, false
	}
	id, err := domain.ParseGroupID(r.PathValue(name))
	switch {
	case err == nil:
		return id, true
	case err.Error() == domain.ErrInvalidHexLength.Error():
		fail(w, http.StatusBadRequest, "Invalid group id: "+err.Error())
	default:
		fail(w, http.StatusBadRequest, "Invalid group id format: "+err.Error())
	}
	return domain.GroupID{}, false
}

// eitherID reads 32 bytes in base58 or hex.
func eitherID(text string) (id [32]byte, err error) {
	if id, err := domain.ParseHash(text); err == nil {
		return id, nil
	}
	return domain.ParseHex32(text)
}

func memberOf(w http.ResponseWriter, r *http.Request) (domain.PublicKey, bool) {
	id, err := eitherID(r.PathValue("identity"))
	if err != nil {
		fail(w, http.StatusBadRequest, "Invalid identity format: expected public key or hex-encoded 32 bytes")
	}
	return id, err == nil
}

func groupContextOf(w http.ResponseWriter, r *http.Request) (domain.ContextID, bool) {
	id, err := eitherID(r.PathValue("context_id"))
	switch {
	case err == nil:
	case err.Error() == domain.ErrInvalidHexLength.Error():
		fail(w, http.StatusBadRequest, "Invalid context id: "+err.Error())
	default:
		fail(w, http.StatusBadRequest, "Invalid context id format: expected base58 or hex-encoded 32 bytes")
	}
	return id, err == nil
}

// onGroup reads the group of the path and the body.
func (s *Server) onGroup(w http.ResponseWriter, r *http.Request, body schema.Request) (domain.GroupID, bool) {
	id, ok := s.groupOf(w, r)
	return id, ok && s.validJSON(w, r, body)
}

// under reads the group of the path, what read finds besides, and the body; nil has none.
func under[T any](s *Server, w http.ResponseWriter, r *http.Request, read func(http.ResponseWriter, *http.Request) (T, bool),
	body schema.Request) (id domain.GroupID, what T, ok bool) {
	if id, ok = s.groupOf(w, r); !ok {
		return id, what, false
	}
	what, ok = read(w, r)
	return id, what, ok && (body == nil || s.validJSON(w, r, body))
}

// requester is the caller whose token is for a key, else whoever the body names.
func requester(r *http.Request, body schema.Requester) *domain.PublicKey {
	if id := authroutes.FromContext(r.Context()); id != nil && id.PublicKey != nil {
		return id.PublicKey
	}
	return body.Requester
}

// done answers null, without the wrapper that most routes have, or the error.
func (s *Server) done(w http.ResponseWriter, r *http.Request, err error) {
	if err != nil {
		s.failure(w, r, err)
		return
	}
	s.answer(w, nil)
}

// page is a part of a list.
type page struct{ offset, limit uint64 }

// paging reads offset and limit of a list.
func paging(w http.ResponseWriter, r *http.Request) (p page, ok bool) {
	query := r.URL.Query()
	read := func(name string, value uint64) uint64 {
		if !ok || !query.Has(name) {
			return value
		}
		n, err := strconv.ParseUint(query.Get(name), 10, 64)
		if err != nil {
			ok = false
			failText(w, http.StatusBadRequest, fmt.Sprintf("Failed to deserialize query string: %s: invalid digit found in string", name))
		}
		return n
	}
	ok = true
	p = page{offset: read("offset", 0), limit: read("limit", 100)}
	return p, ok
}

func (s *Server) listGroups(w http.ResponseWriter, r *http.Request) {
	if s.deps.Groups == nil {
		unavailable(w, "governing groups")
		return
	}
	p, ok := paging(w, r)
	if !ok {
		return
	}
	all, err := s.deps.Groups.List(r.Context(), p.offset, p.limit)
	if err != nil {
		s.failure(w, r, err)
		return
	}
	list := make([]schema.Group, len(all))
	for i, g := range all {
		list[i] = schema.Group{
			GroupID: g.Group, AppKey: schema.Hex32(g.AppKey), TargetApplicationID: g.Target, UpgradePolicy: g.Policy,
			CreatedAt: g.CreatedAt, Alias: g.Alias,
		}
	}
	s.answerData(w, list)
}

func (s *Server) createGroup(w http.ResponseWriter, r *http.Request) {
	if s.deps.Groups == nil {
		unavailable(w, "governing groups")
		return
	}
	var req schema.CreateGroupRequest
	if !s.validJSON(w, r, &req) {
		return
	}
	create := admin.CreateRequest{Application: req.ApplicationID, Policy: req.UpgradePolicy, Alias: req.Alias}
	for _, x := range []struct {
		name string
		text *string
		put  func(*[32]byte)
	}{
		{"group_id", req.GroupID, func(v *[32]byte) { create.Group = (*domain.GroupID)(v) }},
		{"app_key", req.AppKey, func(v *[32]byte) { create.AppKey = (*domain.Hash)(v) }},
		{"parent_group_id", req.ParentGroupID, func(v *[32]byte) { create.Parent = (*domain.GroupID)(v) }},
	} {
		value, err := optionalHex(x.name, x.text)
		if err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		x.put(value)
	}
	id, err := s.deps.Groups.Create(r.Context(), create)
	if err != nil {
		s.failure(w, r, err)
		return
	}
	s.answerData(w, schema.GroupRef{GroupID: id})
}

func (s *Server) groupInfo(w http.ResponseWriter, r *http.Request) {
	id, ok := s.groupOf(w, r)
	if !ok {
		return
	}
	g, err := s.deps.Groups.Info(r.Context(), id)
	if err != nil {
		s.failure(w, r, err)
		return
	}
	s.answerData(w, schema.GroupInfo{
		GroupID: g.Group, AppKey: schema.Hex32(g.AppKey), TargetApplicationID: g.Target, UpgradePolicy: g.Policy,
		MemberCount: g.Members, ContextCount: g.Contexts, ActiveUpgrade: upgradeOf(g.Upgrade),
		DefaultCapabilities: uint32(g.Defaults), DefaultVisibility: schema.VisibilityOf(g.DefaultVisibility), Alias: g.Alias,
		Parent: g.Parent, Subgroups: g.Subgroups,
	})
}

func (s *Server) updateGroup(w http.ResponseWriter, r *http.Request) {
	var req schema.UpdateGroupSettingsRequest
	if id, ok := s.onGroup(w, r, &req); ok {
		s.done(w, r, s.deps.Groups.SetPolicy(r.Context(), id, req.UpgradePolicy, requester(r, req.Requester)))
	}
}

func (s *Server) deleteGroup(w http.ResponseWriter, r *http.Request) {
	var req schema.GroupRequest
	id, ok := s.onGroup(w, r, &req)
	if !ok {
		return
	}
	if err := s.deps.Groups.Delete(r.Context(), id, requester(r, req.Requester)); err != nil {
		s.failure(w, r, err)
		return
	}
	s.answerData(w, schema.Deleted{IsDeleted: true})
}

func (s *Server) syncGroup(w http.ResponseWriter, r *http.Request) {
	id, ok := s.onGroup(w, r, &schema.GroupRequest{})
	if !ok {
		return
	}
	g, err := s.deps.Groups.Sync(r.Context(), id)
	if err != nil {
		s.failure(w, r, err)
		return
	}
	s.answerData(w, schema.SyncedGroup{
		GroupID: g.Group, AppKey: schema.Hex32(g.AppKey), TargetApplicationID: g.Target, MemberCount: g.Members, ContextCount: g.Contexts,
	})
}

// groupLog is ours: what the node has of a group's operations, and what became of each.
func (s *Server) groupLog(w http.ResponseWriter, r *http.Request) {
	id, p, ok := under(s, w, r, paging, nil)
	if !ok {
		return
	}
	entries, total, err := s.deps.Groups.Log(r.Context(), id, p.offset, p.limit)
	if err != nil {
		s.failure(w, r, err)
		return
	}
	log := schema.GroupLog{Total: total, Operations: make([]schema.LoggedOperation, len(entries))}
	for i, e := range entries {
		log.Operations[i] = logged(e)
	}
	s.answerData(w, log)
}

func logged(e governance.Entry) schema.LoggedOperation {
	verdict := string(e.Verdict.Code)
	if e.NoEffect {
		verdict += "_NO_EFFECT"
	}
	return schema.LoggedOperation{
		Sequence: e.Sequence, ID: e.Op.ID, Parents: orNone(e.Op.Parents), Author: e.Op.Author, Nonce: e.Op.Nonce, Operation: e.Op.Body.Kind().String(),
		What: admin.Describe(e.Op.Body), Verdict: verdict, Reason: e.Verdict.Code.Reason(), By: e.Verdict.By,
	}
}

// geneses is ours: the beginnings of a group that this node has heard of.
func (s *Server) geneses(w http.ResponseWriter, r *http.Request) {
	id, ok := s.groupOf(w, r)
	if !ok {
		return
	}
	candidates, chosen, err := s.deps.Groups.Geneses(r.Context(), id)
	if err != nil {
		s.failure(w, r, err)
		return
	}
	answer := schema.GroupGeneses{Chosen: chosen, Geneses: make([]schema.GroupGenesis, len(candidates))}
	for i, c := range candidates {
		g := c.Genesis
		answer.Geneses[i] = schema.GroupGenesis{
			ID: c.ID, Kept: c.Kept, Provisional: c.Provisional, Creator: g.Creator, CreatedAt: g.CreatedAt, TargetApplicationID: g.Target,
			Alias: g.Alias, Parent: g.Parent, MemberCount: c.Members, CountingOperations: c.Counting, Operations: c.Operations,
		}
	}
	s.answerData(w, answer)
}

// chooseGenesis is ours.
func (s *Server) chooseGenesis(w http.ResponseWriter, r *http.Request) {
	var req schema.ChooseGenesisRequest
	if id, ok := s.onGroup(w, r, &req); ok {
		s.done(w, r, s.deps.Groups.ChooseGenesis(r.Context(), id, req.Genesis))
	}
}

func (s *Server) setGroupAlias(w http.ResponseWriter, r *http.Request) {
	var req schema.SetAliasRequest
	if id, ok := s.onGroup(w, r, &req); ok { // the body's requester counts, as in the reference
		s.done(w, r, s.deps.Groups.SetAlias(r.Context(), id, req.Alias, req.Requester.Requester))
	}
}

func (s *Server) setDefaultCapabilities(w http.ResponseWriter, r *http.Request) {
	var req schema.SetDefaultCapabilitiesRequest
	if id, ok := s.onGroup(w, r, &req); ok {
		caps := domain.GroupCapabilities(req.DefaultCapabilities)
		s.done(w, r, s.deps.Groups.SetDefaultCapabilities(r.Context(), id, caps, requester(r, req.Requester)))
	}
}

func (s *Server) setDefaultVisibility(w http.ResponseWriter, r *http.Request) {
	var req schema.SetDefaultVisibilityRequest
	if id, ok := s.onGroup(w, r, &req); ok {
		s.done(w, r, s.deps.Groups.SetDefaultVisibility(r.Context(), id, req.DefaultVisibility.Mode(), requester(r, req.Requester)))
	}
}

func (s *Server) setTeePolicy(w http.ResponseWriter, r *http.Request) {
	var req schema.SetTeePolicyRequest
	if id, ok := s.onGroup(w, r, &req); ok {
		s.done(w, r, s.deps.Groups.SetTeePolicy(r.Context(), id, wire.OpTeeAdmissionPolicySet{
			MRTD: req.AllowedMRTD, RTMR0: req.AllowedRTMR0, RTMR1: req.AllowedRTMR1, RTMR2: req.AllowedRTMR2, RTMR3: req.AllowedRTMR3,
			TCBStatuses: req.AllowedTCBStatuses, AcceptMock: req.AcceptMock,
		}, requester(r, req.Requester)))
	}
}

// removeSubgroup is ours: the reference never undoes a subgroup.
func (s *Server) removeSubgroup(w http.ResponseWriter, r *http.Request) {
	var req schema.GroupRequest
	id, ok := s.onGroup(w, r, &req)
	if !ok {
		return
	}
	if child, ok := s.groupNamed(w, r, "child_id"); ok {
		s.done(w, r, s.deps.Groups.RemoveSubgroup(r.Context(), id, child, requester(r, req.Requester)))
	}
}

func (s *Server) registerSigningKey(w http.ResponseWriter, r *http.Request) {
	var req schema.RegisterSigningKeyRequest
	id, ok := s.onGroup(w, r, &req)
	if !ok {
		return
	}
	key, err := domain.ParseHex32(req.SigningKey)
	if err != nil {
		fail(w, http.StatusBadRequest, "Invalid signing_key: expected hex-encoded 32 bytes")
		return
	}
	who, err := s.deps.Groups.RegisterKey(r.Context(), id, domain.PrivateKey(key))
	switch {
	case isNoMember(err):
		fail(w, http.StatusForbidden, err.Error())
	case err != nil:
		s.failure(w, r, err)
	default:
		s.answerData(w, schema.SigningKey{PublicKey: who})
	}
}

func (s *Server) inviteToGroup(w http.ResponseWriter, r *http.Request) {
	var req schema.InviteToGroupRequest
	id, ok := s.onGroup(w, r, &req)
	if !ok {
		return
	}
	invite := admin.InviteRequest{Group: id, Requester: requester(r, req.Requester), OneUse: req.OneUse}
	if req.ExpirationTimestamp != nil {
		const most = uint64(admin.MaxValidity/time.Second) + 1                          // refused, and no overflow
		invite.Valid = time.Duration(min(*req.ExpirationTimestamp, most)) * time.Second //nolint:gosec // bounded
	}
	inv, err := s.deps.Groups.Invite(r.Context(), invite)
	if err != nil {
		s.failure(w, r, err)
		return
	}
	s.answerData(w, schema.MadeInvitation{Invitation: sealedGroup(inv), GroupAlias: inv.Alias})
}

func sealedGroup(inv *membership.GroupInvitation) schema.SignedGroupOpenInvitation {
	i := inv.Invitation
	return schema.SignedGroupOpenInvitation{
		Invitation: schema.GroupOpenInvitation{
			InviterIdentity: schema.IntBytes32(i.Inviter), GroupID: schema.IntBytes32(i.Target),
			ExpirationTimestamp: i.Expiration, SecretSalt: i.Salt,
		},
		InviterSignature: inv.InviterSignature, Alias: inv.Alias, Genesis: inv.Genesis,
		ApplicationID: (*schema.IntBytes32)(inv.Application), BlobID: (*schema.IntBytes32)(inv.Blob), Source: inv.Source,
	}
}

func openedGroup(signed *schema.SignedGroupOpenInvitation) membership.GroupInvitation {
	i := signed.Invitation
	return membership.GroupInvitation{
		SignedGroupInvitation: wire.SignedGroupInvitation{
			Invitation: wire.GroupInvitation{
				Inviter: domain.PublicKey(i.InviterIdentity), Target: domain.GroupID(i.GroupID), Expiration: i.ExpirationTimestamp,
				Salt: i.SecretSalt,
			},
			InviterSignature: signed.InviterSignature,
		},
		Alias: signed.Alias, Genesis: signed.Genesis, Source: signed.Source,
		Application: (*domain.ApplicationID)(signed.ApplicationID), Blob: (*domain.BlobID)(signed.BlobID),
	}
}

// closeInvitation is ours.
func (s *Server) closeInvitation(w http.ResponseWriter, r *http.Request) {
	var req schema.CloseInvitationRequest
	id, ok := s.onGroup(w, r, &req)
	if !ok {
		return
	}
	inv := openedGroup(&req.Invitation)
	if inv.Invitation.Target != id {
		fail(w, http.StatusBadRequest, "the invitation is to another group")
		return
	}
	s.done(w, r, s.deps.Groups.CloseInvitation(r.Context(), inv.Invitation, requester(r, req.Requester)))
}

func (s *Server) joinGroup(w http.ResponseWriter, r *http.Request) {
	if s.deps.Groups == nil {
		unavailable(w, "governing groups")
		return
	}
	var req schema.JoinGroupRequest
	if !s.validJSON(w, r, &req) {
		return
	}
	inv := openedGroup(&req.Invitation)
	if inv.Alias == nil {
		inv.Alias = req.GroupAlias
	}
	joined, err := s.deps.Groups.Join(r.Context(), inv)
	if err != nil {
		s.failure(w, r, err)
		return
	}
	s.answerData(w, schema.JoinedGroup{GroupID: joined.Group, MemberIdentity: joined.Member})
}

func (s *Server) joinGroupContext(w http.ResponseWriter, r *http.Request) {
	var req schema.JoinGroupContextRequest
	id, ok := s.onGroup(w, r, &req)
	if !ok {
		return
	}
	member, err := s.deps.Groups.JoinContext(r.Context(), id, req.ContextID)
	if err != nil {
		s.failure(w, r, err)
		return
	}
	s.answerData(w, schema.JoinedContext{ContextID: req.ContextID, MemberPublicKey: member})
}
