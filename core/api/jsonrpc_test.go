package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

func call(args string) string {
	return `{"jsonrpc":"2.0","id":1,"method":"execute","params":{"contextId":"` + ctxA.String() + `","method":"set","argsJson":` +
		args + `,"executorPublicKey":"` + keyA.String() + `"}}`
}

func (w *world) returning(output []byte) {
	w.contexts.execute = func(context.Context, contexts.ExecuteRequest) (*contexts.ExecuteResponse, error) {
		return &contexts.ExecuteResponse{Output: output}, nil
	}
}

func TestExecute(t *testing.T) {
	t.Parallel()
	w := newWorld(t, allOn(), nil)
	var got contexts.ExecuteRequest
	w.contexts.execute = func(_ context.Context, r contexts.ExecuteRequest) (*contexts.ExecuteResponse, error) {
		got = r
		return &contexts.ExecuteResponse{Output: []byte(` {"z":1e3, "a":"<&>\u00e9"} `), Logs: []string{"hello"}}, nil
	}
	body := strings.Replace(call(`{ "b":1.0, "a":"\/\u0041<" , "b":2 }`), `"executor`, `"substitute":["bob"],"executor`, 1)
	a := w.post(t, "/jsonrpc", body)
	requireAnswer(t, a, http.StatusOK, `{"jsonrpc":"2.0","id":1,"result":{"output":{"z":1000.0,"a":"<&>é"}}}`)
	require.Equal(t, jsonType, a.header.Get("Content-Type"))
	require.Equal(t, contexts.ExecuteRequest{
		Context: ctxA, Method: "set", Args: []byte(`{"b":2,"a":"/A<"}`), Executor: keyA, Substitute: []string{"bob"},
	}, got)

	w.returning(nil)
	requireAnswer(t, w.post(t, "/jsonrpc", strings.Replace(call(`null`), `"id":1`, `"id":"\u0078"`, 1)), http.StatusOK,
		`{"jsonrpc":"2.0","id":"x","result":{"output":null}}`)
	w.returning([]byte{})
	requireAnswer(t, w.post(t, "/jsonrpc", call(`{}`)), http.StatusOK,
		`{"jsonrpc":"2.0","id":1,"error":{"type":"SerdeError","data":{"message":"EOF while parsing a value at line 1 column 0"}}}`)
}

func TestExecuteErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, allOn(), nil)
	for _, c := range []struct {
		err    error
		status int
		want   string
	}{
		{&contexts.CallError{Type: contexts.FunctionCall, Text: "the method call returned an error: [34]"}, 200,
			`{"type":"FunctionCallError","data":"the method call returned an error: [34]"}`},
		{&contexts.CallError{Type: contexts.FunctionCall}, 200, `{"type":"FunctionCallError","data":""}`},
		{&contexts.CallError{Type: contexts.ContextNotFound, Context: ctxA}, 200, `{"type":"ContextNotFound"}`},
		{&contexts.CallError{Type: contexts.Unauthorized, Context: ctxA, PublicKey: keyA}, 200,
			`{"type":"Unauthorized","data":{"context_id":"` + ctxA.String() + `","public_key":"` + keyA.String() + `"}}`},
		{&contexts.CallError{Type: contexts.Uninitialized}, 200, `{"type":"Uninitialized"}`},
		{&contexts.CallError{Type: contexts.ApplicationNotInstalled, Application: appA}, 200,
			`{"type":"ApplicationNotInstalled","data":{"application_id":"` + appA.String() + `"}}`},
		{&contexts.CallError{Type: contexts.AliasResolutionFailed, Alias: "bob"}, 200,
			`{"type":"AliasResolutionFailed","data":{"alias":"bob"}}`},
		{&contexts.CallError{Type: contexts.Internal, Err: errors.New("secret")}, 200, `{"type":"InternalError"}`},
		{errors.New("secret"), 200, `{"type":"InternalError"}`},
		{errkind.Retryable(errkind.Exhausted.Errorf("mailbox full")), 503, `{"type":"InternalError"}`},
	} {
		w.contexts.execute = func(context.Context, contexts.ExecuteRequest) (*contexts.ExecuteResponse, error) {
			return nil, c.err
		}
		a := w.post(t, "/jsonrpc", call(`{}`))
		requireAnswer(t, a, c.status, `{"jsonrpc":"2.0","id":1,"error":`+c.want+`}`)
		require.Equal(t, c.status == 503, a.header.Get("Retry-After") != "")
	}
}

func TestJSONRPCRefusals(t *testing.T) {
	t.Parallel()
	o := allOn()
	o.MaxBody = 1000
	w := newWorld(t, o, nil)
	parseError := func(text string) string {
		return `{"jsonrpc":"2.0","id":1,"error":{"type":"ParseError","data":` + text + `}}`
	}
	for _, c := range []struct {
		name, contentType, body string
		status                  int
		want                    string
	}{
		{"no type", "", call(`{}`), 415, "Expected request with `Content-Type: application/json`"},
		{"text", "text/plain", call(`{}`), 415, "Expected request with `Content-Type: application/json`"},
		{"syntax", jsonType, `{"jsonrpc":`, 400, "Failed to parse the request body as JSON: EOF while parsing a value at line 1 column 11"},
		{"batch", jsonType, `[]`, 422, "Failed to deserialize the JSON body into the target type: invalid type: sequence, expected struct Request at line 1 column 0"},
		{"notification", jsonType, `{"jsonrpc":"2.0","method":"execute","params":{}}`, 422, "Failed to deserialize the JSON body into the target type: missing field `id` at line 1 column 48"},
		{"version", jsonType, `{"jsonrpc":"1.0","id":1}`, 422, "Failed to deserialize the JSON body into the target type: jsonrpc: Invalid JSON-RPC version at line 1 column 16"},
		{"id", jsonType, `{"jsonrpc":"2.0","id":1.5}`, 422, "Failed to deserialize the JSON body into the target type: id: data did not match any variant of untagged enum RequestId at line 1 column 25"},
		{"big", jsonType, call(`"` + strings.Repeat("x", 1000) + `"`), 413, "Failed to buffer the request body: length limit exceeded"},
		{"method", jsonType, `{"jsonrpc":"2.0","id":1,"method":"x","params":{}}`, 200, parseError("\"unknown variant `x`, expected `execute`\"")},
		{"no method", jsonType, `{"jsonrpc":"2.0","id":1}`, 200, parseError("\"missing field `method`\"")},
		{"no params", jsonType, `{"jsonrpc":"2.0","id":1,"method":"execute"}`, 200, parseError("\"missing field `params`\"")},
		{"empty params", jsonType, `{"jsonrpc":"2.0","id":1,"method":"execute","params":{}}`, 200, parseError("\"missing field `contextId`\"")},
		{"bad context", jsonType, strings.Replace(call(`{}`), ctxA.String(), "0", 1), 200, parseError(`"provided string contained invalid character '0' at byte 0"`)},
		{"empty name", jsonType, strings.Replace(call(`{}`), `"set"`, `""`, 1), 200, parseError(`"Field 'method' is required but was empty"`)},
		{"control", jsonType, strings.Replace(call(`{}`), `"set"`, `"a\nb"`, 1), 200, parseError(`"Field 'method' has invalid format: contains control character '\\n' which is not allowed"`)},
		{"suffix", "application/x+json; charset=utf-8", `{"jsonrpc":"2.0","id":1}`, 200, parseError("\"missing field `method`\"")},
	} {
		a := w.do(t, http.MethodPost, "/jsonrpc", c.contentType, c.body)
		require.Equal(t, c.want, a.body, c.name)
		require.Equal(t, c.status, a.status, c.name)
	}
	a := w.get(t, "/jsonrpc")
	requireAnswer(t, a, http.StatusMethodNotAllowed, "")
	require.Equal(t, "POST", a.header.Get("Allow"))
	requireAnswer(t, w.post(t, "/jsonrpc/", call(`{}`)), http.StatusNotFound, "")
}

func TestSwitchedOff(t *testing.T) {
	t.Parallel()
	o := allOn()
	o.JSONRPC, o.Prefix = false, "/node1"
	w := newWorld(t, o, nil)
	requireAnswer(t, w.post(t, "/node1/jsonrpc", call(`{}`)), http.StatusNotFound, "")
	requireAnswer(t, w.get(t, "/admin-api/health"), http.StatusNotFound, "")
	requireAnswer(t, w.get(t, "/node1/admin-api/health"), http.StatusOK, `{"data":{"status":"alive"}}`)
	require.Equal(t, http.StatusOK, w.get(t, "/metrics").status)
}

// FuzzJSONRPC: whatever a client sends, the answer is a documented status, and JSON when it is 200.
func FuzzJSONRPC(f *testing.F) {
	f.Add([]byte(call(`{"a":[1,2.5,null]}`)), []byte(`{"ok":true}`))
	f.Add([]byte(`{"jsonrpc":"2.0","id":null,"method":"execute","params":{"contextId":1}}`), []byte("\xff"))
	f.Add([]byte(`[{}]`), []byte(`1`))
	w := newServer(f, allOn(), nil)
	f.Fuzz(func(t *testing.T, body, output []byte) {
		w.contexts.execute = func(_ context.Context, r contexts.ExecuteRequest) (*contexts.ExecuteResponse, error) {
			if !json.Valid(r.Args) || r.Method == "" || r.Context == (domain.ContextID{}) && !strings.Contains(string(body), "1111") {
				t.Errorf("call %+v", r)
			}
			return &contexts.ExecuteResponse{Output: output}, nil
		}
		req := httptest.NewRequest(http.MethodPost, "/jsonrpc", strings.NewReader(string(body)))
		req.Header.Set("Content-Type", jsonType)
		rec := httptest.NewRecorder()
		w.server.Handler().ServeHTTP(rec, req)
		raw, err := io.ReadAll(rec.Result().Body)
		if err != nil {
			t.Fatal(err)
		}
		switch rec.Code {
		case http.StatusOK:
			if !json.Valid(raw) {
				t.Fatalf("answer %q", raw)
			}
		case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
		default:
			t.Fatalf("status %d", rec.Code)
		}
	})
}
