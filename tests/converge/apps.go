package converge

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// app drives a sample application and knows what must be left in the end.
type app interface {
	// init returns the arguments of init.
	init() []byte
	// step makes one random call on a node.
	step(h *history, n *node)
	// lost is a call that may change the state; its effect will be lost.
	lost(h *history) Call
	// joined: n took over the state of from.
	joined(n, from *node)
	// views are queries that must be answered alike on all nodes.
	views() []Call
	// verify compares their answers with what is known.
	verify(h *history, answers map[string]json.RawMessage)
}

// newApp makes the driver of an application.
func newApp(name string) app {
	switch name {
	case "kv":
		return &kv{keys: registers{}}
	case "kvnext":
		return &kvNext{keys: registers{}}
	case "types":
		return &types{}
	case "collections":
		return newCollections()
	case "owned":
		return &owned{profiles: registers{}, items: registers{}, frozen: map[string]string{}}
	case "private":
		return &private{}
	case "xcall":
		return &xcall{}
	case "handlers":
		return &handlers{runs: map[string]*counted{}}
	case "blobs":
		return &blobApp{files: registers{}}
	case "board":
		return &board{best: map[string]int{}}
	case "rogue":
		return &rogue{items: registers{}}
	}
	return nil
}

// Driven tells whether histories can run an application.
func Driven(name string) bool { return newApp(name) != nil }

// common has what most applications do.
type common struct {
	words int
}

func (common) init() []byte        { return []byte("{}") }
func (common) joined(*node, *node) {}
func view(m string, p ...any) Call { return Call{Method: m, Args: args(p...)} }

// word is a text that no other word of the history equals.
func (b *common) word() string {
	b.words++
	return fmt.Sprintf("w%d", b.words)
}

func key(h *history) string { return pick(h, "a", "b", "c", "d") }

// answer decodes the answer of a view.
func answer[T any](h *history, answers map[string]json.RawMessage, method string, pairs ...any) T {
	var out T
	raw := answers[method+string(args(pairs...))]
	if h.err == nil {
		h.check(json.Unmarshal(raw, &out), "answer of %s: %s", method, raw)
	}
	return out
}

// unquote returns the text of a JSON string, false for null.
func unquote(h *history, raw []byte) (string, bool) {
	if h.err != nil || raw == nil {
		return "", false
	}
	var out *string
	h.check(json.Unmarshal(raw, &out), "answer %s", raw)
	if out == nil {
		return "", false
	}
	return *out, true
}

// exact compares lists whose order is free where times overlap.
func exact(h *history, what string, want map[string]*Delta, got []string) {
	if len(got) != len(want) {
		h.failf("%s: %d there, %d expected: %v", what, len(got), len(want), got)
		return
	}
	for i, g := range got {
		d := want[g]
		if d == nil {
			h.failf("%s: %q was never written, or is there twice", what, g)
			return
		}
		if slices.Contains(got[:i], g) {
			h.failf("%s: %q is there twice", what, g)
		}
		if i > 0 && want[got[i-1]].from > d.to {
			h.failf("%s: %q stands before %q and is younger", what, got[i-1], g)
		}
	}
}

// kv is the key-value application.
type kv struct {
	common
	keys registers
}

func (k *kv) step(h *history, n *node) {
	switch key := key(h); h.rng.IntN(12) {
	case 0, 1, 2, 3, 4:
		value := k.word()
		a := h.do(n, pick(h, "set", "set", "set_quiet"), "key", key, "value", value)
		k.keys.at(key).set(a.Delta, value)
		var got string
		h.query(n, &got, "get_unchecked", "key", key)
		if h.err == nil && got != value {
			h.failf("node %d: %q was set to %q and reads %q", n.number, key, value, got)
		}
	case 5, 6, 7:
		a := h.do(n, "remove", "key", key)
		if _, found := unquote(h, a.Output); found {
			k.keys.at(key).remove(a.Delta)
		}
		var got *string
		h.query(n, &got, "get", "key", key)
		if h.err == nil && got != nil {
			h.failf("node %d: %q was removed and reads %q", n.number, key, *got)
		}
	case 8:
		var all map[string]string
		h.query(n, &all, "entries")
		a := h.do(n, "clear")
		for key := range all {
			k.keys.at(key).remove(a.Delta)
		}
		var left int
		h.query(n, &left, "len")
		if left != 0 {
			h.failf("node %d: %d entries after clear", n.number, left)
		}
	case 9:
		h.do(n, "touch")
	case 10:
		h.refuse(n, "set_then_fail", "key", key, "value", k.word())
	case 11: // an event in a call of its own
		value := k.word()
		a := h.do(n, "set_quiet", "key", "only "+value, "value", value)
		k.keys.at("only "+value).set(a.Delta, value)
	}
}

func (k *kv) lost(h *history) Call { return view("set", "key", key(h), "value", k.word()) }

func (k *kv) views() []Call { return []Call{view("entries"), view("len")} }

func (k *kv) verify(h *history, answers map[string]json.RawMessage) {
	all := answer[map[string]string](h, answers, "entries")
	k.keys.check(h, "key", all)
	if n := answer[int](h, answers, "len"); n != len(all) {
		h.failf("%d entries, and len says %d", len(all), n)
	}
}

// kvNext writes its state entry besides a map: the newest label is the same everywhere.
type kvNext struct {
	common
	keys registers
}

func (k *kvNext) step(h *history, n *node) {
	if h.chance(20) {
		label := k.word()
		h.do(n, "set_label", "label", label)
		var got string
		h.query(n, &got, "label")
		if h.err == nil && got != label {
			h.failf("node %d: the label was set to %q and reads %q", n.number, label, got)
		}
		return
	}
	key, value := key(h), k.word()
	a := h.do(n, "set", "key", key, "value", value)
	k.keys.at(key).set(a.Delta, value)
}

func (k *kvNext) lost(h *history) Call { return view("set", "key", key(h), "value", k.word()) }

func (k *kvNext) views() []Call { return []Call{view("entries"), view("label")} }

func (k *kvNext) verify(h *history, answers map[string]json.RawMessage) {
	k.keys.check(h, "key", answer[map[string]string](h, answers, "entries"))
}

// types has one register of many kinds of value.
type types struct {
	common
	name register
}

func (*types) init() []byte {
	return []byte(`{"name":"n","limit":5,"ratio":0.5,"note":null,"tags":["a","b"],"weights":{"k":-3},"mode":{"Range":[1,2]},` +
		`"frame":{"title":"t","corner":{"x":1,"y":-2},"path":[{"x":0,"y":0}],"center":null,"mode":"Off"}}`)
}

func (t *types) step(h *history, n *node) {
	switch h.rng.IntN(6) {
	case 0:
		h.do(n, "emit_all")
	case 1:
		h.refuse(n, "bail_text")
	default:
		name := t.word()
		a := h.do(n, "rename", "name", name, "mode", map[string]any{"Level": h.rng.IntN(200)})
		t.name.set(a.Delta, name)
	}
}

func (t *types) lost(*history) Call { return view("rename", "name", t.word(), "mode", "Off") }
func (*types) views() []Call        { return []Call{view("setup")} }

func (t *types) verify(h *history, answers map[string]json.RawMessage) {
	setup := answer[map[string]any](h, answers, "setup")
	if len(t.name.writes) == 0 {
		t.name.set(h.deltas[0], "n")
	}
	h.check(t.name.check(fmt.Sprint(setup["name"]), true), "name")
}

// owned is user storage and frozen storage.
type owned struct {
	common
	profiles, items registers
	frozen          map[string]string // hash to content
	users           map[string]bool
}

func (o *owned) step(h *history, n *node) {
	user := n.key.Public().String()
	if o.users == nil {
		o.users = map[string]bool{}
	}
	o.users[user] = true
	switch h.rng.IntN(10) {
	case 0, 1, 2:
		value := o.word()
		a := h.do(n, "set_profile", "value", value)
		o.profiles.at(user).set(a.Delta, value)
		var got *string
		h.query(n, &got, "profile")
		if h.err == nil && (got == nil || *got != value) {
			h.failf("node %d: profile %q was set and is not there", n.number, value)
		}
	case 3:
		a := h.do(n, "remove_profile")
		if _, found := unquote(h, a.Output); found {
			o.profiles.at(user).remove(a.Delta)
		}
	case 4, 5, 6:
		name, value := key(h), o.word()
		a := h.do(n, "put", "key", name, "value", value)
		o.items.at(user+" "+name).set(a.Delta, value)
	default:
		value := pick(h, "x", "y", "z", o.word())
		a := h.do(n, "freeze", "value", value)
		if hash, ok := unquote(h, a.Output); ok {
			o.frozen[hash] = value
		}
	}
}

func (o *owned) lost(h *history) Call {
	return view(pick(h, "set_profile", "freeze"), "value", o.word())
}

func (o *owned) views() []Call {
	var out []Call
	for _, user := range sortedKeys(o.users) {
		out = append(out, view("profile_of", "user", user))
	}
	for _, item := range sortedKeys(o.items) {
		user, k, _ := strings.Cut(item, " ")
		out = append(out, view("item_of", "user", user, "key", k))
	}
	for _, hash := range sortedKeys(o.frozen) {
		out = append(out, view("frozen", "hash", hash))
	}
	return out
}

func (o *owned) verify(h *history, answers map[string]json.RawMessage) {
	for user := range o.users {
		value, found := unquote(h, answers["profile_of"+string(args("user", user))])
		h.check(o.profiles.at(user).check(value, found), "profile of %s", user)
	}
	for item := range o.items {
		user, k, _ := strings.Cut(item, " ")
		value, found := unquote(h, answers["item_of"+string(args("user", user, "key", k))])
		h.check(o.items.at(item).check(value, found), "item %s of %s", k, user)
	}
	for hash, content := range o.frozen {
		if got := answer[string](h, answers, "frozen", "hash", hash); got != content {
			h.failf("frozen %q reads %q", content, got)
		}
	}
}

// private has data that stays on a node: in the own map of the node.
type private struct {
	common
	shared register
}

func (p *private) step(h *history, n *node) {
	value := p.word()
	secret := func(a *Answer) {
		if a.Delta != nil {
			n.own["secret"] = value
			n.own["writes"] += "+"
			if string(a.Output) != fmt.Sprint(len(n.own["writes"])) {
				h.failf("node %d: secret written %d times, the guest says %s", n.number, len(n.own["writes"]), a.Output)
			}
		}
	}
	switch h.rng.IntN(10) {
	case 0, 1, 2:
		p.shared.set(h.do(n, "set_shared", "value", value).Delta, value)
	case 3:
		secret(h.do(n, "set_secret", "value", value))
	case 4:
		a := h.do(n, "set_both", "shared", value, "secret", value)
		p.shared.set(a.Delta, value)
		secret(a)
	case 5:
		h.refuse(n, pick(h, "set_both_then_fail", "set_both_then_panic"), "shared", value, "secret", value)
	case 6:
		a := h.do(n, "forget_secret")
		if had := n.own["writes"] != ""; h.err == nil && string(a.Output) != fmt.Sprint(had) {
			h.failf("node %d: a secret was there: %t, the guest says %s", n.number, had, a.Output)
		}
		delete(n.own, "secret")
		delete(n.own, "writes")
	case 7:
		h.do(n, "add_note", "line", value)
		n.own["notes"] += value + " "
	case 8:
		h.do(n, "raw_write", "key", []int{1, h.rng.IntN(2)}, "value", []int{h.rng.IntN(256)})
	case 9:
		h.run(n, view("set_secret_in_view", "value", value))
	}
	p.look(h, n)
}

// look compares what is on the node alone.
func (p *private) look(h *history, n *node) {
	var secret *struct {
		Value  string
		Writes int
	}
	h.query(n, &secret, "secret")
	want, has := n.own["secret"]
	if h.err == nil && ((secret != nil) != has || has && (secret.Value != want || secret.Writes != len(n.own["writes"]))) {
		h.failf("node %d: secret %v, expected %q (%t)", n.number, secret, want, has)
	}
	var notes []string
	h.query(n, &notes, "notes")
	if strings.Join(notes, " ") != strings.TrimSpace(n.own["notes"]) {
		h.failf("node %d: notes %q, expected %q", n.number, notes, n.own["notes"])
	}
}

func (p *private) lost(h *history) Call {
	return pick(h, view("set_both", "shared", p.word(), "secret", p.word()), view("add_note", "line", p.word()))
}

func (*private) views() []Call {
	return []Call{view("shared"), view("raw_read_shared", "key", []int{1, 0}), view("raw_read_shared", "key", []int{1, 1})}
}

func (p *private) verify(h *history, answers map[string]json.RawMessage) {
	if len(p.shared.writes) == 0 {
		p.shared.set(h.deltas[0], "")
	}
	h.check(p.shared.check(answer[string](h, answers, "shared"), true), "shared")
	for _, key := range []int{0, 1} {
		if got := answer[*[]int](h, answers, "raw_read_shared", "key", []int{1, key}); got != nil {
			h.failf("a private row is in the shared store: %v", *got)
		}
	}
	for _, n := range h.nodes {
		p.look(h, n)
	}
}

// xcall counts and records calls.
type xcall struct {
	common
	records map[string]*Delta
}

func (x *xcall) step(h *history, n *node) {
	note := x.word()
	switch h.rng.IntN(10) {
	case 0, 1:
		h.refuse(n, pick(h, "record_then_fail", "record_then_panic"), "note", note)
	case 2, 3: // the call goes to this context; light nodes do not run it
		second := x.word()
		a := h.do(n, "record_and_call", "note", note, "context", h.id.String(), "method", "record",
			"params", map[string]string{"note": second})
		x.recorded(n, a.Delta, note)
		if h.full && h.err == nil {
			if len(a.More) != 1 {
				h.failf("node %d: the queued call made %d deltas", n.number, len(a.More))
				return
			}
			x.recorded(n, a.More[0], second)
		}
	case 4:
		a := h.do(n, "call", "context", h.id.String(), "method", "record_then_fail", "params", map[string]string{"note": note})
		if len(a.More) > 0 {
			h.failf("node %d: a queued call that failed left a delta", n.number)
		}
	default:
		x.recorded(n, h.do(n, "record", "note", note).Delta, note)
	}
}

func (x *xcall) recorded(n *node, d *Delta, note string) {
	if d != nil {
		if x.records == nil {
			x.records = map[string]*Delta{}
		}
		x.records[n.key.Public().String()+" "+note] = d
	}
}

func (x *xcall) lost(*history) Call { return view("record", "note", x.word()) }
func (*xcall) views() []Call        { return []Call{view("hits"), view("records")} }

func (x *xcall) verify(h *history, answers map[string]json.RawMessage) {
	if hits := answer[int](h, answers, "hits"); hits != len(x.records) {
		h.failf("%d hits of %d", hits, len(x.records))
	}
	var got []string
	for _, r := range answer[[]struct{ Executor, Note string }](h, answers, "records") {
		got = append(got, r.Executor+" "+r.Note)
	}
	exact(h, "records", x.records, got)
}

// counted is a counter inside a map.
type counted struct {
	nested
	n int
}

// handlers has events. Light nodes run no handlers; there the harness calls them like any method.
type handlers struct {
	common
	value   register
	runs    map[string]*counted
	journal map[string]*Delta
}

func (x *handlers) ran(d *Delta, handler, arguments string) {
	if d == nil {
		return
	}
	if x.journal == nil {
		x.journal = map[string]*Delta{}
	}
	x.journal[handler+": "+arguments] = d
	c := x.runs[handler]
	if c == nil {
		c = &counted{}
		x.runs[handler] = c
	}
	if !slices.ContainsFunc(c.uses, func(u *Delta) bool { return d.after[u.number] }) {
		c.made = append(c.made, d)
	}
	c.uses = append(c.uses, d)
	c.n++
}

// handled notes what the handlers of a call's events did.
func (x *handlers) handled(h *history, n *node, a *Answer, handlers ...string) {
	if !h.full || h.err != nil {
		return
	}
	if len(a.More) != len(handlers)/2 {
		h.failf("node %d: %d handlers committed, expected %d", n.number, len(a.More), len(handlers)/2)
		return
	}
	for i, d := range a.More {
		x.ran(d, handlers[2*i], handlers[2*i+1])
	}
}

func (x *handlers) step(h *history, n *node) {
	value := x.word()
	switch h.rng.IntN(9) {
	case 0:
		x.value.set(h.do(n, "fire_plain", "value", value).Delta, value)
	case 1, 2:
		a := h.do(n, "fire", "value", value)
		x.value.set(a.Delta, value)
		x.handled(h, n, a, "on_fired", value)
	case 3:
		x.handled(h, n, h.do(n, "fire_many", "n", 2, "prefix", value+"-"), "on_fired", value+"-0", "on_fired", value+"-1")
	case 4:
		x.handled(h, n, h.do(n, pick(h, "fire_failing", "fire_panicking", "fire_missing"), "value", value), "on_fired", value)
	case 5:
		x.handled(h, n, h.do(n, "fire_listed", "left", value, "right", 7), "on_pair", value+" 7")
	case 6:
		x.ran(h.do(n, "on_fired", "value", value).Delta, "on_fired", value)
	case 7:
		right := h.rng.IntN(10)
		x.ran(h.do(n, "on_pair", "left", value, "right", right).Delta, "on_pair", fmt.Sprint(value, " ", right))
	case 8:
		h.refuse(n, pick(h, "on_failing", "on_panicking", "fire_then_fail"), "value", value)
	}
}

func (x *handlers) lost(*history) Call { return view("on_fired", "value", x.word()) }
func (*handlers) views() []Call        { return []Call{view("value"), view("runs"), view("journal")} }

func (x *handlers) verify(h *history, answers map[string]json.RawMessage) {
	if len(x.value.writes) == 0 {
		x.value.set(h.deltas[0], "")
	}
	h.check(x.value.check(answer[string](h, answers, "value"), true), "value")
	exact(h, "journal", x.journal, answer[[]string](h, answers, "journal"))
	runs := answer[map[string]int](h, answers, "runs")
	for name, c := range x.runs {
		if c.clean() && runs[name] != c.n {
			h.failf("%s ran %d times, its counter says %d", name, c.n, runs[name])
		}
	}
}

// blobApp keeps names of blobs.
type blobApp struct {
	common
	files registers
}

func (b *blobApp) step(h *history, n *node) {
	name, text := key(h), b.word()
	var a *Answer
	switch h.rng.IntN(4) {
	case 0:
		a = h.do(n, "store_chunks", "name", name, "chunks", []string{text, text})
		text += text
	case 1:
		h.do(n, "store_interleaved", "a", text, "b", text+"!")
		return
	default:
		a = h.do(n, "store", "name", name, "text", text)
	}
	id, _ := unquote(h, a.Output)
	b.files.at(name).set(a.Delta, fmt.Sprintf("%s %d", id, len(text)))
	var back string
	h.query(n, &back, "load", "name", name)
	if h.err == nil && back != text {
		h.failf("node %d: file %q reads %q, expected %q", n.number, name, back, text)
	}
}

func (b *blobApp) lost(h *history) Call { return view("store", "name", key(h), "text", b.word()) }
func (*blobApp) views() []Call          { return []Call{view("files")} }

func (b *blobApp) verify(h *history, answers map[string]json.RawMessage) {
	got := map[string]string{}
	for name, f := range answer[map[string]struct {
		ID   string
		Size int
	}](h, answers, "files") {
		got[name] = fmt.Sprintf("%s %d", f.ID, f.Size)
	}
	b.files.check(h, "file", got)
}

func sortedKeys[V any](m map[string]V) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
