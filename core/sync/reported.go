package sync

import (
	"sync"
	"time"

	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Bounds of what is remembered as reported.
const (
	maxReported  = 1024
	reportPeriod = time.Minute
)

// request is what a peer asks for again and again when it cannot get it: a reference node does so twice a second. Or it is what
// else is to be told of a peer, as long as it is so.
type request struct {
	peer    PeerID
	context domain.ContextID
	kind    string
}

// reported keeps the log short: each request is in it once a minute.
type reported struct {
	mu   sync.Mutex
	last map[request]time.Time
}

// due is true once in a minute for a request.
func (r *reported) due(q request, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.last[q]) < reportPeriod {
		return false
	}
	if r.last == nil || len(r.last) >= maxReported {
		r.last = map[request]time.Time{} // some are told once more
	}
	r.last[q] = now
	return true
}
