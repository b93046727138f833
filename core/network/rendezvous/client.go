package rendezvous

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// DefaultTTL is what a point is to assume when it is told none.
const DefaultTTL = 2 * time.Hour

// requestTime bounds a request with its answer.
const requestTime = 10 * time.Second

// Client speaks to rendezvous points over a host. It may be used concurrently.
type Client struct {
	host host.Host
	key  crypto.PrivKey
}

// NewClient makes a client; key is the host's.
func NewClient(h host.Host, key crypto.PrivKey) *Client { return &Client{host: h, key: key} }

// Register lists this host under a namespace with the addresses given, and answers for how long.
func (c *Client) Register(ctx context.Context, point peer.ID, namespace string, addrs []ma.Multiaddr) (time.Duration, error) {
	if len(addrs) == 0 {
		return 0, errkind.Precondition.Errorf("register at %s: this node has no address that others could dial", point)
	}
	sealed, err := SealRecord(c.key, peer.AddrInfo{ID: c.host.ID(), Addrs: addrs})
	if err != nil {
		return 0, err
	}
	answer, err := c.ask(ctx, point, &Message{Type: TypeRegister, Register: Register{Namespace: namespace, Record: sealed}},
		TypeRegisterResponse)
	if err != nil {
		return 0, fmt.Errorf("register at %s: %w", point, err)
	}
	r := answer.RegisterResponse
	if r.Status != StatusOK {
		return 0, refused("register at", point, r.Status, r.Text)
	}
	ttl := DefaultTTL
	if r.TTL > 0 {
		const most = 72 * 3600 // the longest that points grant
		ttl = time.Duration(min(r.TTL, most)) * time.Second
	}
	return ttl, nil
}

// Unregister takes this host off a namespace's list. Points do not answer, so that success means only that it was sent.
func (c *Client) Unregister(ctx context.Context, point peer.ID, namespace string) error {
	s, err := c.send(ctx, point, &Message{Type: TypeUnregister, Unregister: Unregister{Namespace: namespace}})
	if err != nil {
		return fmt.Errorf("unregister at %s: %w", point, err)
	}
	return s.Close()
}

// Discovery is what a point knows.
type Discovery struct {
	// Peers whose records are well-formed and signed by themselves.
	Peers []peer.AddrInfo
	// Cookie asks the next time for what is new.
	Cookie []byte
}

// Discover asks who is listed under a namespace. A cookie that the point does not know any more is a refusal; the next
// try goes without.
func (c *Client) Discover(ctx context.Context, point peer.ID, namespace string, cookie []byte) (Discovery, error) {
	var d Discovery
	answer, err := c.ask(ctx, point, &Message{Type: TypeDiscover, Discover: Discover{Namespace: namespace, Cookie: cookie}},
		TypeDiscoverResponse)
	if err != nil {
		return d, fmt.Errorf("discover at %s: %w", point, err)
	}
	r := answer.DiscoverResponse
	if r.Status != StatusOK {
		return d, refused("discover at", point, r.Status, r.Text)
	}
	d.Cookie = r.Cookie
	for _, reg := range r.Registrations {
		info, err := OpenRecord(reg.Record)
		if err == nil && reg.Namespace == namespace { // what else it lists is not for us
			d.Peers = append(d.Peers, info)
		}
	}
	return d, nil
}

func refused(verb string, point peer.ID, status Status, text string) error {
	return errkind.Precondition.Errorf("%s %s: it refuses: %s %q", verb, point, status, text)
}

// ask sends a request on a stream of its own and waits for the answer.
func (c *Client) ask(ctx context.Context, point peer.ID, request *Message, want Type) (*Message, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	s, err := c.send(ctx, point, request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Reset() }() // the answer is all that was wanted
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	defer stop()
	body, err := ReadMessage(s)
	if err != nil {
		return nil, err
	}
	answer, err := Decode(body)
	if err == nil && answer.Type != want {
		err = errkind.Corrupt.Errorf("the answer is of type %d, not %d", answer.Type, want)
	}
	return answer, err
}

func (c *Client) send(ctx context.Context, point peer.ID, request *Message) (network.Stream, error) {
	s, err := c.host.NewStream(ctx, point, Protocol)
	if err != nil {
		return nil, errkind.Unavailable.Wrap(err)
	}
	err = s.SetDeadline(time.Now().Add(requestTime))
	if err == nil {
		err = WriteMessage(s, request.Encode())
	}
	if err == nil {
		err = s.CloseWrite()
	}
	if err != nil {
		return nil, errkind.Unavailable.Wrap(errors.Join(err, s.Reset()))
	}
	return s, nil
}

// WriteMessage writes a message with its length.
func WriteMessage(w io.Writer, body []byte) error {
	_, err := w.Write(append(binary.AppendUvarint(nil, uint64(len(body))), body...))
	return err
}

// ReadMessage reads a message with its length, at most MaxMessage bytes; memory grows as they arrive.
func ReadMessage(r io.Reader) ([]byte, error) {
	in := bufio.NewReader(r)
	length, err := binary.ReadUvarint(in)
	if err != nil {
		return nil, errkind.Unavailable.Errorf("read the length of a message: %w", err)
	}
	if length > MaxMessage {
		return nil, errkind.TooLarge.Errorf("a message of %d bytes is announced; %d are allowed", length, MaxMessage)
	}
	var body bytes.Buffer
	if _, err := io.CopyN(&body, in, int64(length)); err != nil {
		return nil, errkind.Unavailable.Errorf("read a message: %w", err)
	}
	return body.Bytes(), nil
}
