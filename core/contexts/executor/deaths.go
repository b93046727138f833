package executor

import (
	"fmt"
	"sync"
	"time"

	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

const (
	// deathWindow is how close two deaths must be to blame an application, refusal how long it is refused then.
	deathWindow = time.Minute
	refusal     = time.Minute
)

// deaths remembers which applications were running when the runtime plugin died.
type deaths struct {
	now  func() time.Time
	mu   sync.Mutex
	apps map[domain.ApplicationID]*death
}

type death struct {
	last   time.Time
	method string
	until  time.Time
	text   string
}

// add notes a death under method of app, whose execution had begun at the time given, and tells whether app is refused
// now. A death under several executions is one: those that had begun when it was noted first are the same.
func (d *deaths) add(app domain.ApplicationID, method string, begun time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	if d.apps == nil {
		d.apps = make(map[domain.ApplicationID]*death)
	}
	for id, x := range d.apps {
		if now.Sub(x.last) > deathWindow && now.After(x.until) {
			delete(d.apps, id)
		}
	}
	x := d.apps[app]
	if x == nil {
		d.apps[app] = &death{last: now, method: method}
		return false
	}
	if !begun.After(x.last) {
		return now.Before(x.until)
	}
	x.until = now.Add(refusal)
	x.text = fmt.Sprintf("runtime stopped while running %q of application %s, and before while running %q; the "+
		"application is refused until %s", method, app, x.method, x.until.UTC().Format(time.RFC3339))
	x.last, x.method = now, method
	return true
}

// refused returns the fault that callers of app get while it is refused, else nil.
func (d *deaths) refused(app domain.ApplicationID) *runtime.Fault {
	d.mu.Lock()
	defer d.mu.Unlock()
	x := d.apps[app]
	if x == nil || !d.now().Before(x.until) {
		return nil
	}
	return &runtime.Fault{Kind: runtime.FaultRefused, Text: x.text}
}
