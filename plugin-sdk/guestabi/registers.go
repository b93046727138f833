package guestabi

// registers hold byte strings between host calls (guest-abi.md §2). Nearly every
// guest uses one, so a short list beats a map.
type registers struct {
	list  []register
	total uint64 // cost of all
}

type register struct {
	id   uint64
	data []byte
}

const (
	registerCost    = 8
	missingRegister = ^uint64(0)
)

func (r *registers) find(id uint64) int {
	for i := range r.list {
		if r.list[i].id == id {
			return i
		}
	}
	return -1
}

// set keeps data, which must not change afterwards.
func (x *Execution) setRegister(id uint64, data []byte) error {
	r, l := &x.registers, &x.limits
	n := uint64(len(data))
	if n > l.MaxRegisterSize {
		return ErrInvalidMemoryAccess
	}
	i, total := r.find(id), r.total+registerCost+n
	if i >= 0 {
		total -= registerCost + uint64(len(r.list[i].data))
	} else if uint64(len(r.list)) >= l.MaxRegisters {
		return ErrInvalidMemoryAccess
	}
	if total > l.MaxRegistersCapacity {
		return ErrInvalidMemoryAccess
	}
	r.total = total
	if i >= 0 {
		r.list[i].data = data
	} else {
		r.list = append(r.list, register{id, data})
	}
	return nil
}

func (x *Execution) registerLen(_ memory, a []uint64) (uint64, error) {
	if i := x.registers.find(a[0]); i >= 0 {
		return uint64(len(x.registers.list[i].data)), nil
	}
	return missingRegister, nil
}

func (x *Execution) readRegister(m memory, a []uint64) (uint64, error) {
	b, err := m.buffer(a[1])
	if err != nil {
		return 0, err
	}
	i := x.registers.find(a[0])
	if i < 0 {
		return 0, InvalidRegister(a[0])
	}
	data := x.registers.list[i].data
	if uint64(len(data)) != b.len {
		return 0, nil
	}
	dst, err := m.slice(b)
	if err != nil {
		return 0, err
	}
	copy(dst, data)
	return 1, nil
}
