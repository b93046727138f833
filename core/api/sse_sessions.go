package api

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/calimero-go/core/core/api/schema"
	"github.com/calimero-go/core/core/store"
)

// sessionLife is how long a session outlives its last activity.
const sessionLife = 24 * time.Hour

// errReplaced ends a stream whose session was opened again.
var errReplaced = errors.New("the session was opened again")

// session is what an SSE client subscribed to; it outlives its streams.
type session struct {
	id     uint64
	wanted *subscriptions

	mu      sync.Mutex
	counter uint64 // of the next event
	last    time.Time
	stream  *sseStream
}

// sseStream is the open stream of a session.
type sseStream struct{ end context.CancelCauseFunc }

// open makes st the session's stream and ends the one before, so that no event is sent twice.
func (s *session) open(st *sseStream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream != nil {
		s.stream.end(errReplaced)
	}
	s.stream, s.last = st, time.Now()
}

// close forgets st, unless a newer stream took its place.
func (s *session) close(st *sseStream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream == st {
		s.stream, s.last = nil, time.Now()
	}
}

// next numbers an event of st; false when another stream took its place.
func (s *session) next(st *sseStream) (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream != st {
		return 0, false
	}
	s.counter++
	return s.counter - 1, true
}

func (s *session) touch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = time.Now()
}

func (s *session) stored() schema.StoredSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	return schema.StoredSession{
		Subscriptions: s.wanted.list(), EventCounter: s.counter, LastActivity: uint64(s.last.Unix()),
	}
}

// idle tells since when the session has no stream; false when it has one.
func (s *session) idle() (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, s.stream == nil
}

// sessions are those of this process, before those that are kept.
type sessions struct {
	kept  Sessions // nil: none
	limit int
	log   *slog.Logger

	mu  sync.Mutex
	all map[uint64]*session
}

func newSessions(kept Sessions, limit int, log *slog.Logger) *sessions {
	return &sessions{kept: kept, limit: limit, log: log, all: make(map[uint64]*session)}
}

func (s *sessions) get(id uint64) (*session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.all[id]
	return found, ok
}

// load finds a kept session that has not expired; false for none.
func (s *sessions) load(ctx context.Context, id uint64) (kept schema.StoredSession, found, expired bool, err error) {
	if s.kept == nil {
		return kept, false, false, nil
	}
	raw, found, err := s.kept.Load(ctx, id)
	if err != nil || !found {
		return kept, false, false, err
	}
	if kept, err = schema.DecodeStoredSession(raw); err != nil {
		return kept, false, false, err
	}
	return kept, true, expiredAt(kept), nil
}

func expiredAt(kept schema.StoredSession) bool {
	return time.Since(time.Unix(int64(min(kept.LastActivity, 1<<40)), 0)) > sessionLife
}

// resume finds a session by its id, in memory or kept; nil when there is none.
func (s *sessions) resume(ctx context.Context, id uint64) *session {
	if found, ok := s.get(id); ok {
		if last, idle := found.idle(); !idle || time.Since(last) <= sessionLife {
			return found
		}
		s.drop(id)
		return nil
	}
	kept, found, expired, err := s.load(ctx, id)
	if err != nil {
		s.log.Warn("kept SSE session cannot be read", "session", id, "error", err)
	}
	if err != nil || !found || expired || len(kept.Subscriptions) > maxSubscriptions {
		return nil
	}
	return s.put(&session{
		id: id, wanted: newSubscriptions(kept.Subscriptions), counter: kept.EventCounter, last: time.Now(),
	})
}

// create makes a session with a random id.
func (s *sessions) create() (*session, error) {
	var raw [8]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return nil, fmt.Errorf("draw a session id: %w", err)
	}
	made := s.put(&session{id: binary.BigEndian.Uint64(raw[:]), wanted: newSubscriptions(nil), last: time.Now()})
	if made == nil {
		return nil, errors.New("too many SSE sessions with an open stream")
	}
	return made, nil
}

// put adds a session, in the place of the one longest idle if there are too many; nil when none is idle. A session that
// came meanwhile under the same id wins.
func (s *sessions) put(fresh *session) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if other, ok := s.all[fresh.id]; ok {
		return other
	}
	if len(s.all) >= s.limit {
		var oldest *session
		var since time.Time
		for _, other := range s.all {
			if last, idle := other.idle(); idle && (oldest == nil || last.Before(since)) {
				oldest, since = other, last
			}
		}
		if oldest == nil {
			return nil
		}
		delete(s.all, oldest.id)
	}
	s.all[fresh.id] = fresh
	return fresh
}

func (s *sessions) drop(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, id)
}

// keep stores a session; a failure is logged: the session goes on in memory.
func (s *sessions) keep(ctx context.Context, one *session) {
	if s.kept == nil {
		return
	}
	raw, err := schema.Encode(one.stored())
	if err == nil {
		err = s.kept.Save(ctx, one.id, raw)
	}
	if err != nil {
		s.log.Error("SSE session cannot be kept", "session", one.id, "error", err)
	}
}

// sweep removes kept sessions that expired or are damaged.
func (s *sessions) sweep(ctx context.Context) error {
	if s.kept == nil {
		return nil
	}
	var old []uint64
	err := s.kept.Each(ctx, func(id uint64, raw []byte) error {
		if kept, err := schema.DecodeStoredSession(raw); err != nil || expiredAt(kept) {
			old = append(old, id)
		}
		return nil
	})
	for _, id := range old {
		if err == nil {
			err = s.kept.Delete(ctx, id)
		}
	}
	if err != nil {
		return fmt.Errorf("remove expired SSE sessions: %w", err)
	}
	return nil
}

// StoredSessions keeps SSE sessions in the node's database, where the reference does.
func StoredSessions(db *store.DB) Sessions { return storedSessions{db} }

type storedSessions struct{ db *store.DB }

var sessionScope = [16]byte([]byte("sse-sessions\x00\x00\x00\x00"))

func sessionKey(id uint64) store.GenericKey {
	key := store.GenericKey{Scope: sessionScope}
	binary.BigEndian.PutUint64(key.Fragment[:], id)
	return key
}

func (s storedSessions) Load(ctx context.Context, id uint64) ([]byte, bool, error) {
	return store.Generic.Get(ctx, s.db, sessionKey(id))
}

func (s storedSessions) Save(ctx context.Context, id uint64, session []byte) error {
	b := s.db.Batch()
	store.Generic.Put(b, sessionKey(id), session)
	return b.Commit(ctx)
}

func (s storedSessions) Delete(ctx context.Context, id uint64) error {
	b := s.db.Batch()
	store.Generic.Delete(b, sessionKey(id))
	return b.Commit(ctx)
}

func (s storedSessions) Each(ctx context.Context, f func(uint64, []byte) error) error {
	return store.Generic.Scan(ctx, s.db, sessionScope[:], func(key store.GenericKey, session []byte) error {
		return f(binary.BigEndian.Uint64(key.Fragment[:8]), session)
	})
}
