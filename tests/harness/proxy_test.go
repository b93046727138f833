package harness_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/harness"
)

// TestProxy: streams come whole and in order until they break; datagrams are lost, doubled and overtake each other.
func TestProxy(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	p, err := harness.StartProxy("tcp", "127.0.0.1:0", l.Addr().String(), harness.Faults{Seed: 1, Delay: time.Millisecond})
	require.NoError(t, err)
	defer p.Close()
	c, err := net.Dial("tcp", p.Addr)
	require.NoError(t, err)
	want := bytes.Repeat([]byte("in order "), 20_000)
	go func() { _, _ = c.Write(want) }()
	got := make([]byte, len(want))
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
	p.BreakAll()
	_, err = c.Read(got)
	require.Error(t, err)
	require.NoError(t, c.Close())

	to, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer to.Close()
	u, err := harness.StartProxy("udp", "127.0.0.1:0", to.LocalAddr().String(),
		harness.Faults{Seed: 1, Delay: 20 * time.Millisecond, Lose: 0.2, Double: 0.2})
	require.NoError(t, err)
	defer u.Close()
	from, err := net.Dial("udp", u.Addr)
	require.NoError(t, err)
	defer from.Close()
	const sent = 200
	for i := range sent {
		_, err := from.Write([]byte{byte(i)})
		require.NoError(t, err)
	}
	require.NoError(t, harness.Until(t.Context(), "all are passed on", func(ctx context.Context) error {
		if n := u.Passed.Load() + u.Lost.Load() - u.Doubled.Load(); n != sent {
			return fmt.Errorf("%d of %d", n, sent)
		}
		return nil
	}))
	require.Positive(t, u.Lost.Load())
	require.Positive(t, u.Doubled.Load())
	overtaken, last := 0, -1
	for range u.Passed.Load() {
		b := make([]byte, 1)
		require.NoError(t, to.SetReadDeadline(time.Now().Add(harness.Patience)))
		_, _, err := to.ReadFrom(b)
		require.NoError(t, err)
		if int(b[0]) < last {
			overtaken++
		}
		last = int(b[0])
	}
	require.Positive(t, overtaken)
}
