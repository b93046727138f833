package api

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Route is a route of the API.
type Route struct {
	Method string
	// Pattern is without the node's prefix; {name} stands for one segment.
	Pattern string
	// Guarded routes need a token when the node has an auth plugin.
	Guarded bool
}

// Routes lists the routes, without those of authentication.
func Routes() []Route {
	var all []Route
	for _, e := range (*Server)(nil).table() {
		all = append(all, e.Route)
	}
	return all
}

// api says which switch a route belongs to.
type api uint8

const (
	adminAPI api = iota
	rpcAPI
	socketAPI
	sseAPI
	metricsAPI
)

type endpoint struct {
	Route
	api    api
	handle http.HandlerFunc
	// stream marks what lasts and has no deadlines of its own.
	stream bool
}

// table is the one list of routes.
func (s *Server) table() []endpoint {
	open := func(method, path string, h http.HandlerFunc) endpoint {
		return endpoint{Route: Route{method, "/admin-api" + path, false}, handle: h}
	}
	admin := func(method, path string, h http.HandlerFunc) endpoint {
		return endpoint{Route: Route{method, "/admin-api" + path, true}, handle: h}
	}
	return []endpoint{
		{Route: Route{"POST", "/jsonrpc", true}, api: rpcAPI, handle: s.jsonRPC},
		{Route: Route{"GET", "/ws", true}, api: socketAPI, handle: s.socket, stream: true},
		{Route: Route{"GET", "/sse", true}, api: sseAPI, handle: s.sseStream, stream: true},
		{Route: Route{"GET", "/sse/session/{session_id}", true}, api: sseAPI, handle: s.sseSession},
		{Route: Route{"POST", "/sse/subscription", true}, api: sseAPI, handle: s.sseSubscription},
		{Route: Route{"GET", "/metrics", false}, api: metricsAPI, handle: s.showMetrics},

		open("GET", "/health", s.alive),
		open("GET", "/is-authed", s.alive),
		open("GET", "/ready", s.ready),
		open("GET", "/certificate", s.certificate),
		admin("GET", "/peers", s.peers),

		admin("POST", "/install-application", s.installApplication),
		admin("POST", "/install-dev-application", s.installDevApplication),
		admin("GET", "/applications", s.listApplications),
		admin("GET", "/applications/{application_id}", s.getApplication),
		admin("DELETE", "/applications/{application_id}", s.uninstallApplication),
		admin("GET", "/packages", s.listPackages),
		admin("GET", "/packages/{package}/versions", s.listVersions),
		admin("GET", "/packages/{package}/latest", s.latestVersion),

		admin("GET", "/contexts", s.listContexts),
		admin("POST", "/contexts", s.createContext),
		admin("GET", "/contexts/{context_id}", s.getContext),
		admin("DELETE", "/contexts/{context_id}", s.deleteContext),
		admin("POST", "/contexts/{context_id}/application", s.setApplication),
		admin("GET", "/contexts/{context_id}/storage", s.contextStorage),
		admin("GET", "/contexts/{context_id}/identities", s.identities(false)),
		admin("GET", "/contexts/{context_id}/identities-owned", s.identities(true)),
		admin("GET", "/contexts/{context_id}/group", s.contextGroup),
		admin("GET", "/contexts/for-application/{application_id}", s.contextsForApplication),
		admin("GET", "/contexts/with-executors/for-application/{application_id}", s.contextsWithExecutors),
		admin("POST", "/contexts/invite", s.invite),
		admin("POST", "/contexts/join", s.join),
		admin("POST", "/contexts/invite-specialized-node", s.inviteSpecializedNode),
		admin("POST", "/contexts/sync", s.sync),
		admin("POST", "/contexts/sync/{context_id}", s.sync),
		admin("POST", "/contexts/{context_id}/capabilities/grant", s.contextCapabilities(Groups.GrantInContext)),
		admin("POST", "/contexts/{context_id}/capabilities/revoke", s.contextCapabilities(Groups.RevokeInContext)),

		admin("POST", "/identity/context", s.newIdentity),
		admin("POST", "/alias/create/context", s.createContextAlias),
		admin("POST", "/alias/create/application", s.createApplicationAlias),
		admin("POST", "/alias/create/identity/{context}", s.createIdentityAlias),
		admin("POST", "/alias/lookup/context/{name}", s.lookupAlias(contextAlias)),
		admin("POST", "/alias/lookup/application/{name}", s.lookupAlias(applicationAlias)),
		admin("POST", "/alias/lookup/identity/{context}/{name}", s.lookupAlias(identityAlias)),
		admin("POST", "/alias/delete/context/{name}", s.deleteAlias(contextAlias)),
		admin("POST", "/alias/delete/application/{name}", s.deleteAlias(applicationAlias)),
		admin("POST", "/alias/delete/identity/{context}/{name}", s.deleteAlias(identityAlias)),
		admin("GET", "/alias/list/context", s.listAliases(contextAlias)),
		admin("GET", "/alias/list/application", s.listAliases(applicationAlias)),
		admin("GET", "/alias/list/identity/{context}", s.listAliases(identityAlias)),

		admin("GET", "/groups", s.listGroups),
		admin("POST", "/groups", s.createGroup),
		admin("POST", "/groups/join", s.joinGroup),
		admin("GET", "/groups/{group_id}", s.groupInfo),
		admin("PATCH", "/groups/{group_id}", s.updateGroup),
		admin("DELETE", "/groups/{group_id}", s.deleteGroup),
		admin("GET", "/groups/{group_id}/log", s.groupLog),
		admin("GET", "/groups/{group_id}/genesis", s.geneses),
		admin("POST", "/groups/{group_id}/genesis", s.chooseGenesis),
		admin("GET", "/groups/{group_id}/contexts", s.groupContexts),
		admin("GET", "/groups/{group_id}/members", s.groupMembers),
		admin("POST", "/groups/{group_id}/members", s.addMembers),
		admin("POST", "/groups/{group_id}/members/remove", s.removeMembers),
		admin("PUT", "/groups/{group_id}/members/{identity}/role", s.setRole),
		admin("PUT", "/groups/{group_id}/members/{identity}/alias", s.setMemberAlias),
		admin("GET", "/groups/{group_id}/members/{identity}/capabilities", s.memberCapabilities),
		admin("PUT", "/groups/{group_id}/members/{identity}/capabilities", s.setMemberCapabilities),
		admin("PUT", "/groups/{group_id}/alias", s.setGroupAlias),
		admin("PUT", "/groups/{group_id}/settings/default-capabilities", s.setDefaultCapabilities),
		admin("PUT", "/groups/{group_id}/settings/default-visibility", s.setDefaultVisibility),
		admin("PUT", "/groups/{group_id}/settings/tee-admission-policy", s.setTeePolicy),
		admin("POST", "/groups/{group_id}/subgroups/{child_id}/remove", s.removeSubgroup),
		admin("POST", "/groups/{group_id}/signing-key", s.registerSigningKey),
		admin("POST", "/groups/{group_id}/sync", s.syncGroup),
		admin("POST", "/groups/{group_id}/invite", s.inviteToGroup),
		admin("POST", "/groups/{group_id}/invite/close", s.closeInvitation),
		admin("POST", "/groups/{group_id}/join-context", s.joinGroupContext),
		admin("POST", "/groups/{group_id}/contexts/{context_id}/remove", s.detachContext),
		admin("PUT", "/groups/{group_id}/contexts/{context_id}/alias", s.setContextAlias),
		admin("GET", "/groups/{group_id}/contexts/{context_id}/visibility", s.contextVisibility),
		admin("PUT", "/groups/{group_id}/contexts/{context_id}/visibility", s.setContextVisibility),
		admin("GET", "/groups/{group_id}/contexts/{context_id}/allowlist", s.contextAllowlist),
		admin("POST", "/groups/{group_id}/contexts/{context_id}/allowlist", s.changeAllowlist),
		admin("POST", "/groups/{group_id}/upgrade", s.upgradeGroup),
		admin("GET", "/groups/{group_id}/upgrade/status", s.upgradeStatus),
		admin("POST", "/groups/{group_id}/upgrade/retry", s.retryUpgrade),

		{Route: Route{"PUT", "/admin-api/blobs", true}, handle: s.putBlob, stream: true},
		admin("GET", "/blobs", s.listBlobs),
		{Route: Route{"GET", "/admin-api/blobs/{blob_id}", true}, handle: s.getBlob, stream: true},
		{Route: Route{"HEAD", "/admin-api/blobs/{blob_id}", true}, handle: s.headBlob},
		admin("DELETE", "/blobs/{blob_id}", s.deleteBlob),
	}
}

func (s *Server) enabled(e endpoint) bool {
	switch e.api {
	case rpcAPI:
		return s.opts.JSONRPC
	case socketAPI:
		return s.opts.WebSocket
	case sseAPI:
		return s.opts.SSE
	case metricsAPI:
		return s.deps.Gatherer != nil
	}
	return s.opts.Admin
}

// pattern is the endpoint's with the node's prefix, which not all have (http-api.md §1).
func (s *Server) pattern(e endpoint) string {
	if e.api == sseAPI || e.api == metricsAPI {
		return e.Pattern
	}
	return s.opts.Prefix + e.Pattern
}

// router finds endpoints as the reference's does: a literal segment wins over a name, a name stands for one segment that
// is not empty, and nothing is cleaned or redirected. net/http's mux refuses patterns that overlap as these do.
type router struct {
	root node
}

type node struct {
	literal map[string]*node
	name    *node
	at      *path
}

// path has the endpoints of one pattern.
type path struct {
	pattern string
	names   []string
	methods map[string]endpoint
	allow   string
}

func (r *router) add(pattern string, e endpoint) error {
	n := &r.root
	var names []string
	for _, segment := range strings.Split(strings.TrimPrefix(pattern, "/"), "/") {
		if name, ok := strings.CutPrefix(segment, "{"); ok {
			names = append(names, strings.TrimSuffix(name, "}"))
			if n.name == nil {
				n.name = &node{}
			}
			n = n.name
			continue
		}
		if n.literal == nil {
			n.literal = map[string]*node{}
		}
		if n.literal[segment] == nil {
			n.literal[segment] = &node{}
		}
		n = n.literal[segment]
	}
	if n.at == nil {
		n.at = &path{pattern: pattern, names: names, methods: map[string]endpoint{}}
	}
	if _, twice := n.at.methods[e.Method]; twice || !slices.Equal(names, n.at.names) {
		return fmt.Errorf("route %s %s stands there twice, or its names differ", e.Method, pattern)
	}
	n.at.methods[e.Method] = e
	n.at.allow = n.at.allowed()
	return nil
}

// allowed is the Allow header: GET stands for HEAD too, but for streams.
func (p *path) allowed() string {
	var all []string
	for method, e := range p.methods {
		all = append(all, method)
		if _, has := p.methods[http.MethodHead]; method == http.MethodGet && !has && !e.stream {
			all = append(all, http.MethodHead)
		}
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

// find is nil for no such path.
func (r *router) find(u *url.URL) (p *path, values []string) {
	rest, ok := strings.CutPrefix(u.EscapedPath(), "/")
	if !ok {
		return nil, nil
	}
	return r.root.find(rest, nil)
}

func (n *node) find(rest string, values []string) (*path, []string) {
	raw, rest, more := strings.Cut(rest, "/")
	segment, err := url.PathUnescape(raw)
	if err != nil {
		return nil, nil
	}
	next := func(n *node, values []string) (*path, []string) {
		if n == nil {
			return nil, nil
		}
		if more {
			return n.find(rest, values)
		}
		return n.at, values
	}
	if p, v := next(n.literal[segment], values); p != nil {
		return p, v
	}
	if segment == "" {
		return nil, nil
	}
	return next(n.name, append(slices.Clip(values), segment))
}

// ServeHTTP answers 404 and 405 with empty bodies.
func (r *router) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	p, values := r.find(req.URL)
	if p == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	e, ok := p.methods[req.Method]
	if !ok && req.Method == http.MethodHead {
		e, ok = p.methods[http.MethodGet]
		ok = ok && !e.stream
	}
	if !ok {
		w.Header().Set("Allow", p.allow)
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	for i, name := range p.names {
		req.SetPathValue(name, values[i])
	}
	e.handle(w, req)
}
