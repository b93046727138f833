package membership

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// pass is an invitation as a session shows it.
func pass(inviter domain.PublicKey, target [32]byte, expiration uint64, salt [32]byte, signature string) (*wire.GroupPass, error) {
	p := &wire.GroupPass{Invitation: wire.GroupInvitation{Inviter: inviter, Target: target, Expiration: expiration, Salt: salt}}
	for strings.HasPrefix(signature, "0x") { // as when it is verified
		signature = signature[2:]
	}
	raw, err := hex.DecodeString(signature)
	copy(p.Signature[:], raw)
	return p, err
}

// speaker is an identity of this node that the group may answer, and what it shows; nil when there is none.
func (g *group) speaker(ctx context.Context) (*domain.PrivateKey, *wire.GroupPass, error) {
	g.mu.Lock()
	newcomer, shown := g.newcomer, g.pass
	g.mu.Unlock()
	keys, err := g.m.ownKeys(ctx, g.id)
	if err != nil {
		return nil, nil, err
	}
	for _, key := range keys {
		_, member, err := g.m.opts.Groups.Role(ctx, g.id, key.Public())
		if err != nil {
			return nil, nil, err
		}
		if member && (newcomer == nil || *newcomer == key) {
			return &key, shown, nil // whether others know of it yet or not
		}
	}
	return newcomer, shown, nil
}

// exchange brings what a peer has of a group, by the extension: operations, and the genesis if it is not known here.
func (g *group) exchange(ctx context.Context, p PeerID, want []domain.Hash) error {
	key, shown, err := g.speaker(ctx)
	if err != nil || key == nil {
		return errors.Join(err, errkind.PermissionDenied.Errorf("group %s: this node has no identity in it", g.id))
	}
	stream, err := g.m.opts.Network.OpenStream(ctx, p, wire.ExtensionProtocol)
	if err != nil {
		return err
	}
	err = func() error {
		if err := g.introduce(ctx, stream, *key, shown); err != nil {
			return err
		}
		if err := g.exchangeOps(ctx, stream, want); err != nil {
			return err
		}
		return g.exchangeGenesis(ctx, stream)
	}()
	if err != nil {
		stream.Reset()
		return err
	}
	return stream.Close()
}

// introduce begins a session about the group as an identity of this node.
func (g *group) introduce(ctx context.Context, stream Stream, key domain.PrivateKey, shown *wire.GroupPass) error {
	proof := wire.GroupProof{Group: g.id, Opening: string(g.m.opts.Network.LocalPeerID()), Accepter: string(stream.Peer())}
	return send(ctx, stream, wire.GroupHello{Group: g.id, Identity: key.Public(), Proof: key.Sign(proof.Message()), Invitation: shown})
}

func (g *group) exchangeOps(ctx context.Context, stream Stream, want []domain.Hash) error {
	for asked := 0; asked < maxFetch; {
		tips, err := g.m.opts.Groups.Tips(ctx, g.id)
		if err != nil {
			return err
		}
		request := wire.GroupOpsRequest{
			Have: tips[:min(len(tips), wire.MaxGroupHave)], Want: want[:min(len(want), wire.MaxGroupWant)], Limit: wire.MaxGroupOps,
		}
		answer, err := g.request(ctx, stream, request)
		if err != nil {
			return err
		}
		ops, ok := answer.(wire.GroupOps)
		if !ok {
			return errkind.Invalid.Errorf("peer %s answers a request for operations with %T", stream.Peer(), answer)
		}
		before, err := g.length(ctx)
		if err != nil {
			return err
		}
		if _, err := g.receive(ctx, stream.Peer(), ops.Ops); err != nil {
			return err
		}
		after, err := g.length(ctx)
		if err != nil || !ops.More || after == before {
			return err
		}
		asked += len(ops.Ops)
		if want, err = g.m.opts.Groups.Missing(ctx, g.id); err != nil {
			return err
		}
	}
	return errkind.Exhausted.Errorf("group %s: peer %s has more than %d operations that are not here; the next time goes on", g.id,
		stream.Peer(), maxFetch)
}

func (g *group) length(ctx context.Context) (int, error) {
	_, total, err := g.m.opts.Groups.Log(ctx, g.id, 0, 0)
	return total, err
}

// exchangeGenesis asks for the genesis where an invitation had none.
func (g *group) exchangeGenesis(ctx context.Context, stream Stream) error {
	origin, err := g.m.opts.Groups.Origin(ctx, g.id)
	if err != nil || !origin.Provisional {
		return err
	}
	genesis, err := g.askGenesis(ctx, stream)
	if err != nil || genesis == nil {
		return err
	}
	return g.learn(ctx, origin.Genesis.Creator, *genesis)
}

// askGenesis asks on a session how the group began; nil when the peer does not know.
func (g *group) askGenesis(ctx context.Context, stream Stream) (*wire.GroupGenesis, error) {
	answer, err := g.request(ctx, stream, wire.GenesisRequest{})
	if err != nil {
		return nil, err
	}
	found, ok := answer.(wire.Genesis)
	if !ok {
		return nil, errkind.Invalid.Errorf("peer %s answers a request for a genesis with %T", stream.Peer(), answer)
	}
	return found.Genesis, nil
}

// learn takes the genesis of a group that was begun without one, if it can be trusted: because the group's id proves it,
// because who invited signed it, or because what is here speaks for it.
func (g *group) learn(ctx context.Context, inviter domain.PublicKey, genesis wire.GroupGenesis) error {
	if genesis.Group != g.id {
		return errkind.Invalid.Errorf("the genesis of group %s instead of %s", genesis.Group, g.id)
	}
	if err := genesis.Verify(); err != nil {
		return err
	}
	if genesis.Kind == wire.GenesisVouched && genesis.Creator != inviter {
		spoken, err := g.speaksFor(ctx, inviter, genesis)
		if err != nil {
			return err
		}
		if !spoken {
			return errkind.PermissionDenied.Errorf("group %s: nothing speaks for a genesis by %s: by it, and the operations that are here, %s, "+
				"who invited, may not invite, or what he did counts for nothing", g.id, genesis.Creator, inviter)
		}
	}
	return g.m.opts.Groups.Found(ctx, genesis)
}

// speaksFor reports whether who invited may do so by a genesis and the operations that are here, and an operation of his counts
// by them: that cannot be made up without his key, since it names what was before it. An admin of whom no operation is here is
// believed without.
func (g *group) speaksFor(ctx context.Context, inviter domain.PublicKey, genesis wire.GroupGenesis) (bool, error) {
	var ops []governance.Op
	for {
		page, total, err := g.m.opts.Groups.Log(ctx, g.id, len(ops), groups.MaxLog)
		if err != nil {
			return false, err
		}
		for _, e := range page {
			ops = append(ops, e.Op)
		}
		if len(page) == 0 || len(ops) >= min(total, governance.MaxWindow) {
			break
		}
	}
	result := governance.Evaluate(governance.Genesis{Founder: genesis.Creator, AppKey: genesis.AppKey, Target: genesis.Target, Policy: genesis.Policy},
		nil, ops)
	role, member := result.State.Members[inviter]
	admin := member && role == domain.RoleAdmin
	if !admin && !(member && result.State.Capabilities[inviter].Has(domain.CanInviteMembers)) {
		return false, nil
	}
	acted := false
	for _, op := range ops {
		if op.Author != inviter || len(op.Parents) == 0 { // what names nothing fits any genesis
			continue
		}
		if result.Verdicts[op.ID].Code == governance.Applied {
			return true, nil
		}
		acted = true
	}
	return admin && !acted, nil
}

// request asks once on a session.
func (g *group) request(ctx context.Context, stream Stream, m wire.ExtensionMessage) (wire.ExtensionMessage, error) {
	if err := send(ctx, stream, m); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, g.m.opts.Answer)
	defer cancel()
	answer, err := receive(ctx, stream, wire.MaxFrame)
	if err != nil {
		return nil, err
	}
	if r, refused := answer.(wire.Refusal); refused {
		return nil, r.Kind.Errorf("peer %s refuses group %s: %q", stream.Peer(), g.id, r.Text)
	}
	return answer, nil
}

func send(ctx context.Context, stream Stream, m wire.ExtensionMessage) error {
	out, err := wire.EncodeExtension(m)
	if err != nil {
		return err
	}
	return stream.WriteFrame(ctx, out)
}

func receive(ctx context.Context, stream Stream, limit int) (wire.ExtensionMessage, error) {
	in, err := stream.ReadFrame(ctx, limit)
	if err != nil {
		return nil, err
	}
	m, err := wire.DecodeExtension(in)
	if err != nil {
		return nil, fmt.Errorf("peer %s: %w", stream.Peer(), errkind.Invalid.Wrap(err))
	}
	return m, nil
}

// How long, and with how many peers, who joins tries to see the group before it says so.
const (
	meetTime  = 3 * time.Second
	meetPeers = 3
)

// meet brings the operations of a group that somebody joins, if a peer is there who has them: the join then builds on them.
// It tells whether one was.
func (g *group) meet(ctx context.Context, key domain.PrivateKey, shown *wire.GroupPass) bool {
	g.mu.Lock()
	g.newcomer, g.pass = &key, shown
	g.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, meetTime)
	defer cancel()
	peers, err := g.m.opts.Network.TopicPeers(ctx, wire.GroupTopic(g.id))
	if err != nil {
		g.m.log.Debug("no peers of a group that is joined", "group", g.id, "err", err)
	}
	tried := 0
	for _, p := range peers {
		if !g.m.opts.Network.Supports(p, wire.ExtensionProtocol) {
			continue
		}
		err := g.exchange(ctx, p, nil)
		if err == nil {
			return true
		}
		g.m.log.Debug("a peer does not show a group that is joined", "group", g.id, "peer", p, "err", err)
		if tried++; tried == meetPeers {
			break
		}
	}
	return false
}
