package rendezvous

import (
	"bytes"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/record"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// The Rust implementation signs peer records in its own domain and under its own type, not those of the standard
// (network-apps.md §1.6). Records of either kind are read; ours are of this one.
const rustDomain = "libp2p-routing-state"

var rustType = []byte("/libp2p/routing-state-record")

// rustRecord is the standard's record in that domain.
type rustRecord struct{ *peer.PeerRecord }

func (rustRecord) Domain() string { return rustDomain }

func (rustRecord) Codec() []byte { return rustType }

// SealRecord makes the signed record of a peer: its id and the addresses others shall dial, without /p2p.
func SealRecord(key crypto.PrivKey, info peer.AddrInfo) ([]byte, error) {
	r := peer.PeerRecordFromAddrInfo(info)
	e, err := record.Seal(rustRecord{r}, key)
	if err != nil {
		return nil, errkind.Internal.Errorf("sign the peer record: %w", err)
	}
	return e.Marshal()
}

// OpenRecord checks a signed record: the signature is by the key of the peer that it names. The error is of kind Corrupt.
func OpenRecord(b []byte) (peer.AddrInfo, error) {
	var info peer.AddrInfo
	e, err := record.UnmarshalEnvelope(b)
	if err != nil {
		return info, errkind.Corrupt.Errorf("read the envelope of a peer record: %w", err)
	}
	r := &peer.PeerRecord{}
	var into record.Record = r
	if bytes.Equal(e.PayloadType, rustType) {
		into = rustRecord{r}
	}
	if e, err = record.ConsumeTypedEnvelope(b, into); err != nil {
		return info, errkind.Corrupt.Errorf("open a peer record: %w", err)
	}
	signer, err := peer.IDFromPublicKey(e.PublicKey)
	if err != nil {
		return info, errkind.Corrupt.Errorf("the signer of a peer record: %w", err)
	}
	if signer != r.PeerID {
		return info, errkind.Corrupt.Errorf("a peer record of %s is signed by %s", r.PeerID, signer)
	}
	return peer.AddrInfo{ID: r.PeerID, Addrs: r.Addrs}, nil
}
