package crdt

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// MaxClockDrift is how far ahead of the local clock a remote time may be.
const MaxClockDrift = 5 * time.Second

// Timestamp is a reading of a hybrid logical clock: an NTP64 time (high 32 bits Unix seconds, low 32 bits fraction, the
// last 16 of them a counter) and the clock's id. The id is never 0 on the wire: 0 reads and writes as 1.
type Timestamp struct {
	Time uint64
	ID   borsh.U128
}

// ZeroTimestamp is the time before every other.
func ZeroTimestamp() Timestamp { return Timestamp{ID: borsh.U128{Lo: 1}} }

// EncodeBorsh writes 24 bytes.
func (t Timestamp) EncodeBorsh(e *borsh.Encoder) {
	e.U64(t.Time)
	e.U128(clockID(t.ID))
}

// DecodeBorsh reads 24 bytes.
func (t *Timestamp) DecodeBorsh(d *borsh.Decoder) {
	t.Time = d.U64("time")
	t.ID = clockID(d.U128("id"))
}

func clockID(id borsh.U128) borsh.U128 {
	if id.IsZero() {
		return borsh.U128{Lo: 1}
	}
	return id
}

// Compare orders by time, then id.
func (t Timestamp) Compare(other Timestamp) int {
	return cmp.Or(cmp.Compare(t.Time, other.Time), t.ID.Compare(other.ID))
}

// String returns the time in decimal and the id in hex.
func (t Timestamp) String() string { return fmt.Sprintf("%d#%x", t.Time, t.ID.Big()) }

// PhysicalSeconds returns the Unix seconds of the time.
func (t Timestamp) PhysicalSeconds() uint32 { return uint32(t.Time >> 32) }

// Nanos returns the wall-clock time in nanoseconds since the Unix epoch.
func (t Timestamp) Nanos() uint64 {
	return (t.Time>>32)*1e9 + ((t.Time & 0xffff_ffff) * 1e9 >> 32)
}

// ErrClockAhead is a remote time too far in the future.
var ErrClockAhead = errors.New("remote time is more than 5 seconds ahead of the local clock")

// Clock is a hybrid logical clock. The caller supplies the wall clock, so that it is deterministic. It is not safe for
// concurrent use.
type Clock struct {
	id      borsh.U128
	last    uint64
	counter uint16
}

// NewClock returns a clock with the given 16-byte little-endian id.
func NewClock(id [16]byte) *Clock { return &Clock{id: clockID(borsh.U128FromBytes(id))} }

// NewExecutorClock returns the clock of an execution: its id is the first half of the executor's key.
func NewExecutorClock(executor domain.PublicKey) *Clock { return NewClock([16]byte(executor[:16])) }

// Now returns the next reading; now is in nanoseconds since the Unix epoch. Readings of one clock never go back, but two
// within 2^16 fractions of a second (15 µs) of an advancing wall clock may be equal, as in the reference.
func (c *Clock) Now(now uint64) Timestamp {
	if physical := ntp64(now); physical > c.last {
		c.last, c.counter = physical, 0
	} else {
		c.counter++
	}
	return Timestamp{Time: c.last&^0xffff | uint64(c.counter), ID: c.id}
}

// Update moves the clock to a remote reading, unless that is more than [MaxClockDrift] ahead of now.
func (c *Clock) Update(remote Timestamp, now uint64) error {
	if limit := ntp64(now) + uint64(MaxClockDrift/time.Second)<<32; remote.Time > limit {
		return fmt.Errorf("update clock with %s: %w", remote, ErrClockAhead)
	}
	if remote.Time > c.last {
		c.last, c.counter = remote.Time, 0
	}
	return nil
}

func ntp64(nanos uint64) uint64 { return nanos/1e9<<32 | (nanos%1e9)<<32/1e9 }
