package authroutes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/calimero-go/core/plugin-sdk/auth"
)

// need is a permission with places to be filled from a request.
type need struct {
	action string
	// scope, user, method; at most one of them is nil per position that the permission does not have
	parts []source
}

// source tells where a part of a permission stands: a named segment of the path, or a field of the JSON body.
type source struct {
	segment string
	field   []string
}

// parseNeed reads `action` or `action[{name},{name in a.b}]`.
func parseNeed(text string) (need, error) {
	action, inner, brackets := strings.Cut(text, "[")
	n := need{action: action}
	check := auth.Permission{Action: action}
	if brackets {
		fields := []*string{&check.Scope, &check.User, &check.Method}
		for i, part := range strings.Split(strings.TrimSuffix(inner, "]"), ",") {
			name, ok := variable(part)
			if !ok || i >= len(fields) {
				return need{}, fmt.Errorf("permission %q: wants {name} in its brackets", text)
			}
			*fields[i] = "x"
			name, path, inBody := strings.Cut(name, " in ")
			s := source{segment: name}
			if inBody {
				s = source{field: strings.Split(path, ".")}
			}
			n.parts = append(n.parts, s)
		}
	}
	_, err := auth.ParsePermission(check.String())
	return n, err
}

// allowed tells whether ps satisfy one of an entry's needs for a request. It reads the body, at most limit bytes, only
// when the answer depends on it, and puts it back.
func (e *entry) allowed(ps auth.Permissions, named map[string]string, r *http.Request, limit int64) (bool, error) {
	some := false
	for _, n := range e.needs {
		if ps.Allow(auth.Permission{Action: n.action}) {
			return true, nil
		}
		some = some || ps.AllowSome(n.action)
	}
	if !some {
		return false, nil
	}
	var body []byte
	for _, n := range e.needs {
		p := auth.Permission{Action: n.action}
		for i, target := range []*string{&p.Scope, &p.User, &p.Method}[:len(n.parts)] {
			s := n.parts[i]
			if s.field == nil {
				*target = named[s.segment]
				continue
			}
			if body == nil {
				var err error
				if body, err = keepBody(r, limit); err != nil {
					return false, err
				}
			}
			// What is not there stays empty, which only who is not limited to one satisfies.
			value, err := textAt(body, s.field)
			if err != nil {
				return false, nil
			}
			*target = value
		}
		if ps.Allow(p) {
			return true, nil
		}
	}
	return false, nil
}

var errBodyTooLarge = errors.New("the body is too large")

// keepBody reads the body and leaves r with an equal one.
func keepBody(r *http.Request, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read the body: %w", err)
	}
	if int64(len(b)) > limit {
		return nil, errBodyTooLarge
	}
	if err := r.Body.Close(); err != nil {
		return nil, fmt.Errorf("read the body: %w", err)
	}
	r.Body = io.NopCloser(bytes.NewReader(b))
	if b == nil {
		b = []byte{}
	}
	return b, nil
}

// textAt answers the text at a path of fields of a JSON object; "" when something on the way is not there or null.
// Fields are compared as encoding/json does, without case: a name that stands twice is an error, as one cannot know
// which of them the handler takes.
func textAt(body []byte, path []string) (string, error) {
	if len(path) == 0 {
		var s *string
		if err := json.Unmarshal(body, &s); err != nil || s == nil {
			return "", err
		}
		return *s, nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	start, err := d.Token()
	if err != nil {
		return "", err
	}
	if start == nil {
		return "", nil
	}
	if start != json.Delim('{') {
		return "", fmt.Errorf("no object at %s", path[0])
	}
	var found json.RawMessage
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return "", err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return "", err
		}
		if s, ok := name.(string); !ok || !strings.EqualFold(s, path[0]) {
			continue
		}
		if found != nil {
			return "", fmt.Errorf("field %s stands twice", path[0])
		}
		found = value
	}
	if _, err := d.Token(); err != nil { // the closing brace
		return "", err
	}
	if found == nil {
		return "", nil
	}
	return textAt(found, path[1:])
}
