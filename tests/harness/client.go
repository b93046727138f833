package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Client calls a node's HTTP API (http-api.md). It may be used concurrently; its fields are set before.
type Client struct {
	// Base is the node's URL.
	Base string
	// Access is the bearer token, empty for none; Refresh belongs to it.
	Access, Refresh string
	HTTP            *http.Client
}

// NewClient makes a client without a token.
func NewClient(base string) *Client {
	return &Client{Base: base, HTTP: &http.Client{
		Timeout:   2 * time.Minute,
		Transport: &http.Transport{MaxIdleConns: 256, MaxIdleConnsPerHost: 256, IdleConnTimeout: 30 * time.Second},
	}}
}

// With is the client with other tokens.
func (c *Client) With(t Tokens) *Client {
	d := *c
	d.Access, d.Refresh = t.Access, t.Refresh
	return &d
}

// Close closes the idle connections.
func (c *Client) Close() { c.HTTP.CloseIdleConnections() }

// StatusError is an answer other than 200.
type StatusError struct {
	Method, Path string
	Status       int
	Header       http.Header
	Body         string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s %s: status %d: %s", e.Method, e.Path, e.Status, e.Body)
}

const maxAnswer = 64 << 20

// Do sends body as JSON (nil: no body) and decodes the answer into out (nil: dropped). Another status than 200 is a
// *StatusError.
func (c *Client) Do(ctx context.Context, method, path string, body, out any) error {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = bytes.NewReader(b)
	}
	b, err := c.Raw(ctx, method, path, "application/json", r)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("%s %s: decode the answer: %w: %s", method, path, err, b)
	}
	return nil
}

// Raw sends body as it is and returns the answer's bytes. Another status than 200 is a *StatusError.
func (c *Client) Raw(ctx context.Context, method, path, contentType string, body io.Reader) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.Base+path, body)
	if err != nil {
		return nil, err
	}
	if body != nil && contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if c.Access != "" {
		req.Header.Set("Authorization", "Bearer "+c.Access)
	}
	res, err := c.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, &StatusError{Method: method, Path: path, Status: res.StatusCode, Header: res.Header, Body: string(b)}
	}
	return b, nil
}

// data is the envelope of most answers.
type data[T any] struct {
	Data T `json:"data"`
}

func do[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var out data[T]
	err := c.Do(ctx, method, path, body, &out)
	return out.Data, err
}

// Health is nil when the node answers that it is alive.
func (c *Client) Health(ctx context.Context) error {
	h, err := do[struct{ Status string }](ctx, c, http.MethodGet, "/admin-api/health", nil)
	if err == nil && h.Status != "alive" {
		err = fmt.Errorf("health is %q", h.Status)
	}
	return err
}

// Bytes is a byte list as the API has it: an array of numbers.
type Bytes []byte

// MarshalJSON writes an array of numbers.
func (b Bytes) MarshalJSON() ([]byte, error) {
	out := []byte{'['}
	for i, x := range b {
		if i > 0 {
			out = append(out, ',')
		}
		out = fmt.Append(out, x)
	}
	return append(out, ']'), nil
}

// UnmarshalJSON reads an array of numbers.
func (b *Bytes) UnmarshalJSON(src []byte) error {
	var numbers []uint16 // []uint8 would be read as base64
	if err := json.Unmarshal(src, &numbers); err != nil {
		return err
	}
	*b = make(Bytes, len(numbers))
	for i, n := range numbers {
		if n > 255 {
			return fmt.Errorf("%d is no byte", n)
		}
		(*b)[i] = byte(n)
	}
	return nil
}

// InstallPath installs an application from a file on the node's machine.
func (c *Client) InstallPath(ctx context.Context, path string) (application string, err error) {
	r, err := do[struct{ ApplicationID string }](ctx, c, http.MethodPost, "/admin-api/install-dev-application",
		map[string]any{"path": path, "metadata": Bytes{}})
	return r.ApplicationID, err
}

// Context is a context and its member here.
type Context struct {
	Client      *Client
	ID, Member  string
	Application string
}

// CreateContext creates a context; params is the JSON of init's arguments, nil for none.
func (c *Client) CreateContext(ctx context.Context, application string, params []byte) (*Context, error) {
	r, err := do[struct{ ContextID, MemberPublicKey string }](ctx, c, http.MethodPost, "/admin-api/contexts",
		map[string]any{"applicationId": application, "initializationParams": Bytes(params)})
	if err != nil {
		return nil, err
	}
	return &Context{Client: c, ID: r.ContextID, Member: r.MemberPublicKey, Application: application}, nil
}

// ContextInfo is what the node tells about a context.
type ContextInfo struct {
	ID            string  `json:"id"`
	ApplicationID string  `json:"applicationId"`
	RootHash      string  `json:"rootHash"`
	DagHeads      [][]int `json:"dagHeads"`
	GuestMerge    bool    `json:"guestMerge"`
}

// Info describes the context.
func (x *Context) Info(ctx context.Context) (ContextInfo, error) {
	return do[ContextInfo](ctx, x.Client, http.MethodGet, "/admin-api/contexts/"+x.ID, nil)
}

// CallError is the error object of JSON-RPC.
type CallError struct {
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}

func (e *CallError) Error() string { return e.Type + " " + string(e.Data) }

// Text is Data if it is a string.
func (e *CallError) Text() string {
	var s string
	if json.Unmarshal(e.Data, &s) != nil {
		return ""
	}
	return s
}

// request is the body of a JSON-RPC call.
type request struct {
	JSONRPC string `json:"jsonrpc"`
	ID      int    `json:"id"`
	Method  string `json:"method"`
	Params  struct {
		ContextID         string   `json:"contextId"`
		Method            string   `json:"method"`
		Args              any      `json:"argsJson"`
		ExecutorPublicKey string   `json:"executorPublicKey"`
		Substitute        []string `json:"substitute"`
	} `json:"params"`
}

// Call runs a method and returns its output. A failed method is a *CallError; args nil means {}.
func (x *Context) Call(ctx context.Context, method string, args any) (json.RawMessage, error) {
	return x.CallAs(ctx, x.Member, method, args)
}

// CallAs is Call as another executor.
func (x *Context) CallAs(ctx context.Context, executor, method string, args any, substitute ...string) (json.RawMessage, error) {
	if args == nil {
		args = struct{}{}
	}
	r := request{JSONRPC: "2.0", ID: 1, Method: "execute"}
	r.Params.ContextID, r.Params.Method, r.Params.Args = x.ID, method, args
	r.Params.ExecutorPublicKey, r.Params.Substitute = executor, append([]string{}, substitute...)
	var out struct {
		Result *struct{ Output json.RawMessage }
		Error  *CallError
	}
	if err := x.Client.Do(ctx, http.MethodPost, "/jsonrpc", r, &out); err != nil {
		return nil, err
	}
	switch {
	case out.Error != nil:
		return nil, out.Error
	case out.Result == nil:
		return nil, fmt.Errorf("the answer to %s has neither result nor error", method)
	}
	return out.Result.Output, nil
}

// With is the context called by another client.
func (x *Context) With(c *Client) *Context {
	y := *x
	y.Client = c
	return &y
}

// Tokens are a pair as issued.
type Tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

// Login gets tokens for a user name and password; the first login creates the account.
func (c *Client) Login(ctx context.Context, user, password string) (Tokens, error) {
	return do[Tokens](ctx, c, http.MethodPost, "/auth/token", map[string]any{
		"auth_method": "user_password", "public_key": user, "client_name": c.Base, "timestamp": time.Now().Unix(),
		"provider_data": map[string]any{"username": user, "password": password},
	})
}

// LoggedIn is the client with tokens for a user.
func (c *Client) LoggedIn(ctx context.Context, user, password string) (*Client, error) {
	t, err := c.Login(ctx, user, password)
	if err != nil {
		return nil, err
	}
	return c.With(t), nil
}
