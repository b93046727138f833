package sync

import stdsync "sync"

// flights runs one of several equal things at a time.
type flights struct {
	mu  stdsync.Mutex
	all map[any]struct{}
}

// begin is false while the same is under way; else the caller must call end.
func (f *flights) begin(key any) (end func(), ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, busy := f.all[key]; busy {
		return nil, false
	}
	if f.all == nil {
		f.all = map[any]struct{}{}
	}
	f.all[key] = struct{}{}
	return func() {
		f.mu.Lock()
		delete(f.all, key)
		f.mu.Unlock()
	}, true
}
