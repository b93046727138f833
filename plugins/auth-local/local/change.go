package local

import (
	"context"
	"maps"
	"slices"

	"github.com/calimero-go/core/plugin-sdk/auth"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

const (
	// watchBuffer is how many events a watcher may be behind.
	watchBuffer = 256
	maxWatchers = 64
	// maxClientKeys and maxRootKeys bound the file and the lists.
	maxRootKeys   = 1000
	maxClientKeys = auth.MaxKeys
)

// draft collects a change of the keys. Its reads are of the state before.
type draft struct {
	*state
	keys   map[string]*record
	events []auth.Event
}

func (d *draft) put(r *record) { d.keys[r.ID] = r }

func (d *draft) event(kind auth.EventKind, id string) {
	d.events = append(d.events, auth.Event{Kind: kind, KeyID: id})
}

// change runs f on a draft, writes the result to disk, publishes it, and tells the watchers. One change runs at a time.
func (p *plugin) change(f func(*draft) error) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	before, err := p.current()
	if err != nil {
		return err
	}
	d := &draft{state: before, keys: maps.Clone(before.keys)}
	if err := f(d); err != nil {
		return err
	}
	p.prune(d)
	list := slices.Collect(maps.Values(d.keys))
	after, err := newState(list)
	if err != nil {
		return errkind.Internal.Errorf("change keys: %w", err)
	}
	if n := len(after.users); n > maxRootKeys || len(list)-n > maxClientKeys {
		return errkind.Exhausted.Errorf("There are %d root and %d client keys, the limits are %d and %d; delete some", n,
			len(list)-n, maxRootKeys, maxClientKeys)
	}
	after.sequence = before.sequence + uint64(len(d.events))
	if err := p.files.writeKeys(slices.Concat(after.sorted(false), after.sorted(true))); err != nil {
		return errkind.Unavailable.Wrap(err)
	}
	p.state.Store(after)
	for i := range d.events {
		d.events[i].Sequence = before.sequence + uint64(i) + 1
		p.tell(d.events[i])
	}
	return nil
}

// prune forgets client keys that were revoked so long ago that every token of theirs has ended.
func (p *plugin) prune(d *draft) {
	limit := p.now().Add(-p.settings.refresh).UnixMilli()
	for id, r := range d.keys {
		if r.client() && !r.live() && r.Revoked < limit {
			delete(d.keys, id)
		}
	}
}

// watcher gets events; the channel is closed when it was too slow.
type watcher chan auth.Event

// tell is called with writing held.
func (p *plugin) tell(e auth.Event) {
	for w := range p.watchers {
		select {
		case w <- e:
		default:
			delete(p.watchers, w)
			close(w)
		}
	}
}

// Watch is told of every change.
func (p *plugin) Watch(ctx context.Context, f func(auth.Event) error) error {
	w, started, err := p.subscribe()
	if err != nil {
		return err
	}
	defer p.unsubscribe(w)
	if err := f(auth.Event{Sequence: started, Kind: auth.EventStarted}); err != nil {
		return err
	}
	for {
		select {
		case e, ok := <-w:
			if !ok {
				return errkind.Exhausted.Errorf("watch keys: more than %d events behind", watchBuffer)
			}
			if err := f(e); err != nil {
				return err
			}
		case <-ctx.Done():
			return errkind.Of(ctx.Err()).Wrap(ctx.Err())
		case <-p.closed:
			return errClosed
		}
	}
}

func (p *plugin) subscribe() (watcher, uint64, error) {
	p.writing.Lock()
	defer p.writing.Unlock()
	s, err := p.current()
	if err != nil {
		return nil, 0, err
	}
	if len(p.watchers) >= maxWatchers {
		return nil, 0, errkind.Exhausted.Errorf("watch keys: there are %d watchers, the limit", maxWatchers)
	}
	w := make(watcher, watchBuffer)
	p.watchers[w] = struct{}{}
	return w, s.sequence, nil
}

func (p *plugin) unsubscribe(w watcher) {
	p.writing.Lock()
	defer p.writing.Unlock()
	delete(p.watchers, w)
}

func (p *plugin) millis() int64 { return p.now().UnixMilli() }
