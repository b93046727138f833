package identity

import (
	"encoding/binary"
	"math/bits"

	"github.com/calimero-go/core/plugin-sdk/domain"
)

// ContextSecretFromSeed derives the one-off secret behind a context id from a caller's seed: the first 32 bytes of the
// reference's seeded random generator, ChaCha with 12 rounds, counter and stream zero (governance.md §1.3).
func ContextSecretFromSeed(seed [32]byte) domain.PrivateKey {
	return domain.PrivateKey(chacha12(seed))
}

// ContextIDFromSeed derives the context id that a seed stands for.
func ContextIDFromSeed(seed [32]byte) domain.ContextID {
	return domain.ContextID(ContextSecretFromSeed(seed).Public())
}

// chacha12 returns the first half of the first keystream block, counter and nonce zero.
func chacha12(key [32]byte) (out [32]byte) {
	initial := [16]uint32{0x61707865, 0x3320646e, 0x79622d32, 0x6b206574} // "expand 32-byte k"
	for i := range 8 {
		initial[4+i] = binary.LittleEndian.Uint32(key[4*i:])
	}
	state := initial
	quarter := func(a, b, c, d int) {
		s := &state
		s[a] += s[b]
		s[d] = bits.RotateLeft32(s[d]^s[a], 16)
		s[c] += s[d]
		s[b] = bits.RotateLeft32(s[b]^s[c], 12)
		s[a] += s[b]
		s[d] = bits.RotateLeft32(s[d]^s[a], 8)
		s[c] += s[d]
		s[b] = bits.RotateLeft32(s[b]^s[c], 7)
	}
	for range 6 { // two rounds each
		for i := range 4 {
			quarter(i, i+4, i+8, i+12)
		}
		for i := range 4 {
			quarter(i, (i+1)%4+4, (i+2)%4+8, (i+3)%4+12)
		}
	}
	for i := range 8 {
		binary.LittleEndian.PutUint32(out[4*i:], state[i]+initial[i])
	}
	return out
}
