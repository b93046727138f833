package governance

import (
	"encoding/binary"
	"math/bits"
)

// bitset is a set of operations, by their index.
type bitset []uint64

func newBitset(n int) bitset { return make(bitset, (n+63)/64) }

func (b bitset) has(i int) bool { return b[i>>6]&(1<<(i&63)) != 0 }
func (b bitset) add(i int)      { b[i>>6] |= 1 << (i & 63) }
func (b bitset) drop(i int)     { b[i>>6] &^= 1 << (i & 63) }

func (b bitset) clone() bitset { return append(bitset(nil), b...) }

func (b bitset) union(other bitset) {
	for i, w := range other {
		b[i] |= w
	}
}

func (b bitset) intersect(other bitset) {
	for i := range b {
		b[i] &= other[i]
	}
}

func (b bitset) subtract(other bitset) {
	for i, w := range other {
		b[i] &^= w
	}
}

func (b bitset) equal(other bitset) bool {
	for i := range b {
		if b[i] != other[i] {
			return false
		}
	}
	return true
}

func (b bitset) empty() bool {
	for _, w := range b {
		if w != 0 {
			return false
		}
	}
	return true
}

// name is equal for equal sets.
func (b bitset) name() string {
	out := make([]byte, 0, 8*len(b))
	for _, w := range b {
		out = binary.LittleEndian.AppendUint64(out, w)
	}
	return string(out)
}

// all ranges over the set in ascending order, which is a causal one.
func (b bitset) all(yield func(int) bool) {
	for i, w := range b {
		for ; w != 0; w &= w - 1 {
			if !yield(i<<6 + bits.TrailingZeros64(w)) {
				return
			}
		}
	}
}
