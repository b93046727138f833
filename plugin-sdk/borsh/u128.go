package borsh

import (
	"cmp"
	"encoding/binary"
	"math/big"
)

// U128 is an unsigned 128-bit integer. The zero value is zero; values compare with == and [U128.Compare].
type U128 struct{ Hi, Lo uint64 }

// U128FromBytes reads 16 little-endian bytes.
func U128FromBytes(b [16]byte) U128 {
	return U128{Hi: binary.LittleEndian.Uint64(b[8:]), Lo: binary.LittleEndian.Uint64(b[:8])}
}

// Compare orders by value.
func (u U128) Compare(v U128) int {
	return cmp.Or(cmp.Compare(u.Hi, v.Hi), cmp.Compare(u.Lo, v.Lo))
}

// IsZero reports whether u is 0.
func (u U128) IsZero() bool { return u == U128{} }

// Big returns u as a new big integer.
func (u U128) Big() *big.Int {
	n := new(big.Int).SetUint64(u.Hi)
	return n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(u.Lo))
}

// String returns u in decimal.
func (u U128) String() string { return u.Big().String() }
