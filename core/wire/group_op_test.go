package wire_test

import (
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/sdktest/golden"
)

const groupOps = "testdata/group_op.json.gz"

// opIn has the fields of all operations; each uses its own.
type opIn struct {
	Type              string
	Member            hex32
	Role              memberRole
	Capabilities      uint32
	Capability        uint8
	Policy            upgradePolicy
	AppKey            hex32 `json:"app_key"`
	Target            hex32 `json:"target_application_id"`
	Context           hex32 `json:"context_id"`
	Mode              uint8
	Creator           hex32
	Members           []domainHash
	Alias             string
	Migration         golden.Hex
	SignedInvitation  signedInvitationIn `json:"signed_invitation"`
	InviteeSignature  string             `json:"invitee_signature_hex"`
	Child             hex32              `json:"child_group_id"`
	Inviter           hex32              `json:"inviter_id"`
	InvitationPayload golden.Hex         `json:"invitation_payload"`
	InviterSignature  string             `json:"inviter_signature"`
	AllowedMRTD       []string           `json:"allowed_mrtd"`
	AllowedRTMR0      []string           `json:"allowed_rtmr0"`
	AllowedRTMR1      []string           `json:"allowed_rtmr1"`
	AllowedRTMR2      []string           `json:"allowed_rtmr2"`
	AllowedRTMR3      []string           `json:"allowed_rtmr3"`
	AllowedTCB        []string           `json:"allowed_tcb_statuses"`
	AcceptMock        bool               `json:"accept_mock"`
	QuoteHash         hex32              `json:"quote_hash"`
	MRTD              string
	RTMR0             string
	RTMR1             string
	RTMR2             string
	RTMR3             string
	TCBStatus         string `json:"tcb_status"`
}

type invitationIn struct {
	Inviter    hex32       `json:"inviter_identity"`
	Group      hex32       `json:"group_id"`
	Context    hex32       `json:"context_id"`
	Expiration golden.Uint `json:"expiration_timestamp"`
	Salt       hex32       `json:"secret_salt"`
}

type signedInvitationIn struct {
	Invitation invitationIn
	Signature  string `json:"inviter_signature"`
}

func (i signedInvitationIn) value() wire.SignedGroupInvitation {
	return wire.SignedGroupInvitation{Invitation: i.Invitation.group(), InviterSignature: i.Signature}
}

func (i invitationIn) group() wire.GroupInvitation {
	return wire.GroupInvitation{
		Inviter: domain.PublicKey(i.Inviter), Target: domain.GroupID(i.Group), Expiration: uint64(i.Expiration), Salt: i.Salt,
	}
}

func (i invitationIn) context() wire.ContextInvitation {
	return wire.ContextInvitation{
		Inviter: domain.PublicKey(i.Inviter), Target: domain.ContextID(i.Context), Expiration: uint64(i.Expiration), Salt: i.Salt,
	}
}

func (i opIn) value(t testing.TB) wire.GroupOp {
	member, context := domain.PublicKey(i.Member), domain.ContextID(i.Context)
	granted := wire.OpContextCapabilityGranted{
		Context: context, Member: member, Capability: domain.ContextCapability(i.Capability),
	}
	switch i.Type {
	case "Noop":
		return wire.OpNoop{}
	case "MemberAdded":
		return wire.OpMemberAdded{Member: member, Role: i.Role}
	case "MemberRemoved":
		return wire.OpMemberRemoved{Member: member}
	case "MemberRoleSet":
		return wire.OpMemberRoleSet{Member: member, Role: i.Role}
	case "MemberCapabilitySet":
		return wire.OpMemberCapabilitySet{Member: member, Capabilities: domain.GroupCapabilities(i.Capabilities)}
	case "DefaultCapabilitiesSet":
		return wire.OpDefaultCapabilitiesSet{Capabilities: domain.GroupCapabilities(i.Capabilities)}
	case "UpgradePolicySet":
		return wire.OpUpgradePolicySet{Policy: i.Policy}
	case "TargetApplicationSet":
		return wire.OpTargetApplicationSet{AppKey: domain.Hash(i.AppKey), Target: domain.ApplicationID(i.Target)}
	case "ContextRegistered":
		return wire.OpContextRegistered{Context: context}
	case "ContextDetached":
		return wire.OpContextDetached{Context: context}
	case "DefaultVisibilitySet":
		return wire.OpDefaultVisibilitySet{Mode: domain.VisibilityMode(i.Mode)}
	case "ContextVisibilitySet":
		return wire.OpContextVisibilitySet{
			Context: context, Mode: domain.VisibilityMode(i.Mode), Creator: domain.PublicKey(i.Creator),
		}
	case "ContextAllowlistReplaced":
		return wire.OpContextAllowlistReplaced{Context: context, Members: list[domain.PublicKey](i.Members)}
	case "ContextAliasSet":
		return wire.OpContextAliasSet{Context: context, Alias: i.Alias}
	case "MemberAliasSet":
		return wire.OpMemberAliasSet{Member: member, Alias: i.Alias}
	case "GroupAliasSet":
		return wire.OpGroupAliasSet{Alias: i.Alias}
	case "GroupDelete":
		return wire.OpGroupDelete{}
	case "GroupMigrationSet":
		return wire.OpGroupMigrationSet{Migration: i.Migration}
	case "JoinWithInvitationClaim":
		return wire.OpJoinWithInvitationClaim{Invitation: i.SignedInvitation.value(), InviteeSignature: i.InviteeSignature}
	case "ContextCapabilityGranted":
		return granted
	case "ContextCapabilityRevoked":
		return wire.OpContextCapabilityRevoked(granted)
	case "SubgroupCreated":
		return wire.OpSubgroupCreated{Child: domain.GroupID(i.Child)}
	case "SubgroupRemoved":
		return wire.OpSubgroupRemoved{Child: domain.GroupID(i.Child)}
	case "MemberJoinedViaContextInvitation":
		return wire.OpMemberJoinedViaContextInvitation{
			Context: context, Inviter: domain.PublicKey(i.Inviter), Payload: i.InvitationPayload,
			InviterSignature: i.InviterSignature,
		}
	case "TeeAdmissionPolicySet":
		return wire.OpTeeAdmissionPolicySet{
			MRTD: i.AllowedMRTD, RTMR0: i.AllowedRTMR0, RTMR1: i.AllowedRTMR1, RTMR2: i.AllowedRTMR2, RTMR3: i.AllowedRTMR3,
			TCBStatuses: i.AllowedTCB, AcceptMock: i.AcceptMock,
		}
	case "MemberJoinedViaTeeAttestation":
		return wire.OpMemberJoinedViaTeeAttestation{
			Member: member, QuoteHash: domain.Hash(i.QuoteHash), MRTD: i.MRTD, RTMR0: i.RTMR0, RTMR1: i.RTMR1, RTMR2: i.RTMR2,
			RTMR3: i.RTMR3, TCBStatus: i.TCBStatus, Role: i.Role,
		}
	}
	t.Fatalf("unknown operation %q", i.Type)
	return nil
}

// anyOp is a group operation alone.
type anyOp struct{ wire.GroupOp }

func (o anyOp) EncodeBorsh(e *borsh.Encoder)  { wire.PutGroupOp(e, o.GroupOp) }
func (o *anyOp) DecodeBorsh(d *borsh.Decoder) { o.GroupOp = wire.ReadGroupOp(d, "op") }

func TestGroupOps(t *testing.T) {
	t.Parallel()
	kinds := map[string]bool{}
	for _, c := range golden.Group[opIn, struct{ Borsh golden.Hex }](t, groupOps, "group_op") {
		op := c.In.value(t)
		require.Equal(t, c.In.Type, op.Kind().String())
		kinds[c.In.Type] = true
		raw, err := wire.Encode(anyOp{op})
		require.NoError(t, err, c.Name)
		require.Equal(t, []byte(c.Out.Borsh), raw, c.Name)
		back, err := wire.Decode[anyOp](raw)
		require.NoError(t, err, c.Name)
		require.Equal(t, op, back.GroupOp, c.Name)
	}
	require.Len(t, kinds, 26)
	require.Equal(t, "GroupOpKind(26)", wire.GroupOpKind(26).String())
	_, err := wire.Encode(anyOp{})
	require.ErrorContains(t, err, "none given")
}

func TestGroupOpsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range golden.Group[struct{ Borsh golden.Hex }, struct{ Error string }](t, groupOps, "group_op_decode") {
		_, err := wire.Decode[anyOp](c.In.Borsh)
		require.ErrorIs(t, err, borsh.ErrMalformed, c.Name)
		if c.Name != "empty" { // the text of a short input is borsh's own
			require.ErrorContains(t, err, c.Out.Error, c.Name)
		}
	}
}

type signedIn struct {
	SecretKey hex32 `json:"secret_key"`
	Unsigned  struct {
		Version   uint8
		Group     hex32        `json:"group_id"`
		Parents   []domainHash `json:"parent_op_hashes"`
		StateHash hex32        `json:"state_hash"`
		Signer    hex32
		Nonce     golden.Uint
		Op        opIn
	}
}

type signedOut struct {
	SignableBytes golden.Hex `json:"signable_bytes"`
	SignableBorsh golden.Hex `json:"signable_borsh"`
	ContentHash   hex32      `json:"content_hash"`
	Signature     golden.Hex
	Borsh         golden.Hex
}

func TestSignedGroupOps(t *testing.T) {
	t.Parallel()
	for _, c := range golden.Group[signedIn, signedOut](t, groupOps, "signed_group_op") {
		u := c.In.Unsigned
		op := wire.SignableGroupOp{
			Version: u.Version, Group: domain.GroupID(u.Group), Parents: list[domain.Hash](u.Parents),
			StateHash: domain.Hash(u.StateHash), Signer: domain.PublicKey(u.Signer), Nonce: uint64(u.Nonce), Op: u.Op.value(t),
		}
		message, err := op.SigningBytes()
		require.NoError(t, err, c.Name)
		require.Equal(t, []byte(c.Out.SignableBytes), message, c.Name)
		raw, err := wire.Encode(op)
		require.NoError(t, err, c.Name)
		require.Equal(t, []byte(c.Out.SignableBorsh), raw, c.Name)
		signed, err := op.Sign(domain.PrivateKey(c.In.SecretKey))
		require.NoError(t, err, c.Name)
		require.Equal(t, []byte(c.Out.Signature), signed.Signature[:], c.Name)
		raw, err = wire.Encode(signed)
		require.NoError(t, err, c.Name)
		require.Equal(t, []byte(c.Out.Borsh), raw, c.Name)
		back, err := wire.DecodeSignedGroupOp(raw)
		require.NoError(t, err, c.Name)
		require.Equal(t, signed, back, c.Name)
		id, err := back.Verify()
		require.NoError(t, err, c.Name)
		require.Equal(t, domain.Hash(c.Out.ContentHash), id, c.Name)
		hash, err := op.ContentHash()
		require.NoError(t, err)
		require.Equal(t, id, hash)
		hash, again, err := op.SignRaw(domain.PrivateKey(c.In.SecretKey))
		require.NoError(t, err)
		require.Equal(t, id, hash)
		require.Equal(t, raw, again)
	}
}

func TestVerifyGroupOp(t *testing.T) {
	t.Parallel()
	type out struct {
		Valid bool
		Error string
	}
	for _, c := range golden.Group[struct{ Borsh golden.Hex }, out](t, groupOps, "signed_group_op_verify") {
		op, err := wire.DecodeSignedGroupOp(c.In.Borsh)
		require.NoError(t, err, c.Name)
		_, err = op.Verify()
		if c.Out.Valid {
			require.NoError(t, err, c.Name)
			continue
		}
		require.ErrorIs(t, err, errkind.Invalid, c.Name)
		text, _, _ := strings.Cut(c.Out.Error, ": signature error")
		require.ErrorContains(t, err, text, c.Name)
	}
}

func TestGroupOpSizes(t *testing.T) {
	t.Parallel()
	key := domain.PrivateKey{1}
	op := wire.SignableGroupOp{Version: wire.GroupOpVersion, Signer: key.Public(), Nonce: 1}
	const fixed = 174 + 4 // as a Noop, and the length of the alias
	op.Op = wire.OpGroupAliasSet{Alias: strings.Repeat("a", wire.MaxGroupOpBytes-fixed)}
	signed, err := op.Sign(key)
	require.NoError(t, err)
	raw, err := wire.Encode(signed)
	require.NoError(t, err)
	require.Len(t, raw, wire.MaxGroupOpBytes)
	_, err = wire.DecodeSignedGroupOp(raw)
	require.NoError(t, err)
	_, err = wire.DecodeSignedGroupOp(append(raw, 0))
	require.ErrorIs(t, err, errkind.TooLarge)
	op.Op = wire.OpGroupAliasSet{Alias: strings.Repeat("a", wire.MaxGroupOpBytes-fixed+1)}
	_, err = op.Sign(key)
	require.ErrorContains(t, err, "signed group op payload exceeds max (65537 > 65536)")
	_, err = op.Sign(domain.PrivateKey{2})
	require.ErrorContains(t, err, "not that of signer")
}

type invitationOut struct {
	Invitation    golden.Hex `json:"invitation_borsh"`
	SHA256        hex32
	Signature     string     `json:"inviter_signature"`
	Signed        golden.Hex `json:"signed_borsh"`
	Reveal        golden.Hex `json:"reveal_borsh"`
	RevealHash    hex32      `json:"reveal_sha256"`
	InviteeSigned string     `json:"invitee_signature"`
}

func TestGroupInvitations(t *testing.T) {
	t.Parallel()
	type in struct {
		Inviter    *hex32 `json:"inviter_secret"`
		Joiner     hex32  `json:"joiner_secret"`
		Invitation invitationIn
	}
	ran := 0
	for _, c := range golden.Group[in, invitationOut](t, groupOps, "group_invitation") {
		if c.In.Inviter == nil {
			continue // a signed reveal: no node sends one
		}
		ran++
		inviter, joiner := domain.PrivateKey(*c.In.Inviter), domain.PrivateKey(c.In.Joiner)
		i := c.In.Invitation.group()
		raw, err := wire.Encode(i)
		require.NoError(t, err)
		require.Equal(t, []byte(c.Out.Invitation), raw, c.Name)
		require.Len(t, raw, wire.InvitationBytes)
		require.Equal(t, domain.Hash(c.Out.SHA256), i.Hash(), c.Name)
		signature, err := i.Sign(inviter)
		require.NoError(t, err)
		require.Equal(t, c.Out.Signature, signature, c.Name)
		signed := wire.SignedGroupInvitation{Invitation: i, InviterSignature: signature}
		roundTrip(t, c.Name, c.Out.Signed, signed)
		reveal := wire.GroupInvitationReveal{Invitation: signed, Member: joiner.Public()}
		roundTrip(t, c.Name, c.Out.Reveal, reveal)
		hash, err := reveal.Hash()
		require.NoError(t, err)
		require.Equal(t, domain.Hash(c.Out.RevealHash), hash, c.Name)
		claim, err := signed.Claim(joiner)
		require.NoError(t, err)
		require.Equal(t, c.Out.InviteeSigned, claim.InviteeSignature, c.Name)
		require.NoError(t, claim.Verify(joiner.Public()))
		require.ErrorContains(t, claim.Verify(domain.PublicKey{1}), "invitee signature verification failed")
		_, err = i.Sign(domain.PrivateKey{77})
		require.ErrorContains(t, err, "not that of inviter")
		claim.Invitation.InviterSignature = "0x0x" + signature
		require.ErrorContains(t, claim.Verify(joiner.Public()), "invitee", "the text is part of what the joiner signs")
		require.NoError(t, claim.Invitation.Verify())
		claim.Invitation.InviterSignature = "zz"
		require.ErrorContains(t, claim.Verify(joiner.Public()), "inviter signature hex")
		claim.Invitation.InviterSignature = "00"
		require.ErrorContains(t, claim.Verify(joiner.Public()), "inviter signature must be 64 bytes")
	}
	require.Equal(t, 3, ran)
}

func roundTrip[T borsh.Marshaler, P interface {
	*T
	borsh.Unmarshaler
}](t *testing.T, name string, want []byte, v T) {
	t.Helper()
	raw, err := wire.Encode(v)
	require.NoError(t, err, name)
	require.Equal(t, want, raw, name)
	back, err := wire.Decode[T, P](raw)
	require.NoError(t, err, name)
	require.Equal(t, v, back, name)
}

func TestContextInvitations(t *testing.T) {
	t.Parallel()
	type in struct {
		invitationIn
		Secret hex32 `json:"inviter_secret"`
	}
	for _, c := range golden.Group[in, invitationOut](t, groupOps, "context_invitation") {
		i := c.In.context()
		roundTrip(t, c.Name, c.Out.Invitation, i)
		require.Equal(t, domain.Hash(c.Out.SHA256), i.Hash(), c.Name)
		signature, err := i.Sign(domain.PrivateKey(c.In.Secret))
		require.NoError(t, err)
		require.Equal(t, c.Out.Signature, signature, c.Name)
		op := wire.OpMemberJoinedViaContextInvitation{
			Context: i.Target, Inviter: i.Inviter, Payload: c.Out.Invitation, InviterSignature: signature,
		}
		back, err := op.Invitation()
		require.NoError(t, err)
		require.Equal(t, i, back)
		require.NoError(t, back.Verify(op.InviterSignature))
		op.Context[0]++
		_, err = op.Invitation()
		require.ErrorContains(t, err, "context invitation is to")
		op.Inviter[0]++
		_, err = op.Invitation()
		require.ErrorContains(t, err, "context invitation is by")
		op.Payload = op.Payload[1:]
		_, err = op.Invitation()
		require.ErrorIs(t, err, errkind.Invalid)
	}
	require.False(t, wire.GroupInvitation{}.OneUse())
	require.True(t, wire.GroupInvitation{Salt: [32]byte([]byte("cal1use.012345678901234567890123"))}.OneUse())
}

func TestGroupStateHash(t *testing.T) {
	t.Parallel()
	type in struct {
		Group   hex32       `json:"group_id"`
		Admin   hex32       `json:"admin_identity"`
		Target  hex32       `json:"target_application_id"`
		Members [][2]string `json:"members_unsorted"`
	}
	for _, c := range golden.Group[in, struct {
		StateHash hex32 `json:"state_hash"`
	}](t, groupOps, "state_hash") {
		var members []wire.GroupStateMember
		for _, m := range c.In.Members {
			var key hex32
			require.NoError(t, key.UnmarshalText([]byte(m[0])))
			role, err := domain.ParseMemberRole(m[1])
			require.NoError(t, err)
			members = append(members, wire.GroupStateMember{Member: domain.PublicKey(key), Role: role})
		}
		require.Equal(t, domain.Hash(c.Out.StateHash), wire.GroupStateHash(domain.GroupID(c.In.Group),
			domain.PublicKey(c.In.Admin), domain.ApplicationID(c.In.Target), members), c.Name)
	}
}

func FuzzSignedGroupOp(f *testing.F) {
	for _, c := range golden.Group[struct{}, signedOut](f, groupOps, "signed_group_op") {
		f.Add([]byte(c.Out.Borsh))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		canonical[wire.SignedGroupOp](t, in)
		canonical[wire.SignedGroupInvitation](t, in)
		canonical[wire.GroupInvitationReveal](t, in)
		canonical[wire.ContextInvitation](t, in)
		op, err := wire.DecodeSignedGroupOp(in)
		if err != nil {
			return
		}
		message, err := op.SigningBytes()
		require.NoError(t, err)
		id, err := op.ContentHash()
		require.NoError(t, err)
		require.Equal(t, domain.Hash(sha256.Sum256(message)), id)
		if verified, err := op.Verify(); err == nil {
			require.Equal(t, id, verified)
		}
		switch o := op.Op.(type) {
		case wire.OpJoinWithInvitationClaim:
			_ = o.Verify(op.Signer)
		case wire.OpMemberJoinedViaContextInvitation:
			_, _ = o.Invitation()
		}
	})
}
