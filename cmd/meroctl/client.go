package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

const (
	requestTime = 2 * time.Minute
	maxAnswer   = 64 << 20
)

// answerError is an error that the node answered with.
type answerError struct {
	status int
	text   string
}

func (e *answerError) Error() string { return e.text }

// client talks to one node. A token that ran out is refreshed once.
type client struct {
	*target
	http http.Client
}

func (c *cli) client() (*client, error) {
	t, err := c.find()
	if err != nil {
		return nil, err
	}
	return &client{target: t, http: http.Client{Timeout: requestTime}}, nil
}

func (c *client) get(ctx context.Context, path string) (json.RawMessage, error) {
	return c.ask(ctx, http.MethodGet, path, nil)
}

// ask sends a JSON request, with the node's token if there is one, and returns the JSON answer.
func (c *client) ask(ctx context.Context, method, path string, body any) (json.RawMessage, error) {
	return renewing(ctx, c, func() (json.RawMessage, error) { return c.send(ctx, method, path, body) })
}

// renewing asks again, once, with new tokens if the node refused the old ones.
func renewing[T any](ctx context.Context, c *client, ask func() (T, error)) (T, error) {
	v, err := ask()
	var answer *answerError
	if !errors.As(err, &answer) || answer.status != http.StatusUnauthorized || c.entry.Tokens == nil {
		return v, err
	}
	if err := c.refresh(ctx); err != nil {
		return v, fmt.Errorf("%w; log in again with meroctl login (%w)", answer, err)
	}
	return ask()
}

// post is ask for the many routes that ignore their body.
func (c *client) post(ctx context.Context, path string) (json.RawMessage, error) {
	return c.ask(ctx, http.MethodPost, path, struct{}{})
}

func (c *client) send(ctx context.Context, method, path string, body any) (json.RawMessage, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(text)
	}
	resp, err := c.raw(ctx, method, path, "application/json", content)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", c.url, err)
	}
	if !json.Valid(text) {
		return nil, fmt.Errorf("%s%s answered with something that is not JSON: %s", c.url, path, short(text))
	}
	return text, nil
}

// raw sends a request; an answer other than 200 is an error with its text.
func (c *client) raw(ctx context.Context, method, path, contentType string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	if k := c.entry.Tokens; k != nil {
		req.Header.Set("Authorization", "Bearer "+k.Access)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", c.url, err)
	}
	return nil, &answerError{status: resp.StatusCode, text: c.errorText(resp, text)}
}

func (c *client) explain(err error) error {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no node answers at %s: start it with merod run, or name another with --node or --api", c.url)
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%s did not answer in time: %w", c.url, err)
	}
	return fmt.Errorf("ask %s: %w", c.url, err)
}

// errorText is what the node says is wrong: {"error": …}, or text.
func (c *client) errorText(resp *http.Response, body []byte) string {
	var fault struct {
		Error any `json:"error"`
	}
	if json.Unmarshal(body, &fault) == nil && fault.Error != nil {
		if s, ok := fault.Error.(string); ok {
			return s
		}
		return short(body)
	}
	switch {
	case len(bytes.TrimSpace(body)) > 0:
		return short(body)
	case resp.StatusCode == http.StatusNotFound:
		return fmt.Sprintf("%s has no %s; is it a node, and of this release?", c.url, resp.Request.URL.Path)
	case resp.StatusCode == http.StatusUnauthorized:
		return fmt.Sprintf("%s asks for a login: meroctl login --username NAME", c.url)
	case resp.StatusCode == http.StatusForbidden:
		return "the account may not do this"
	}
	return fmt.Sprintf("%s answered %s", c.url, resp.Status)
}

func short(text []byte) string {
	const most = 500
	s := strings.TrimSpace(string(text))
	if len(s) > most {
		s = s[:most] + "…"
	}
	return s
}

// refresh exchanges the tokens for new ones and keeps them.
func (c *client) refresh(ctx context.Context) error {
	old := *c.entry.Tokens
	answer, err := c.send(ctx, http.MethodPost, "/auth/refresh", old)
	if err != nil {
		return err
	}
	fresh, err := payloadOf[tokens](answer)
	if err != nil {
		return err
	}
	if fresh.Access == "" {
		return errors.New("the node gave no new token")
	}
	return c.keep(&fresh)
}
