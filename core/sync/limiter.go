package sync

import (
	"context"
	stdsync "sync"
	"time"
)

// limiter gives each peer so many events a second, after a burst. It remembers at most maxPeers of them.
type limiter struct {
	rate, burst float64

	mu    stdsync.Mutex
	peers map[PeerID]*bucket
}

type bucket struct {
	left float64
	at   time.Time
}

// maxPeers bounds what is remembered about peers.
const maxPeers = 4096

func newLimiter(rate, burst float64) *limiter {
	return &limiter{rate: rate, burst: burst, peers: map[PeerID]*bucket{}}
}

// allow takes one event, or tells that there is none left.
func (l *limiter) allow(p PeerID) bool { return l.take(p, 1) == 0 }

// take takes n events and returns after which time they are the peer's; without waiting they are not taken.
func (l *limiter) take(p PeerID, n float64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	b := l.peers[p]
	if b == nil {
		if len(l.peers) >= maxPeers {
			l.forget(now)
		}
		b = &bucket{left: l.burst, at: now}
		l.peers[p] = b
	}
	b.left = min(l.burst, b.left+now.Sub(b.at).Seconds()*l.rate)
	b.at = now
	if n = min(n, l.burst); b.left < n {
		return time.Duration((n - b.left) / l.rate * float64(time.Second))
	}
	b.left -= n
	return 0
}

// forget drops peers that have a full bucket again, and then any.
func (l *limiter) forget(now time.Time) {
	for p, b := range l.peers {
		if b.left+now.Sub(b.at).Seconds()*l.rate >= l.burst {
			delete(l.peers, p)
		}
	}
	for p := range l.peers {
		if len(l.peers) < maxPeers {
			return
		}
		delete(l.peers, p)
	}
}

// wait takes n events once they are there.
func (l *limiter) wait(ctx context.Context, p PeerID, n float64) error {
	for {
		d := l.take(p, n)
		if d == 0 {
			return nil
		}
		t := time.NewTimer(d)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		}
	}
}
