package authroutes

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/calimero-go/core/plugin-sdk/auth"
)

// Access says what a route asks of its caller.
type Access uint8

const (
	// Guarded: a live key that has one of the route's permissions.
	Guarded Access = iota + 1
	// AnyKey: a live key, whatever its permissions.
	AnyKey
	// Public: nobody is asked.
	Public
)

// Route is an entry of the table that holds every route of the node.
type Route struct {
	// Method is an HTTP method; GET stands for HEAD too, "*" for all.
	Method string
	// Pattern has literal segments, {name} for one segment, and {name...} at the end for the rest, which may be empty.
	Pattern string
	Access  Access
	// Needs are permissions (http-api.md §5.5), one of which is enough; in their brackets, {name} is a segment of the
	// path, {name in a.b} the text at a.b of the JSON body.
	Needs []string
	// Stream marks a request that lasts: its context ends when the caller's key is revoked or changed.
	Stream bool
}

const adminAPI = "/admin-api"

// Where the ids of an execution stand in a JSON-RPC body.
const execute = "context:execute[{c in params.contextId},{u in params.executorPublicKey},{m in params.method}]"

// Routes lists the node's routes with what they ask, without the path prefix of the node. What is not here does not
// exist for Guard. http-api.md §5.5 declares the permissions of most; the reference declares none for groups, aliases,
// blobs, identities, sync and peers and enforces none at all. Here reading a context's surroundings is as reading the
// context, and what changes a group, or is not thought of as a client's, needs admin.
func Routes() []Route {
	admin := func(method, path string) Route {
		return Route{method, adminAPI + path, Guarded, []string{auth.Admin}, false}
	}
	need := func(method, path string, needs ...string) Route {
		return Route{method, adminAPI + path, Guarded, needs, false}
	}
	public := func(method, path string) Route { return Route{method, path, Public, nil, false} }
	return []Route{
		{"POST", "/jsonrpc", Guarded, []string{execute}, false},
		{"GET", "/ws", AnyKey, nil, true}, // a subscription asks for the context: see CanSubscribe
		{"GET", "/sse", AnyKey, nil, true},
		{"GET", "/sse/session/{session_id}", AnyKey, nil, false},
		{"POST", "/sse/subscription", AnyKey, nil, false},

		public("GET", adminAPI+"/health"), public("GET", adminAPI+"/ready"), public("GET", adminAPI+"/is-authed"),
		public("GET", adminAPI+"/certificate"),
		public("GET", adminAPI+"/tee/info"), public("POST", adminAPI+"/tee/attest"),
		public("POST", adminAPI+"/tee/verify-quote"),
		public("GET", "/admin-dashboard/{path...}"), public("GET", "/metrics"), public("*", "/auth/{path...}"),
		{"GET", adminAPI + "/peers", AnyKey, nil, false},

		need("POST", "/install-application", "application:install"),
		need("POST", "/install-dev-application", "application:install"),
		need("GET", "/applications", "application:list"),
		need("GET", "/applications/{id}", "application:list[{id}]"),
		need("DELETE", "/applications/{id}", "application:uninstall[{id}]"),
		need("GET", "/packages", "package:list-packages"),
		need("GET", "/packages/{package}/versions", "package:list-versions[{package}]"),
		need("GET", "/packages/{package}/latest", "package:get-latest-version[{package}]"),

		need("GET", "/contexts", "context:list"),
		need("POST", "/contexts", "context:create[{a in applicationId}]"),
		need("GET", "/contexts/{id}", "context:list[{id}]"),
		need("DELETE", "/contexts/{id}", "context:delete[{id}]"),
		need("POST", "/contexts/{id}/application", "context:application:update[{id}]"),
		need("GET", "/contexts/{id}/storage", "context:list[{id}]"),
		need("GET", "/contexts/{id}/identities", "context:list[{id}]"),
		need("GET", "/contexts/{id}/identities-owned", "context:list[{id}]"),
		need("GET", "/contexts/{id}/group", "context:list[{id}]"),
		need("GET", "/contexts/for-application/{application}", "context:list[{application}]"),
		need("GET", "/contexts/with-executors/for-application/{application}", "context:list[{application}]"),
		need("POST", "/contexts/invite", "context:invite[{c in contextId},{u in inviterId}]"),
		need("POST", "/contexts/invite-specialized-node", "context:invite[{c in contextId},{u in inviterId}]"),
		need("POST", "/contexts/join", "context:create"),
		need("POST", "/contexts/sync", "context:list"),
		need("POST", "/contexts/sync/{id}", "context:list[{id}]"),
		need("POST", "/contexts/{id}/capabilities/grant", "context:capabilities:grant[{id}]"),
		need("POST", "/contexts/{id}/capabilities/revoke", "context:capabilities:revoke[{id}]"),

		need("POST", "/identity/context", "context:create", "context:invite"),
		need("POST", "/alias/create/context", "context:alias:create:context[{c in contextId}]"),
		need("POST", "/alias/create/application", "context:alias:create:application[{a in applicationId}]"),
		need("POST", "/alias/create/identity/{id}", "context:alias:create:identity[{id}]"),
		need("POST", "/alias/lookup/context/{name}", "context:alias:lookup:context[{name}]"),
		need("POST", "/alias/lookup/application/{name}", "context:alias:lookup:application[{name}]"),
		need("POST", "/alias/lookup/identity/{id}/{name}", "context:alias:lookup:identity[{id}]"),
		need("POST", "/alias/delete/context/{name}", "context:alias:delete:context[{name}]"),
		need("POST", "/alias/delete/application/{name}", "context:alias:delete:application[{name}]"),
		need("POST", "/alias/delete/identity/{id}/{name}", "context:alias:delete:identity[{id}]"),
		need("GET", "/alias/list/context", "context:alias:list:context"),
		need("GET", "/alias/list/application", "context:alias:list:application"),
		need("GET", "/alias/list/identity/{id}", "context:alias:list:identity[{id}]"),

		// The grammar has no permission to read blobs: who may add, remove or install may, and so may any context's
		// client, as whoever knows a blob's id has it from its context.
		need("PUT", "/blobs", "blob:add:stream"),
		need("GET", "/blobs", "blob:add:stream", "blob:remove"),
		{"GET", adminAPI + "/blobs/{id}", AnyKey, nil, false},
		need("DELETE", "/blobs/{id}", "blob:remove[{id}]"),

		need("GET", "/groups", "context:list"),
		admin("POST", "/groups"),
		need("GET", "/groups/{id}", "context:list"),
		admin("PATCH", "/groups/{id}"),
		admin("DELETE", "/groups/{id}"),
		need("GET", "/groups/{id}/log", "context:list"),
		need("GET", "/groups/{id}/genesis", "context:list"),
		admin("POST", "/groups/{id}/genesis"),
		need("GET", "/groups/{id}/contexts", "context:list"),
		need("GET", "/groups/{id}/members", "context:list"),
		admin("POST", "/groups/{id}/members"),
		admin("POST", "/groups/{id}/members/remove"),
		admin("PUT", "/groups/{id}/members/{identity}/role"),
		admin("PUT", "/groups/{id}/alias"),
		admin("PUT", "/groups/{id}/members/{identity}/alias"),
		admin("POST", "/groups/{id}/contexts/{context}/remove"),
		admin("PUT", "/groups/{id}/contexts/{context}/alias"),
		admin("POST", "/groups/{id}/upgrade"),
		need("GET", "/groups/{id}/upgrade/status", "context:list"),
		admin("POST", "/groups/{id}/upgrade/retry"),
		admin("POST", "/groups/{id}/signing-key"),
		need("POST", "/groups/{id}/sync", "context:list"),
		admin("POST", "/groups/{id}/invite"),
		admin("POST", "/groups/{id}/invite/close"),
		admin("POST", "/groups/{id}/subgroups/{child}/remove"),
		admin("POST", "/groups/join"),
		need("POST", "/groups/{id}/join-context", "context:create"),
		need("GET", "/groups/{id}/members/{identity}/capabilities", "context:list"),
		admin("PUT", "/groups/{id}/members/{identity}/capabilities"),
		admin("PUT", "/groups/{id}/settings/default-capabilities"),
		admin("PUT", "/groups/{id}/settings/default-visibility"),
		admin("PUT", "/groups/{id}/settings/tee-admission-policy"),
		need("GET", "/groups/{id}/contexts/{context}/visibility", "context:list[{context}]"),
		admin("PUT", "/groups/{id}/contexts/{context}/visibility"),
		need("GET", "/groups/{id}/contexts/{context}/allowlist", "context:list[{context}]"),
		admin("POST", "/groups/{id}/contexts/{context}/allowlist"),
	}
}

// keyRoutes are those of this package behind a token.
func keyRoutes() []Route {
	need := func(method, path string, need string) Route {
		return Route{method, "/admin" + path, Guarded, []string{need}, false}
	}
	return []Route{
		need("POST", "/revoke", "keys:delete"),
		need("GET", "/keys", "keys:list"),
		need("POST", "/keys", "keys:create"),
		need("DELETE", "/keys/{key_id}", "keys:delete"),
		need("GET", "/keys/clients", "keys:clients:list"),
		{"POST", "/admin/client-key", AnyKey, nil, false}, // answers for itself, with a text
		need("DELETE", "/keys/{key_id}/clients/{client_id}", "keys:clients:delete"),
		need("GET", "/keys/{key_id}/permissions", "keys:permissions:get[{key_id}]"),
		need("PUT", "/keys/{key_id}/permissions", "keys:permissions:update[{key_id}]"),
		{"GET", "/admin/identity", AnyKey, nil, false},
		need("GET", "/metrics", "keys:list"),
	}
}

// table finds routes. Literal segments win over names, from the left.
type table struct{ entries []*entry }

type entry struct {
	Route
	segments []string
	rest     bool
	needs    []need
}

// newTable compiles routes; prefix is put before those paths that NODE_PATH_PREFIX applies to.
func newTable(routes []Route, prefix string) (*table, error) {
	t := &table{}
	seen := make(map[string]bool)
	for _, r := range routes {
		first, _, _ := strings.Cut(strings.TrimPrefix(r.Pattern, "/"), "/")
		if slices.Contains([]string{"jsonrpc", "ws", "admin-api", "admin-dashboard"}, first) {
			r.Pattern = prefix + r.Pattern
		}
		e := &entry{Route: r, segments: strings.Split(r.Pattern, "/")[1:]}
		if last := len(e.segments) - 1; strings.HasSuffix(e.segments[last], "...}") {
			e.rest, e.segments = true, e.segments[:last]
		}
		if r.Access < Guarded || r.Access > Public || (r.Access == Guarded) != (len(r.Needs) > 0) || seen[r.Method+" "+r.Pattern] {
			return nil, fmt.Errorf("route %s %s: stands there twice, or its access does not fit its needs", r.Method, r.Pattern)
		}
		seen[r.Method+" "+r.Pattern] = true
		for _, text := range r.Needs {
			n, err := parseNeed(text)
			if err != nil {
				return nil, fmt.Errorf("route %s %s: %w", r.Method, r.Pattern, err)
			}
			e.needs = append(e.needs, n)
		}
		t.entries = append(t.entries, e)
	}
	return t, nil
}

// find answers the entry of a request and the named segments of its path. An entry whose method differs is answered when
// no other fits: the path exists, and who may not use it does not learn more.
func (t *table) find(method string, u *url.URL) (e *entry, named map[string]string, methodFits bool) {
	segments, ok := split(u)
	if !ok {
		return nil, nil, false
	}
	for _, x := range t.entries {
		if !x.matches(segments) {
			continue
		}
		fits := x.fits(method)
		switch {
		case e == nil, fits && !methodFits, fits == methodFits && x.moreSpecific(e):
			e, methodFits = x, fits
		}
	}
	if e == nil {
		return nil, nil, false
	}
	named = make(map[string]string)
	for i, s := range e.segments {
		if name, ok := variable(s); ok {
			named[name] = segments[i]
		}
	}
	return e, named, methodFits
}

// methods lists what a path may be used with.
func (t *table) methods(u *url.URL) []string {
	segments, _ := split(u)
	var list []string
	for _, e := range t.entries {
		if !e.matches(segments) {
			continue
		}
		list = append(list, e.Method)
		if e.Method == http.MethodGet {
			list = append(list, http.MethodHead)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// split takes a path apart as net/http.ServeMux does: at the slashes that are not escaped.
func split(u *url.URL) ([]string, bool) {
	path, ok := strings.CutPrefix(u.EscapedPath(), "/")
	if !ok {
		return nil, false
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		plain, err := url.PathUnescape(s)
		if err != nil || plain == "." || plain == ".." {
			return nil, false
		}
		segments[i] = plain
	}
	return segments, true
}

func variable(segment string) (string, bool) {
	name, ok := strings.CutPrefix(segment, "{")
	return strings.TrimSuffix(name, "}"), ok
}

func (e *entry) matches(segments []string) bool {
	if len(segments) < len(e.segments) || len(segments) > len(e.segments) && !e.rest {
		return false
	}
	for i, s := range e.segments {
		if _, named := variable(s); named && segments[i] == "" || !named && segments[i] != s {
			return false
		}
	}
	return true
}

func (e *entry) fits(method string) bool {
	return e.Method == "*" || e.Method == method || e.Method == http.MethodGet && method == http.MethodHead
}

// moreSpecific compares two entries that match the same path.
func (e *entry) moreSpecific(other *entry) bool {
	for i := range min(len(e.segments), len(other.segments)) {
		_, a := variable(e.segments[i])
		_, b := variable(other.segments[i])
		if a != b {
			return !a
		}
	}
	return len(e.segments) > len(other.segments)
}
