package replication_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"github.com/calimero-go/core/tests/harness"
)

// action is one random call of a sample app.
type action struct {
	method string
	args   obj
	// fails: the application refuses the call, and nothing of it may stay.
	fails bool
	// leaves is what every node must know once the call is acknowledged, given its output; nil for nothing.
	leaves func(out json.RawMessage) fact
	// counts is the view whose number the call raises by one; empty for none.
	counts string
}

// fact is a text that the answer of a view has. A later fact of the same name takes its place.
type fact struct {
	name, view string
	args       obj
	text       string
}

// hand makes the calls of one node in one context.
type hand struct {
	random *rand.Rand
	app    string
	node   int
	member string
	words  int
	// space bounds the names that the hand uses, so that a long run does not grow the state; 0 = every name is new.
	space int
}

// name is one that no other hand uses, word a text that nobody else uses.
func (h *hand) name() string {
	n := h.words
	if h.space > 0 {
		n %= h.space
	}
	return fmt.Sprintf("n%d-%d", h.node, n)
}

func (h *hand) word() string {
	h.words++
	return fmt.Sprintf("w%d-%d", h.node, h.words)
}

// shared is a name that all hands use.
func (h *hand) shared() string { return fmt.Sprintf("s%d", h.random.IntN(4)) }

// in is the fact that a view without arguments has a text. A text that stays is its own name.
func in(view, text string) func(json.RawMessage) fact {
	return func(json.RawMessage) fact { return fact{name: view + text, view: view, text: text} }
}

// hands are the applications' random calls. What is left of those of one hand must not be changed by others.
var hands = map[string]func(h *hand) action{
	"kvnext": func(h *hand) action {
		if h.random.IntN(4) == 0 {
			return action{method: "set_label", args: obj{"label": h.word()}}
		}
		value, key := h.word(), h.name()
		return action{method: "set", args: obj{"key": key, "value": value}, leaves: func(json.RawMessage) fact {
			return fact{name: key, view: "entries", text: fmt.Sprintf("%q:%q", key, value)}
		}}
	},
	"kv": func(h *hand) action {
		switch h.random.IntN(8) {
		case 0, 1, 2:
			value, key := h.word(), h.name()
			return action{method: "set", args: obj{"key": key, "value": value}, leaves: func(json.RawMessage) fact {
				return fact{name: key, view: "entries", text: fmt.Sprintf("%q:%q", key, value)}
			}}
		case 3, 4:
			return action{method: "set", args: obj{"key": h.shared(), "value": h.word()}}
		case 5:
			return action{method: "remove", args: obj{"key": h.shared()}}
		case 6:
			return action{method: "set_then_fail", args: obj{"key": h.shared(), "value": "never"}, fails: true}
		}
		return action{method: "get", args: obj{"key": h.shared()}}
	},
	"types": func(h *hand) action {
		if h.random.IntN(4) == 0 {
			return action{method: "emit_all"}
		}
		return action{method: "rename", args: obj{"name": h.word(), "mode": obj{"Level": h.random.IntN(200)}}}
	},
	"collections": func(h *hand) action {
		switch h.random.IntN(10) {
		case 0:
			return action{method: "visit", counts: "visits"}
		case 1:
			return action{method: "change_stock", args: obj{"by": h.random.IntN(9) - 4}}
		case 2:
			return action{method: "set_title", args: obj{"title": h.word()}}
		case 3:
			if h.random.IntN(2) == 0 {
				return action{method: "pop_line"}
			}
			return action{method: "push_line", args: obj{"line": h.word()}}
		case 4:
			return action{method: "set_line", args: obj{"index": h.random.IntN(3), "line": h.word()}}
		case 5:
			h.words++
			return action{method: "add_tag", args: obj{"tag": h.name()}, leaves: in("tags", fmt.Sprintf("%q", h.name()))}
		case 6:
			if h.random.IntN(2) == 0 {
				return action{method: "remove_tag", args: obj{"tag": h.shared()}}
			}
			return action{method: "add_tag", args: obj{"tag": h.shared()}}
		case 7:
			return action{method: "score", args: obj{"player": h.shared()}}
		case 8:
			value, row := h.word(), h.name()
			return action{method: "set_cell", args: obj{"row": row, "column": "c", "value": value}, leaves: func(json.RawMessage) fact {
				return fact{name: row, view: "table", text: fmt.Sprintf(`%q:{"c":%q}`, row, value)}
			}}
		}
		if h.random.IntN(2) == 0 {
			return action{method: "delete_text", args: obj{"start": 0, "end": 3}}
		}
		return action{method: "insert_text", args: obj{"position": 0, "text": "abc"}}
	},
	"owned": func(h *hand) action {
		switch h.random.IntN(5) {
		case 0:
			return action{method: "set_profile", args: obj{"value": h.word()}}
		case 1:
			return action{method: "remove_profile"}
		case 2, 3:
			value, key := h.word(), h.name()
			return action{method: "put", args: obj{"key": key, "value": value}, leaves: func(json.RawMessage) fact {
				return fact{name: key, view: "item_of", args: obj{"user": h.member, "key": key}, text: fmt.Sprintf("%q", value)}
			}}
		}
		h.words++
		value := h.name()
		return action{method: "freeze", args: obj{"value": value}, leaves: func(out json.RawMessage) fact {
			return fact{name: value, view: "frozen", args: obj{"hash": out}, text: fmt.Sprintf("%q", value)}
		}}
	},
	"private": func(h *hand) action {
		switch h.random.IntN(4) {
		case 0:
			return action{method: "set_secret", args: obj{"value": h.word()}}
		case 1:
			return action{method: "set_both_then_panic", args: obj{"shared": "never", "secret": "never"}, fails: true}
		}
		return action{method: "set_both", args: obj{"shared": h.word(), "secret": h.word()}}
	},
	"handlers": func(h *hand) action {
		value := h.word()
		switch h.random.IntN(4) {
		case 0:
			return action{method: "fire_plain", args: obj{"value": value}}
		case 1:
			return action{method: "fire_failing", args: obj{"value": value}, leaves: in("journal", fmt.Sprintf(`"on_fired: %s"`, value))}
		}
		return action{method: "fire", args: obj{"value": value}, leaves: in("journal", fmt.Sprintf(`"on_fired: %s"`, value))}
	},
	"blobs": func(h *hand) action {
		if h.random.IntN(3) == 0 {
			return action{method: "store", args: obj{"name": h.shared(), "text": h.word()}}
		}
		h.words++
		name := h.name()
		return action{method: "store", args: obj{"name": name, "text": h.word()}, leaves: in("files", fmt.Sprintf("%q:", name))}
	},
	"xcall": func(h *hand) action {
		if h.random.IntN(5) == 0 {
			return action{method: "record_then_panic", args: obj{"note": h.word()}, fails: true}
		}
		note := h.word()
		return action{method: "record", args: obj{"note": note}, counts: "hits", leaves: in("records", fmt.Sprintf("%q", note))}
	},
	"board": func(h *hand) action {
		if h.random.IntN(2) == 0 {
			h.words++
			return action{method: "submit", args: obj{"player": h.name(), "score": h.words}, leaves: in("best", fmt.Sprintf("%q:", h.name()))}
		}
		return action{method: "submit", args: obj{"player": h.shared(), "score": h.random.IntN(1000)}}
	},
	"rogue": func(h *hand) action {
		switch h.random.IntN(5) {
		case 0:
			return action{method: "set_and_trap", args: obj{"key": h.shared(), "value": "never"}, fails: true}
		case 1:
			return action{method: "raw_write", args: obj{"key": 1 + h.random.IntN(3), "value": h.random.IntN(50)}}
		case 2:
			return action{method: "set", args: obj{"key": h.shared(), "value": h.word()}}
		}
		value, key := h.word(), h.name()
		return action{method: "set", args: obj{"key": key, "value": value}, leaves: func(json.RawMessage) fact {
			return fact{name: key, view: "get", args: obj{"key": key}, text: fmt.Sprintf("%q", value)}
		}}
	},
}

// views of the applications without arguments; their answers are the same on all nodes in the end.
var views = map[string][]string{
	"kv": {"entries", "len"}, "kvnext": {"entries", "label"}, "types": {"setup"}, "private": {"shared"}, "handlers": {"value", "runs", "journal"},
	"collections": {"visits", "stock", "title", "lines", "tags", "scores", "table", "text"},
	"blobs":       {"files"}, "xcall": {"hits", "records"}, "board": {"best"}, "rogue": {"len"},
}

// initial are the arguments of init.
var initial = map[string]string{
	"types": `{"name":"n","limit":5,"ratio":0.5,"note":null,"tags":[],"weights":{},"mode":"Off",` +
		`"frame":{"title":"t","corner":{"x":1,"y":-2},"path":[],"center":null,"mode":"Off"}}`,
}

// ledger is what nodes acknowledged in one context.
type ledger struct {
	mu           sync.Mutex
	facts        map[string]fact
	tried, acked map[string]int // calls that raise a view's number
	calls        int
}

func newLedger() *ledger {
	return &ledger{facts: map[string]fact{}, tried: map[string]int{}, acked: map[string]int{}}
}

// do makes one random call on x. The error is of a call that should not have failed; after one, what the call would have left
// is not known.
func (l *ledger) do(ctx context.Context, x *harness.Context, h *hand) error {
	a := hands[h.app](h)
	l.mu.Lock()
	if a.leaves != nil {
		delete(l.facts, a.leaves([]byte(`""`)).name) // until it is acknowledged
	}
	l.tried[a.counts]++
	l.mu.Unlock()
	out, err := x.Call(ctx, a.method, a.args)
	var refused *harness.CallError
	if a.fails {
		if err == nil {
			return fmt.Errorf("%s %v should have failed", a.method, a.args)
		}
		if errors.As(err, &refused) && refused.Type == "FunctionCallError" {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("%s %v: %w", a.method, a.args, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	l.acked[a.counts]++
	if a.leaves != nil {
		f := a.leaves(out)
		l.facts[f.name] = f
	}
	return nil
}

// holds is nil when all nodes answer all views alike, and know what was acknowledged.
func (l *ledger) holds(ctx context.Context, app string, all []*harness.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	answers, errs := make([]map[string]string, len(all)), make([]error, len(all))
	var work sync.WaitGroup
	for i, x := range all {
		work.Go(func() { answers[i], errs[i] = l.knows(ctx, app, x) })
	}
	work.Wait()
	for i := range all {
		if errs[i] != nil {
			return fmt.Errorf("node %d: %w", i, errs[i])
		}
		for _, view := range views[app] {
			if answers[i][view] != answers[0][view] {
				return fmt.Errorf("%s of node 0 is %s, of node %d %s", view, answers[0][view], i, answers[i][view])
			}
		}
	}
	return nil
}

// knows asks a node for all views, and whether it knows what was acknowledged. The caller holds the lock.
func (l *ledger) knows(ctx context.Context, app string, x *harness.Context) (answers map[string]string, err error) {
	answers = map[string]string{}
	ask := func(view string, args obj) (string, error) {
		key := view
		if args != nil {
			key = fmt.Sprint(view, " ", args)
		}
		if _, known := answers[key]; !known {
			out, err := x.Call(ctx, view, args)
			if err != nil {
				return "", fmt.Errorf("%s: %w", key, err)
			}
			answers[key] = string(out)
		}
		return answers[key], nil
	}
	for _, view := range views[app] {
		if _, err := ask(view, nil); err != nil {
			return nil, err
		}
	}
	for _, f := range l.facts {
		got, err := ask(f.view, f.args)
		if err != nil {
			return nil, err
		}
		if !strings.Contains(got, f.text) {
			return nil, fmt.Errorf("%s was acknowledged, and %s %v has no %s: %s", f.name, f.view, f.args, f.text, got)
		}
	}
	for view := range l.tried {
		if view == "" {
			continue
		}
		got, err := ask(view, nil)
		var n int
		if err == nil {
			err = json.Unmarshal([]byte(got), &n)
		}
		if err != nil {
			return nil, err
		}
		if n < l.acked[view] || n > l.tried[view] {
			return nil, fmt.Errorf("%s is %d, %d calls of %d were acknowledged", view, n, l.acked[view], l.tried[view])
		}
	}
	return answers, nil
}

// sampleApps are all applications, in order.
func sampleApps() []string {
	var all []string
	for app := range hands {
		all = append(all, app)
	}
	slices.Sort(all)
	return all
}
