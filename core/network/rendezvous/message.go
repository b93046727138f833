// Package rendezvous is a client of libp2p's rendezvous protocol (libp2p/specs, rendezvous), which go-libp2p lacks, as the
// Rust implementation speaks it: one request and one answer per stream, protobuf with a varint length. Whatever comes
// from a point is bounded and may be anything.
package rendezvous

import (
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Protocol is the stream protocol.
const Protocol = "/rendezvous/1.0.0"

// Bounds of messages, in bytes and entries.
const (
	// MaxMessage is the largest message, as in the Rust implementation.
	MaxMessage       = 1 << 20
	maxNamespace     = 255
	maxCookie        = 1024
	maxStatusText    = 1024
	maxRecord        = 64 << 10
	maxRegistrations = 1000
)

// Type of a message.
type Type uint64

// Types of messages.
const (
	TypeRegister Type = iota
	TypeRegisterResponse
	TypeUnregister
	TypeDiscover
	TypeDiscoverResponse
)

// Status of an answer.
type Status uint64

// StatusOK is the only status that is no refusal.
const StatusOK Status = 0

var statusNames = map[Status]string{
	StatusOK: "ok", 100: "invalid namespace", 101: "invalid signed peer record", 102: "invalid ttl",
	103: "invalid cookie", 200: "not authorized", 300: "internal error", 400: "unavailable",
}

// String is the status's name.
func (s Status) String() string {
	if name, ok := statusNames[s]; ok {
		return name
	}
	return fmt.Sprintf("status %d", uint64(s))
}

// Message is a request or an answer; only the part of its type is used.
type Message struct {
	Type             Type
	Register         Register
	RegisterResponse RegisterResponse
	Unregister       Unregister
	Discover         Discover
	DiscoverResponse DiscoverResponse
}

// Register asks to be listed, and is how others are listed.
type Register struct {
	Namespace string
	// Record is a signed peer record (OpenRecord).
	Record []byte
	// TTL in seconds; 0 = the point's choice.
	TTL uint64
}

// RegisterResponse answers Register.
type RegisterResponse struct {
	Status Status
	Text   string
	TTL    uint64
}

// Unregister asks to be listed no more; it is not answered.
type Unregister struct{ Namespace string }

// Discover asks who is listed.
type Discover struct {
	Namespace string
	// Limit of registrations; 0 = the point's choice.
	Limit uint64
	// Cookie of an earlier answer asks for what is new since.
	Cookie []byte
}

// DiscoverResponse answers Discover.
type DiscoverResponse struct {
	Registrations []Register
	Cookie        []byte
	Status        Status
	Text          string
}

// Field numbers of the part of each type.
var partOf = map[Type]protowire.Number{
	TypeRegister: 2, TypeRegisterResponse: 3, TypeUnregister: 4, TypeDiscover: 5, TypeDiscoverResponse: 6,
}

// Encode is the message's protobuf.
func (m *Message) Encode() []byte {
	b := appendVarint(nil, 1, uint64(m.Type))
	var part []byte
	switch m.Type {
	case TypeRegister:
		part = m.Register.encode()
	case TypeRegisterResponse:
		part = appendVarint(nil, 1, uint64(m.RegisterResponse.Status))
		part = appendText(part, 2, m.RegisterResponse.Text)
		part = appendVarint(part, 3, m.RegisterResponse.TTL)
	case TypeUnregister:
		part = appendText(nil, 1, m.Unregister.Namespace)
	case TypeDiscover:
		part = appendText(nil, 1, m.Discover.Namespace)
		if m.Discover.Limit > 0 {
			part = appendVarint(part, 2, m.Discover.Limit)
		}
		part = appendText(part, 3, string(m.Discover.Cookie))
	case TypeDiscoverResponse:
		for _, r := range m.DiscoverResponse.Registrations {
			part = protowire.AppendTag(part, 1, protowire.BytesType)
			part = protowire.AppendBytes(part, r.encode())
		}
		part = appendText(part, 2, string(m.DiscoverResponse.Cookie))
		part = appendVarint(part, 3, uint64(m.DiscoverResponse.Status))
		part = appendText(part, 4, m.DiscoverResponse.Text)
	}
	b = protowire.AppendTag(b, partOf[m.Type], protowire.BytesType)
	return protowire.AppendBytes(b, part)
}

func (r Register) encode() []byte {
	b := appendText(nil, 1, r.Namespace)
	b = appendText(b, 2, string(r.Record))
	if r.TTL > 0 {
		b = appendVarint(b, 3, r.TTL)
	}
	return b
}

func appendVarint(b []byte, n protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}

// appendText leaves empty ones out.
func appendText(b []byte, n protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
}

// Decode reads a message's protobuf. The error is of kind Corrupt, or TooLarge for what is over a bound.
func Decode(b []byte) (*Message, error) {
	if len(b) > MaxMessage {
		return nil, errkind.TooLarge.Errorf("a rendezvous message has %d bytes; %d are allowed", len(b), MaxMessage)
	}
	m := &Message{}
	typed, parts := false, map[protowire.Number]bool{}
	err := fields(b, func(n protowire.Number, v value) error {
		if n == 1 {
			typed, m.Type = true, Type(v.number)
			return v.want(protowire.VarintType)
		}
		if n < 2 || n > 6 {
			return nil
		}
		if parts[n] {
			return errkind.Corrupt.Errorf("field %d stands twice", n)
		}
		parts[n] = true
		return m.decodePart(n, v)
	})
	if err != nil {
		return nil, fmt.Errorf("decode a rendezvous message: %w", err)
	}
	if part, known := partOf[m.Type]; !typed || !known || !parts[part] {
		return nil, errkind.Corrupt.Errorf("decode a rendezvous message: type %d without its part", m.Type)
	}
	return m, nil
}

func (m *Message) decodePart(n protowire.Number, v value) error {
	if err := v.want(protowire.BytesType); err != nil {
		return err
	}
	switch n {
	case partOf[TypeRegister]:
		return m.Register.decode(v.bytes)
	case partOf[TypeRegisterResponse]:
		r := &m.RegisterResponse
		return fields(v.bytes, func(n protowire.Number, v value) error {
			switch n {
			case 1:
				return v.varint((*uint64)(&r.Status))
			case 2:
				return v.text(&r.Text, maxStatusText)
			case 3:
				return v.varint(&r.TTL)
			}
			return nil
		})
	case partOf[TypeUnregister]:
		return fields(v.bytes, func(n protowire.Number, v value) error {
			if n == 1 {
				return v.text(&m.Unregister.Namespace, maxNamespace)
			}
			return nil
		})
	case partOf[TypeDiscover]:
		d := &m.Discover
		return fields(v.bytes, func(n protowire.Number, v value) error {
			switch n {
			case 1:
				return v.text(&d.Namespace, maxNamespace)
			case 2:
				return v.varint(&d.Limit)
			case 3:
				return v.blob(&d.Cookie, maxCookie)
			}
			return nil
		})
	}
	return m.DiscoverResponse.decode(v.bytes)
}

func (r *Register) decode(b []byte) error {
	return fields(b, func(n protowire.Number, v value) error {
		switch n {
		case 1:
			return v.text(&r.Namespace, maxNamespace)
		case 2:
			return v.blob(&r.Record, maxRecord)
		case 3:
			return v.varint(&r.TTL)
		}
		return nil
	})
}

func (d *DiscoverResponse) decode(b []byte) error {
	return fields(b, func(n protowire.Number, v value) error {
		switch n {
		case 1:
			if err := v.want(protowire.BytesType); err != nil {
				return err
			}
			if len(d.Registrations) >= maxRegistrations {
				return errkind.TooLarge.Errorf("more than %d registrations", maxRegistrations)
			}
			var r Register
			if err := r.decode(v.bytes); err != nil {
				return err
			}
			d.Registrations = append(d.Registrations, r)
		case 2:
			return v.blob(&d.Cookie, maxCookie)
		case 3:
			return v.varint((*uint64)(&d.Status))
		case 4:
			return v.text(&d.Text, maxStatusText)
		}
		return nil
	})
}

// value is what stands in a field.
type value struct {
	kind   protowire.Type
	number uint64
	bytes  []byte
}

func (v value) want(kind protowire.Type) error {
	if v.kind != kind {
		return errkind.Corrupt.Errorf("a field has wire type %d, not %d", v.kind, kind)
	}
	return nil
}

func (v value) varint(to *uint64) error {
	*to = v.number
	return v.want(protowire.VarintType)
}

// blob copies, so that the message does not keep the buffer it came in.
func (v value) blob(to *[]byte, limit int) error {
	if err := v.want(protowire.BytesType); err != nil {
		return err
	}
	if len(v.bytes) > limit {
		return errkind.TooLarge.Errorf("a field has %d bytes; %d are allowed", len(v.bytes), limit)
	}
	*to = append([]byte(nil), v.bytes...)
	return nil
}

func (v value) text(to *string, limit int) error {
	var b []byte
	if err := v.blob(&b, limit); err != nil {
		return err
	}
	if !utf8.Valid(b) {
		return errkind.Corrupt.Errorf("a text is not UTF-8")
	}
	*to = string(b)
	return nil
}

// fields calls f for each field; groups, which nobody uses, are refused.
func fields(b []byte, f func(n protowire.Number, v value) error) error {
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return errkind.Corrupt.Wrap(protowire.ParseError(size))
		}
		b = b[size:]
		v := value{kind: kind}
		switch kind {
		case protowire.VarintType:
			v.number, size = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			v.bytes, size = protowire.ConsumeBytes(b)
		case protowire.Fixed32Type:
			_, size = protowire.ConsumeFixed32(b)
		case protowire.Fixed64Type:
			_, size = protowire.ConsumeFixed64(b)
		default:
			return errkind.Corrupt.Errorf("a field has wire type %d", kind)
		}
		if size < 0 {
			return errkind.Corrupt.Wrap(protowire.ParseError(size))
		}
		b = b[size:]
		if err := f(n, v); err != nil {
			return err
		}
	}
	return nil
}
