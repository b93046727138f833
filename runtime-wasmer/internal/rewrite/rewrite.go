package rewrite

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Exports that Rewrite adds. A module that uses one of these names, or one of
// the metering's, is refused.
const (
	ReservedPrefix = "calimero:guard:"
	StackExport    = ReservedPrefix + "stack"
	StopExport     = ReservedPrefix + "stop"
	StartExport    = ReservedPrefix + "start"
	meteringPrefix = "wasmer_metering_"
)

// Stack costs in bytes. A frame holds at most its locals, its operands and the
// arguments of the calls it makes, and each operand needs at least one byte of
// code; so code length bounds the frame without reading opcodes. The bound is
// several times too high for ordinary code, which the budget allows for.
const (
	frameBase  = 128
	slotSize   = 8
	vectorSlot = 16
	// UnguardedStack is what functions without a thunk may use together: the
	// host keeps that much free below the budget it gives.
	UnguardedStack = 2 << 20
)

// Rewrite returns the module with its guards. maxPages caps the memory.
//
// Every loop looks at the global exported as StopExport, which the guest never
// writes, at the start of each iteration and ends in `unreachable` when it is
// not 0; so does every thunk.
//
// Every function f that may be part of a recursion becomes a thunk at its old
// index: it takes the cost
// of f's frame from the global exported as StackExport, ends in `unreachable`
// with that global negative when nothing is left, and otherwise calls the old
// body, which has moved to the end of the index space.
func (m *Module) Rewrite(maxPages uint32) ([]byte, error) {
	if err := m.check(maxPages); err != nil {
		return nil, err
	}
	functions, err := m.walkCode()
	if err != nil {
		return nil, err
	}
	g := m.newGuard(functions)
	out := bytes.Clone(Magic)
	done := map[byte]bool{}
	for _, s := range m.sections {
		switch s.id {
		case secGlobal, secExport, secStart:
			continue // written at their place below
		}
		out = m.insertBefore(out, s.id, done)
		switch s.id {
		case secFunction:
			out = appendSection(out, s.id, m.functionSection(g.guarded))
		case secTable:
			out = appendSection(out, s.id, m.tableSection())
		case secMemory:
			out = appendSection(out, s.id, m.memorySection(maxPages))
		case secCode:
			out = appendSection(out, s.id, m.codeSection(g, functions))
		default:
			out = appendSection(out, s.id, s.body)
		}
	}
	return m.insertBefore(out, secElement, done), nil
}

func (m *Module) check(maxPages uint32) error {
	for _, e := range m.Exports {
		if strings.HasPrefix(e.Name, ReservedPrefix) || strings.HasPrefix(e.Name, meteringPrefix) {
			return fmt.Errorf("export name %q is reserved", e.Name)
		}
	}
	if m.Memory != nil && m.Memory.Min > maxPages {
		return fmt.Errorf("module starts with %d memory pages, the limit is %d", m.Memory.Min, maxPages)
	}
	total := uint64(0)
	for _, t := range m.tables {
		total += uint64(t.limits.Min)
	}
	if total > MaxTableEntries {
		return fmt.Errorf("tables start with %d entries, the limit is %d", total, MaxTableEntries)
	}
	return nil
}

// insertBefore writes the global and export sections when the next section is
// one that must follow them.
func (m *Module) insertBefore(out []byte, next byte, done map[byte]bool) []byte {
	late := next == secElement || next == secCode || next == secData || next == secDataCount
	if !late || done[secGlobal] {
		return out
	}
	done[secGlobal] = true
	out = appendSection(out, secGlobal, m.globalSection())
	return appendSection(out, secExport, m.exportSection())
}

func (m *Module) body(id byte) []byte {
	for _, s := range m.sections {
		if s.id == id {
			return s.body
		}
	}
	return nil
}

func (m *Module) importedGlobals() int {
	n := 0
	for _, imp := range m.Imports {
		if imp.Kind == Global {
			n++
		}
	}
	return n
}

// globalSection adds the stack counter and the stop flag behind the module's own globals.
func (m *Module) globalSection() []byte {
	out := appendU32(nil, uint32(m.globals-m.importedGlobals()+2))
	if body := m.body(secGlobal); body != nil {
		r := &reader{b: body}
		r.u32()
		out = append(out, r.b...)
	}
	// (mut i32) (i32.const 0), twice; the host sets the counter before each call.
	return append(out, I32, 1, 0x41, 0, 0x0b, I32, 1, 0x41, 0, 0x0b)
}

func (m *Module) exportSection() []byte {
	n := uint32(len(m.Exports) + 2)
	if m.start != nil {
		n++
	}
	out := appendU32(nil, n)
	for _, e := range m.Exports {
		out = appendU32(append(appendName(out, e.Name), byte(e.Kind)), e.Index)
	}
	if m.start != nil {
		out = appendU32(append(appendName(out, StartExport), Func), *m.start)
	}
	out = appendU32(append(appendName(out, StackExport), Global), uint32(m.globals))
	return appendU32(append(appendName(out, StopExport), Global), uint32(m.globals)+1)
}

func (m *Module) functionSection(guarded []int) []byte {
	out := appendU32(nil, uint32(len(m.functions)+len(guarded)))
	for _, t := range m.functions {
		out = appendU32(out, t)
	}
	for _, i := range guarded {
		out = appendU32(out, m.functions[i])
	}
	return out
}

func (m *Module) memorySection(maxPages uint32) []byte {
	if m.Memory == nil {
		return []byte{0}
	}
	limit := maxPages
	if m.Memory.HasMax {
		limit = min(limit, m.Memory.Max)
	}
	return appendU32(appendU32([]byte{1, 1}, m.Memory.Min), limit)
}

// tableSection gives every table a maximum; what is free of the total is
// shared between them.
func (m *Module) tableSection() []byte {
	total := uint32(0)
	for _, t := range m.tables {
		total += t.limits.Min
	}
	spare := uint32(0)
	if len(m.tables) > 0 {
		spare = (MaxTableEntries - total) / uint32(len(m.tables))
	}
	out := appendU32(nil, uint32(len(m.tables)))
	for _, t := range m.tables {
		limit := t.limits.Min + spare
		if t.limits.HasMax {
			limit = min(limit, t.limits.Max)
		}
		out = appendU32(appendU32(append(out, t.elem, 1), t.limits.Min), max(limit, t.limits.Min))
	}
	return out
}

// codeSection writes the thunks (or unguarded bodies) first, then the moved bodies.
func (m *Module) codeSection(g guard, functions []function) []byte {
	guarded := g.guarded
	out := appendU32(nil, uint32(len(functions)+len(guarded)))
	moved := uint32(m.importedFuncs + len(functions))
	next := 0
	for i, f := range functions {
		if next < len(guarded) && guarded[next] == i {
			t := m.Types[m.functions[i]]
			out = appendBody(out, m.thunk(t, g.costs[i], moved+uint32(next)))
			next++
			continue
		}
		out = appendBody(out, f.body)
	}
	for _, i := range guarded {
		out = appendBody(out, functions[i].body)
	}
	return out
}

func appendBody(out, body []byte) []byte {
	return append(appendU32(out, uint32(len(body))), body...)
}

func (m *Module) thunk(t FuncType, cost, callee uint32) []byte {
	global := uint32(m.globals)
	b := append([]byte{0}, m.stopCheck()...) // no locals
	b = appendU32(append(b, 0x23), global)
	b = append(appendS32(append(b, 0x41), cost), 0x6b) // left - cost
	b = appendU32(append(b, 0x24), global)
	b = appendU32(append(b, 0x23), global)
	b = append(b, 0x41, 0, 0x48, 0x04, 0x40, 0x00, 0x0b) // if < 0 then unreachable
	for i := range t.Params {
		b = appendU32(append(b, 0x20), uint32(i))
	}
	b = appendU32(append(b, 0x10), callee)
	b = appendU32(append(b, 0x23), global)
	b = append(appendS32(append(b, 0x41), cost), 0x6a)
	b = appendU32(append(b, 0x24), global)
	return append(b, 0x0b)
}

// frameCost is an upper bound of the native stack that a function and its
// thunk use for one call. push is the most values one instruction can push.
func frameCost(body []byte, t FuncType, push uint64, vectors bool) uint32 {
	slot := uint64(slotSize)
	if vectors || bytes.IndexByte(body, 0xfd) >= 0 || bytes.IndexByte(body, V128) >= 0 {
		slot = vectorSlot
	}
	signature := uint64(len(t.Params) + len(t.Results))
	slots := countLocals(body) + uint64(len(body))*push + signature
	return uint32(min(2*frameBase+slot*slots+2*vectorSlot*signature, math.MaxInt32))
}

func (m *Module) maxPush() uint64 {
	n := 1
	for _, t := range m.Types {
		n = max(n, len(t.Results))
	}
	return uint64(n)
}

func (m *Module) hasVectors() bool {
	return slices.ContainsFunc(m.Types, func(t FuncType) bool {
		return bytes.IndexByte(t.Params, V128) >= 0 || bytes.IndexByte(t.Results, V128) >= 0
	})
}

// countLocals counts the declared locals. A body that cannot be read is no
// module the engine accepts; its cost does not matter.
func countLocals(body []byte) uint64 {
	r := &reader{b: body}
	total := uint64(0)
	for range r.count("local groups", maxLocals) {
		total += uint64(r.u32())
		r.byte()
		if r.err != nil {
			break
		}
	}
	return min(total, maxLocals)
}
