package guestabi

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"
	"io"
	"time"

	"filippo.io/edwards25519"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

const fetchDisabled = "Host function 'fetch' is temporarily disabled."

func (x *Execution) fetch(_ memory, a []uint64) (uint64, error) {
	return 1, x.setRegister(a[4], []byte(fetchDisabled))
}

func (x *Execution) randomBytes(m memory, a []uint64) (uint64, error) {
	b, err := m.buffer(a[0])
	if err != nil {
		return 0, err
	}
	s, err := m.slice(b)
	if err != nil {
		return 0, err
	}
	x.result.Usage.ClockRandom = true
	for len(s) > 0 {
		n := min(len(s), chunk)
		if _, err := io.ReadFull(x.Random, s[:n]); err != nil {
			return 0, errkind.Internal.Errorf("read random bytes: %w", err)
		}
		s = s[n:]
		if err := x.stopped(); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// timeStep is the least by which time_now grows within an execution: an insertion into a collaborative text reads the
// clock four times, and two of them must fall into different ticks (15,259 ns) of the guest's own clock.
const timeStep = 4000

// maxLead is how far the steps may lead time_now away from the clock: a guest that asks in a loop would stamp times that
// peers refuse to take yet.
const maxLead = uint64(time.Second)

// now is strictly increasing within the execution (convergence.md §5).
func (x *Execution) now() uint64 {
	u := &x.result.Usage
	clock := max(x.Clock(), x.TimeFloor)
	switch {
	case u.Time == 0:
		u.Time = clock
	case u.Time < clock+maxLead:
		u.Time = max(clock, u.Time+timeStep)
	default:
		u.Time++
	}
	u.ClockRandom = true
	return u.Time
}

func (x *Execution) timeNow(m memory, a []uint64) (uint64, error) {
	b, err := m.buffer(a[0])
	if err != nil {
		return 0, err
	}
	s, err := m.sized(b, 8)
	if err != nil {
		return 0, err
	}
	binary.LittleEndian.PutUint64(s, x.now())
	return 0, nil
}

func (x *Execution) ed25519Verify(m memory, a []uint64) (uint64, error) {
	var b [3]buffer
	for i := range b {
		var err error
		if b[i], err = m.buffer(a[i]); err != nil {
			return 0, err
		}
	}
	sig, err := m.sized(b[0], 64)
	if err != nil {
		return 0, err
	}
	key, err := m.sized(b[1], 32)
	if err != nil {
		return 0, err
	}
	msg, err := m.slice(b[2])
	if err != nil {
		return 0, err
	}
	return x.verify(sig, key, msg)
}

// verify is the plain check without cofactor: R = sB - kA, s canonical. It is
// written out so that hashing a huge message can be stopped.
func (x *Execution) verify(sig, key, msg []byte) (uint64, error) {
	a, err := new(edwards25519.Point).SetBytes(key)
	if err != nil {
		return 0, ErrEd25519PublicKey
	}
	s, err := new(edwards25519.Scalar).SetCanonicalBytes(sig[32:])
	if err != nil {
		return 0, nil
	}
	h := sha512.New()
	h.Write(sig[:32])
	h.Write(key)
	for len(msg) > 0 {
		n := min(len(msg), chunk)
		h.Write(msg[:n])
		msg = msg[n:]
		if err := x.stopped(); err != nil {
			return 0, err
		}
	}
	k, err := new(edwards25519.Scalar).SetUniformBytes(h.Sum(nil))
	if err != nil {
		return 0, errkind.Internal.Errorf("reduce hash: %w", err)
	}
	r := new(edwards25519.Point).VarTimeDoubleScalarBaseMult(k, a.Negate(a), s)
	if bytes.Equal(r.Bytes(), sig[:32]) {
		return 1, nil
	}
	return 0, nil
}
