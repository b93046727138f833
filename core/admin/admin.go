// Package admin has the flows by which people govern groups: the messages about groups of the reference's ContextManager
// (governance.md §6, §7). It decides who acts, with which key, and in what words a request is refused; whether an
// operation is lawful is decided by the rule (core/governance), which core/groups asks before it signs one. Of the rows
// that follow from operations none is written here.
package admin

import (
	"context"
	"log/slog"
	"maps"
	"slices"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/membership"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Groups has the logs of the groups and what they mean; *groups.Service is one.
type Groups interface {
	// Begin adds a new group and first operations of its creator to a batch.
	Begin(ctx context.Context, b *store.Batch, genesis wire.GroupGenesis, creator domain.PrivateKey, bodies ...wire.GroupOp) error
	// Stage adds operations to a batch, which must be committed or abandoned soon: the group is locked until then.
	Stage(ctx context.Context, b *store.Batch, id domain.GroupID, key domain.PrivateKey, bodies ...wire.GroupOp) ([]domain.Hash, error)
	State(ctx context.Context, id domain.GroupID) (*governance.State, error)
	// Role is the effective role of an identity, inherited or of its own; false for none.
	Role(ctx context.Context, id domain.GroupID, who domain.PublicKey) (domain.MemberRole, bool, error)
	// Cuts are the groups below in which an identity has no row.
	Cuts(ctx context.Context, id domain.GroupID, who domain.PublicKey) ([]domain.GroupID, error)
	// Waiting are operations whose parents are not here.
	Waiting(ctx context.Context, id domain.GroupID, limit int) ([]governance.Entry, error)
	Log(ctx context.Context, id domain.GroupID, from, limit int) (log []governance.Entry, total int, err error)
	// Candidates are the geneses by which a group may go, Choose takes one of them.
	Candidates(ctx context.Context, id domain.GroupID) (candidates []groups.Candidate, chosen bool, err error)
	Choose(ctx context.Context, id domain.GroupID, genesis domain.Hash) error
}

// Peers bring groups to other nodes and from them; *membership.Manager is one.
type Peers interface {
	InviteToGroup(ctx context.Context, r membership.GroupInvite) (*membership.GroupInvitation, error)
	JoinGroup(ctx context.Context, inv membership.GroupInvitation, joiner domain.PrivateKey) (membership.JoinedGroup, error)
	JoinGroupContext(ctx context.Context, group domain.GroupID, id domain.ContextID, joiner domain.PrivateKey) error
	Follow(ctx context.Context, group domain.GroupID) error
}

// Options of a Service. All but Logger are required.
type Options struct {
	DB     *store.DB
	Groups Groups
	Peers  Peers
	// Identity has the keys; without an identity of the node's own, each request must name who makes it.
	Identity *identity.Service
	// Logger; nil = none.
	Logger *slog.Logger
}

// Service has the flows. Its methods are safe for concurrent use. A requester that is nil stands for the node's identity.
type Service struct {
	opts Options
}

// New makes a Service.
func New(opts Options) *Service {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Service{opts: opts}
}

// group is what a group is now; kind NotFound for one that is not here or was deleted.
func (s *Service) group(ctx context.Context, id domain.GroupID) (*governance.State, error) {
	state, err := s.opts.Groups.State(ctx, id)
	if err == nil && state.Deleted {
		err = errkind.NotFound.Errorf("group '%s' not found", id.Debug())
	}
	return state, err
}

// acting is a request in a group: who makes it, and what the group is.
type acting struct {
	s     *Service
	id    domain.GroupID
	who   domain.PublicKey
	state *governance.State
}

func (s *Service) act(ctx context.Context, id domain.GroupID, requester *domain.PublicKey) (*acting, error) {
	who, err := s.requester(requester)
	if err != nil {
		return nil, err
	}
	state, err := s.group(ctx, id)
	if err != nil {
		return nil, err
	}
	return &acting{s: s, id: id, who: who, state: state}, nil
}

func (s *Service) requester(given *domain.PublicKey) (domain.PublicKey, error) {
	if given != nil {
		return *given, nil
	}
	if node := s.opts.Identity.Node(); node != nil {
		return node.Public(), nil
	}
	return domain.PublicKey{}, errkind.Precondition.Errorf("requester not provided and node has no configured group identity")
}

// issue makes operations of the requester: all of them, or on an error none.
func (a *acting) issue(ctx context.Context, bodies ...wire.GroupOp) error {
	key, err := a.s.opts.Identity.GroupKey(ctx, a.id, a.who)
	if err != nil {
		return err
	}
	b := a.s.opts.DB.Batch()
	defer b.Abandon()
	if _, err := a.s.opts.Groups.Stage(ctx, b, a.id, key, bodies...); err != nil {
		return err
	}
	return b.Commit(context.WithoutCancel(ctx))
}

// member tells whether an identity is an effective member.
func (a *acting) member(ctx context.Context, who domain.PublicKey) error {
	_, found, err := a.s.opts.Groups.Role(ctx, a.id, who)
	if err == nil && !found {
		err = errkind.NotFound.Errorf("identity is not a member of group '%s'", a.id.Debug())
	}
	return err
}

// page is the part of a list from offset on, at most limit of it.
func page[T any](all []T, offset, limit uint64) []T {
	from := min(offset, uint64(len(all)))
	return all[from:min(uint64(len(all)), from+min(limit, uint64(len(all))))]
}

// sorted are the keys of a map in order.
func sorted[K comparable, V any](m map[K]V, compare func(K, K) int) []K {
	return slices.SortedFunc(maps.Keys(m), compare)
}
