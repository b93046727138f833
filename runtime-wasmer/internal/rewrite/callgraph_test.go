package rewrite_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/runtime-wasmer/internal/engine"
	"github.com/calimero-go/core/runtime-wasmer/internal/rewrite"
)

// thunks counts the functions that Rewrite added.
func thunks(t *testing.T, wat string) int {
	t.Helper()
	wasm, err := engine.TextToBinary([]byte(wat))
	require.NoError(t, err)
	m, err := rewrite.Parse(wasm)
	require.NoError(t, err)
	out, err := m.Rewrite(16)
	require.NoError(t, err)
	require.NoError(t, engine.Validate(out))
	again, err := rewrite.Parse(bytes.ReplaceAll(out, []byte(rewrite.ReservedPrefix), []byte("calimero:other:")))
	require.NoError(t, err)
	return again.Functions() - m.Functions()
}

func TestOnlyRecursionIsGuarded(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("(drop (i64.const 1)) ", 30_000) // its frame may take 720 KB
	for name, c := range map[string]struct {
		wat  string
		want int
	}{
		"chain":         {`(func $a (call $b)) (func $b (call $c)) (func $c)`, 0},
		"self":          {`(func $a (call $a)) (func $b (call $a))`, 1},
		"cycle":         {`(func $a (call $b)) (func $b (call $c)) (func $c (call $a)) (func $d (call $a)) (func $e)`, 3},
		"table":         {`(type $t (func)) (table 2 funcref) (elem (i32.const 0) $a $b) (func $a (call_indirect (type $t) (i32.const 1))) (func $b) (func $c (call_indirect (type $t) (i32.const 0)))`, 1},
		"over a table":  {`(type $t (func)) (table 2 funcref) (elem (i32.const 0) $a) (func $a (call $b)) (func $b (call_indirect (type $t) (i32.const 0)))`, 2},
		"reference":     {`(type $t (func)) (table 2 funcref) (elem declare func $a) (func $a (call_indirect (type $t) (i32.const 0))) (func $b (table.set (i32.const 0) (ref.func $a)))`, 1},
		"deep chain":    {fmt.Sprintf(`(func $a (call $b) %[1]s) (func $b (call $c) %[1]s) (func $c (call $d) %[1]s) (func $d (call $e) %[1]s) (func $e %[1]s)`, big), 3},
		"beyond cycles": {fmt.Sprintf(`(func $a (call $r) %[1]s) (func $r (call $r) (call $b)) (func $b (call $s) %[1]s) (func $s (call $s) (call $c)) (func $c (call $d) %[1]s) (func $d %[1]s)`, big), 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, thunks(t, `(module (memory (export "memory") 1) `+c.wat+`)`))
		})
	}
}
