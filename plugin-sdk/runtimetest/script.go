package runtimetest

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/guestabi"
)

//go:embed testdata/script.wasm
var script []byte

// ScriptModule returns a module whose method `run` makes the host calls of a script: every function of JavaScript apps
// (guest-abi.md §1.8), and those of [ScriptFunctions]. Its `init` writes an empty document. testdata/script.wat says how.
func ScriptModule() (wasm []byte, id domain.Hash) { return bytes.Clone(script), sha256.Sum256(script) }

// ScriptFunctions are the functions a script may call, in the order of the module's table.
func ScriptFunctions() []string {
	var names []string
	for _, f := range guestabi.Imports() {
		if len(f.Name) > 3 && f.Name[:3] == "js_" {
			names = append(names, f.Name)
		}
	}
	return append(names, "persist_root_state", "read_root_state", "flush_delta", "apply_storage_delta", "storage_read", "storage_write")
}

// HostCall is one call of a script. Args are numbers (int, uint64), buffers ([]byte, string) and slots.
type HostCall struct {
	Function string
	Args     []any
	// Save puts the first 32 bytes of register 0 into a slot afterwards.
	Save *Slot
}

// Slot is one of 16 places for an id.
type Slot uint8

// Do makes a call of a script.
func Do(function string, args ...any) HostCall { return HostCall{Function: function, Args: args} }

// To makes the call put its result, an id, into a slot.
func (c HostCall) To(s Slot) HostCall {
	c.Save = &s
	return c
}

// HostResult is what a call of a script gave.
type HostResult struct {
	Status int32
	// Register is register 0; nil when it was never set.
	Register []byte
}

// EncodeScript returns the input of `run`: a JSON string.
func EncodeScript(tb testing.TB, calls ...HostCall) []byte {
	tb.Helper()
	var out []byte
	functions := ScriptFunctions()
	for _, c := range calls {
		i := slices.Index(functions, c.Function)
		require.GreaterOrEqual(tb, i, 0, c.Function)
		slot := byte(255)
		if c.Save != nil {
			slot = byte(*c.Save)
		}
		out = append(out, byte(i), slot, byte(len(c.Args)))
		for _, a := range c.Args {
			out = appendArgument(tb, out, a)
		}
	}
	return fmt.Appendf(nil, "%q", hex.EncodeToString(out))
}

func appendArgument(tb testing.TB, out []byte, a any) []byte {
	tb.Helper()
	buffer := func(n int) []byte { return binary.LittleEndian.AppendUint32(append(out, 1), uint32(n)) }
	switch a := a.(type) {
	case int:
		return binary.LittleEndian.AppendUint64(append(out, 0), uint64(a))
	case uint64:
		return binary.LittleEndian.AppendUint64(append(out, 0), a)
	case []byte:
		return append(buffer(len(a)), a...)
	case string:
		return append(buffer(len(a)), a...)
	case Slot:
		return append(out, 2, byte(a))
	}
	require.FailNow(tb, "argument of a script", "%T", a)
	return nil
}

// DecodeScript reads the value of `run`.
func DecodeScript(tb testing.TB, value []byte) []HostResult {
	tb.Helper()
	var text string
	require.NoError(tb, json.Unmarshal(value, &text))
	in, err := hex.DecodeString(text)
	require.NoError(tb, err)
	var out []HostResult
	for len(in) > 0 {
		r := HostResult{Status: int32(binary.LittleEndian.Uint32(in))}
		n := binary.LittleEndian.Uint32(in[4:])
		in = in[8:]
		if n != 1<<32-1 {
			r.Register, in = in[:n:n], in[n:]
		}
		out = append(out, r)
	}
	return out
}
