package rendezvous_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/record"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/calimero-go/core/core/network/rendezvous"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// messages are one of each type, with bytes written by hand from the protocol's .proto.
var messages = map[string]struct {
	message rendezvous.Message
	hex     string
}{
	"register": {rendezvous.Message{Type: rendezvous.TypeRegister,
		Register: rendezvous.Register{Namespace: "ns", Record: []byte{1, 2}, TTL: 7200}},
		"0800" + "120b" + "0a026e73" + "12020102" + "18a038"},
	"register response": {rendezvous.Message{Type: rendezvous.TypeRegisterResponse,
		RegisterResponse: rendezvous.RegisterResponse{Status: 102, Text: "no", TTL: 1}},
		"0801" + "1a08" + "0866" + "12026e6f" + "1801"},
	"unregister": {rendezvous.Message{Type: rendezvous.TypeUnregister, Unregister: rendezvous.Unregister{Namespace: "ns"}},
		"0802" + "2204" + "0a026e73"},
	"discover": {rendezvous.Message{Type: rendezvous.TypeDiscover,
		Discover: rendezvous.Discover{Namespace: "ns", Limit: 5, Cookie: []byte{9}}},
		"0803" + "2a09" + "0a026e73" + "1005" + "1a0109"},
	"discover response": {rendezvous.Message{Type: rendezvous.TypeDiscoverResponse,
		DiscoverResponse: rendezvous.DiscoverResponse{
			Registrations: []rendezvous.Register{{Namespace: "a", Record: []byte{1}}, {Namespace: "b", TTL: 3}},
			Cookie:        []byte{8},
		}},
		"0804" + "3214" + "0a06" + "0a0161" + "120101" + "0a05" + "0a0162" + "1803" + "120108" + "1800"},
}

func TestMessages_AreThoseOfTheProtocol(t *testing.T) {
	t.Parallel()
	for name, test := range messages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.hex, hex.EncodeToString(test.message.Encode()))
			b, err := hex.DecodeString(test.hex)
			require.NoError(t, err)
			m, err := rendezvous.Decode(b)
			require.NoError(t, err)
			require.Equal(t, test.message, *m)
			// Fields of later versions do not disturb.
			m, err = rendezvous.Decode(append(b, 0x78, 1, 0x82, 1, 1, 0xff))
			require.NoError(t, err)
			require.Equal(t, test.message, *m)
		})
	}
}

func TestMessages_RoundTrip(t *testing.T) {
	t.Parallel()
	register := rapid.Custom(func(t *rapid.T) rendezvous.Register {
		return rendezvous.Register{
			Namespace: rapid.StringN(0, 60, 255).Draw(t, "ns"),
			Record:    orNil(rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "record")),
			TTL:       rapid.Uint64().Draw(t, "ttl"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		var m rendezvous.Message
		switch m.Type = rendezvous.Type(rapid.IntRange(0, 4).Draw(t, "type")); m.Type {
		case rendezvous.TypeRegister:
			m.Register = register.Draw(t, "register")
		case rendezvous.TypeRegisterResponse:
			m.RegisterResponse = rendezvous.RegisterResponse{Status: rendezvous.Status(rapid.Uint64().Draw(t, "status")),
				Text: rapid.StringN(0, 60, 255).Draw(t, "text"), TTL: rapid.Uint64().Draw(t, "ttl")}
		case rendezvous.TypeUnregister:
			m.Unregister.Namespace = rapid.StringN(0, 60, 255).Draw(t, "ns")
		case rendezvous.TypeDiscover:
			m.Discover = rendezvous.Discover{Namespace: rapid.StringN(0, 60, 255).Draw(t, "ns"),
				Limit: rapid.Uint64().Draw(t, "limit"), Cookie: orNil(rapid.SliceOfN(rapid.Byte(), 0, 99).Draw(t, "cookie"))}
		case rendezvous.TypeDiscoverResponse:
			m.DiscoverResponse = rendezvous.DiscoverResponse{
				Cookie: orNil(rapid.SliceOfN(rapid.Byte(), 0, 99).Draw(t, "cookie")),
				Text:   rapid.StringN(0, 60, 255).Draw(t, "text"), Status: rendezvous.Status(rapid.Uint64().Draw(t, "status"))}
			if all := rapid.SliceOfN(register, 0, 9).Draw(t, "registrations"); len(all) > 0 {
				m.DiscoverResponse.Registrations = all
			}
		}
		got, err := rendezvous.Decode(m.Encode())
		require.NoError(t, err)
		require.Equal(t, m, *got)
	})
}

func orNil(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

func TestDecode_Refuses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("n", 256)
	many := rendezvous.Message{Type: rendezvous.TypeDiscoverResponse}
	many.DiscoverResponse.Registrations = make([]rendezvous.Register, 1001)
	for name, test := range map[string]struct {
		bytes []byte
		kind  errkind.Kind
	}{
		"nothing":              {nil, errkind.Corrupt},
		"no part":              {[]byte{8, 0}, errkind.Corrupt},
		"part of another type": {[]byte{8, 0, 0x2a, 0}, errkind.Corrupt},
		"no type":              {[]byte{0x12, 0}, errkind.Corrupt},
		"unknown type":         {[]byte{8, 9, 0x12, 0}, errkind.Corrupt},
		"part twice":           {[]byte{8, 0, 0x12, 0, 0x12, 0}, errkind.Corrupt},
		"part as a number":     {[]byte{8, 0, 0x10, 1}, errkind.Corrupt},
		"cut off":              {[]byte{8, 0, 0x12, 9, 1}, errkind.Corrupt},
		"text not UTF-8":       {[]byte{8, 2, 0x22, 3, 0x0a, 1, 0xff}, errkind.Corrupt},
		"a group":              {[]byte{8, 0, 0x12, 0, 0x7b, 0x7c}, errkind.Corrupt},
		"long namespace": {(&rendezvous.Message{Type: rendezvous.TypeUnregister,
			Unregister: rendezvous.Unregister{Namespace: long}}).Encode(), errkind.TooLarge},
		"long cookie": {(&rendezvous.Message{Type: rendezvous.TypeDiscover,
			Discover: rendezvous.Discover{Cookie: make([]byte, 1025)}}).Encode(), errkind.TooLarge},
		"long record": {(&rendezvous.Message{Type: rendezvous.TypeRegister,
			Register: rendezvous.Register{Record: make([]byte, 64<<10+1)}}).Encode(), errkind.TooLarge},
		"many registrations": {many.Encode(), errkind.TooLarge},
		"long message":       {make([]byte, rendezvous.MaxMessage+1), errkind.TooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := rendezvous.Decode(test.bytes)
			require.ErrorIs(t, err, test.kind)
		})
	}
}

func TestReadMessage_IsBounded(t *testing.T) {
	t.Parallel()
	_, err := rendezvous.ReadMessage(bytes.NewReader([]byte{0x81, 0x80, 0x40})) // 1 MiB + 1
	require.ErrorIs(t, err, errkind.TooLarge)
	_, err = rendezvous.ReadMessage(bytes.NewReader([]byte{0x80, 0x80, 0x40, 1}))
	require.ErrorIs(t, err, errkind.Unavailable)
	_, err = rendezvous.ReadMessage(bytes.NewReader(bytes.Repeat([]byte{0xff}, 11)))
	require.Error(t, err)
	var b bytes.Buffer
	require.NoError(t, rendezvous.WriteMessage(&b, make([]byte, 300)))
	body, err := rendezvous.ReadMessage(&b)
	require.NoError(t, err)
	require.Len(t, body, 300)
}

func newKey(t testing.TB) (crypto.PrivKey, peer.ID) {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	require.NoError(t, err)
	id, err := peer.IDFromPrivateKey(key)
	require.NoError(t, err)
	return key, id
}

func TestRecords(t *testing.T) {
	t.Parallel()
	key, id := newKey(t)
	other, _ := newKey(t)
	info := peer.AddrInfo{ID: id, Addrs: []ma.Multiaddr{ma.StringCast("/ip4/10.0.0.1/tcp/2428")}}
	sealed, err := rendezvous.SealRecord(key, info)
	require.NoError(t, err)
	require.Contains(t, string(sealed), "/libp2p/routing-state-record", "the type that the Rust implementation knows")

	got, err := rendezvous.OpenRecord(sealed)
	require.NoError(t, err)
	require.Equal(t, info, got)

	standard, err := record.Seal(peer.PeerRecordFromAddrInfo(info), key)
	require.NoError(t, err)
	b, err := standard.Marshal()
	require.NoError(t, err)
	got, err = rendezvous.OpenRecord(b)
	require.NoError(t, err, "the standard's form")
	require.Equal(t, info, got)

	forged, err := rendezvous.SealRecord(other, info)
	require.NoError(t, err)
	_, err = rendezvous.OpenRecord(forged)
	require.ErrorIs(t, err, errkind.Corrupt)
	require.ErrorContains(t, err, "is signed by")

	for i := range sealed {
		broken := bytes.Clone(sealed)
		broken[i] ^= 1
		if got, err := rendezvous.OpenRecord(broken); err == nil {
			require.Equal(t, info, got, "byte %d is no part of what is signed", i)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range messages {
		f.Add(m.message.Encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := rendezvous.Decode(b)
		if err != nil {
			return
		}
		again, err := rendezvous.Decode(m.Encode())
		require.NoError(t, err)
		// What does not belong to the type is not encoded.
		require.Equal(t, again.Encode(), m.Encode())
	})
}

func FuzzOpenRecord(f *testing.F) {
	key, id := newKey(f)
	sealed, err := rendezvous.SealRecord(key, peer.AddrInfo{ID: id, Addrs: []ma.Multiaddr{ma.StringCast("/ip4/1.2.3.4/tcp/1")}})
	require.NoError(f, err)
	f.Add(sealed)
	f.Fuzz(func(t *testing.T, b []byte) {
		if info, err := rendezvous.OpenRecord(b); err == nil {
			require.NoError(t, info.ID.Validate())
		}
	})
}

func FuzzReadMessage(f *testing.F) {
	f.Add([]byte{2, 8, 0})
	f.Add([]byte{0xff, 0xff, 0x3f})
	f.Fuzz(func(t *testing.T, b []byte) {
		if body, err := rendezvous.ReadMessage(bytes.NewReader(b)); err == nil {
			require.LessOrEqual(t, len(body), len(b))
		}
	})
}
