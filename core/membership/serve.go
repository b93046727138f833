package membership

import (
	"context"
	"time"

	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

const (
	// maxRequest is the largest frame of a request: 5,120 operations named.
	maxRequest = 192 << 10
	// idle ends a session on which nothing is asked.
	idle = 30 * time.Second
)

// ServeGroup answers on a stream of wire.ExtensionProtocol that a peer opened with hello, until it ends. The error is why
// the session ends; the peer has not been told.
func (m *Manager) ServeGroup(ctx context.Context, stream Stream, hello wire.GroupHello) error {
	g := m.find(hello.Group)
	if g == nil {
		return errkind.NotFound.Errorf("group %s is not followed", hello.Group)
	}
	proof := wire.GroupProof{Group: g.id, Opening: string(stream.Peer()), Accepter: string(m.opts.Network.LocalPeerID())}
	if !hello.Identity.Verify(proof.Message(), hello.Proof) {
		return errkind.Unauthenticated.Errorf("peer %s has not proven to be %s", stream.Peer(), hello.Identity)
	}
	offering := m.opts.Groups.Offering(g.id)
	for {
		wait, cancel := context.WithTimeout(ctx, idle)
		request, err := receive(wait, stream, maxRequest)
		cancel()
		if err != nil {
			return err
		}
		if !m.allows(stream.Peer()) {
			return errkind.Exhausted.Errorf("peer %s asks too often", stream.Peer())
		}
		if err := m.mayRead(ctx, hello); err != nil {
			return err
		}
		if err := g.answer(ctx, stream, request, offering); err != nil {
			return err
		}
	}
}

// mayRead: the group is for its members, and for who is invited.
func (m *Manager) mayRead(ctx context.Context, hello wire.GroupHello) error {
	_, member, err := m.opts.Groups.Role(ctx, hello.Group, hello.Identity)
	if err != nil {
		return err
	}
	if member {
		late, err := m.opts.Groups.Quarantined(ctx, hello.Group, hello.Identity)
		if err == nil && late {
			err = errkind.PermissionDenied.Errorf("%s joined group %s too late", hello.Identity, hello.Group)
		}
		return err
	}
	if hello.Invitation == nil {
		return errkind.PermissionDenied.Errorf("%s is not a member of group %s", hello.Identity, hello.Group)
	}
	state, err := m.opts.Groups.State(ctx, hello.Group)
	if err != nil {
		return err
	}
	i := hello.Invitation.Invitation
	switch {
	case i.Target != hello.Group && !state.Contexts[domain.ContextID(i.Target)]:
		return errkind.PermissionDenied.Errorf("the invitation is not to group %s", hello.Group)
	case !m.opts.Now().Before(expiry(i.Expiration)):
		return errkind.PermissionDenied.Errorf("the invitation has expired")
	case state.Closed[i.Hash()]:
		return errkind.PermissionDenied.Errorf("the invitation was closed")
	case state.Used[i.Hash()]:
		return errkind.PermissionDenied.Errorf("the invitation was for one use, and was used")
	}
	if err := i.Verify(hello.Invitation.Signature.String()); err != nil {
		return errkind.PermissionDenied.Wrap(err)
	}
	return m.mayInvite(ctx, hello.Group, i.Inviter)
}

func (g *group) answer(ctx context.Context, stream Stream, request wire.ExtensionMessage, offering *groups.Offering) error {
	switch r := request.(type) {
	case wire.GenesisRequest:
		g.m.metrics.served.WithLabelValues("genesis").Inc()
		origin, err := g.m.opts.Groups.Origin(ctx, g.id)
		if err != nil {
			return err
		}
		answer := wire.Genesis{}
		if !origin.Provisional {
			answer.Genesis = &origin.Genesis
		}
		return send(ctx, stream, answer)
	case wire.GroupOpsRequest:
		g.m.metrics.served.WithLabelValues("operations").Inc()
		raws, more, err := offering.Next(ctx, r.Have, r.Want, int(min(r.Limit, wire.MaxGroupOps)))
		if err != nil {
			return err
		}
		return send(ctx, stream, wire.GroupOps{Ops: raws, More: more})
	}
	return errkind.Invalid.Errorf("%T is no request about a group", request)
}
