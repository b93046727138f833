// Package api is the node's HTTP API: JSON-RPC, the admin routes, WebSocket, SSE and metrics (http-api.md §1–§4, §6). It
// translates only: what a request means is decided by what Deps holds. Authentication stands in front of it (package
// authroutes).
//
// Where it departs from the reference: a connection that makes no progress is dropped, streams and bodies are bounded,
// events reach an SSE session once, and GET /admin-api/ready tells whether the node can serve.
package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/calimero-go/core/core/admin"
	"github.com/calimero-go/core/core/apps"
	"github.com/calimero-go/core/core/blobs"
	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/membership"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Contexts is what the API needs of contexts; *contexts.Client is one.
type Contexts interface {
	Execute(ctx context.Context, r contexts.ExecuteRequest) (*contexts.ExecuteResponse, error)
	Create(ctx context.Context, r contexts.CreateRequest) (contexts.CreateResponse, error)
	Delete(ctx context.Context, id domain.ContextID, requester *domain.PublicKey) (bool, error)
	Get(ctx context.Context, id domain.ContextID) (contexts.Info, error)
	List(ctx context.Context) ([]contexts.Info, error)
	ForApplication(ctx context.Context, app domain.ApplicationID) ([]contexts.Info, error)
	Identities(ctx context.Context, id domain.ContextID, ownedOnly bool) ([]domain.PublicKey, error)
	Group(ctx context.Context, id domain.ContextID) (*domain.GroupID, error)
	Subscribe(ctx context.Context) (<-chan contexts.StateMutation, func())
}

// ApplicationSetter changes the application of a context. If Deps.Contexts is none, the route answers that it is not
// available.
type ApplicationSetter interface {
	SetApplication(ctx context.Context, id domain.ContextID, app domain.ApplicationID, executor domain.PublicKey,
		migrate *string) error
}

// Peers is what the API needs of other nodes.
type Peers interface {
	// Count is the number of connected peers.
	Count() int
	// Invite makes an invitation to a context; nil when that is not here.
	Invite(ctx context.Context, id domain.ContextID, inviter domain.PublicKey, valid time.Duration) (*membership.Invitation, error)
	Join(ctx context.Context, invitation membership.Invitation, member domain.PublicKey) error
	// Sync brings a context, or with nil all, together with a peer.
	Sync(ctx context.Context, id *domain.ContextID) error
	// Trouble says what keeps a context from being as its peers' have it, other than that there are none; "" = nothing.
	Trouble(id domain.ContextID) string
	// Announce tells peers that this node has a blob of a context; Fetch brings one here, kind NotFound when nobody has it.
	Announce(ctx context.Context, id domain.ContextID, blob domain.BlobID, size uint64) error
	Fetch(ctx context.Context, id domain.ContextID, blob domain.BlobID) error
}

// Apps is what the API needs of applications; *apps.Service is one.
type Apps interface {
	InstallPath(ctx context.Context, path string, metadata []byte, pkg, version string) (domain.ApplicationID, error)
	InstallURL(ctx context.Context, url string, metadata []byte, hash *domain.Hash) (domain.ApplicationID, error)
	Get(ctx context.Context, id domain.ApplicationID) (apps.Application, bool, error)
	List(ctx context.Context) ([]apps.Application, error)
	Uninstall(ctx context.Context, id domain.ApplicationID) error
	Packages(ctx context.Context) ([]string, error)
	Versions(ctx context.Context, pkg string) ([]string, error)
	Latest(ctx context.Context, pkg string) (apps.Application, bool, error)
}

// Blobs is what the API needs of blobs; *blobs.Store is one.
type Blobs interface {
	PutLimit(ctx context.Context, r io.Reader, expect *domain.Hash, limit uint64) (blobs.Info, error)
	Open(ctx context.Context, id domain.BlobID) (*blobs.Reader, error)
	ReadAt(ctx context.Context, id domain.BlobID, offset, length uint64) ([]byte, error)
	Info(ctx context.Context, id domain.BlobID) (blobs.Info, error)
	List(ctx context.Context) ([]blobs.Info, error)
	Delete(ctx context.Context, id domain.BlobID) error
}

// Identity is what the API needs of identities and aliases; *identity.Service is one.
type Identity interface {
	NewIdentity(ctx context.Context) (domain.PublicKey, error)
	CreateAlias(ctx context.Context, a identity.Alias) error
	LookupAlias(ctx context.Context, a identity.Alias) (target [32]byte, found bool, err error)
	DeleteAlias(ctx context.Context, a identity.Alias) error
	ListAliases(ctx context.Context, kind wire.AliasKind, scope *domain.ContextID) ([]identity.Alias, error)
}

// Groups is what the API needs of groups; *admin.Service is one. A requester that is nil is the node's identity.
type Groups interface {
	Create(ctx context.Context, r admin.CreateRequest) (domain.GroupID, error)
	Delete(ctx context.Context, id domain.GroupID, requester *domain.PublicKey) error
	List(ctx context.Context, offset, limit uint64) ([]admin.Summary, error)
	Info(ctx context.Context, id domain.GroupID) (admin.Info, error)
	Sync(ctx context.Context, id domain.GroupID) (admin.Info, error)
	Log(ctx context.Context, id domain.GroupID, offset, limit uint64) ([]governance.Entry, uint64, error)
	Geneses(ctx context.Context, id domain.GroupID) (candidates []groups.Candidate, chosen bool, err error)
	ChooseGenesis(ctx context.Context, id domain.GroupID, genesis domain.Hash) error

	Members(ctx context.Context, id domain.GroupID, offset, limit uint64) ([]admin.Member, domain.PublicKey, error)
	AddMembers(ctx context.Context, id domain.GroupID, members []admin.Member, requester *domain.PublicKey) error
	RemoveMembers(ctx context.Context, id domain.GroupID, members []domain.PublicKey, requester *domain.PublicKey) error
	SetRole(ctx context.Context, id domain.GroupID, who domain.PublicKey, role domain.MemberRole, requester *domain.PublicKey) error
	SetMemberAlias(ctx context.Context, id domain.GroupID, who domain.PublicKey, alias string, requester *domain.PublicKey) error
	Capabilities(ctx context.Context, id domain.GroupID, who domain.PublicKey) (domain.GroupCapabilities, error)
	SetCapabilities(ctx context.Context, id domain.GroupID, who domain.PublicKey, caps domain.GroupCapabilities, requester *domain.PublicKey) error

	SetPolicy(ctx context.Context, id domain.GroupID, policy domain.UpgradePolicy, requester *domain.PublicKey) error
	SetAlias(ctx context.Context, id domain.GroupID, alias string, requester *domain.PublicKey) error
	SetDefaultCapabilities(ctx context.Context, id domain.GroupID, caps domain.GroupCapabilities, requester *domain.PublicKey) error
	SetDefaultVisibility(ctx context.Context, id domain.GroupID, mode domain.VisibilityMode, requester *domain.PublicKey) error
	SetTeePolicy(ctx context.Context, id domain.GroupID, policy wire.OpTeeAdmissionPolicySet, requester *domain.PublicKey) error
	RemoveSubgroup(ctx context.Context, id, child domain.GroupID, requester *domain.PublicKey) error
	RegisterKey(ctx context.Context, id domain.GroupID, key domain.PrivateKey) (domain.PublicKey, error)

	Contexts(ctx context.Context, id domain.GroupID, offset, limit uint64) ([]admin.Context, error)
	Detach(ctx context.Context, id domain.GroupID, c domain.ContextID, requester *domain.PublicKey) error
	SetContextAlias(ctx context.Context, id domain.GroupID, c domain.ContextID, alias string, requester *domain.PublicKey) error
	Visibility(ctx context.Context, id domain.GroupID, c domain.ContextID) (wire.GroupContextVisibility, error)
	SetVisibility(ctx context.Context, id domain.GroupID, c domain.ContextID, mode domain.VisibilityMode, requester *domain.PublicKey) error
	Allowlist(ctx context.Context, id domain.GroupID, c domain.ContextID) ([]domain.PublicKey, error)
	ChangeAllowlist(ctx context.Context, id domain.GroupID, c domain.ContextID, add, remove []domain.PublicKey, requester *domain.PublicKey) error
	GrantInContext(ctx context.Context, c domain.ContextID, grants []admin.Grant, signer domain.PublicKey) error
	RevokeInContext(ctx context.Context, c domain.ContextID, grants []admin.Grant, signer domain.PublicKey) error

	Invite(ctx context.Context, r admin.InviteRequest) (*membership.GroupInvitation, error)
	CloseInvitation(ctx context.Context, inv wire.GroupInvitation, requester *domain.PublicKey) error
	Join(ctx context.Context, inv membership.GroupInvitation) (membership.JoinedGroup, error)
	JoinContext(ctx context.Context, id domain.GroupID, c domain.ContextID) (domain.PublicKey, error)
}

// Upgrades gives the contexts of groups another application; *upgrades.Service is one.
type Upgrades interface {
	Upgrade(ctx context.Context, id domain.GroupID, target domain.ApplicationID, migrate *string, requester *domain.PublicKey) (wire.GroupUpgradeStatus, error)
	Status(ctx context.Context, id domain.GroupID) (*wire.GroupUpgrade, error)
	Retry(ctx context.Context, id domain.GroupID, requester *domain.PublicKey) (wire.GroupUpgradeStatus, error)
}

// Sessions keeps SSE sessions over restarts (http-api.md §3.2); see StoredSessions.
type Sessions interface {
	Load(ctx context.Context, id uint64) (session []byte, found bool, err error)
	Save(ctx context.Context, id uint64, session []byte) error
	Delete(ctx context.Context, id uint64) error
	// Each calls f for all of them until it fails.
	Each(ctx context.Context, f func(id uint64, session []byte) error) error
}

// Deps is what the API serves. Contexts, Apps, Blobs and Identity are required.
type Deps struct {
	Contexts Contexts
	Apps     Apps
	Blobs    Blobs
	Identity Identity
	// Peers; nil = a node alone, which says so.
	Peers Peers
	// Groups and Upgrades; nil = a node without groups, which says so.
	Groups   Groups
	Upgrades Upgrades
	// Gatherer is shown at /metrics; nil = no such route. Registerer gets the API's own metrics; nil = none.
	Gatherer   prometheus.Gatherer
	Registerer prometheus.Registerer
	// Ready tells why the node cannot serve; nil = it always can.
	Ready func(context.Context) error
	// Sessions; nil = in memory only.
	Sessions Sessions
	// Guard stands in front of all routes but AuthRoutes (authroutes.Service.Guard); nil = all are open.
	Guard func(http.Handler) http.Handler
	// AuthRoutes serves /auth/… and /admin/…; nil = no such routes.
	AuthRoutes http.Handler
	// MaySubscribe tells whether the caller whom Guard put into ctx may see a context's events
	// (authroutes.CanSubscribe); nil = everybody may.
	MaySubscribe func(ctx context.Context, id domain.ContextID) bool
	Logger       *slog.Logger
}

// Options of the server. What is zero gets the default named with it; the four switches are off.
type Options struct {
	// Prefix is NODE_PATH_PREFIX: it is put before all routes but /sse, /metrics, /auth and /admin.
	Prefix string
	// Admin, JSONRPC, WebSocket, SSE switch the APIs on.
	Admin, JSONRPC, WebSocket, SSE bool
	// MaxBody bounds request bodies in bytes (2 MiB), MaxUpload those of blobs (no bound).
	MaxBody, MaxUpload uint64
	// ReadHeaderTimeout (10 s) and IdleTimeout (2 min) of connections. BodyTimeout is how long a JSON body may take, and
	// how long an upload may stand still (30 s); WriteTimeout how long an answer, or a part of a stream, may (30 s).
	ReadHeaderTimeout, IdleTimeout, BodyTimeout, WriteTimeout time.Duration
	// ShutdownTimeout is how long requests in flight may take at the end (10 s).
	ShutdownTimeout time.Duration
	// PingInterval of WebSockets, 0 = none; PongTimeout is how long the answer may take (10 s).
	PingInterval, PongTimeout time.Duration
	// KeepAlive is the interval of comments on SSE streams (15 s).
	KeepAlive time.Duration
	// CORSOrigins are the allowed origins, "*" for all; none = no CORS headers.
	CORSOrigins []string
	// MaxConnections bounds connections of each listener (1,024), MaxStreams WebSockets and SSE streams together (256).
	MaxConnections, MaxStreams int
	// MaxSessions bounds the SSE sessions in memory (4,096).
	MaxSessions int
}

func (o *Options) defaults() {
	setDefault(&o.MaxBody, 2<<20)
	setDefault(&o.MaxUpload, 1<<62)
	setDefault(&o.ReadHeaderTimeout, 10*time.Second)
	setDefault(&o.IdleTimeout, 2*time.Minute)
	setDefault(&o.BodyTimeout, 30*time.Second)
	setDefault(&o.WriteTimeout, 30*time.Second)
	setDefault(&o.ShutdownTimeout, 10*time.Second)
	setDefault(&o.PongTimeout, 10*time.Second)
	setDefault(&o.KeepAlive, 15*time.Second)
	setDefault(&o.MaxConnections, 1024)
	setDefault(&o.MaxStreams, 256)
	setDefault(&o.MaxSessions, 4096)
}

func setDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// Server is the API. Its methods may be called concurrently.
type Server struct {
	deps    Deps
	opts    Options
	log     *slog.Logger
	handler http.Handler
	metrics *metrics
	streams *streams
	sse     *sessions
}

// New makes a server.
func New(d Deps, o Options) (*Server, error) {
	if d.Contexts == nil || d.Apps == nil || d.Blobs == nil || d.Identity == nil {
		return nil, errors.New("api: Contexts, Apps, Blobs and Identity are required")
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if d.MaySubscribe == nil {
		d.MaySubscribe = func(context.Context, domain.ContextID) bool { return true }
	}
	o.defaults()
	s := &Server{deps: d, opts: o, log: d.Logger, streams: newStreams(o.MaxStreams)}
	s.sse = newSessions(d.Sessions, o.MaxSessions, d.Logger)
	var err error
	if s.metrics, err = newMetrics(d.Registerer, s.streams); err != nil {
		return nil, err
	}
	s.handler = s.chain()
	return s, nil
}

// Handler serves the API without a listener of its own; see Close.
func (s *Server) Handler() http.Handler { return s.handler }

// Close ends all streams and waits for them; later ones are refused. Serve does it by itself.
func (s *Server) Close() { s.streams.close() }
