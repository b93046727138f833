package collections

import (
	"bytes"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
)

// Register is a value of which the newest write wins, or none. It has no entries: the value is in the object itself.
type Register struct {
	w  *Writer
	id crdt.ID
	// Value is nil when there is none.
	Value []byte
	// Timestamp of the write.
	Timestamp crdt.Timestamp
	writer    [32]byte
}

// NewRegister makes a register without a value.
func (w *Writer) NewRegister() (*Register, error) {
	r := &Register{w: w}
	if err := r.write(nil); err != nil {
		return nil, err
	}
	meta := w.fresh(crdt.StorageType{})
	var err error
	if r.id, err = w.randomID(); err != nil {
		return nil, err
	}
	return r, r.attach(meta)
}

// Register returns the register with an id, made anew if it is not there.
func (w *Writer) Register(id crdt.ID) (*Register, error) {
	data, err := w.loadData(id)
	if err != nil {
		return nil, err
	}
	r := &Register{w: w, id: id}
	if data == nil {
		if err := r.write(nil); err != nil {
			return nil, err
		}
		return r, r.attach(w.fresh(crdt.StorageType{}))
	}
	return r, decode(data[:len(data)-len(id)], func(d *borsh.Decoder) {
		if r.Value = d.OptBytes("value"); r.Value == nil && data[0] == 1 {
			r.Value = []byte{}
		}
		r.Timestamp.DecodeBorsh(d)
		r.writer = d.Array32("node_id")
	})
}

// ID returns the id by which the guest finds the register again.
func (r *Register) ID() crdt.ID { return r.id }

// Set writes a value, or nil for none, and reports whether it is another one.
func (r *Register) Set(value []byte) (bool, error) {
	changed := (value == nil) != (r.Value == nil) || !bytes.Equal(value, r.Value)
	e, err := r.w.existing(r.id)
	if err != nil {
		return false, err
	}
	meta := e.index.Metadata
	meta.UpdatedAt = r.w.Now()
	if err := r.write(value); err != nil {
		return false, err
	}
	data, err := r.data()
	if err != nil {
		return false, err
	}
	return changed, r.w.save(e, data, meta)
}

func (r *Register) write(value []byte) (err error) {
	r.Value, r.writer = value, r.w.Executor
	r.Timestamp, err = r.w.Timestamp()
	return err
}

// attach hangs a new register under the tree root, which a context may not have yet.
func (r *Register) attach(meta crdt.Metadata) error {
	root, err := r.w.entity(r.w.root())
	if err != nil {
		return err
	}
	if !root.found {
		root.index.Metadata = r.w.fresh(crdt.StorageType{})
		r.w.touch(root)
	}
	data, err := r.data()
	if err != nil {
		return err
	}
	return r.w.insert(r.w.root(), r.id, data, meta)
}

func (r *Register) data() ([]byte, error) {
	e := borsh.NewEncoder(make([]byte, 0, 1+4+len(r.Value)+24+32+32))
	e.OptBytes(r.Value)
	r.Timestamp.EncodeBorsh(e)
	e.Raw(r.writer[:])
	e.Raw(r.id[:])
	out, err := e.Finish()
	if err != nil {
		return nil, Error("Serialization error: " + err.Error())
	}
	return out, nil
}
