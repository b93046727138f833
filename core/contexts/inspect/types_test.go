package inspect_test

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/contexts/inspect"
)

func TestTypes(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("ab", 32)
	for _, test := range []struct{ name, hex, shown, json string }{
		{"u8", "07", "u8", `7`},
		{"i16", "feff", "i16", `-2`},
		{"u32", "01000000", "u32", `1`},
		{"i64", "ffffffffffffffff", "i64", `-1`},
		{"u64", "ffffffffffffffff", "u64", `18446744073709551615`},
		{"u128", strings.Repeat("ff", 16), "u128", `340282366920938463463374607431768211455`},
		{"i128", strings.Repeat("ff", 16), "i128", `-1`},
		{"bool", "01", "bool", `true`},
		{"char", "80f60100", "char", `"🚀"`},
		{"f64", "000000000000f03f", "f64", `1`},
		{"f32", "0000807f", "f32", `"+Inf"`},
		{"()", "", "()", `null`},
		{"alloc::string::String", "02000000c3a9", "String", `"é"`},
		{"alloc::vec::Vec<u8>", "020000006869", "Vec<u8>", `"hi"`},
		{"alloc::vec::Vec<u8>", "0200000000ff", "Vec<u8>", `"0x00ff"`},
		{"alloc::vec::Vec<u16>", "0200000001000200", "Vec<u16>", `[1,2]`},
		{"[u8; 4]", "01020304", "[u8; 4]", `"0x01020304"`},
		{"[u16; 2]", "01000200", "[u16; 2]", `[1,2]`},
		{"core::option::Option<u8>", "00", "Option<u8>", `null`},
		{"core::option::Option<u8>", "0105", "Option<u8>", `5`},
		{"(u8, alloc::string::String)", "050100000061", "(u8, String)", `[5,"a"]`},
		{"alloc::collections::btree::map::BTreeMap<alloc::string::String, u8>", "01000000010000006109", "BTreeMap<String, u8>", `[["a",9]]`},
		{"calimero_primitives::identity::PublicKey", strings.Repeat("00", 32), "PublicKey", `"11111111111111111111111111111111"`},
		{"calimero_storage::collections::unordered_set::UnorderedSet<u8, calimero_storage::store::MainStorage>", id, "UnorderedSet<u8>",
			`{"kind":"UnorderedSet<u8>","id":"` + id + `"}`},
		{"calimero_storage::collections::counter::Counter<true, S>", id + id, "PNCounter",
			`{"kind":"PNCounter","id":"` + id + `","more":["` + id + `"]}`},
		{"calimero_storage::collections::counter::Counter", id, "Counter", `{"kind":"Counter","id":"` + id + `"}`},
		{"calimero_storage::collections::frozen_value::FrozenValue<u8>", "03", "FrozenValue<u8>", `3`},
		{"LwwRegister<u8>", "05" + "0000000001000000" + "01" + strings.Repeat("00", 15) + strings.Repeat("00", 32), "LwwRegister<u8>",
			`{"value":5,"time":"1970-01-01T00:00:01.000000000Z","writer":"11111111111111111111111111111111"}`},
	} {
		raw, err := hex.DecodeString(test.hex)
		require.NoError(t, err)
		value, shown, err := inspect.DecodeType(test.name, raw)
		require.NoError(t, err, test.name)
		require.Equal(t, test.shown, shown)
		have, err := json.Marshal(value)
		require.NoError(t, err)
		require.JSONEq(t, test.json, string(have), test.name)
		_, _, err = inspect.DecodeType(test.name, append(raw, 0))
		require.Error(t, err, "%s: a byte too many", test.name)
	}
	for _, name := range []string{
		"", "my_app::Thing", "Vec<my_app::Thing>", "Vec", "Vec<", "Vec<u8", "Option<>", "(u8", "[u8; x]", "[u8; 99999999]", "a b", "<<>>", ")",
		strings.Repeat("Vec<", 100) + "u8" + strings.Repeat(">", 100),
	} {
		_, _, err := inspect.DecodeType(name, []byte{1, 0, 0, 0, 1})
		require.Error(t, err, name)
	}
	_, _, err := inspect.DecodeType("Vec<()>", []byte{0xff, 0xff, 0xff, 0xff})
	require.Error(t, err, "a count that the bytes cannot hold")
	_, _, err = inspect.DecodeType("[[(); 65535]; 65535]", nil)
	require.ErrorContains(t, err, "parts", "a type without bytes")
}

// FuzzTypes reads arbitrary type names and values.
func FuzzTypes(f *testing.F) {
	f.Add("Vec<(u8, Option<BTreeMap<String, [u16; 3]>>)>", []byte{1, 0, 0, 0, 1})
	f.Add("calimero_storage::collections::unordered_map::UnorderedMap<alloc::string::String, u64>", make([]byte, 32))
	f.Fuzz(func(t *testing.T, name string, in []byte) {
		value, _, err := inspect.DecodeType(name, in)
		if err == nil {
			_, err = json.Marshal(value)
			require.NoError(t, err)
		}
	})
}
