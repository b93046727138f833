package guestabi

import (
	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/collections"
)

// The functions of guest-abi.md §1.8 in its order.

func created[C interface{ ID() crdt.ID }](x *Execution, register uint64, c C, err error) (uint64, error) {
	if err != nil {
		return x.answer(register, 0, err)
	}
	id := c.ID()
	return 0, x.setRegister(register, id[:])
}

func (x *Execution) mapNew(_ memory, a []uint64) (uint64, error) {
	c, err := x.collections().NewMap()
	return created(x, a[0], c, err)
}

func (x *Execution) mapGet(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id, key := r.id(a[0]), r.key(a[1])
	c, err := open(&r, id, (*collections.Writer).Map)
	if err != nil {
		return x.answer(a[2], 0, err)
	}
	value, err := c.Get(key)
	return x.giveOptional(a[2], value, err)
}

func (x *Execution) mapInsert(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id, key, value := r.id(a[0]), r.key(a[1]), r.value(a[2])
	c, err := open(&r, id, (*collections.Writer).Map)
	if err != nil {
		return x.answer(a[3], 0, err)
	}
	old, err := c.Insert(key, value)
	return x.giveOptional(a[3], old, err)
}

func (x *Execution) mapRemove(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id, key := r.id(a[0]), r.key(a[1])
	c, err := open(&r, id, (*collections.Writer).Map)
	if err != nil {
		return x.answer(a[2], 0, err)
	}
	value, err := c.Remove(key)
	return x.giveOptional(a[2], value, err)
}

func (x *Execution) mapContains(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id, key := r.id(a[0]), r.key(a[1])
	c, err := open(&r, id, (*collections.Writer).Map)
	if err != nil {
		return x.answer(0, 0, err)
	}
	return x.giveBool(c.Contains(key))
}

func (x *Execution) mapIter(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id := r.id(a[0])
	c, err := open(&r, id, (*collections.Writer).Map)
	if err != nil {
		return x.answer(a[1], 0, err)
	}
	l := newList(x)
	err = c.Each(func(key, value []byte) error { return l.add(key, value) })
	return x.give(a[1], 1, l.bytes(), err)
}

func (x *Execution) vectorNew(_ memory, a []uint64) (uint64, error) {
	c, err := x.collections().NewVector()
	return created(x, a[0], c, err)
}

func (x *Execution) vectorLen(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id := r.id(a[0])
	c, err := open(&r, id, (*collections.Writer).Vector)
	if err != nil {
		return x.answer(a[1], 0, err)
	}
	n, err := c.Len()
	return x.giveNumber(a[1], uint64(n), err)
}

func (x *Execution) vectorPush(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id, value := r.id(a[0]), r.value(a[1])
	c, err := open(&r, id, (*collections.Writer).Vector)
	if err != nil {
		return x.answer(0, 0, err)
	}
	return x.answer(0, 1, c.Push(value))
}

func (x *Execution) vectorGet(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id := r.id(a[0])
	c, err := open(&r, id, (*collections.Writer).Vector)
	if err != nil {
		return x.answer(a[2], 0, err)
	}
	value, err := c.Get(a[1])
	return x.giveOptional(a[2], value, err)
}

func (x *Execution) vectorPop(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id := r.id(a[0])
	c, err := open(&r, id, (*collections.Writer).Vector)
	if err != nil {
		return x.answer(a[1], 0, err)
	}
	value, err := c.Pop()
	return x.giveOptional(a[1], value, err)
}

func (x *Execution) setNew(_ memory, a []uint64) (uint64, error) {
	c, err := x.collections().NewSet()
	return created(x, a[0], c, err)
}

func (x *Execution) setInsert(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id, value := r.id(a[0]), r.value(a[1])
	c, err := open(&r, id, (*collections.Writer).Set)
	if err != nil {
		return x.answer(0, 0, err)
	}
	return x.giveBool(c.Insert(value))
}

func (x *Execution) setContains(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id, value := r.id(a[0]), r.value(a[1])
	c, err := open(&r, id, (*collections.Writer).Set)
	if err != nil {
		return x.answer(0, 0, err)
	}
	return x.giveBool(c.Contains(value))
}

func (x *Execution) setRemove(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id, value := r.id(a[0]), r.value(a[1])
	c, err := open(&r, id, (*collections.Writer).Set)
	if err != nil {
		return x.answer(0, 0, err)
	}
	return x.giveBool(c.Remove(value))
}

func (x *Execution) setLen(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id := r.id(a[0])
	c, err := open(&r, id, (*collections.Writer).Set)
	if err != nil {
		return x.answer(a[1], 0, err)
	}
	n, err := c.Len()
	return x.giveNumber(a[1], uint64(n), err)
}

func (x *Execution) setIter(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id := r.id(a[0])
	c, err := open(&r, id, (*collections.Writer).Set)
	if err != nil {
		return x.answer(a[1], 0, err)
	}
	l := newList(x)
	err = c.Each(func(value []byte) error { return l.add(value) })
	return x.give(a[1], 1, l.bytes(), err)
}

func (x *Execution) setClear(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id := r.id(a[0])
	c, err := open(&r, id, (*collections.Writer).Set)
	if err != nil {
		return x.answer(0, 0, err)
	}
	return x.giveBool(c.Clear())
}

func (x *Execution) registerNew(_ memory, a []uint64) (uint64, error) {
	c, err := x.collections().NewRegister()
	return created(x, a[0], c, err)
}

func (x *Execution) registerSet(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id := r.id(a[0])
	var value []byte
	if a[2] != 0 {
		value = r.value(a[1])
	}
	c, err := open(&r, id, (*collections.Writer).Register)
	if err != nil {
		return x.answer(0, 0, err)
	}
	return x.giveBool(c.Set(value))
}

func (x *Execution) registerGet(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id := r.id(a[0])
	c, err := open(&r, id, (*collections.Writer).Register)
	if err != nil {
		return x.answer(a[1], 0, err)
	}
	return x.giveOptional(a[1], c.Value, nil)
}

func (x *Execution) registerTimestamp(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id := r.id(a[0])
	c, err := open(&r, id, (*collections.Writer).Register)
	if err != nil {
		return x.answer(a[1], 0, err)
	}
	if c.Value == nil {
		return x.giveOptional(a[1], nil, nil)
	}
	value, err := borsh.Marshal(c.Timestamp)
	return x.giveOptional(a[1], value, err)
}

func (x *Execution) counterNew(_ memory, a []uint64) (uint64, error) {
	c, err := x.collections().NewCounter()
	return created(x, a[0], c, err)
}

func (x *Execution) counterIncrement(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id := r.id(a[0])
	c, err := open(&r, id, (*collections.Writer).Counter)
	if err != nil {
		return x.answer(0, 0, err)
	}
	return x.answer(0, 1, c.Increment())
}

func (x *Execution) counterValue(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id := r.id(a[0])
	c, err := open(&r, id, (*collections.Writer).Counter)
	if err != nil {
		return x.answer(a[1], 0, err)
	}
	n, err := c.Value()
	return x.giveNumber(a[1], n, err)
}

func (x *Execution) counterExecutorCount(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id, executor := r.id(a[0]), x.Executor
	if a[2] != 0 {
		executor = r.named(a[1], "executor id")
	}
	c, err := open(&r, id, (*collections.Writer).Counter)
	if err != nil {
		return x.answer(a[3], 0, err)
	}
	n, err := c.Of(executor)
	return x.giveNumber(a[3], n, err)
}

func (x *Execution) userStorageNew(_ memory, a []uint64) (uint64, error) {
	c, err := x.collections().NewUserStorage()
	return created(x, a[0], c, err)
}

func (x *Execution) userStorageInsert(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id, value := r.id(a[0]), r.value(a[1])
	c, err := open(&r, id, (*collections.Writer).UserStorage)
	if err != nil {
		return x.answer(a[2], 0, err)
	}
	old, err := c.Insert(value)
	return x.giveOptional(a[2], old, err)
}

func (x *Execution) userStorageGet(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id := r.id(a[0])
	c, err := open(&r, id, (*collections.Writer).UserStorage)
	if err != nil {
		return x.answer(a[1], 0, err)
	}
	value, err := c.Get(x.Executor)
	return x.giveOptional(a[1], value, err)
}

func (x *Execution) userStorageGetFor(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id, user := r.id(a[0]), r.named(a[1], "user key")
	c, err := open(&r, id, (*collections.Writer).UserStorage)
	if err != nil {
		return x.answer(a[2], 0, err)
	}
	value, err := c.Get(user)
	return x.giveOptional(a[2], value, err)
}

func (x *Execution) userStorageRemove(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id := r.id(a[0])
	c, err := open(&r, id, (*collections.Writer).UserStorage)
	if err != nil {
		return x.answer(a[1], 0, err)
	}
	value, err := c.Remove()
	return x.giveOptional(a[1], value, err)
}

func (x *Execution) userStorageContains(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id := r.id(a[0])
	c, err := open(&r, id, (*collections.Writer).UserStorage)
	if err != nil {
		return x.answer(0, 0, err)
	}
	return x.giveBool(c.Contains(x.Executor))
}

func (x *Execution) userStorageContainsUser(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id, user := r.id(a[0]), r.named(a[1], "user key")
	c, err := open(&r, id, (*collections.Writer).UserStorage)
	if err != nil {
		return x.answer(0, 0, err)
	}
	return x.giveBool(c.Contains(user))
}

func (x *Execution) frozenStorageNew(_ memory, a []uint64) (uint64, error) {
	c, err := x.collections().NewFrozenStorage()
	return created(x, a[0], c, err)
}

func (x *Execution) frozenStorageAdd(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id, value := r.id(a[0]), r.value(a[1])
	c, err := open(&r, id, (*collections.Writer).FrozenStorage)
	if err != nil {
		return x.answer(a[2], 0, err)
	}
	hash, err := c.Add(value)
	return x.give(a[2], 1, hash[:], err)
}

func (x *Execution) frozenStorageGet(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id, hash := r.id(a[0]), r.named(a[1], "hash")
	c, err := open(&r, id, (*collections.Writer).FrozenStorage)
	if err != nil {
		return x.answer(a[2], 0, err)
	}
	value, err := c.Get(hash)
	return x.giveOptional(a[2], value, err)
}

func (x *Execution) frozenStorageContains(m memory, a []uint64) (uint64, error) {
	r := arguments{x: x, m: m}
	id, hash := r.id(a[0]), r.named(a[1], "hash")
	c, err := open(&r, id, (*collections.Writer).FrozenStorage)
	if err != nil {
		return x.answer(0, 0, err)
	}
	return x.giveBool(c.Contains(hash))
}
