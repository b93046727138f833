package config

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"strings"

	"github.com/mr-tron/base58"

	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Identity is the node's: the libp2p key its peer id comes from, and the key it signs group operations with.
type Identity struct {
	PeerID     string
	Peer       domain.PrivateKey
	Group      domain.PrivateKey
	GroupGiven bool // a config.toml may lack the group key; Group is zero then
}

// NewIdentity draws both keys.
func NewIdentity() (*Identity, error) {
	peer, err := domain.NewPrivateKey()
	if err != nil {
		return nil, fmt.Errorf("draw the node's key: %w", err)
	}
	group, err := domain.NewPrivateKey()
	if err != nil {
		return nil, fmt.Errorf("draw the group key: %w", err)
	}
	return &Identity{PeerID: peerID(peer), Peer: peer, Group: group, GroupGiven: true}, nil
}

type idKeys struct {
	PeerID  string `toml:"peer_id"`
	Keypair string `toml:"keypair"`
	Group   *struct {
		PublicKey string `toml:"public_key"`
		SecretKey string `toml:"secret_key"`
	} `toml:"group"`
}

// libp2p's protobuf forms of ed25519 keys: field 1 = type 1, field 2 = bytes.
var (
	privatePrefix = []byte{0x08, 0x01, 0x12, 0x40}
	publicPrefix  = []byte{0x08, 0x01, 0x12, 0x20}
	// A peer id is the public key's protobuf in an identity multihash.
	peerIDPrefix = []byte{0x00, 0x24}
)

const groupKeyPrefix = "ed25519:"

// decode checks and decodes; key is the one at fault.
func (k *idKeys) decode() (id *Identity, key string, err error) {
	raw, err := base58.Decode(k.Keypair)
	if err != nil || len(raw) != len(privatePrefix)+ed25519.PrivateKeySize || !bytes.HasPrefix(raw, privatePrefix) {
		return nil, "keypair", fmt.Errorf("it must be the base58 of a libp2p ed25519 private key")
	}
	id = &Identity{}
	copy(id.Peer[:], raw[len(privatePrefix):])
	public := id.Peer.Public()
	if !bytes.Equal(public[:], raw[len(privatePrefix)+ed25519.SeedSize:]) {
		return nil, "keypair", fmt.Errorf("its public half does not belong to its private half")
	}
	if id.PeerID = peerID(id.Peer); id.PeerID != k.PeerID {
		return nil, "peer_id", fmt.Errorf("peer ID does not match public key: the keypair's is %s", id.PeerID)
	}
	if k.Group == nil {
		return id, "", nil
	}
	if err := decodeGroupKey(k.Group.SecretKey, id.Group[:]); err != nil {
		return nil, "group.secret_key", err
	}
	var groupPublic domain.PublicKey
	if err := decodeGroupKey(k.Group.PublicKey, groupPublic[:]); err != nil {
		return nil, "group.public_key", err
	}
	if groupPublic != id.Group.Public() {
		return nil, "group.public_key", fmt.Errorf("it does not belong to the secret key")
	}
	id.GroupGiven = true
	return id, "", nil
}

func decodeGroupKey(text string, to []byte) error {
	raw, err := base58.Decode(strings.TrimPrefix(text, groupKeyPrefix))
	if !strings.HasPrefix(text, groupKeyPrefix) || err != nil || len(raw) != len(to) {
		return fmt.Errorf("it must be %s<base58 of %d bytes>", groupKeyPrefix, len(to))
	}
	copy(to, raw)
	return nil
}

func peerID(key domain.PrivateKey) string {
	public := key.Public()
	return base58.Encode(bytes.Join([][]byte{peerIDPrefix, publicPrefix, public[:]}, nil))
}

func (id *Identity) table() map[string]any {
	public, group := id.Peer.Public(), id.Group.Public()
	return map[string]any{
		"peer_id": id.PeerID,
		"keypair": base58.Encode(bytes.Join([][]byte{privatePrefix, id.Peer[:], public[:]}, nil)),
		"group": map[string]any{
			"public_key": groupKeyPrefix + base58.Encode(group[:]),
			"secret_key": groupKeyPrefix + base58.Encode(id.Group[:]),
		},
	}
}
