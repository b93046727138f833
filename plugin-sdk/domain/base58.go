package domain

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/mr-tron/base58"
)

// Texts of the reference for an identifier that does not parse (http-api.md §0).
var (
	ErrInvalidBase58     = errors.New("invalid base58")
	ErrInvalidHashLength = errors.New("invalid hash length")
)

// errBase58TooLong is the JSON reading's text for more than 32 bytes.
var errBase58TooLong = errors.New("buffer provided to decode base58 encoded string into was too small")

const base58Alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

// base58Digits maps an ASCII character to its digit, 0xff when it has none.
var base58Digits = func() (table [128]byte) {
	for i := range table {
		table[i] = 0xff
	}
	for digit, char := range []byte(base58Alphabet) {
		table[char] = byte(digit)
	}
	return table
}()

func encodeBase58(b []byte) string { return base58.Encode(b) }

// decodeBase58 decodes text into a 32-byte buffer and reports how many bytes it stands for. It stops at the first
// fault, so the work is bounded by 32 steps a character whatever the text's length; the texts of its errors are what a
// JSON reader reports.
func decodeBase58(text string) (out [32]byte, n int, err error) {
	for i, char := range []byte(text) {
		if char >= utf8.RuneSelf {
			return out, 0, fmt.Errorf("provided string contained non-ascii character starting at byte %d", i)
		}
		digit := base58Digits[char]
		if digit == 0xff {
			return out, 0, fmt.Errorf("provided string contained invalid character %s at byte %d", rustChar(char), i)
		}
		carry := uint32(digit)
		for j := range n { // out is little-endian while decoding
			carry += uint32(out[j]) * 58
			out[j] = byte(carry)
			carry >>= 8
		}
		for ; carry > 0; carry >>= 8 {
			if n == len(out) {
				return out, 0, errBase58TooLong
			}
			out[n] = byte(carry)
			n++
		}
	}
	for i := 0; i < len(text) && text[i] == base58Alphabet[0]; i++ { // each leading 1 is a leading zero byte
		if n == len(out) {
			return out, 0, errBase58TooLong
		}
		n++
	}
	for i, j := 0, n-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out, n, nil
}

// rustChar prints an ASCII character as the reference's error text quotes it.
func rustChar(char byte) string {
	switch char {
	case 0:
		return `'\0'`
	case '\t':
		return `'\t'`
	case '\n':
		return `'\n'`
	case '\r':
		return `'\r'`
	case '\'':
		return `'\''`
	case '\\':
		return `'\\'`
	}
	if char < ' ' || char == 0x7f {
		return fmt.Sprintf(`'\u{%x}'`, char)
	}
	return "'" + string(rune(char)) + "'"
}

// parseID reads the text form of a 32-byte identifier as paths, flags and configuration give it.
func parseID(text string) ([32]byte, error) {
	out, n, err := decodeBase58(text)
	if err != nil {
		return [32]byte{}, ErrInvalidBase58
	}
	if n != len(out) {
		return [32]byte{}, ErrInvalidHashLength
	}
	return out, nil
}

// parseIDJSON reads the JSON form of a 32-byte identifier. Its error texts differ from parseID's, as the reference's do
// (governance.md §1.1).
func parseIDJSON(data []byte) ([32]byte, error) {
	text, err := jsonString(data, "a base58 encoded hash")
	if err != nil {
		return [32]byte{}, err
	}
	out, n, err := decodeBase58(text)
	if err != nil {
		return [32]byte{}, err
	}
	if n != len(out) {
		return [32]byte{}, fmt.Errorf("invalid length %d, expected a base58 encoded hash", len(text))
	}
	return out, nil
}
