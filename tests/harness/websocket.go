package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/coder/websocket"
)

// Event is an event of an application as subscribers get it.
type Event struct {
	Kind    string  `json:"kind"`
	Data    Bytes   `json:"data"`
	Handler *string `json:"handler"`
}

// Mutation is a message to subscribers.
type Mutation struct {
	ContextID string `json:"contextId"`
	Type      string `json:"type"`
	Data      struct {
		NewRoot string  `json:"newRoot"`
		Events  []Event `json:"events"`
	} `json:"data"`
}

// Subscription is a WebSocket with subscriptions.
type Subscription struct{ conn *websocket.Conn }

// Subscribe opens a WebSocket and subscribes to contexts.
func (c *Client) Subscribe(ctx context.Context, contexts ...string) (*Subscription, error) {
	url := "ws" + strings.TrimPrefix(c.Base, "http") + "/ws"
	if c.Access != "" {
		url += "?token=" + c.Access
	}
	conn, res, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: c.HTTP})
	if res != nil && res.Body != nil {
		defer res.Body.Close()
	}
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(maxAnswer)
	s := &Subscription{conn: conn}
	b, err := json.Marshal(map[string]any{"id": 7, "method": "subscribe", "params": map[string]any{"contextIds": contexts}})
	if err != nil {
		return nil, err
	}
	if err := conn.Write(ctx, websocket.MessageText, b); err != nil {
		return nil, err
	}
	_, answer, err := conn.Read(ctx)
	if err != nil {
		return nil, err
	}
	var r struct {
		ID     *uint64
		Result *struct{ ContextIDs []string }
	}
	if err := json.Unmarshal(answer, &r); err != nil || r.ID == nil || *r.ID != 7 || r.Result == nil {
		return nil, errors.Join(fmt.Errorf("subscribe: unexpected answer %s", answer), err)
	}
	return s, nil
}

// Next waits for the next message.
func (s *Subscription) Next(ctx context.Context) (Mutation, error) {
	_, b, err := s.conn.Read(ctx)
	if err != nil {
		return Mutation{}, err
	}
	var m struct{ Result Mutation }
	if err := json.Unmarshal(b, &m); err != nil {
		return Mutation{}, fmt.Errorf("decode %s: %w", b, err)
	}
	return m.Result, nil
}

// Close closes the WebSocket.
func (s *Subscription) Close() error { return s.conn.Close(websocket.StatusNormalClosure, "") }
