// Package borsh reads and writes borsh (https://borsh.io), the binary form of everything the node stores, signs and
// sends. It uses no reflection: a type writes itself with an [Encoder] and reads itself with a [Decoder].
//
// Layout: integers are little-endian; a byte string, string or vector is a u32 count and its items; an option is 0, or
// 1 and the value; an enum is a u8 tag and its fields; structs and fixed arrays are their parts without any framing;
// a map is a u32 count and its pairs in ascending key order.
//
// Reading is strict: bytes left over, a bool or option tag that is not 0 or 1, an unknown enum tag, text that is not
// UTF-8, NaN, and map keys out of order are errors. A count that the rest of the input cannot hold fails before anything
// is allocated, so memory stays proportional to the input whatever it claims.
package borsh

// Marshaler is a type that writes itself.
type Marshaler interface {
	EncodeBorsh(e *Encoder)
}

// Unmarshaler is a type that reads itself. After an error the value is unspecified.
type Unmarshaler interface {
	DecodeBorsh(d *Decoder)
}

// Marshal returns the bytes of v.
func Marshal(v Marshaler) ([]byte, error) {
	e := NewEncoder(nil)
	v.EncodeBorsh(e)
	return e.Finish()
}

// Unmarshal reads v from all of in; bytes left over are an error. The value never refers to in afterwards unless its
// DecodeBorsh says so.
func Unmarshal(in []byte, v Unmarshaler) error {
	d := NewDecoder(in)
	v.DecodeBorsh(d)
	return d.Finish()
}
