package sync

import (
	stdsync "sync"
	"time"
)

// watch ends an attempt to which peers bring nothing for too long.
type watch struct {
	patience time.Duration

	mu    stdsync.Mutex
	until time.Time
	timer *time.Timer // of who is guarded
}

func newWatch(patience time.Duration) *watch {
	return &watch{patience: patience, until: time.Now().Add(patience)}
}

// over tells that the time is up.
func (w *watch) over() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !time.Now().Before(w.until)
}

// progress starts the time anew.
func (w *watch) progress() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.until = time.Now().Add(w.patience)
	if w.timer != nil && w.timer.Stop() {
		w.timer.Reset(w.patience)
	}
}

// guard calls stop when the time is up, until the function returned is called.
func (w *watch) guard(stop func()) (end func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(time.Until(w.until), stop)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.timer.Stop()
		w.timer = nil
	}
}
