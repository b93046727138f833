// Package e2e_test tests nodes from outside: real programs, real configuration, HTTP, signals.
package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/guestabi"
	"github.com/calimero-go/core/tests/harness"
)

// obj is a JSON object.
type obj = map[string]any

// newContext installs a sample app (again, if it is there already) and creates a context of it.
func newContext(t *testing.T, n *harness.Node, c *harness.Client, app, params string) *harness.Context {
	t.Helper()
	id, err := n.Install(t.Context(), c, app)
	require.NoError(t, err)
	x, err := c.CreateContext(t.Context(), id, []byte(params))
	require.NoError(t, err)
	return x
}

// call is a method call that must succeed, decoded into T.
func call[T any](t *testing.T, x *harness.Context, method string, args any) T {
	t.Helper()
	out, err := x.Call(t.Context(), method, args)
	require.NoErrorf(t, err, "%s %v", method, args)
	var v T
	require.NoErrorf(t, json.Unmarshal(out, &v), "%s %v: %s", method, args, out)
	return v
}

// step is a call and what must come of it. args and want are JSON; an empty want is checked against nothing.
type step struct {
	method, args string
	check        func(t *testing.T, out json.RawMessage, err error)
}

// gives wants an output.
func gives(method, args, want string) step {
	return step{method, args, func(t *testing.T, out json.RawMessage, err error) {
		t.Helper()
		require.NoError(t, err)
		require.JSONEq(t, want, string(out))
	}}
}

// exactly wants an output byte for byte, for what JSON does not tell apart.
func exactly(method, args, want string) step {
	return step{method, args, func(t *testing.T, out json.RawMessage, err error) {
		t.Helper()
		require.NoError(t, err)
		require.Equal(t, want, string(out))
	}}
}

// fails wants a FunctionCallError with a text.
func fails(method, args, text string) step {
	return step{method, args, func(t *testing.T, _ json.RawMessage, err error) {
		t.Helper()
		requireFunctionCall(t, err, text)
	}}
}

// refuses wants the method to answer with an error value, given as the exact JSON the app writes.
func refuses(method, args, value string) step {
	return fails(method, args, guestabi.ExecutionErrorText([]byte(value)))
}

// panics wants a panic of the guest with a message.
func panics(method, args, message string) step {
	form := regexp.MustCompile(`^guest panicked: ` + regexp.QuoteMeta(message) + ` at .*\.rs:\d+:\d+$`)
	return step{method, args, func(t *testing.T, _ json.RawMessage, err error) {
		t.Helper()
		require.Regexp(t, form, functionCallText(t, err))
	}}
}

func requireFunctionCall(t *testing.T, err error, text string) {
	t.Helper()
	require.Equal(t, text, functionCallText(t, err))
}

func functionCallText(t *testing.T, err error) string {
	t.Helper()
	var e *harness.CallError
	require.ErrorAs(t, err, &e)
	require.Equal(t, "FunctionCallError", e.Type, "%v", e)
	return e.Text()
}

// play runs steps in order; `$name` in their arguments and wants is replaced before by the caller.
func play(t *testing.T, x *harness.Context, steps []step) {
	t.Helper()
	for i, s := range steps {
		t.Run(fmt.Sprintf("%d %s", i, s.method), func(t *testing.T) {
			args := s.args
			if args == "" {
				args = "{}"
			}
			out, err := x.Call(t.Context(), s.method, json.RawMessage(args))
			s.check(t, out, err)
		})
	}
}

// until waits for a condition; ok says why it does not hold.
func until(t *testing.T, what string, ok func(ctx context.Context) error) {
	t.Helper()
	require.NoError(t, harness.Until(t.Context(), what, ok))
}

// quote is s as JSON.
func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings always encode
	}
	return string(b)
}

// with fills $1, $2, … of a text.
func with(text string, values ...string) string {
	for i, v := range values {
		text = strings.ReplaceAll(text, fmt.Sprintf("$%d", i+1), v)
	}
	return text
}

// leftOver is the condition that nothing of a node is left.
func leftOver(n *harness.Node) func(context.Context) error {
	return func(context.Context) error { return harness.LeftOver(n.Home) }
}
