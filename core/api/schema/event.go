package schema

import (
	"encoding/json"
	"errors"
	"strconv"

	"github.com/calimero-go/core/core/api/jsonvalue"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// StateMutation tells subscribers of a context (http-api.md §3.1).
type StateMutation struct {
	ContextID domain.ContextID `json:"contextId"`
	Type      string           `json:"type"` // StateMutation
	Data      MutationData     `json:"data"`
}

// MutationData has the events of a mutation; nil is null.
type MutationData struct {
	NewRoot domain.Hash `json:"newRoot"`
	Events  []Event     `json:"events"`
}

// Event is an application's.
type Event struct {
	Kind    string   `json:"kind"`
	Data    IntBytes `json:"data"`
	Handler *string  `json:"handler"`
}

// Result wraps what a subscriber gets over SSE, and answers of its routes.
type Result[T any] struct {
	Result T `json:"result"`
}

// ResultOf wraps a result.
func ResultOf[T any](v T) Result[T] { return Result[T]{v} }

// ContextIDs is the parameter and the answer of subscribe and unsubscribe.
type ContextIDs struct {
	ContextIDs []domain.ContextID `json:"contextIds"`
}

// SocketResponse is a frame of a WebSocket; a nil ID is null, as in events.
type SocketResponse struct {
	ID     *uint64 `json:"id"`
	Result any     `json:"result,omitempty"`
	Error  any     `json:"error,omitempty"`
}

// MaxSubscribe bounds the contexts of one request.
const MaxSubscribe = 1024

// Subscription is a request to subscribe or unsubscribe.
type Subscription struct {
	Method   string // subscribe, unsubscribe
	Contexts []domain.ContextID
}

// DecodeSocket reads a frame's id. The error is a *jsonvalue.Error: such a frame is ignored.
func DecodeSocket(src []byte) (id *uint64, err error) {
	err = jsonvalue.Decode(src, "struct Request", func(o *jsonvalue.Object) {
		if v, ok := o.Optional("id"); ok {
			n := v.Unsigned(64)
			id = &n
		}
	})
	return id, err
}

// ReadSubscription reads method and params of a request. Its errors name no place.
func ReadSubscription(src []byte) (Subscription, error) {
	var s Subscription
	err := jsonvalue.DecodeValue(src, "struct Request", s.read)
	return s, err
}

func (s *Subscription) read(o *jsonvalue.Object) {
	v, ok := o.Required("method")
	if !ok {
		return
	}
	v.Parse(func(text string) error {
		s.Method = text
		return oneOf(text, "subscribe", "unsubscribe")
	})
	if oneOf(s.Method, "subscribe", "unsubscribe") != nil {
		return
	}
	if v, ok = o.Required("params"); !ok {
		return
	}
	name := "struct SubscribeRequest"
	if s.Method == "unsubscribe" {
		name = "struct UnsubscribeRequest"
	}
	s.Contexts = []domain.ContextID{}
	v.Object(name, func(o *jsonvalue.Object) {
		list, ok := o.Required("contextIds")
		if !ok {
			return
		}
		list.Each(func(item jsonvalue.Value) {
			if len(s.Contexts) == MaxSubscribe {
				item.Fail("more than " + strconv.Itoa(MaxSubscribe) + " contexts in one request")
				return
			}
			var id domain.ContextID
			item.Into(&id)
			s.Contexts = append(s.Contexts, id)
		})
	})
}

// SSERequest is a request for a session.
type SSERequest struct {
	ID      string
	Payload []byte
}

// DecodeSSE reads the session's id. The error is a *jsonvalue.Error.
func DecodeSSE(src []byte) (*SSERequest, error) {
	r := &SSERequest{Payload: src}
	err := jsonvalue.Decode(src, "struct Request", func(o *jsonvalue.Object) { r.ID = o.Text("id") })
	return r, err
}

// Connected is the first event of an SSE stream.
type Connected struct {
	Type      string `json:"type"` // connect
	SessionID string `json:"session_id"`
	Reconnect bool   `json:"reconnect"`
}

// Subscribed is the answer of an SSE subscribe.
type Subscribed struct {
	Status   string             `json:"status"` // subscribed
	Contexts []domain.ContextID `json:"contexts"`
}

// Unsubscribed is the answer of an SSE unsubscribe.
type Unsubscribed struct {
	Status       string             `json:"status"` // unsubscribed
	Unsubscribed []domain.ContextID `json:"unsubscribed"`
	Requested    []domain.ContextID `json:"requested"`
}

// Session describes an SSE session.
type Session struct {
	SessionID     uint64             `json:"session_id"`
	Subscriptions []domain.ContextID `json:"subscriptions"`
	EventCounter  uint64             `json:"event_counter"`
	Status        string             `json:"status"` // active, persisted
}

// StoredSession is a session as it is kept.
type StoredSession struct {
	Subscriptions []domain.ContextID `json:"subscriptions"`
	EventCounter  uint64             `json:"event_counter"`
	LastActivity  uint64             `json:"last_activity"` // Unix seconds
}

// DecodeStoredSession reads a kept session.
func DecodeStoredSession(src []byte) (StoredSession, error) {
	var s StoredSession
	if err := json.Unmarshal(src, &s); err != nil {
		return s, errors.New("stored session is damaged: " + err.Error())
	}
	return s, nil
}
