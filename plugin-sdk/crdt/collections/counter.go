package collections

import (
	"math"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Counter only goes up; every executor has a slot of its own.
type Counter struct{ object }

// NewCounter makes a counter at zero.
func (w *Writer) NewCounter() (*Counter, error) {
	o, err := w.create(plainObject)
	return &Counter{o}, err
}

// Counter returns the counter with an id, made anew if it is not there.
func (w *Writer) Counter(id crdt.ID) (*Counter, error) {
	o, err := w.load(id, plainObject)
	return &Counter{o}, err
}

// Increment adds one to the executor's slot.
func (c *Counter) Increment() error {
	key := crdt.CounterSlot(c.w.Executor)
	id := crdt.EntryID(c.entries, []byte(key))
	item, e, err := c.item(id)
	if err != nil {
		return err
	}
	count := uint64(0)
	if item != nil {
		if count, err = slot(item); err != nil {
			return err
		}
	}
	if count == math.MaxUint64 {
		return errInvalid("Counter increment overflow: value already at u64::MAX")
	}
	enc := borsh.NewEncoder(make([]byte, 0, 4+len(key)+8))
	enc.String(key)
	enc.U64(count + 1)
	next, err := enc.Finish()
	if err != nil {
		return Error("Serialization error: " + err.Error())
	}
	if item != nil {
		return c.replace(e, next)
	}
	return c.add(id, next, crdt.StorageType{})
}

// Value returns the sum of all slots.
func (c *Counter) Value() (uint64, error) {
	total, overflow := uint64(0), false
	err := c.each(func(item []byte) error {
		count, err := slot(item)
		overflow = overflow || count > math.MaxUint64-total
		total += count
		return err
	})
	if err == nil && overflow {
		err = errInvalid("Counter sum overflow: exceeded u64::MAX")
	}
	return total, err
}

// Of returns an executor's slot.
func (c *Counter) Of(executor domain.PublicKey) (uint64, error) {
	item, _, err := c.item(crdt.EntryID(c.entries, []byte(crdt.CounterSlot(executor))))
	if err != nil || item == nil {
		return 0, err
	}
	return slot(item)
}

func slot(item []byte) (count uint64, err error) {
	err = decode(item, func(d *borsh.Decoder) {
		d.String("executor")
		count = d.U64("count")
	})
	if err != nil {
		count = 0
	}
	return count, err
}
