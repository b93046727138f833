package borsh_test

import (
	"math"
	"math/big"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	oracle "github.com/near/borsh-go"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/calimero-go/core/plugin-sdk/borsh"
)

// inner and sample have one field of every kind; the exported fields are what the oracle's reflection reads.
type inner struct {
	ID   [32]byte
	Name string
}

func (v inner) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(v.ID[:])
	e.String(v.Name)
}

func (v *inner) DecodeBorsh(d *borsh.Decoder) {
	v.ID = d.Array32("id")
	v.Name = d.String("name")
}

type sample struct {
	B    bool
	U8   uint8
	U16  uint16
	U32  uint32
	U64  uint64
	U128 big.Int
	I8   int8
	I16  int16
	I32  int32
	I64  int64
	F32  float32
	F64  float64
	Data []byte
	Text string
	Opt  *uint64
	Raw  [3]byte
	IDs  [][32]byte
	List []inner
	Map  map[string]uint32
}

func (v *sample) EncodeBorsh(e *borsh.Encoder) {
	e.Bool(v.B)
	e.U8(v.U8)
	e.U16(v.U16)
	e.U32(v.U32)
	e.U64(v.U64)
	e.U128(u128(&v.U128))
	e.I8(v.I8)
	e.I16(v.I16)
	e.I32(v.I32)
	e.I64(v.I64)
	e.F32(v.F32)
	e.F64(v.F64)
	e.Bytes(v.Data)
	e.String(v.Text)
	borsh.PutOption(e, v.Opt, (*borsh.Encoder).U64)
	e.Raw(v.Raw[:])
	borsh.PutSlice(e, v.IDs, borsh.PutArray32[[32]byte])
	borsh.PutSlice(e, v.List, func(e *borsh.Encoder, v inner) { v.EncodeBorsh(e) })
	borsh.PutMap(e, v.Map, (*borsh.Encoder).String, (*borsh.Encoder).U32)
}

func (v *sample) DecodeBorsh(d *borsh.Decoder) {
	v.B = d.Bool("b")
	v.U8 = d.U8("u8")
	v.U16 = d.U16("u16")
	v.U32 = d.U32("u32")
	v.U64 = d.U64("u64")
	v.U128 = *d.U128("u128").Big()
	v.I8 = d.I8("i8")
	v.I16 = d.I16("i16")
	v.I32 = d.I32("i32")
	v.I64 = d.I64("i64")
	v.F32 = d.F32("f32")
	v.F64 = d.F64("f64")
	v.Data = d.Bytes("data")
	v.Text = d.String("text")
	v.Opt = borsh.Option(d, "opt", (*borsh.Decoder).U64)
	d.Raw("raw", v.Raw[:])
	v.IDs = borsh.Array32s[[32]byte](d, "ids")
	v.List = borsh.Slice(d, "list", 36, func(d *borsh.Decoder) (item inner) {
		item.DecodeBorsh(d)
		return item
	})
	v.Map = borsh.Map(d, "map", 8,
		func(d *borsh.Decoder) string { return d.String("key") },
		func(d *borsh.Decoder) uint32 { return d.U32("value") })
}

func u128(n *big.Int) borsh.U128 {
	lo := new(big.Int).And(n, new(big.Int).SetUint64(math.MaxUint64))
	return borsh.U128{Hi: new(big.Int).Rsh(n, 64).Uint64(), Lo: lo.Uint64()}
}

func drawSample(t *rapid.T) *sample {
	id := rapid.Custom(func(t *rapid.T) [32]byte {
		return [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "id"))
	})
	raw := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "u128")
	return &sample{
		B: rapid.Bool().Draw(t, "b"), U8: rapid.Uint8().Draw(t, "u8"), U16: rapid.Uint16().Draw(t, "u16"),
		U32: rapid.Uint32().Draw(t, "u32"), U64: rapid.Uint64().Draw(t, "u64"),
		U128: *new(big.Int).SetBytes(raw), I8: rapid.Int8().Draw(t, "i8"), I16: rapid.Int16().Draw(t, "i16"),
		I32: rapid.Int32().Draw(t, "i32"), I64: rapid.Int64().Draw(t, "i64"), F32: rapid.Float32().Draw(t, "f32"),
		F64: rapid.Float64().Draw(t, "f64"), Data: rapid.SliceOf(rapid.Byte()).Draw(t, "data"),
		Text: rapid.String().Draw(t, "text"), Opt: rapid.Ptr(rapid.Uint64(), true).Draw(t, "opt"),
		Raw: [3]byte(rapid.SliceOfN(rapid.Byte(), 3, 3).Draw(t, "raw")),
		IDs: rapid.SliceOf(id).Draw(t, "ids"),
		List: rapid.SliceOf(rapid.Custom(func(t *rapid.T) inner {
			return inner{ID: id.Draw(t, "id"), Name: rapid.String().Draw(t, "name")}
		})).Draw(t, "list"),
		Map: rapid.MapOf(rapid.String(), rapid.Uint32()).Draw(t, "map"),
	}
}

// The codec agrees with an independent implementation on bytes, and reads back what it wrote.
func TestAgreesWithOracle(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		v := drawSample(t)
		ours, err := borsh.Marshal(v)
		require.NoError(t, err)
		theirs, err := oracle.Serialize(*v)
		require.NoError(t, err)
		require.Equal(t, theirs, ours)

		var back sample
		require.NoError(t, borsh.Unmarshal(ours, &back))
		equalBig := cmp.Comparer(func(a, b big.Int) bool { return a.Cmp(&b) == 0 })
		require.Empty(t, cmp.Diff(v, &back, equalBig))

		for cut := range len(ours) { // every proper prefix is refused
			require.ErrorIs(t, borsh.Unmarshal(ours[:cut], &back), borsh.ErrMalformed)
		}
		require.ErrorIs(t, borsh.Unmarshal(append(ours, 0), &back), borsh.ErrTrailing)
	})
}

func FuzzDecode(f *testing.F) {
	for _, v := range []*sample{{}, {
		U128: *big.NewInt(1 << 40), Data: []byte{1}, Text: "é", Opt: new(uint64), IDs: [][32]byte{{1}, {2}},
		List: []inner{{Name: "x"}}, Map: map[string]uint32{"a": 1, "b": 2},
	}} {
		seed, err := borsh.Marshal(v)
		require.NoError(f, err)
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var v sample
		if err := borsh.Unmarshal(in, &v); err != nil {
			require.ErrorIs(t, err, borsh.ErrMalformed)
			return
		}
		out, err := borsh.Marshal(&v)
		require.NoError(t, err)
		require.Equal(t, in, out, "what decodes is canonical")
	})
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	pair := func(d *borsh.Decoder) map[string]uint8 {
		return borsh.Map(d, "m", 5,
			func(d *borsh.Decoder) string { return d.String("key") },
			func(d *borsh.Decoder) uint8 { return d.U8("value") })
	}
	for name, c := range map[string]struct {
		in   []byte
		read func(*borsh.Decoder)
		want string
	}{
		"bool":        {[]byte{2}, func(d *borsh.Decoder) { d.Bool("b") }, "decode b at byte 0: Invalid bool representation: 2"},
		"option":      {[]byte{2}, func(d *borsh.Decoder) { d.OptBytes("o") }, "decode o at byte 0: Invalid Option representation: 2. The first byte must be 0 or 1"},
		"tag":         {[]byte{3}, func(d *borsh.Decoder) { d.Tag("kind", 3) }, "decode kind at byte 0: Unexpected variant tag: 3"},
		"short":       {[]byte{1, 2, 3}, func(d *borsh.Decoder) { d.U32("n") }, "decode n at byte 0: Unexpected length of input"},
		"string":      {[]byte{1, 0, 0, 0, 0xff}, func(d *borsh.Decoder) { _ = d.String("s") }, "decode s at byte 0: invalid utf-8 sequence"},
		"f32 nan":     {[]byte{0, 0, 0xc0, 0x7f}, func(d *borsh.Decoder) { d.F32("f") }, "decode f at byte 0: NaN has no borsh form"},
		"f64 nan":     {[]byte{0, 0, 0, 0, 0, 0, 0xf8, 0xff}, func(d *borsh.Decoder) { d.F64("f") }, "decode f at byte 0: NaN has no borsh form"},
		"huge bytes":  {[]byte{0xff, 0xff, 0xff, 0xff, 1}, func(d *borsh.Decoder) { d.Bytes("data") }, "decode data at byte 0: Unexpected length of input"},
		"huge ids":    {[]byte{0xff, 0xff, 0xff, 0xff, 1}, func(d *borsh.Decoder) { borsh.Array32s[[32]byte](d, "ids") }, "decode ids at byte 0: Unexpected length of input"},
		"trailing":    {[]byte{1, 0}, func(d *borsh.Decoder) { d.U8("n") }, "decode at byte 1: Not all bytes read"},
		"key order":   {[]byte{2, 0, 0, 0, 1, 0, 0, 0, 'b', 1, 1, 0, 0, 0, 'a', 1}, func(d *borsh.Decoder) { pair(d) }, "decode m[1] at byte 10: keys not in strictly ascending order"},
		"key twice":   {[]byte{2, 0, 0, 0, 1, 0, 0, 0, 'b', 1, 1, 0, 0, 0, 'b', 1}, func(d *borsh.Decoder) { pair(d) }, "decode m[1] at byte 10: keys not in strictly ascending order"},
		"nested path": {[]byte{1, 0, 0, 0, 2}, func(d *borsh.Decoder) { borsh.Slice(d, "list", 1, func(d *borsh.Decoder) bool { return d.Bool("ok") }) }, "decode list[0].ok at byte 4: Invalid bool representation: 2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := borsh.NewDecoder(c.in)
			c.read(d)
			err := d.Finish()
			require.EqualError(t, err, c.want)
			require.ErrorIs(t, err, borsh.ErrMalformed)
			require.Zero(t, d.U64("after an error every read is zero"))
			require.EqualError(t, d.Finish(), c.want, "the first error stays")
		})
	}
}

func TestDepthIsBounded(t *testing.T) {
	t.Parallel()
	var descend func(d *borsh.Decoder) []byte
	descend = func(d *borsh.Decoder) []byte {
		borsh.Slice(d, "x", 4, descend)
		return nil
	}
	var in []byte
	for range 2 * borsh.MaxDepth { // vectors of one vector each
		in = append(in, 1, 0, 0, 0)
	}
	d := borsh.NewDecoder(in)
	descend(d)
	require.ErrorIs(t, d.Finish(), borsh.ErrTooDeep)
}

// A count is believed only as far as the input backs it: big items read from few bytes each do not multiply memory.
func TestMemoryFollowsInput(t *testing.T) {
	// Not parallel: it measures the process's allocations.
	type wide [4096]byte
	in := make([]byte, 4+1<<20)
	in[0], in[1], in[2] = 0, 0, 0x10 // 2^20 items of one byte each, all present
	in[4] = 2                        // and the first is wrong
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	d := borsh.NewDecoder(in)
	borsh.Slice(d, "items", 1, func(d *borsh.Decoder) (w wide) {
		d.Bool("b")
		return w
	})
	require.ErrorIs(t, d.Finish(), borsh.ErrMalformed)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20))
}

func TestEncoderRefusals(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(*borsh.Encoder){
		"f32":    func(e *borsh.Encoder) { e.F32(float32(math.NaN())) },
		"f64":    func(e *borsh.Encoder) { e.F64(math.NaN()) },
		"string": func(e *borsh.Encoder) { e.String("\xff") },
		"length": func(e *borsh.Encoder) { e.Len(math.MaxUint32 + 1) },
	} {
		e := borsh.NewEncoder(nil)
		write(e)
		_, err := e.Finish()
		require.Error(t, err, name)
	}
}

func TestU128Order(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) borsh.U128 {
			return borsh.U128{Hi: rapid.Uint64Max(3).Draw(t, name+".hi"), Lo: rapid.Uint64().Draw(t, name+".lo")}
		}
		a, b := draw("a"), draw("b")
		require.Equal(t, a.Big().Cmp(b.Big()), a.Compare(b))
	})
}
