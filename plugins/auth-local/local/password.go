package local

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"runtime/debug"
	"strings"
	"sync/atomic"

	"golang.org/x/crypto/argon2"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

const (
	saltLen = 16
	hashLen = 32

	// The least is the second choice of OWASP's password storage guide; the most bounds what a stored hash may cost.
	minMemory, maxMemory = 19456, 1 << 20
	minTime, maxTime     = 2, 64
	maxThreads           = 16
)

// cost is what one check of a password takes: KiB, passes, threads.
type cost struct {
	memory, time uint32
	threads      uint8
}

// password is a salted hash with the cost it was made at.
type password struct {
	cost
	salt, hash []byte
}

var rawBase64 = base64.RawStdEncoding.Strict()

// String is the PHC string format.
func (p password) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.memory, p.time, p.threads,
		rawBase64.EncodeToString(p.salt), rawBase64.EncodeToString(p.hash))
}

func parsePassword(s string) (password, error) {
	var p password
	var version int
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return p, errkind.Corrupt.Errorf("password hash is not of the form $argon2id$v=…$m=…,t=…,p=…$salt$hash")
	}
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return p, errkind.Corrupt.Errorf("password hash of unknown version %q", parts[2])
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.memory, &p.time, &p.threads); err != nil ||
		p.memory < 8 || p.memory > maxMemory || p.time < 1 || p.time > maxTime || p.threads < 1 || p.threads > maxThreads {
		return p, errkind.Corrupt.Errorf("password hash with wrong parameters %q", parts[3])
	}
	var err error
	if p.salt, err = rawBase64.DecodeString(parts[4]); err != nil || len(p.salt) != saltLen {
		return p, errkind.Corrupt.Errorf("password hash with a wrong salt")
	}
	if p.hash, err = rawBase64.DecodeString(parts[5]); err != nil || len(p.hash) != hashLen {
		return p, errkind.Corrupt.Errorf("password hash of a wrong length")
	}
	return p, nil
}

// hasher makes and checks hashes, a bounded number at a time: each takes much memory, and logins come from strangers.
type hasher struct {
	cost    cost
	slots   chan struct{}
	waiting atomic.Int64
	maxWait int64
	// nobody is checked for a user name that does not exist, so that the answer takes as long as for one that does.
	nobody password
}

func newHasher(c cost, slots, waiting int) *hasher {
	h := &hasher{cost: c, slots: make(chan struct{}, slots), maxWait: int64(waiting)}
	h.nobody = password{cost: c, salt: random(saltLen), hash: random(hashLen)}
	return h
}

// enter waits for a slot; leave gives it back.
func (h *hasher) enter(ctx context.Context) error {
	select {
	case h.slots <- struct{}{}:
		return nil
	default:
	}
	if h.waiting.Add(1) > h.maxWait {
		h.waiting.Add(-1)
		return errkind.Exhausted.Errorf("Too many logins at the moment; try again in a few seconds")
	}
	defer h.waiting.Add(-1)
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return errkind.Of(ctx.Err()).Errorf("wait for a password check: %w", ctx.Err())
	}
}

// leave gives the slot back, and the memory of the last check to the system: logins are rare, and the Go runtime would
// keep it for minutes.
func (h *hasher) leave() {
	<-h.slots
	if len(h.slots) == 0 && h.waiting.Load() == 0 {
		debug.FreeOSMemory()
	}
}

func (h *hasher) make(ctx context.Context, secret string) (password, error) {
	if err := h.enter(ctx); err != nil {
		return password{}, err
	}
	defer h.leave()
	p := password{cost: h.cost, salt: random(saltLen)}
	p.hash = p.derive(secret)
	return p, nil
}

func (h *hasher) matches(ctx context.Context, p password, secret string) (bool, error) {
	if err := h.enter(ctx); err != nil {
		return false, err
	}
	defer h.leave()
	return subtle.ConstantTimeCompare(p.derive(secret), p.hash) == 1, nil
}

func (p password) derive(secret string) []byte {
	return argon2.IDKey([]byte(secret), p.salt, p.time, p.memory, p.threads, hashLen)
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}
