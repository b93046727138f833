package guestabi

import (
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/collections"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// The collections of guests that leave them to the host (guest-abi.md §1.8): what is in a collection is package
// collections; here are arguments, results and bounds.

// collectionRows are the rows of this execution for a Writer.
type collectionRows struct{ x *Execution }

func (r collectionRows) Get(key crdt.StateKey) ([]byte, bool, error) {
	e, err := r.x.get(stateKey(key))
	if err != nil {
		return nil, false, err
	}
	return e.value, e.found, nil
}

func (r collectionRows) Put(key crdt.StateKey, value []byte) error {
	return r.x.put(stateKey(key), r.x.written(stateKey(key)), value, true)
}

func (r collectionRows) Remove(key crdt.StateKey) error {
	return r.x.put(stateKey(key), r.x.written(stateKey(key)), nil, false)
}

// collections returns the writer of this execution.
func (x *Execution) collections() *collections.Writer {
	if x.writer == nil {
		x.writer = collections.New(collections.Config{
			Context: x.Context, Executor: x.Executor, Rows: collectionRows{x}, Now: x.now, Timestamp: x.timestamp,
			Random: x.Random, MaxActions: maxValue,
		})
	}
	return x.writer
}

// settle makes the rows tell what the writer knows, before the guest looks at them itself or changes them.
func (x *Execution) settle() error {
	if x.writer == nil {
		return nil
	}
	if err := x.writer.Flush(); err != nil {
		return err
	}
	x.writer.Forget()
	return nil
}

// failed is the status of a call whose register has the text of an error.
const failed = math.MaxUint32 // -1 as an i32

// answer ends a call on a collection: with its status, or with an error that the guest is told in a register.
func (x *Execution) answer(register, status uint64, err error) (uint64, error) {
	var told collections.Error
	switch {
	case err == nil:
		return status, nil
	case AsFault(err) == nil && errors.As(err, &told):
		return failed, x.setRegister(register, []byte(told))
	case AsFault(err) == nil && errors.Is(err, errkind.TooLarge):
		return 0, tooLarge("%s", err)
	}
	return 0, err
}

// giveOptional gives the guest a value: status 1, or 0 and an empty register for nil.
func (x *Execution) giveOptional(register uint64, value []byte, err error) (uint64, error) {
	if err != nil {
		return x.answer(register, 0, err)
	}
	if value == nil {
		return 0, x.setRegister(register, nil)
	}
	return 1, x.setRegister(register, value)
}

func (x *Execution) give(register, status uint64, value []byte, err error) (uint64, error) {
	if err != nil {
		return x.answer(register, 0, err)
	}
	return status, x.setRegister(register, value)
}

func (x *Execution) giveNumber(register, n uint64, err error) (uint64, error) {
	return x.give(register, 1, binary.LittleEndian.AppendUint64(nil, n), err)
}

func (x *Execution) giveBool(b bool, err error) (uint64, error) {
	status := uint64(0)
	if b {
		status = 1
	}
	return x.answer(0, status, err)
}

// arguments reads the arguments of a call on a collection, up to the first that is wrong.
type arguments struct {
	x   *Execution
	m   memory
	err error
}

// described is the memory behind a descriptor, valid until the host function returns; never nil.
func (r *arguments) described(ptr uint64) []byte {
	if r.err != nil {
		return nil
	}
	b, err := r.m.buffer(ptr)
	if err != nil {
		r.err = err
		return nil
	}
	s, err := r.m.slice(b)
	if s == nil {
		s = []byte{}
	}
	r.err = err
	return s
}

func (r *arguments) hash(ptr uint64, wrongLength func(int) string) (out [32]byte) {
	s := r.described(ptr)
	if r.err == nil && len(s) != len(out) {
		r.err = collections.Error(wrongLength(len(s)))
	}
	if r.err == nil {
		out = [32]byte(s)
	}
	return out
}

// id reads the id of a collection; the text says map for all kinds, as in the reference.
func (r *arguments) id(ptr uint64) crdt.ID {
	return r.hash(ptr, func(n int) string { return "mapId must be exactly 32 bytes (received " + strconv.Itoa(n) + ")" })
}

func (r *arguments) named(ptr uint64, what string) [32]byte {
	return r.hash(ptr, func(int) string { return what + " must be exactly 32 bytes" })
}

// key and value read what goes into a collection; the reference does not bound them.
func (r *arguments) key(ptr uint64) []byte {
	s := r.described(ptr)
	if r.err == nil && uint64(len(s)) > r.x.limits.MaxStorageKeySize {
		r.err = ErrKeyLength
	}
	return s
}

func (r *arguments) value(ptr uint64) []byte {
	s := r.described(ptr)
	if r.err == nil && uint64(len(s)) > r.x.limits.MaxStorageValueSize {
		r.err = ErrValueLength
	}
	return s
}

// open finds a collection once the arguments are read.
func open[C any](r *arguments, id crdt.ID, find func(*collections.Writer, crdt.ID) (C, error)) (c C, err error) {
	if r.err != nil {
		return c, r.err
	}
	if err := r.x.stopped(); err != nil {
		return c, err
	}
	return find(r.x.collections(), id)
}

// list collects a list of byte strings as a guest reads it: their number, then each after its length, u32.
type list struct {
	x     *Execution
	out   []byte
	count uint32
}

func newList(x *Execution) *list { return &list{x: x, out: make([]byte, 4)} }

func (l *list) add(parts ...[]byte) error {
	if err := l.x.stopped(); err != nil {
		return err
	}
	for _, p := range parts {
		if uint64(len(l.out))+4+uint64(len(p)) > l.x.limits.MaxRegisterSize {
			return ErrInvalidMemoryAccess // no register holds it
		}
		l.out = append(binary.LittleEndian.AppendUint32(l.out, uint32(len(p))), p...)
	}
	l.count++
	return nil
}

func (l *list) bytes() []byte {
	binary.LittleEndian.PutUint32(l.out, l.count)
	return l.out
}

func (x *Execution) print(m memory, a []uint64) (uint64, error) {
	s, err := m.slice(buffer{a[1], a[2]})
	if err != nil && a[2] != 0 {
		return 0, err
	}
	if err := x.logRoom(len(s)); err != nil { // before the copy; invalid bytes only make it longer
		return 0, err
	}
	text := string(s)
	if !utf8.Valid(s) {
		text = lossy(s)
	}
	if err := x.logRoom(len(text)); err != nil {
		return 0, err
	}
	x.result.Logs = append(x.result.Logs, text)
	return 0, nil
}

// lossy replaces each maximal invalid piece of a text by U+FFFD, as Rust does.
func lossy(s []byte) string {
	var out strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRune(s)
		if r != utf8.RuneError || n > 1 {
			out.Write(s[:n])
			s = s[n:]
			continue
		}
		out.WriteRune(utf8.RuneError)
		s = s[invalidPrefix(s):]
	}
	return out.String()
}

// invalidPrefix is how many bytes of s could begin a character that then breaks off, at least one.
func invalidPrefix(s []byte) int {
	for n := min(3, len(s)); n > 1; n-- {
		// A truncated character is the beginning of some character.
		if !utf8.FullRune(s[:n]) {
			return n
		}
	}
	return 1
}
