package auth

import (
	"slices"
	"strings"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Admin is the permission that beats all.
const Admin = "admin"

// Permission is a parsed permission (http-api.md §5.5): an action and, for some, what it is limited to. An action stands
// for the actions below it: "context" for "context:execute".
type Permission struct {
	// Action has one to four parts with colons between them.
	Action string
	// Scope is the id of a context, application, package, blob or key; User a context identity; Method a method of the
	// application. Empty means any.
	Scope, User, Method string
}

// How many bracket parts an action takes: none, the scope, also the user, also the method.
const (
	noScope = iota
	scoped
	scopedUser
	scopedMethod
)

var actions = func() map[string]int {
	m := map[string]int{
		Admin:         noScope,
		"application": noScope, "application:list": scoped, "application:install": scoped, "application:uninstall": scoped,
		"package": noScope, "package:list-packages": scoped, "package:list-versions": scoped,
		"package:get-latest-version": scoped,
		"blob":                       noScope, "blob:add": noScope, "blob:add:stream": noScope, "blob:add:file": noScope,
		"blob:add:url": noScope, "blob:remove": scoped,
		"context": scopedUser, "context:create": scoped, "context:list": scoped, "context:delete": scoped,
		"context:leave": scopedUser, "context:invite": scopedUser, "context:execute": scopedMethod,
		"context:capabilities:grant": scoped, "context:capabilities:revoke": scoped, "context:application:update": scoped,
		"keys": noScope, "keys:create": noScope, "keys:list": noScope, "keys:delete": noScope,
		"keys:clients:list": noScope, "keys:clients:delete": noScope,
		"keys:permissions:get": scoped, "keys:permissions:update": scoped,
	}
	for _, verb := range []string{"create", "list", "lookup", "delete"} {
		for _, kind := range []string{"context", "application", "identity"} {
			m["context:alias:"+verb+":"+kind] = scoped
		}
	}
	return m
}()

// Other spellings of an action.
var synonyms = map[string]string{
	"keys:revoke": "keys:delete", "keys:clients": "keys:clients:list", "keys:permissions": "keys:permissions:get",
}

// ParsePermission reads `action` or `action[scope,user,method]`. Brackets an action does not take, and anything else it
// does not know, are an error of kind Invalid: a limit that is not understood must not widen a permission.
func ParsePermission(s string) (Permission, error) {
	if len(s) > MaxPermission {
		return Permission{}, errkind.TooLarge.Errorf("permission of %d bytes, the limit is %d", len(s), MaxPermission)
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return Permission{}, errkind.Invalid.Errorf("permission %q: printable ASCII only", s)
		}
	}
	action, rest, brackets := strings.Cut(s, "[")
	if other, ok := synonyms[action]; ok {
		action = other
	}
	takes, ok := actions[action]
	if !ok {
		return Permission{}, errkind.Invalid.Errorf("permission %q: no such action", s)
	}
	p := Permission{Action: action}
	if !brackets {
		return p, nil
	}
	inner, after, closed := strings.Cut(rest, "]")
	if !closed || after != "" || strings.Contains(inner, "[") {
		return Permission{}, errkind.Invalid.Errorf("permission %q: wants one pair of brackets at its end", s)
	}
	parts := strings.Split(inner, ",")
	if len(parts) > takes {
		return Permission{}, errkind.Invalid.Errorf("permission %q: %s takes %d parts in brackets", s, action, takes)
	}
	for i, field := range []*string{&p.Scope, &p.User, &p.Method}[:len(parts)] {
		*field = strings.TrimSpace(parts[i])
	}
	return p, nil
}

// String is the canonical form; ParsePermission reads it.
func (p Permission) String() string {
	switch {
	case p.Method != "":
		return p.Action + "[" + p.Scope + "," + p.User + "," + p.Method + "]"
	case p.User != "":
		return p.Action + "[" + p.Scope + "," + p.User + "]"
	case p.Scope != "":
		return p.Action + "[" + p.Scope + "]"
	}
	return p.Action
}

// Satisfies tells whether who holds p may do what requires need. Admin beats all; an action beats those below it; any
// scope or user beats a specific one. A method held is the only one allowed, unless none is required.
//
// This departs from the reference in that bare context and package beat their actions like every other category: client
// keys hold "context[id,identity]" and could otherwise do nothing. A permission limited to a user gives actions that name
// one, and reading.
func (p Permission) Satisfies(need Permission) bool {
	return p.covers(need) && (p.Method == "" || need.Method == "" || p.Method == need.Method)
}

// covers is Satisfies without the method.
func (p Permission) covers(need Permission) bool {
	if p.Action == Admin {
		return true
	}
	if p.Action != need.Action && !strings.HasPrefix(need.Action, p.Action+":") {
		return false
	}
	if p.Scope != "" && p.Scope != need.Scope {
		return false
	}
	if actions[need.Action] >= scopedUser || p.User == "" {
		return p.User == "" || p.User == need.User
	}
	return reading(need.Action)
}

// reading tells whether an action that names no identity only reads: what is limited to one identity allows no more, in
// particular not to delete the context for all others.
func reading(action string) bool {
	return action == "context:list" || strings.HasPrefix(action, "context:alias:list:") ||
		strings.HasPrefix(action, "context:alias:lookup:")
}

// Permissions are those of one key.
type Permissions []Permission

// ParsePermissions reads a list.
func ParsePermissions(list []string) (Permissions, error) {
	if len(list) > MaxPermissions {
		return nil, errkind.TooLarge.Errorf("%d permissions, the limit is %d", len(list), MaxPermissions)
	}
	ps := make(Permissions, len(list))
	for i, s := range list {
		p, err := ParsePermission(s)
		if err != nil {
			return nil, err
		}
		ps[i] = p
	}
	return ps, nil
}

// Allow tells whether one of ps satisfies need.
func (ps Permissions) Allow(need Permission) bool {
	return slices.ContainsFunc(ps, func(p Permission) bool { return p.Satisfies(need) })
}

// AllowSome tells whether one of ps allows an action, or one below it, for some scope, user and method.
func (ps Permissions) AllowSome(action string) bool {
	return slices.ContainsFunc(ps, func(p Permission) bool {
		return p.Action == Admin || p.Action == action || strings.HasPrefix(action, p.Action+":") ||
			strings.HasPrefix(p.Action, action+":")
	})
}

// Cover tells whether everything others allow is allowed by ps: whether the holder may give them away.
func (ps Permissions) Cover(others Permissions) bool {
	for _, o := range others {
		if !slices.ContainsFunc(ps, func(p Permission) bool { return p.gives(o) }) {
			return false
		}
	}
	return true
}

// gives is Satisfies without the leniency of a method or a user that the requirement does not name.
func (p Permission) gives(o Permission) bool {
	if p.Action == Admin {
		return true
	}
	return p.covers(o) && (p.Method == "" || p.Method == o.Method)
}
