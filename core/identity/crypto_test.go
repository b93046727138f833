package identity_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/sdktest/golden"
)

const vectors = "testdata/crypto.json"

func TestSharedKey(t *testing.T) {
	t.Parallel()
	type in struct {
		Secret golden.Hex32 `json:"secret_key"`
		Peer   golden.Hex32 `json:"peer_public_key"`
	}
	type out struct {
		Nonce      golden.Hex `json:"nonce"`
		Plaintext  golden.Hex `json:"plaintext"`
		Ciphertext golden.Hex `json:"ciphertext"`
	}
	for _, c := range golden.Group[in, out](t, vectors, "shared_key") {
		key, err := identity.NewSharedKey(domain.PrivateKey(c.In.Secret), domain.PublicKey(c.In.Peer))
		require.NoError(t, err, c.Name)
		nonce := identity.Nonce(c.Out.Nonce)
		require.Equal(t, []byte(c.Out.Ciphertext), key.Encrypt(c.Out.Plaintext, nonce), c.Name)
		plain, err := key.Decrypt(c.Out.Ciphertext, nonce)
		require.NoError(t, err, c.Name)
		require.Equal(t, []byte(c.Out.Plaintext), plain, c.Name)
	}
	type invalid struct {
		Error      string
		Ciphertext golden.Hex `json:"ciphertext_of_empty_zero_nonce"`
	}
	for _, c := range golden.Group[in, invalid](t, vectors, "shared_key_invalid") {
		key, err := identity.NewSharedKey(domain.PrivateKey(c.In.Secret), domain.PublicKey(c.In.Peer))
		if c.Out.Error != "" {
			require.EqualError(t, err, c.Out.Error, c.Name)
			continue
		}
		require.NoError(t, err, c.Name)
		require.Equal(t, []byte(c.Out.Ciphertext), key.Encrypt(nil, identity.Nonce{}), c.Name)
	}
}

func TestSenderKey(t *testing.T) {
	t.Parallel()
	type in struct {
		SenderKey  golden.Hex32 `json:"sender_key"`
		Nonce      golden.Hex   `json:"nonce"`
		Plaintext  golden.Hex   `json:"plaintext"`
		Ciphertext golden.Hex   `json:"ciphertext"`
	}
	for _, c := range golden.Group[in, struct{ Ciphertext golden.Hex }](t, vectors, "sender_key_encrypt") {
		key, err := identity.NewSenderKey(domain.PrivateKey(c.In.SenderKey))
		require.NoError(t, err)
		nonce := identity.Nonce(c.In.Nonce)
		require.Equal(t, []byte(c.Out.Ciphertext), key.Encrypt(c.In.Plaintext, nonce), c.Name)
		plain, err := key.Decrypt(c.Out.Ciphertext, nonce)
		require.NoError(t, err, c.Name)
		require.Equal(t, string(c.In.Plaintext), string(plain), c.Name)
	}
	for _, c := range golden.Group[in, struct{}](t, vectors, "sender_key_decrypt_fails") {
		key, err := identity.NewSenderKey(domain.PrivateKey(c.In.SenderKey))
		require.NoError(t, err)
		_, err = key.Decrypt(c.In.Ciphertext, identity.Nonce(c.In.Nonce))
		require.ErrorIs(t, err, identity.ErrDecrypt, c.Name)
	}
	constants := golden.Group[struct{}, struct {
		NonceLen int `json:"nonce_len"`
	}](t, vectors, "constants")
	require.Equal(t, constants[0].Out.NonceLen, identity.NonceLen)
}

func TestContextIDFromSeed(t *testing.T) {
	t.Parallel()
	type out struct {
		Secret    golden.Hex32 `json:"context_secret"`
		ContextID golden.Hex32 `json:"context_id"`
	}
	for _, c := range golden.Group[struct{ Seed golden.Hex32 }, out](t, "testdata/primitives.json", "context_id_from_seed") {
		require.Equal(t, [32]byte(c.Out.Secret), [32]byte(identity.ContextSecretFromSeed(c.In.Seed)), c.Name)
		require.Equal(t, domain.ContextID(c.Out.ContextID), identity.ContextIDFromSeed(c.In.Seed), c.Name)
	}
}

const messages = "../wire/testdata/sync.json.gz"

// TestSealedMessages are a delta as it is broadcast, and a frame of a blob that is shared.
func TestSealedMessages(t *testing.T) {
	t.Parallel()
	type in struct {
		SenderKey golden.Hex32 `json:"sender_key"`
		Secret    golden.Hex32 `json:"secret_key"`
		Peer      golden.Hex32 `json:"peer_public_key"`
		Nonce     golden.Hex
		Artifact  golden.Hex `json:"artifact_plaintext"`
		Message   golden.Hex
	}
	for _, c := range golden.Group[in, struct {
		Ciphertext golden.Hex `json:"artifact_ciphertext"`
		Message    golden.Hex
	}](t, messages, "state_delta_encrypted") {
		key, err := identity.NewSenderKey(domain.PrivateKey(c.In.SenderKey))
		require.NoError(t, err)
		require.Equal(t, []byte(c.Out.Ciphertext), key.Encrypt(c.In.Artifact, identity.Nonce(c.In.Nonce)))
		m, err := wire.DecodeBroadcast(c.Out.Message)
		require.NoError(t, err)
		delta := m.(wire.StateDelta)
		plain, err := key.Decrypt(delta.Artifact, delta.Nonce)
		require.NoError(t, err)
		require.Equal(t, []byte(c.In.Artifact), plain)
	}
	for _, c := range golden.Group[in, struct{ Encrypted golden.Hex }](t, messages, "stream_message_encrypted") {
		key, err := identity.NewSharedKey(domain.PrivateKey(c.In.Secret), domain.PublicKey(c.In.Peer))
		require.NoError(t, err)
		require.Equal(t, []byte(c.Out.Encrypted), key.Encrypt(c.In.Message, identity.Nonce(c.In.Nonce)))
		_, err = wire.DecodeStream(c.In.Message)
		require.NoError(t, err)
	}
}

func TestNoncesDiffer(t *testing.T) {
	t.Parallel()
	a, err := identity.NewNonce()
	require.NoError(t, err)
	b, err := identity.NewNonce()
	require.NoError(t, err)
	require.NotEqual(t, a, b)
}
