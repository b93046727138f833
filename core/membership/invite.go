package membership

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// MaxValidity is how long an invitation may be valid.
const MaxValidity = 365 * 24 * time.Hour

// Invitation lets whoever holds it join a context. What stands beside the signed part is a help, not signed.
type Invitation struct {
	wire.ContextInvitation
	Signature   string // the inviter's, in hex
	Application *domain.ApplicationID
	Blob        *domain.BlobID // the application's bytecode
	Source      *string        // where the application was installed from
	Group       *domain.GroupID
	Genesis     *wire.InvitedGenesis // of the group; the reference has none
}

// InviteToContext makes an invitation to a context, signed by inviter, an identity of this node that may invite. It is nil when
// the context is not here.
func (m *Manager) InviteToContext(ctx context.Context, id domain.ContextID, inviter domain.PublicKey, valid time.Duration) (*Invitation, error) {
	if valid < 0 || valid > MaxValidity {
		return nil, errkind.Invalid.Errorf("an invitation is valid for at most %d seconds", int64(MaxValidity.Seconds()))
	}
	info, err := m.opts.Contexts.Get(ctx, id)
	if errors.Is(err, errkind.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	row, found, err := m.opts.Identity.Get(ctx, id, inviter)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, errkind.NotFound.Errorf("Inviter identity %s not found for context %s", inviter, id)
	case row.PrivateKey == nil:
		return nil, errkind.PermissionDenied.Errorf("inviter %[1]s has no private key for context %[2]s: the identity '%[1]s' "+
			"is not managed by this node", inviter, id)
	}
	owner, found, err := m.Owner(ctx, id)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errkind.Unsupported.Errorf("context %s belongs to no group: nobody can join it", id)
	}
	if err := m.mayInvite(ctx, owner, inviter); err != nil {
		return nil, err
	}
	inv := Invitation{Group: &owner, Application: &info.Application}
	inv.Inviter, inv.Target = inviter, id
	inv.Expiration = uint64(m.opts.Now().Add(valid).Unix()) //nolint:gosec // after 1970
	if _, err := rand.Read(inv.Salt[:]); err != nil {
		return nil, fmt.Errorf("draw a salt: %w", err)
	}
	if inv.Signature, err = inv.Sign(*row.PrivateKey); err != nil {
		return nil, err
	}
	app, found, err := store.Application.Get(ctx, m.opts.DB, info.Application)
	if err != nil {
		return nil, err
	}
	if found {
		inv.Blob, inv.Source = &app.Bytecode, &app.Source
	}
	if inv.Genesis, err = m.vouchFor(ctx, owner, inv.Hash(), *row.PrivateKey); err != nil {
		return nil, err
	}
	return &inv, nil
}

// mayInvite asks whether an identity may invite to a group and its contexts.
func (m *Manager) mayInvite(ctx context.Context, group domain.GroupID, inviter domain.PublicKey) error {
	role, member, err := m.opts.Groups.Role(ctx, group, inviter)
	if err != nil {
		return err
	}
	if member && role == domain.RoleAdmin {
		return nil
	}
	state, err := m.opts.Groups.State(ctx, group)
	if err != nil {
		return err
	}
	if _, direct := state.Members[inviter]; direct && state.Capabilities[inviter].Has(domain.CanInviteMembers) {
		return nil
	}
	return errkind.PermissionDenied.Errorf("inviter lacks permission (not admin and missing CAN_INVITE_MEMBERS)")
}

// vouchFor is the genesis of a group for an invitation; nil where it is not known.
func (m *Manager) vouchFor(ctx context.Context, group domain.GroupID, invitation domain.Hash, inviter domain.PrivateKey) (*wire.InvitedGenesis, error) {
	genesis, err := m.opts.Groups.Genesis(ctx, group)
	if err != nil || genesis.Verify() != nil { // what was made up for want of one is no use to others
		return nil, err
	}
	vouched, err := wire.VouchFor(genesis, invitation, inviter)
	return &vouched, err
}

// expiry is when an invitation ends.
func expiry(seconds uint64) time.Time {
	const last = 1 << 40 // beyond what time.Time compares well
	return time.Unix(int64(min(seconds, last)), 0)
}
