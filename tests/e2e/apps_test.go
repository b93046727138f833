package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/harness"
)

// TestApps calls every method of the sample apps over JSON-RPC; tests/apps/README.md says what each answers.
func TestApps(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	c := n.Client()
	t.Cleanup(func() { // after the tests below: no application ever computed another root hash than the node
		m, err := c.Metrics(context.WithoutCancel(t.Context()))
		require.NoError(t, err)
		n, err := m.Sum("calimero_contexts_root_differences_total")
		require.NoError(t, err)
		require.Zero(t, n)
	})
	for name, test := range map[string]func(*testing.T, *harness.Node, *harness.Client){
		"kv": testKV, "events": testEvents, "types": testTypes, "collections": testCollections, "owned": testOwned,
		"private": testPrivate, "xcall": testXCall, "handlers": testHandlers, "blobs": testBlobs,
		"board": testBoard,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, n, c)
		})
	}
}

func testKV(t *testing.T, n *harness.Node, c *harness.Client) {
	x := newContext(t, n, c, "kv", "")
	play(t, x, []step{
		gives("len", "", `0`),
		gives("get", `{"key":"a"}`, `null`),
		panics("get_unchecked", `{"key":"a"}`, "key not found"),
		refuses("get_result", `{"key":"a"}`, `{"data":"a","kind":"KeyNotFound"}`),
		exactly("set", `{"key":"a","value":"1"}`, `null`),
		gives("set", `["b","2"]`, `null`),
		gives("get", `{"key":"a"}`, `"1"`),
		gives("get_unchecked", `{"key":"b"}`, `"2"`),
		gives("get_result", `{"key":"b"}`, `"2"`),
		gives("set", `{"key":"a","value":"\"quoted\"\n\u0000🦀"}`, `null`),
		gives("get", `{"key":"a"}`, `"\"quoted\"\n\u0000🦀"`),
		gives("set_quiet", `{"key":"c","value":""}`, `null`),
		gives("entries", "", `{"a":"\"quoted\"\n\u0000🦀","b":"2","c":""}`),
		refuses("set_then_fail", `{"key":"d","value":"x"}`, `"failed on purpose after the write"`),
		gives("get", `{"key":"d"}`, `null`),
		gives("len", "", `3`),
		gives("remove", `{"key":"b"}`, `"2"`),
		gives("remove", `{"key":"b"}`, `null`),
		gives("touch", "", `null`),
		gives("clear", "", `2`),
		gives("entries", "", `{}`),
		fails("no_such_method", "", `method "no_such_method" not found`),
		panics("init", "", "Cannot initialize over already existing state."),
	})
	_, err := x.Call(t.Context(), "get", obj{"key": 5})
	require.Contains(t, functionCallText(t, err), "guest panicked: Failed to deserialize input from JSON: ")
}

// The information of a context says whether its application merges its state itself.
func testBoard(t *testing.T, n *harness.Node, c *harness.Client) {
	x := newContext(t, n, c, "board", "")
	play(t, x, []step{
		gives("best", "", `{}`),
		exactly("submit", `{"player":"a","score":5}`, `null`),
		exactly("submit", `{"player":"a","score":3}`, `null`),
		exactly("submit", `{"player":"b","score":1}`, `null`),
		gives("best", "", `{"a":5,"b":1}`),
		panics("init", "", "Cannot initialize over already existing state."),
	})
	other := newContext(t, n, c, "kv", "")
	for context, merges := range map[*harness.Context]bool{x: true, other: false} {
		info, err := context.Info(t.Context())
		require.NoError(t, err)
		require.Equal(t, merges, info.GuestMerge)
	}
}

// The events of a call arrive at subscribers, with the root the context has then.
func testEvents(t *testing.T, n *harness.Node, c *harness.Client) {
	x := newContext(t, n, c, "kv", "")
	other := newContext(t, n, c, "kv", "")
	s, err := c.Subscribe(t.Context(), x.ID)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	call[any](t, other, "set", obj{"key": "unheard", "value": "x"})
	for _, want := range []struct{ method, kind, data string }{
		{"set", "Inserted", `{"key":"k","value":"v"}`},
		{"set", "Updated", `{"key":"k","value":"v"}`},
	} {
		call[any](t, x, want.method, obj{"key": "k", "value": "v"})
		info, err := x.Info(t.Context())
		require.NoError(t, err)
		m, err := s.Next(t.Context())
		require.NoError(t, err)
		require.Equal(t, x.ID, m.ContextID)
		require.Equal(t, "StateMutation", m.Type)
		require.Equal(t, info.RootHash, m.Data.NewRoot)
		require.Len(t, m.Data.Events, 1)
		require.Equal(t, want.kind, m.Data.Events[0].Kind)
		require.Nil(t, m.Data.Events[0].Handler)
		require.JSONEq(t, want.data, string(m.Data.Events[0].Data))
	}
}

const typesSetup = `{"name":"n","limit":5,"ratio":0.5,"note":null,"tags":["a","b"],"weights":{"k":-3},"mode":{"Range":[1,2]},` +
	`"frame":{"title":"t","corner":{"x":1,"y":-2},"path":[{"x":0,"y":0}],"center":null,"mode":"Off"}}`

func testTypes(t *testing.T, n *harness.Node, c *harness.Client) {
	id, err := n.Install(t.Context(), c, "types")
	require.NoError(t, err)
	_, err = c.CreateContext(t.Context(), id, []byte(`{"name":"n"}`))
	var status *harness.StatusError
	require.ErrorAs(t, err, &status, "init without its arguments must fail")
	require.Equal(t, http.StatusInternalServerError, status.Status)
	require.Contains(t, status.Body, "missing field")
	x, err := c.CreateContext(t.Context(), id, []byte(typesSetup))
	require.NoError(t, err)

	same := func(method, v string) step { return gives(method, `{"v":`+v+`}`, v) }
	frame := `{"title":"t","corner":{"x":1,"y":-2},"path":[],"center":{"x":3,"y":4},"mode":{"Custom":{"low":-1,"label":"l"}}}`
	play(t, x, []step{
		gives("setup", "", typesSetup),
		gives("rename", `{"name":"m","mode":"Off"}`,
			strings.Replace(strings.Replace(typesSetup, `"n"`, `"m"`, 1), `"mode":{"Range":[1,2]}`, `"mode":"Off"`, 1)),
		same("echo_bool", "true"), same("echo_u8", "255"), same("echo_u16", "65535"), same("echo_u32", "4294967295"),
		exactly("echo_u64", `{"v":18446744073709551615}`, "18446744073709551615"),
		same("echo_i8", "-128"), same("echo_i16", "-32768"), same("echo_i32", "-2147483648"),
		exactly("echo_i64", `{"v":-9223372036854775808}`, "-9223372036854775808"),
		exactly("echo_u128", `{"v":18446744073709551615}`, "18446744073709551615"),
		exactly("echo_i128", `{"v":-9223372036854775808}`, "-9223372036854775808"),
		exactly("echo_f32", `{"v":3}`, "3.0"), exactly("echo_f64", `{"v":3}`, "3.0"), same("echo_f64", "-0.25"),
		same("echo_char", `"é"`), same("echo_string", `"a\"b"`), same("echo_str", `"plain"`),
		same("echo_key", quote(x.Member)),
		gives("max_u128", "", `"340282366920938463463374607431768211455"`),
		same("echo_list", `[1,-2,3]`), same("echo_bytes", `[0,127,255]`), same("echo_array", `[1,2,3,4]`),
		same("echo_tuple", `[7,"x",true]`), exactly("echo_map", `{"v":{"b":2,"a":1}}`, `{"a":1,"b":2}`),
		exactly("echo_number_map", `{"v":{"10":"x","9":"y"}}`, `{"9":"y","10":"x"}`),
		gives("echo_set", `{"v":["b","a","b"]}`, `["a","b"]`),
		same("echo_option", `5`), same("echo_option", `null`), gives("echo_option", `{}`, `null`),
		same("echo_nested", `{"k":[{"x":1,"y":2},null]}`),
		same("echo_mode", `"Off"`), same("echo_mode", `{"Level":3}`), same("echo_mode", `{"Range":[1,2]}`),
		same("echo_mode", `{"Custom":{"low":-1,"label":"l"}}`), same("echo_frame", frame),
		gives("echo_renamed", `{"v":{"firstName":"f"}}`, `{"firstName":"f","homeTown":""}`),
		same("echo_shape", `{"shape":"Circle","radius":2}`), same("echo_shape", `{"shape":"Square","side":2}`),
		gives("join", `{"a":"a","b":"b","n":3}`, `"a-b-3"`), gives("join", `["a","b",3,"+"]`, `"a+b+3"`),
		exactly("nothing", "", `null`), exactly("unit", "", `null`), gives("stateless", `{"a":2,"b":3}`, `5`),
		gives("not_a_number", "", `null`),
		gives("unicode", "", `"🦀 \"quoted\" <&> \u2028\n\u0000\u007f"`),
		gives("error_string", `{"fail":false}`, `7`), refuses("error_string", `{"fail":true}`, `"no"`),
		gives("error_value", `{"got":5}`, `5`), refuses("error_value", `{"got":0}`, `{"kind":"Empty"}`),
		refuses("error_value", `{"got":11}`, `{"kind":"TooLarge","data":{"limit":10,"got":11}}`),
		refuses("bail_text", "", `"refused"`), refuses("bail_format", `{"n":3}`, `"refused 3 times"`),
		refuses("bail_value", "", `{"data":{"got":2,"limit":1},"kind":"TooLarge"}`),
		gives("error_std", `{"number":"-7"}`, `-7`),
		refuses("error_std", `{"number":"x"}`, `"invalid digit found in string"`),
		refuses("unit_error", "", `null`), gives("ok_unit", "", `null`),
		panics("panic_text", "", "on purpose"), panics("panic_format", `{"text":"x"}`, "on purpose: x"),
		panics("panic_host", "", "explicit panic"),
		gives("panic_unwrap", `{"v":1}`, `1`),
		panics("panic_unwrap", `{}`, "called `Option::unwrap()` on a `None` value"),
		gives("panic_expect", `{"fail":false}`, `1`), panics("panic_expect", `{"fail":true}`, `expected a value: "cause"`),
		gives("panic_index", `{"list":[9],"index":0}`, `9`),
		panics("panic_index", `{"list":[9],"index":4}`, "index out of bounds: the len is 1 but the index is 4"),
		gives("panic_divide", `{"a":7,"b":2}`, `3`), panics("panic_divide", `{"a":7,"b":0}`, "attempt to divide by zero"),
		panics("panic_divide", `{"a":-2147483648,"b":-1}`, "attempt to divide with overflow"),
		gives("panic_overflow", `{"a":200,"b":55}`, `255`),
		panics("panic_overflow", `{"a":200,"b":56}`, "attempt to add with overflow"),
		exactly("log_lines", `{"lines":["one","two"]}`, `null`),
	})
	for _, bad := range []string{`{"v":256}`, `{"v":-1}`, `{"v":"1"}`, `{}`, `[]`} {
		_, err := x.Call(t.Context(), "echo_u8", json.RawMessage(bad))
		require.Contains(t, functionCallText(t, err), "guest panicked: Failed to deserialize input from JSON: ", bad)
	}

	s, err := c.Subscribe(t.Context(), x.ID)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	call[any](t, x, "emit_all", nil)
	m, err := s.Next(t.Context())
	require.NoError(t, err)
	var events []string
	for _, e := range m.Data.Events {
		events = append(events, e.Kind+" "+string(e.Data))
	}
	require.Equal(t, []string{`Unit null`, `Newtype "one"`, `Tuple [2,"two"]`, `Struct {"id":3,"name":"three"}`}, events)
}

func testCollections(t *testing.T, n *harness.Node, c *harness.Client) {
	x := newContext(t, n, c, "collections", "")
	me := obj{"member": x.Member}
	play(t, x, []step{
		gives("visit", "", `1`), gives("visit", "", `2`), gives("visits", "", `2`),
		gives("change_stock", `{"by":5}`, `5`), gives("change_stock", `{"by":-7}`, `-2`), gives("stock", "", `-2`),
		gives("title", "", `""`), exactly("set_title", `{"title":"T"}`, `null`), gives("title", "", `"T"`),
		gives("push_line", `{"line":"a"}`, `1`), gives("push_line", `{"line":"b"}`, `2`), gives("push_line", `{"line":"c"}`, `3`),
		gives("set_line", `{"index":1,"line":"B"}`, `"b"`), gives("set_line", `{"index":9,"line":"x"}`, `null`),
		gives("line", `{"index":1}`, `"B"`), gives("line", `{"index":9}`, `null`),
		gives("pop_line", "", `"c"`), gives("lines", "", `["a","B"]`),
		gives("clear_lines", "", `null`), gives("pop_line", "", `null`), gives("lines", "", `[]`),
		gives("add_tag", `{"tag":"y"}`, `true`), gives("add_tag", `{"tag":"x"}`, `true`), gives("add_tag", `{"tag":"x"}`, `false`),
		gives("tags", "", `["x","y"]`), gives("has_tag", `{"tag":"x"}`, `true`),
		gives("remove_tag", `{"tag":"x"}`, `true`), gives("remove_tag", `{"tag":"x"}`, `false`),
		gives("clear_tags", "", `null`), gives("tags", "", `[]`),
		gives("score", `{"player":"p"}`, `1`), gives("score", `{"player":"p"}`, `2`), gives("score", `{"player":"q"}`, `1`),
		gives("scores", "", `{"p":2,"q":1}`),
		gives("set_cell", `{"row":"r","column":"c","value":"1"}`, `null`),
		gives("set_cell", `{"row":"r","column":"c","value":"2"}`, `"1"`),
		gives("set_cell", `{"row":"s","column":"c","value":"3"}`, `null`),
		gives("cell", `{"row":"r","column":"c"}`, `"2"`), gives("cell", `{"row":"r","column":"d"}`, `null`),
		gives("table", "", `{"r":{"c":"2"},"s":{"c":"3"}}`),
		gives("remove_cell", `{"row":"r","column":"c"}`, `"2"`), gives("remove_row", `{"row":"s"}`, `true`),
		gives("remove_row", `{"row":"s"}`, `false`),
		gives("insert_text", `{"position":0,"text":"held"}`, `null`),
		gives("insert_text", `{"position":3,"text":"lo worl"}`, `null`), gives("text", "", `"hello world"`),
		gives("text_len", "", `11`), gives("delete_text", `{"start":5,"end":99}`, `null`), gives("text", "", `"hello"`),
		refuses("insert_text", `{"position":99,"text":"x"}`, `"Invalid data: position out of bounds"`),
		refuses("delete_text", `{"start":3,"end":1}`, `"Invalid data: start must be <= end"`),
		gives("change_all", `{"word":"w"}`, `null`),
		gives("visits", "", `3`), gives("stock", "", `-1`), gives("title", "", `"w"`), gives("lines", "", `["w"]`),
		gives("tags", "", `["w"]`), gives("scores", "", `{"p":2,"q":1,"w":1}`), gives("text", "", `"hellow"`),
		gives("cell", `{"row":"w","column":"c"}`, `"w"`),
	})
	require.Equal(t, 3, call[int](t, x, "visits_of", me))
}

func testOwned(t *testing.T, n *harness.Node, c *harness.Client) {
	x := newContext(t, n, c, "owned", "")
	const doc = "801d320d2b1cd9b9a74dc42b11fbbc8170b8b41ab6249c19af801297ce48f0f0"
	me := quote(x.Member)
	stranger := quote(newContext(t, n, c, "owned", "").Member)
	absent := strings.Repeat("0", 64)
	play(t, x, []step{
		gives("whoami", "", me),
		gives("profile", "", `null`), gives("has_profile", with(`{"user":$1}`, me), `false`),
		gives("set_profile", `{"value":"p"}`, `null`), gives("set_profile", `{"value":"q"}`, `"p"`),
		gives("profile", "", `"q"`), gives("profile_of", with(`{"user":$1}`, me), `"q"`),
		gives("profile_of", with(`{"user":$1}`, stranger), `null`), gives("has_profile", with(`{"user":$1}`, me), `true`),
		gives("put", `{"key":"k","value":"v"}`, `null`), gives("item_of", with(`{"user":$1,"key":"k"}`, me), `"v"`),
		gives("item_of", with(`{"user":$1,"key":"k"}`, stranger), `null`),
		gives("remove_profile", "", `"q"`), gives("profile", "", `null`),
		gives("freeze", `{"value":"doc"}`, quote(doc)), gives("freeze", `{"value":"doc"}`, quote(doc)),
		gives("frozen", with(`{"hash":"$1"}`, doc), `"doc"`), gives("is_frozen", with(`{"hash":"$1"}`, doc), `true`),
		gives("is_frozen", with(`{"hash":"$1"}`, absent), `false`),
		refuses("frozen", with(`{"hash":"$1"}`, absent), with(`{"data":"$1","kind":"NotFound"}`, absent)),
	})
	for _, method := range []string{"frozen", "is_frozen"} {
		_, err := x.Call(t.Context(), method, obj{"hash": "short"})
		require.Contains(t, functionCallText(t, err), "the method call returned an error: ")
	}
}

func testPrivate(t *testing.T, n *harness.Node, c *harness.Client) {
	x := newContext(t, n, c, "private", "")
	play(t, x, []step{
		gives("secret", "", `null`), gives("shared", "", `""`),
		exactly("set_shared", `{"value":"s"}`, `null`), gives("shared", "", `"s"`),
		gives("set_secret", `{"value":"a"}`, `1`), gives("set_secret", `{"value":"b"}`, `2`),
		gives("secret", "", `{"value":"b","writes":2}`),
		gives("set_secret_in_view", `{"value":"x"}`, `3`), gives("secret", "", `{"value":"b","writes":2}`),
		gives("set_both", `{"shared":"S","secret":"c"}`, `3`), gives("shared", "", `"S"`),
		gives("secret", "", `{"value":"c","writes":3}`),
		refuses("set_both_then_fail", `{"shared":"no","secret":"no"}`, `"failed on purpose after both writes"`),
		panics("set_both_then_panic", `{"shared":"no","secret":"no"}`, "panicked on purpose after both writes"),
		gives("shared", "", `"S"`), gives("secret", "", `{"value":"c","writes":3}`),
		gives("add_note", `{"line":"one"}`, `1`), gives("add_note", `{"line":"two"}`, `2`), gives("notes", "", `["one","two"]`),
		gives("raw_write", `{"key":[1],"value":[2,3]}`, `true`), gives("raw_read", `{"key":[1]}`, `[2,3]`),
		gives("raw_read_shared", `{"key":[1]}`, `null`), gives("raw_remove", `{"key":[1]}`, `true`),
		gives("raw_remove", `{"key":[1]}`, `false`), gives("raw_read", `{"key":[1]}`, `null`),
		gives("raw_round_trip", `{"key":[9],"value":[7]}`, `[[7],true,null]`),
		gives("forget_secret", "", `true`), gives("forget_secret", "", `false`), gives("secret", "", `null`),
	})
	// Another context of the same application shares nothing of it.
	other, err := c.CreateContext(t.Context(), x.Application, nil)
	require.NoError(t, err)
	play(t, other, []step{gives("notes", "", `[]`), gives("shared", "", `""`)})
}

type record struct{ Executor, Note string }

func notes(t *testing.T, x *harness.Context) []string {
	t.Helper()
	var out []string
	for _, r := range call[[]record](t, x, "records", nil) {
		require.Equal(t, x.Member, r.Executor)
		out = append(out, r.Note)
	}
	return out
}

// Cross-context calls run after the caller's commit, in order, before its answer.
func testXCall(t *testing.T, n *harness.Node, c *harness.Client) {
	a := newContext(t, n, c, "xcall", "")
	b, err := c.CreateContext(t.Context(), a.Application, nil)
	require.NoError(t, err)
	require.Equal(t, a.ID, call[string](t, a, "context", nil))
	require.Equal(t, b.Member, call[string](t, b, "executor", nil))

	call[any](t, a, "call", obj{"context": a.ID, "method": "record", "params": obj{"note": "A to A"}})
	require.Equal(t, []string{"A to A"}, notes(t, a))
	call[any](t, a, "call", obj{"context": b.ID, "method": "record", "params": obj{"note": "A to B"}})
	require.Equal(t, []string{"A to B"}, notes(t, b))

	call[any](t, a, "ping_pong", obj{"peer": b.ID, "depth": 2})
	require.Equal(t, []string{"A to A", "ping_pong 2", "ping_pong 0"}, notes(t, a))
	require.Equal(t, []string{"A to B", "ping_pong 1"}, notes(t, b))

	call[any](t, a, "call_many", obj{"context": b.ID, "n": 5, "prefix": "m"})
	require.Equal(t, []string{"m0", "m1", "m2", "m3", "m4"}, notes(t, b)[2:])
	call[any](t, a, "fan_out", obj{"contexts": []string{a.ID, b.ID}, "note": "fan"})
	require.Equal(t, "fan", last(notes(t, a)))
	require.Equal(t, "fan", last(notes(t, b)))
	call[any](t, a, "record_and_call", obj{"note": "first", "context": b.ID, "method": "record", "params": obj{"note": "second"}})
	require.Equal(t, "first", last(notes(t, a)))
	require.Equal(t, "second", last(notes(t, b)))
	call[any](t, a, "call_raw", obj{"context": b.ID, "method": "record", "params": harness.Bytes(`{"note":"raw"}`)})
	require.Equal(t, "raw", last(notes(t, b)))
	call[any](t, a, "call_in_view", obj{"context": b.ID, "method": "record", "params": obj{"note": "view"}})
	require.Equal(t, "view", last(notes(t, b)))

	hits := call[int](t, b, "hits", nil)
	_, err = a.Call(t.Context(), "call_then_fail", obj{"context": b.ID, "method": "record", "params": obj{"note": "never"}})
	require.Error(t, err)
	// What the target does wrong is the target's: the caller gets its answer, the target keeps nothing.
	s, err := c.Subscribe(t.Context(), a.ID)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	for _, method := range []string{"record_then_fail", "record_then_panic", "no_such_method"} {
		call[any](t, a, "call", obj{"context": b.ID, "method": method, "params": obj{"note": "no"}})
		requireCallFailed(t, s, method)
	}
	require.Equal(t, hits, call[int](t, b, "hits", nil))

	// A chain ends at depth 8, a request at 100 calls.
	path := slices.Repeat([]string{a.ID}, 12)
	call[any](t, b, "chain", obj{"path": path})
	chain := slices.DeleteFunc(notes(t, a), func(note string) bool { return !strings.HasPrefix(note, "chain") })
	require.Equal(t, []string{"chain 11", "chain 10", "chain 9", "chain 8", "chain 7", "chain 6", "chain 5", "chain 4"}, chain)
	x, err := c.CreateContext(t.Context(), a.Application, nil)
	require.NoError(t, err)
	call[any](t, x, "explode", obj{"depth": 8})
	require.Equal(t, 101, call[int](t, x, "hits", nil), "one call and the 100 that follow")
	m, err := c.Metrics(t.Context())
	require.NoError(t, err)
	failed, err := m.Sum("calimero_contexts_xcalls_total", "outcome", "failed")
	require.NoError(t, err)
	require.Positive(t, failed)
}

// requireCallFailed reads messages until the one that tells about a failed call.
func requireCallFailed(t *testing.T, s *harness.Subscription, function string) {
	t.Helper()
	for {
		m, err := s.Next(t.Context())
		require.NoError(t, err)
		for _, e := range m.Data.Events {
			if e.Kind == "calimero.CallFailed" {
				require.Contains(t, string(e.Data), function)
				return
			}
		}
	}
}

func last[T any](s []T) T {
	var zero T
	if len(s) == 0 {
		return zero
	}
	return s[len(s)-1]
}

func testHandlers(t *testing.T, n *harness.Node, c *harness.Client) {
	x := newContext(t, n, c, "handlers", "")
	var journal []string
	// Handlers run after the answer: wait for the lines.
	expect := func(method string, args any, lines ...string) {
		t.Helper()
		call[any](t, x, method, args)
		journal = append(journal, lines...)
		until(t, method+" has run its handlers", func(ctx context.Context) error {
			out, err := x.Call(ctx, "journal", nil)
			if err != nil {
				return err
			}
			var got []string
			if err := json.Unmarshal(out, &got); err != nil {
				return err
			}
			if !slices.Equal(got, journal) {
				return fmt.Errorf("journal %q, want %q", got, journal)
			}
			return nil
		})
	}
	expect("fire", obj{"value": "v"}, "on_fired: v")
	require.Equal(t, "v", call[string](t, x, "value", nil))
	expect("fire_plain", obj{"value": "w"})
	expect("fire_pair", obj{"left": "l", "right": 2}, "on_pair: l 2")
	expect("fire_listed", obj{"left": "l", "right": 3}, "on_pair: l 3")
	expect("fire_bare", nil, "on_bare: ")
	expect("fire_many", obj{"n": 3, "prefix": "p"}, "on_fired: p0", "on_fired: p1", "on_fired: p2")
	expect("fire_failing", obj{"value": "f"}, "on_fired: f")
	expect("fire_panicking", obj{"value": "g"}, "on_fired: g")
	expect("fire_missing", obj{"value": "h"}, "on_fired: h")
	expect("fire_nested", obj{"depth": 2}, "on_nested: 2", "on_nested: 1", "on_nested: 0")
	_, err := x.Call(t.Context(), "fire_then_fail", obj{"value": "no"})
	require.Error(t, err)
	expect("fire_in_view", obj{"value": "view"}, "on_fired: view")
	runs := call[map[string]int](t, x, "runs", nil)
	require.Equal(t, 8, runs["on_fired"])
	require.Equal(t, 3, runs["on_nested"])
}

func testBlobs(t *testing.T, n *harness.Node, c *harness.Client) {
	x := newContext(t, n, c, "blobs", "")
	id := call[string](t, x, "store", obj{"name": "f", "text": "hello world"})
	require.Equal(t, id, call[string](t, x, "store_chunks", obj{"name": "g", "chunks": []string{"hello", " ", "world"}}))
	require.Equal(t, "hello world", call[string](t, x, "load", obj{"name": "f"}))
	content, err := c.Raw(t.Context(), http.MethodGet, "/admin-api/blobs/"+id, "", nil)
	require.NoError(t, err)
	require.Equal(t, "hello world", string(content))

	// Larger than a chunk of the blob store, and than a frame of the plugin's protocol.
	size := harness.Scale(3<<20+17, 40<<20+17)
	big := call[string](t, x, "store_pattern", obj{"name": "big", "size": size, "chunk": 300_000})
	require.Equal(t, size, call[int](t, x, "check_pattern", obj{"name": "big", "chunk": 1 << 20}))
	content, err = c.Raw(t.Context(), http.MethodGet, "/admin-api/blobs/"+big, "", nil)
	require.NoError(t, err)
	require.Equal(t, pattern(size), content)

	up, err := c.Raw(t.Context(), http.MethodPut, "/admin-api/blobs", "application/octet-stream", bytes.NewReader(pattern(700_001)))
	require.NoError(t, err)
	var uploaded struct {
		Data struct {
			BlobID string `json:"blob_id"`
			Size   int    `json:"size"`
		} `json:"data"`
	}
	require.NoError(t, json.Unmarshal(up, &uploaded))
	require.Equal(t, 700_001, uploaded.Data.Size)
	call[any](t, x, "adopt", obj{"name": "up", "id": uploaded.Data.BlobID, "size": 700_001})
	require.Equal(t, 700_001, call[int](t, x, "check_pattern", obj{"name": "up", "chunk": 65_536}))

	two := call[[]string](t, x, "store_interleaved", obj{"a": "hello ", "b": "world"})
	require.Len(t, two, 2)
	require.Equal(t, id, two[0])
	unknown := "11111111111111111111111111111112"
	play(t, x, []step{
		gives("files", "", with(`{"f":{"id":$1,"size":11},"g":{"id":$1,"size":11},"big":{"id":$2,"size":$3},"up":{"id":$4,"size":700001}}`,
			quote(id), quote(big), fmt.Sprint(size), quote(uploaded.Data.BlobID))),
		refuses("load", `{"name":"x"}`, `"no file \"x\""`),
		gives("read", with(`{"id":"$1","len":5}`, id), `[104,101,108,108,111]`),
		gives("read_len", with(`{"id":"$1","len":99}`, id), `11`), gives("read_len", with(`{"id":"$1","len":9}`, unknown), `0`),
		gives("announce", `{"name":"f"}`, `true`), gives("announce_in", with(`{"id":"$1","context":"$2"}`, id, unknown), `false`),
		fails("open_many", `{"n":101}`, "too many blob handles (max: 100)"),
		fails("close_twice", "", "invalid blob handle"), fails("close_unknown", `{"fd":77}`, "invalid blob handle"),
		fails("write_to_reader", with(`{"id":"$1"}`, id), "invalid blob handle"),
		fails("read_from_writer", "", "invalid blob handle"),
		gives("write_large", `{"n":10485760}`, `10485760`),
		fails("write_large", `{"n":10485761}`, "blob write too large (size: 10485761, max: 10485760)"),
	})
	call[any](t, x, "open_many", obj{"n": 100})
	call[any](t, x, "abandon", obj{"text": "never closed"})
}

func pattern(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

// TestXCallPolicies: a node may allow no cross-context calls, or only those within one application.
func TestXCallPolicies(t *testing.T) {
	t.Parallel()
	for policy, reaches := range map[string]struct{ same, other bool }{
		"off": {}, "same_application": {same: true},
	} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			n := harness.Start(t, harness.Options{Execution: fmt.Sprintf("  xcall = %q", policy)})
			c := n.Client()
			a := newContext(t, n, c, "xcall", "")
			b, err := c.CreateContext(t.Context(), a.Application, nil)
			require.NoError(t, err)
			other := newContext(t, n, c, "kv", "")
			s, err := c.Subscribe(t.Context(), a.ID)
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Close()) }()

			call[any](t, a, "call", obj{"context": b.ID, "method": "record", "params": obj{"note": "hi"}})
			require.Equal(t, reaches.same, call[int](t, b, "hits", nil) == 1)
			call[any](t, a, "call", obj{"context": other.ID, "method": "set", "params": obj{"key": "k", "value": "v"}})
			require.Equal(t, reaches.other, call[int](t, other, "len", nil) == 1)
			requireCallFailed(t, s, "xcall = ")
		})
	}
}
