package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Event is an event of an application as it is sent and stored (sync-wire.md §1.4).
type Event struct {
	Kind    string
	Data    []byte
	Handler *string
}

// MaxEvents is how many events one delta may carry.
const MaxEvents = 1 << 16

type eventJSON struct {
	Kind    string  `json:"kind"`
	Data    octets  `json:"data"`
	Handler *string `json:"handler"`
}

// octets is a byte string whose JSON is an array of numbers.
type octets []byte

// MarshalJSON writes the array.
func (o octets) MarshalJSON() ([]byte, error) {
	out := make([]byte, 0, 2+4*len(o))
	out = append(out, '[')
	for i, b := range o {
		if i > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendUint(out, uint64(b), 10)
	}
	return append(out, ']'), nil
}

// UnmarshalJSON reads an array of numbers of at most 255.
func (o *octets) UnmarshalJSON(in []byte) error {
	bad := fmt.Errorf("expected an array of numbers from 0 to 255")
	if len(in) < 2 || in[0] != '[' {
		return bad
	}
	body := bytes.TrimSpace(in[1 : len(in)-1]) // in is valid JSON
	out := make(octets, 0, len(body)/2+1)
	for len(body) > 0 {
		item, rest, more := bytes.Cut(body, []byte(","))
		n, err := strconv.ParseUint(string(bytes.TrimSpace(item)), 10, 8)
		if err != nil || more && len(rest) == 0 {
			return bad
		}
		out = append(out, byte(n))
		body = rest
	}
	*o = out
	return nil
}

// EncodeEvents returns the JSON of events; nil for none.
func EncodeEvents(events []Event) ([]byte, error) {
	if len(events) == 0 {
		return nil, nil
	}
	list := make([]eventJSON, len(events))
	for i, e := range events {
		list[i] = eventJSON{Kind: e.Kind, Data: e.Data, Handler: e.Handler}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(list); err != nil {
		return nil, fmt.Errorf("encode events: %w", err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// DecodeEvents reads what EncodeEvents writes; empty input is no events. Errors are of kind Invalid, or TooLarge for more
// than MaxEvents.
func DecodeEvents(in []byte) ([]Event, error) {
	if len(in) == 0 {
		return nil, nil
	}
	var list []eventJSON
	if err := json.Unmarshal(in, &list); err != nil {
		return nil, errkind.Invalid.Errorf("decode events: %w", err)
	}
	if len(list) > MaxEvents {
		return nil, errkind.TooLarge.Errorf("decode events: %d events, the limit is %d", len(list), MaxEvents)
	}
	events := make([]Event, len(list))
	for i, e := range list {
		events[i] = Event{Kind: e.Kind, Data: e.Data, Handler: e.Handler}
	}
	return events, nil
}
