// Package golden reads golden vectors: JSON files of groups of named cases, each an input and the output the reference
// gave for it. Byte strings are lower-case hex; integers over 2^53 are decimal strings.
package golden

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Case is one vector.
type Case[In, Out any] struct {
	Name string `json:"name"`
	In   In     `json:"in"`
	Out  Out    `json:"out"`
}

// Group reads the cases of a group. The test fails when the file or the group is missing or has no case. A file whose
// name ends in .gz is compressed.
func Group[In, Out any](t testing.TB, file, group string) []Case[In, Out] {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	if strings.HasSuffix(file, ".gz") {
		in, err := gzip.NewReader(bytes.NewReader(raw))
		require.NoError(t, err, file)
		raw, err = io.ReadAll(in)
		require.NoError(t, err, file)
	}
	var all struct {
		Groups map[string]json.RawMessage `json:"groups"`
	}
	require.NoError(t, json.Unmarshal(raw, &all), file)
	require.Contains(t, all.Groups, group, file)
	var cases []Case[In, Out]
	require.NoError(t, json.Unmarshal(all.Groups[group], &cases), "%s: %s", file, group)
	require.NotEmpty(t, cases, "%s: %s", file, group)
	return cases
}

// Hex is a byte string; null is nil and "" is empty.
type Hex []byte

// UnmarshalJSON reads a hex string or null.
func (h *Hex) UnmarshalJSON(data []byte) error {
	if bytes.Equal(data, []byte("null")) {
		*h = nil
		return nil
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	raw, err := hex.DecodeString(text)
	*h = append(Hex{}, raw...)
	return err
}

// Hex32 is a string of 32 bytes.
type Hex32 [32]byte

// UnmarshalText reads 64 hex digits.
func (h *Hex32) UnmarshalText(text []byte) error {
	raw, err := hex.DecodeString(string(text))
	if err == nil && len(raw) != len(h) {
		err = fmt.Errorf("%d bytes instead of %d", len(raw), len(h))
	}
	copy(h[:], raw)
	return err
}

// Uint is an unsigned integer given as a number or as a decimal string.
type Uint uint64

// UnmarshalJSON reads a number or a string.
func (u *Uint) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(bytes.Trim(data, `"`), (*uint64)(u))
}

// Big is an integer of any size given as a number or as a decimal string.
type Big struct{ big.Int }

// UnmarshalJSON reads a number or a string.
func (b *Big) UnmarshalJSON(data []byte) error { return b.Int.UnmarshalJSON(bytes.Trim(data, `"`)) }
