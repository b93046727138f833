package jsonvalue_test

import (
	"encoding/json"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/calimero-go/core/core/api/jsonvalue"
)

type vector struct {
	Name string
	In   struct{ JSON string }
	Out  struct{ JSON, Error string }
}

func vectors(t testing.TB) []vector {
	t.Helper()
	raw, err := os.ReadFile("testdata/http.json")
	require.NoError(t, err)
	var file struct{ Groups map[string][]vector }
	require.NoError(t, json.Unmarshal(raw, &file))
	all := file.Groups["json_value_roundtrip"]
	require.Len(t, all, 39)
	return all
}

func TestNormaliseGolden(t *testing.T) {
	t.Parallel()
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			out, err := jsonvalue.Normalise([]byte(v.In.JSON))
			if v.Out.Error != "" {
				require.EqualError(t, err, v.Out.Error)
				return
			}
			require.NoError(t, err)
			require.Equal(t, v.Out.JSON, string(out))
		})
	}
}

func TestSyntaxErrors(t *testing.T) {
	t.Parallel()
	for src, want := range map[string]string{
		"{":            "EOF while parsing an object at line 1 column 1",
		"[":            "EOF while parsing a list at line 1 column 1",
		"[1,":          "EOF while parsing a value at line 1 column 3",
		"[1 2]":        "expected `,` or `]` at line 1 column 4",
		"{\"a\" 1}":    "expected `:` at line 1 column 6",
		"{\"a\":1,}":   "trailing comma at line 1 column 8",
		"{\"a\":1 \"b": "expected `,` or `}` at line 1 column 8",
		"{1:2}":        "key must be a string at line 1 column 2",
		"tru":          "EOF while parsing a value at line 1 column 3",
		"trux":         "expected ident at line 1 column 4",
		"\n\n -":       "EOF while parsing a value at line 3 column 2",
		"-x":           "invalid number at line 1 column 2",
		"1.":           "EOF while parsing a value at line 1 column 2",
		"1.x":          "invalid number at line 1 column 3",
		"1e+":          "EOF while parsing a value at line 1 column 3",
		"\"abc":        "EOF while parsing a string at line 1 column 4",
		"\"\\q\"":      "invalid escape at line 1 column 3",
		"\"\\u12":      "EOF while parsing a string at line 1 column 5",
		"\"\xff\"":     "invalid unicode code point at line 1 column 3",
		`"\udc00"`:     "lone leading surrogate in hex escape at line 1 column 7",
	} {
		_, err := jsonvalue.Normalise([]byte(src))
		require.EqualError(t, err, want, "%q", src)
		var e *jsonvalue.Error
		require.ErrorAs(t, err, &e)
		require.True(t, e.Syntax)
	}
}

// Many members and duplicates at every depth: the first place, the last value.
func TestDuplicateKeys(t *testing.T) {
	t.Parallel()
	var src, want strings.Builder
	src.WriteByte('{')
	want.WriteByte('{')
	for round := range 3 {
		for i := range 100 {
			if round+i > 0 {
				src.WriteByte(',')
			}
			src.WriteString(`"k` + strconv.Itoa(i) + `":{"\u0061":0,"a":` + strconv.Itoa(round) + `}`)
		}
	}
	for i := range 100 {
		if i > 0 {
			want.WriteByte(',')
		}
		want.WriteString(`"k` + strconv.Itoa(i) + `":{"a":2}`)
	}
	src.WriteByte('}')
	want.WriteByte('}')
	out, err := jsonvalue.Normalise([]byte(src.String()))
	require.NoError(t, err)
	require.Equal(t, want.String(), string(out))
}

func TestFloats(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.Float64().Draw(t, "f")
		out, err := jsonvalue.Normalise(strconv.AppendFloat(nil, f, 'e', -1, 64))
		if err != nil {
			t.Fatal(err)
		}
		back, err := strconv.ParseFloat(string(out), 64)
		if err != nil || math.Float64bits(back) != math.Float64bits(f) || !strings.ContainsAny(string(out), ".e") {
			t.Fatalf("%v gives %s", f, out)
		}
	})
}

func TestStrings(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		quoted := jsonvalue.AppendString(nil, text)
		var back string
		if err := json.Unmarshal(quoted, &back); err != nil || back != text {
			t.Fatalf("%q gives %s: %v", text, quoted, err)
		}
		same, err := jsonvalue.Normalise(quoted)
		if err != nil || string(same) != string(quoted) {
			t.Fatalf("%s gives %s: %v", quoted, same, err)
		}
	})
}

func TestDecode(t *testing.T) {
	t.Parallel()
	decode := func(src string) (text string, n uint64, b []byte, err error) {
		err = jsonvalue.Decode([]byte(src), "struct T", func(o *jsonvalue.Object) {
			if v, ok := o.Required("n"); ok {
				n = v.Unsigned(32)
			}
			text = o.Text("t")
			if v, ok := o.Optional("b"); ok {
				b = v.Bytes()
			}
		})
		return text, n, b, err
	}
	text, n, b, err := decode(`{ "b" : [ 1 , 255,0 ], "x":{"y":[1]}, "t":"\u0041", "n":4294967295}`)
	require.NoError(t, err)
	require.Equal(t, "A", text)
	require.EqualValues(t, 4294967295, n)
	require.Equal(t, []byte{1, 255, 0}, b)

	for src, want := range map[string]string{
		`[]`:                                "invalid type: sequence, expected struct T at line 1 column 0",
		`{}`:                                "missing field `n` at line 1 column 2",
		`{"n":1}`:                           "missing field `t` at line 1 column 7",
		`{"n":4294967296,"t":""}`:           "n: invalid value: integer `4294967296`, expected u32 at line 1 column 15",
		`{"n":-1,"t":""}`:                   "n: invalid value: integer `-1`, expected u32 at line 1 column 7",
		`{"n":1.5,"t":""}`:                  "n: invalid type: floating point `1.5`, expected u32 at line 1 column 8",
		`{"t":7,"n":"x"}`:                   "t: invalid type: integer `7`, expected a string at line 1 column 6",
		`{"n":1,"t":null}`:                  "t: invalid type: null, expected a string at line 1 column 15",
		`{"n":1,"t":{}}`:                    "t: invalid type: map, expected a string at line 1 column 11",
		`{"n":1,"t":"","b":[1,256]}`:        "b[1]: invalid value: integer `256`, expected u8 at line 1 column 24",
		`{"n":1,"t":"","b":[1,{}]}`:         "b[1]: invalid type: map, expected u8 at line 1 column 21",
		`{"n":1,"t":"","b":"x"}`:            "b: invalid type: string \"x\", expected a sequence at line 1 column 21",
		`{"n":1,"n":2,"t":""}`:              "duplicate field `n` at line 1 column 10",
		"{\"n\":1,\n\"t\":true}":            "t: invalid type: boolean `true`, expected a string at line 2 column 8",
		`{"n":1,"t":"","b":[1,2.5]}`:        "b[1]: invalid type: floating point `2.5`, expected u8 at line 1 column 24",
		`{"n":1,"t":"","b":[999999999999]}`: "b[0]: invalid value: integer `999999999999`, expected u8 at line 1 column 31",
	} {
		_, _, _, err := decode(src)
		var e *jsonvalue.Error
		require.ErrorAs(t, err, &e, src)
		require.False(t, e.Syntax)
		require.Equal(t, want, e.WithPath(), src)
	}
}

// FuzzJSONValue: what is accepted is what encoding/json accepts, but for the rules that are stricter here; printing is
// idempotent and keeps the meaning; decoding never panics.
func FuzzJSONValue(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add([]byte(v.In.JSON))
	}
	f.Add([]byte(`{"a":[1,2,255],"a":{"b":"\ud83d\ude00"},"c":1e-400}`))
	f.Fuzz(func(t *testing.T, src []byte) {
		out, err := jsonvalue.Normalise(src)
		if err == nil {
			if !json.Valid(src) || !json.Valid(out) {
				t.Fatalf("%q gives %q, which is no JSON", src, out)
			}
			again, err := jsonvalue.Normalise(out)
			if err != nil || string(again) != string(out) {
				t.Fatalf("%q gives %q gives %q: %v", src, out, again, err)
			}
			if jsonvalue.EstimateSize(out) < 1 {
				t.Fatal("no size")
			}
		} else if json.Valid(src) && utf8.Valid(src) && stricter(err) == "" {
			t.Fatalf("%q is JSON and was refused: %v", src, err)
		}
		_ = jsonvalue.Decode(src, "struct T", func(o *jsonvalue.Object) {
			o.Bytes("a")
			o.Text("b")
			if v, ok := o.Default("c"); ok {
				v.Unsigned(16)
			}
			if v, ok := o.Optional("a"); ok {
				v.Each(func(v jsonvalue.Value) { v.Array32() })
				v.Object("x", func(o *jsonvalue.Object) { o.OptionalText("b") })
			}
		})
	})
}

// stricter names the rule by which JSON is refused here.
func stricter(err error) string {
	for _, rule := range []string{"number out of range", "surrogate", "hex escape", "recursion limit"} {
		if strings.Contains(err.Error(), rule) {
			return rule
		}
	}
	return ""
}

func BenchmarkNormalise(b *testing.B) {
	src := []byte(`{"key":"some key","value":"` + strings.Repeat("x", 200) + `","n":[1,2.5,true,null,{"a":"b"}]}`)
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := jsonvalue.Normalise(src); err != nil {
			b.Fatal(err)
		}
	}
}
