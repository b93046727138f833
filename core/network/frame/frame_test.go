package frame_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/calimero-go/core/core/network/frame"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

func framed(t *testing.T, payload []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, frame.Write(&b, payload))
	return b.Bytes()
}

func TestFrames_AreTheReferences(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string]string{"": "00000000", "02": "0000000102", "020000006869": "00000006020000006869"} {
		p, err := hex.DecodeString(payload)
		require.NoError(t, err)
		require.Equal(t, want, hex.EncodeToString(framed(t, p)))
	}
}

func TestFrames_RoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		payload := make([]byte, rapid.SampledFrom([]int{0, 1, 100, 64 << 10, 64<<10 + 1, 300_000}).Draw(rt, "size"))
		if len(payload) > 0 {
			payload[len(payload)-1] = rapid.Byte().Draw(rt, "last")
		}
		b := framed(t, payload)
		require.Len(t, b, frame.HeaderSize+len(payload))
		for _, r := range []io.Reader{bytes.NewReader(b), iotest.HalfReader(bytes.NewReader(b)), iotest.DataErrReader(bytes.NewReader(b))} {
			got, err := frame.Read(r, frame.MaxPayload, nil)
			require.NoError(t, err)
			require.Equal(t, payload, got)
			_, err = frame.Read(r, frame.MaxPayload, nil)
			require.Equal(t, io.EOF, err)
		}
	})
}

func TestRead_Bounds(t *testing.T) {
	t.Parallel()
	b := framed(t, make([]byte, 100))
	_, err := frame.Read(bytes.NewReader(b), 99, nil)
	require.ErrorIs(t, err, errkind.TooLarge)
	require.ErrorContains(t, err, "100 bytes of payload; 99 are allowed")
	_, err = frame.Read(bytes.NewReader(b), 100, nil)
	require.NoError(t, err)
	_, err = frame.Read(bytes.NewReader(b), -1, nil)
	require.ErrorIs(t, err, errkind.TooLarge)

	over := binary.BigEndian.AppendUint32(nil, frame.MaxPayload+1)
	_, err = frame.Read(bytes.NewReader(over), 1<<40, nil)
	require.ErrorIs(t, err, errkind.TooLarge)
	_, err = frame.Read(bytes.NewReader([]byte{0xff, 0xff, 0xff, 0xff}), frame.MaxPayload, nil)
	require.ErrorIs(t, err, errkind.TooLarge)

	for cut := 1; cut < len(b); cut++ {
		_, err = frame.Read(bytes.NewReader(b[:cut]), 100, nil)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "cut at %d", cut)
	}
	require.ErrorIs(t, frame.Write(io.Discard, make([]byte, frame.MaxPayload+1)), errkind.TooLarge)
	require.NoError(t, frame.Write(io.Discard, make([]byte, frame.MaxPayload)))
}

// TestRead_GrowsWithTheBytes: a length alone, which costs a peer four bytes, reserves little.
func TestRead_GrowsWithTheBytes(t *testing.T) {
	t.Parallel()
	announced := binary.BigEndian.AppendUint32(nil, frame.MaxPayload)
	reserved := 0
	reserve := func(n int) error { reserved += n; return nil }
	_, err := frame.Read(bytes.NewReader(announced), frame.MaxPayload, reserve)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.LessOrEqual(t, reserved, 64<<10)

	reserved = 0
	_, err = frame.Read(bytes.NewReader(append(announced, make([]byte, frame.MaxPayload)...)), frame.MaxPayload, reserve)
	require.NoError(t, err)
	require.Equal(t, frame.MaxPayload, reserved)

	full := errors.New("full")
	_, err = frame.Read(bytes.NewReader(framed(t, []byte{1})), 1, func(int) error { return full })
	require.ErrorIs(t, err, full)
}

func FuzzRead(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0}, 0)
	f.Add([]byte{0, 0, 0, 2, 1, 2, 3}, 2)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1}, frame.MaxPayload)
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		payload, err := frame.Read(bytes.NewReader(b), limit, nil)
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(payload), max(limit, 0))
		require.Equal(t, b[:frame.HeaderSize+len(payload)], framed(t, payload))
	})
}
