package local

import (
	"sync"
	"time"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

const (
	// maxTracked bounds the table; the name whose last failure is oldest is forgotten first.
	maxTracked = 4096
	// forgetAfter is how long after its last failure a name starts anew.
	forgetAfter = 15 * time.Minute
	maxDelay    = 5 * time.Minute
)

// limiter makes guessing slow: from the max-th failure in a row on, the next attempt for the same name has to wait, 1 s
// first, then twice as long each time, at most maxDelay. A success forgets the failures.
type limiter struct {
	max int

	mu     sync.Mutex
	failed map[string]*failures
}

type failures struct {
	count       int
	last, until time.Time
}

func newLimiter(limit int) *limiter { return &limiter{max: limit, failed: make(map[string]*failures)} }

// allow tells whether an attempt may be made now.
func (l *limiter) allow(name string, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.failed[name]
	if f == nil || !now.Before(f.until) {
		return nil
	}
	wait := f.until.Sub(now).Round(time.Second) + time.Second
	return errkind.Exhausted.Errorf("Too many failed attempts; try again in %v", wait)
}

// failure counts a failed attempt.
func (l *limiter) failure(name string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.failed[name]
	if f == nil {
		if len(l.failed) >= maxTracked {
			l.evict(now)
		}
		f = &failures{}
		l.failed[name] = f
	}
	if now.Sub(f.last) > forgetAfter {
		f.count = 0
	}
	f.count++
	f.last = now
	if over := f.count - l.max; over >= 0 {
		f.until = now.Add(min(time.Second<<min(over, 20), maxDelay))
	}
}

// success forgets the failures of a name.
func (l *limiter) success(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.failed, name)
}

func (l *limiter) evict(now time.Time) {
	oldest, when := "", now
	for name, f := range l.failed {
		if now.Sub(f.last) > forgetAfter {
			delete(l.failed, name)
		} else if !f.last.After(when) {
			oldest, when = name, f.last
		}
	}
	if len(l.failed) >= maxTracked {
		delete(l.failed, oldest)
	}
}
