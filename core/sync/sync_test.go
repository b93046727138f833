package sync_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	stdsync "sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/sync"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// long is how long a busy machine may take.
const long = time.Minute

func TestDeltasReachAllNodes(t *testing.T) {
	t.Parallel()
	nodes := newNodes(t, newLAN(t), 3)
	id := nodes[0].write(t, "hello")
	converged(t, 1, long, nodes...)
	require.Equal(t, nodes[0].key.Public(), nodes[2].authorOf(id))
	for i := range 30 {
		nodes[i%3].write(t, fmt.Sprint("value ", i))
	}
	converged(t, 31, long, nodes...)
	eventually(t, "all is acknowledged", long, func() bool {
		for _, n := range nodes {
			if s, ok := n.m.Status(ctxID); !ok || s.Unacknowledged > 0 || s.Diverged || s.Unsigned > 0 {
				return false
			}
		}
		return true
	})
	require.Zero(t, nodes[0].port.sentOf(0), "among nodes with the extension nothing is sent twice")
	require.Positive(t, nodes[0].port.sentOf(wire.FirstExtensionTag))
}

// TestBadNetwork: gossip is lost, doubled, delayed and reordered, and everybody writes.
func TestBadNetwork(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	l.loss, l.twice, l.delay = 0.4, 0.3, 30*time.Millisecond
	const count = 5
	nodes := newNodes(t, l, count)
	each := scaled(40, 400)
	var wg stdsync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() {
			for k := range each {
				n.write(t, fmt.Sprintf("node %d value %d", i, k))
				time.Sleep(time.Millisecond)
			}
		})
	}
	wg.Wait()
	converged(t, count*each, long, nodes...)
}

func TestLateJoinerCatchesUp(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	writers := []*node{newNode(t, l, 0, 3, setup{}), newNode(t, l, 1, 3, setup{})}
	count := scaled(1500, 10000)
	for i := range count {
		writers[i/7%2].write(t, fmt.Sprint("value ", i))
	}
	converged(t, count, long, writers...)
	began := time.Now()
	late := newNode(t, l, 2, 3, setup{})
	converged(t, count, long, append(writers, late)...)
	t.Logf("%d deltas in %s", count, time.Since(began))
	eventually(t, "it knows", long, func() bool {
		s, _ := late.m.Status(ctxID)
		return s.Err == nil && !s.Synced.IsZero()
	})
}

func TestPartitionHeals(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	nodes := newNodes(t, l, 4)
	nodes[0].write(t, "before")
	converged(t, 1, long, nodes...)
	for _, a := range nodes[:2] {
		for _, b := range nodes[2:] {
			l.disconnect(a.port.id, b.port.id)
		}
	}
	for i := range 20 {
		for k, n := range nodes {
			n.write(t, fmt.Sprintf("apart %d %d", k, i))
		}
	}
	converged(t, 41, long, nodes[:2]...)
	converged(t, 41, long, nodes[2:]...)
	l.connect(nodes[0].port.id, nodes[2].port.id) // one link is enough
	converged(t, 81, long, nodes...)
}

// TestAloneAndLost: what was written without a peer, or never arrived, comes when a peer is there, without another write.
func TestAloneAndLost(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	first := newNode(t, l, 0, 2, setup{options: func(o *sync.Options) { o.Heartbeat = time.Hour }})
	first.write(t, "alone")
	eventually(t, "it is not acknowledged", long, func() bool {
		s, _ := first.m.Status(ctxID)
		return s.Unacknowledged == 1
	})
	require.ErrorIs(t, first.m.Sync(t.Context(), ctxID), errkind.Unavailable)
	second := newNode(t, l, 1, 2, setup{options: func(o *sync.Options) { o.Heartbeat, o.Frequency = time.Hour, time.Hour }})
	converged(t, 1, long, first, second)
	l.mu.Lock()
	l.loss = 1
	l.mu.Unlock()
	first.write(t, "lost")
	eventually(t, "it was sent", long, func() bool { return first.port.sentOf(wire.FirstExtensionTag) > 0 })
	l.mu.Lock()
	l.loss = 0
	l.mu.Unlock()
	converged(t, 2, long, first, second)
	eventually(t, "it is acknowledged", long, func() bool {
		s, _ := first.m.Status(ctxID)
		return s.Unacknowledged == 0
	})
}

func TestLargeDeltasAreAnnouncedAndFetched(t *testing.T) {
	t.Parallel()
	nodes := newNodes(t, newLAN(t), 3)
	for i, size := range []int{sync.MaxInline - 2000, sync.MaxInline + 1, 1 << 20, 7<<20 - 4096} {
		began := time.Now()
		nodes[i%3].write(t, strings.Repeat(string(rune('a'+i)), size))
		converged(t, i+1, long, nodes...)
		t.Logf("%d bytes in %s", size, time.Since(began))
	}
	require.Positive(t, nodes[1].port.sentOf(wire.FirstExtensionTag+1), "an announcement")
}

func TestRestart(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	nodes := newNodes(t, l, 2)
	nodes[0].write(t, "one")
	converged(t, 1, long, nodes...)
	nodes[1].stop()
	for i := range 300 {
		nodes[0].write(t, fmt.Sprint("meanwhile ", i))
	}
	nodes[1].start(t)
	converged(t, 301, long, nodes...)
}

func TestUnknownContext(t *testing.T) {
	t.Parallel()
	n := newNode(t, newLAN(t), 0, 1, setup{})
	require.ErrorIs(t, n.m.Sync(t.Context(), domain.ContextID{1}), errkind.NotFound)
	_, ok := n.m.Status(domain.ContextID{1})
	require.False(t, ok)
	eventually(t, "it follows its own", long, func() bool { _, ok := n.m.Status(ctxID); return ok })
	require.NoError(t, n.m.Unfollow(t.Context(), ctxID))
	_, ok = n.m.Status(ctxID)
	require.False(t, ok)
	require.Empty(t, n.port.inTopics())
}

// slow is a stream that answers late.
type slow struct {
	sync.Stream
	by time.Duration
}

func (s slow) WriteFrame(ctx context.Context, payload []byte) error {
	select {
	case <-time.After(s.by):
	case <-ctx.Done():
	}
	return s.Stream.WriteFrame(ctx, payload)
}

// TestTimeout: an attempt to synchronise ends once peers have brought nothing for a while, and not while deltas come.
func TestTimeout(t *testing.T) {
	t.Parallel()
	t.Run("nothing comes", func(t *testing.T) {
		t.Parallel()
		l := newLAN(t)
		n := newNode(t, l, 0, 1, setup{options: func(o *sync.Options) {
			o.Timeout, o.Answer, o.Heartbeat, o.Frequency = 300*time.Millisecond, 0, time.Hour, time.Hour
		}})
		for i := range 8 {
			p := l.join(fmt.Sprint("mute-", i))
			p.handlers[wire.ExtensionProtocol] = func(ctx context.Context, _ sync.Stream) { <-ctx.Done() }
			require.NoError(t, p.Subscribe(t.Context(), wire.ContextTopic(ctxID)))
		}
		err := n.m.Sync(t.Context(), ctxID)
		require.ErrorIs(t, err, errkind.Unavailable)
		require.ErrorContains(t, err, "sync.timeout")
	})
	t.Run("deltas come slowly", func(t *testing.T) {
		t.Parallel()
		l := newLAN(t)
		first := newNode(t, l, 0, 2, setup{plain: true})
		serve := first.m.ServeReference // one delta at a time
		first.port.mu.Lock()
		first.port.handlers[wire.SyncProtocol] = func(ctx context.Context, s sync.Stream) { serve(ctx, slow{s, 20 * time.Millisecond}) }
		first.port.mu.Unlock()
		const deltas = 80 // not to be listed within the timeout
		for i := range deltas {
			first.write(t, fmt.Sprint(i))
		}
		second := newNode(t, l, 1, 2, setup{options: func(o *sync.Options) { o.Timeout = time.Second }})
		converged(t, deltas, long, first, second)
	})
}

// TestInterval: a context that was compared a moment ago rests, whatever the frequency.
func TestInterval(t *testing.T) {
	t.Parallel()
	compared := func(interval time.Duration) *atomic.Int32 {
		l := newLAN(t)
		first := newNode(t, l, 0, 2, setup{options: func(o *sync.Options) { o.Heartbeat, o.Frequency = time.Hour, time.Hour }})
		opened := first.sessions()
		first.write(t, "one")
		second := newNode(t, l, 1, 2, setup{options: func(o *sync.Options) {
			o.Heartbeat, o.Frequency, o.Interval = time.Hour, 20*time.Millisecond, interval
		}})
		converged(t, 1, long, first, second)
		return opened
	}
	resting, restless := compared(time.Hour), compared(20*time.Millisecond)
	eventually(t, "it is compared again and again", long, func() bool { return restless.Load() > 30 })
	require.Less(t, resting.Load(), int32(10))
}

// TestStreamsAboutBlobs: a stream that begins with BlobOpen is for who serves blobs, members or not.
func TestStreamsAboutBlobs(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	n := newNode(t, l, 0, 1, setup{options: func(o *sync.Options) {
		o.ServeBlob = func(ctx context.Context, s sync.Stream, asked wire.BlobOpen) {
			raw, err := wire.EncodeExtension(wire.BlobChunks{Chunks: []domain.BlobID{asked.Blob}})
			if err == nil {
				_ = s.WriteFrame(ctx, raw) // the reader notices
			}
		}
	}})
	s, err := l.join("stranger").OpenStream(t.Context(), n.port.id, wire.ExtensionProtocol)
	require.NoError(t, err)
	raw, err := wire.EncodeExtension(wire.BlobOpen{Blob: domain.BlobID{7}})
	require.NoError(t, err)
	require.NoError(t, s.WriteFrame(t.Context(), raw))
	raw, err = s.ReadFrame(t.Context(), 0)
	require.NoError(t, err)
	got, err := wire.DecodeExtension(raw)
	require.NoError(t, err)
	require.Equal(t, wire.BlobChunks{Chunks: []domain.BlobID{{7}}}, got)
	_, err = s.ReadFrame(t.Context(), 0)
	require.ErrorIs(t, err, io.EOF)
}
