// Package rewrite reads WebAssembly modules and writes them with the guards
// the engine lacks: a count of native stack use, a maximum of the memory and of
// the tables, and the start function as an ordinary export.
package rewrite

import (
	"bytes"
	"errors"
	"fmt"
)

// Version changes whenever Rewrite's output for some module changes.
const Version = 3

// Bounds of what is read, so that a small module cannot make us build a large one.
const (
	maxTypes     = 100_000
	maxFunctions = 200_000
	maxImports   = 10_000
	maxExports   = 100_000
	// The engine's trampolines abort the process when the values of a
	// signature need more than a page of stack.
	maxSignature = 100
	maxLocals    = 50_000
	// MaxTableEntries bounds the entries of all tables of a module together.
	MaxTableEntries = 1 << 20
	// PageSize is the size of a memory page in bytes.
	PageSize = 65536
)

// Kinds of imports and exports.
const (
	Func = iota
	Table
	Memory
	Global
)

// Value types as the binary format numbers them.
const (
	I32  = 0x7f
	I64  = 0x7e
	F32  = 0x7d
	F64  = 0x7c
	V128 = 0x7b
)

// FuncType is a function type; the bytes are value types.
type FuncType struct {
	Params, Results []byte
}

// Import is one entry of the import section. Type is set for functions.
type Import struct {
	Module, Name string
	Kind         int
	Type         FuncType
}

// Export is one entry of the export section. Type is set for functions.
type Export struct {
	Name  string
	Kind  int
	Index uint32
	Type  FuncType
}

// Limits of a memory or table. Max is meaningful when HasMax is set.
type Limits struct {
	Min, Max uint32
	HasMax   bool
}

// Module is what Parse found. It refers to the bytes given to Parse.
type Module struct {
	Types   []FuncType
	Imports []Import
	Exports []Export
	// Memory is the memory the module defines, nil when it has none.
	Memory *Limits

	importedFuncs int
	globals       int
	functions     []uint32 // type index of each defined function
	tables        []table
	start         *uint32
	bodies        [][]byte
	sections      []section
}

type section struct {
	id   byte
	body []byte
}

type table struct {
	elem   byte
	limits Limits
}

const (
	secCustom = iota
	secType
	secImport
	secFunction
	secTable
	secMemory
	secGlobal
	secExport
	secStart
	secElement
	secCode
	secData
	secDataCount
)

// Magic starts every binary module.
var Magic = []byte{0, 'a', 's', 'm', 1, 0, 0, 0}

// Parse reads the module structure. It does not validate code: that is the
// engine's part and must be done on the same bytes before the result of
// Rewrite is run.
func Parse(wasm []byte) (*Module, error) {
	if !bytes.HasPrefix(wasm, Magic) {
		return nil, errors.New("not a WebAssembly 1 module")
	}
	m := &Module{}
	r := &reader{b: wasm[len(Magic):]}
	for len(r.b) > 0 {
		id := r.byte()
		body := r.take(r.u32())
		if r.err != nil {
			return nil, fmt.Errorf("read section %d: %w", id, r.err)
		}
		if id == secCustom {
			continue
		}
		m.sections = append(m.sections, section{id, body})
		if err := m.parseSection(id, body); err != nil {
			return nil, fmt.Errorf("read section %d: %w", id, err)
		}
	}
	return m, m.link()
}

func (m *Module) parseSection(id byte, body []byte) error {
	r := &reader{b: body}
	switch id {
	case secType:
		m.parseTypes(r)
	case secImport:
		m.parseImports(r)
	case secFunction:
		for range r.count("functions", maxFunctions) {
			m.functions = append(m.functions, r.u32())
		}
	case secTable:
		for range r.count("tables", 100) {
			m.tables = append(m.tables, table{r.byte(), r.limits()})
		}
	case secMemory:
		n := r.count("memories", 1)
		if n == 1 {
			l := r.limits()
			m.Memory = &l
		}
	case secGlobal:
		m.globals += r.count("globals", 1_000_000)
		return nil // the engine validates the initialisers
	case secExport:
		for range r.count("exports", maxExports) {
			m.Exports = append(m.Exports, Export{Name: r.name(), Kind: int(r.byte()), Index: r.u32()})
			if r.err != nil {
				break
			}
		}
	case secStart:
		v := r.u32()
		m.start = &v
	case secCode:
		for range r.count("function bodies", maxFunctions) {
			m.bodies = append(m.bodies, r.take(r.u32()))
			if r.err != nil {
				break
			}
		}
	case secElement, secData, secDataCount:
		return nil
	default:
		return errors.New("unknown section")
	}
	if r.err == nil && len(r.b) != 0 {
		return fmt.Errorf("%d bytes left over", len(r.b))
	}
	return r.err
}

func (m *Module) parseTypes(r *reader) {
	for range r.count("types", maxTypes) {
		if form := r.byte(); form != 0x60 {
			r.fail(fmt.Errorf("type form 0x%02x is not a function", form))
		}
		t := FuncType{}
		t.Params = r.take(uint32(r.count("parameters", maxSignature)))
		t.Results = r.take(uint32(r.count("results", maxSignature)))
		if len(t.Params)+len(t.Results) > maxSignature {
			r.fail(fmt.Errorf("a type with %d parameters and %d results, at most %d are accepted", len(t.Params), len(t.Results), maxSignature))
		}
		if r.err != nil {
			return
		}
		m.Types = append(m.Types, t)
	}
}

func (m *Module) parseImports(r *reader) {
	for range r.count("imports", maxImports) {
		imp := Import{Module: r.name(), Name: r.name(), Kind: int(r.byte())}
		switch imp.Kind {
		case Func:
			t := r.u32()
			if uint64(t) >= uint64(len(m.Types)) {
				r.fail(fmt.Errorf("import %q.%q has unknown type %d", imp.Module, imp.Name, t))
				return
			}
			imp.Type = m.Types[t]
			m.importedFuncs++
		case Table:
			r.byte()
			r.limits()
		case Memory:
			r.limits()
		case Global:
			r.take(2)
			m.globals++
		default:
			r.fail(fmt.Errorf("import %q.%q has unknown kind %d", imp.Module, imp.Name, imp.Kind))
		}
		if r.err != nil {
			return
		}
		m.Imports = append(m.Imports, imp)
	}
}

func (r *reader) limits() Limits {
	flags := r.byte()
	if flags > 1 {
		r.fail(fmt.Errorf("limits with flags %d (shared or 64-bit) are not accepted", flags))
		return Limits{}
	}
	l := Limits{Min: r.u32(), HasMax: flags == 1}
	if l.HasMax {
		l.Max = r.u32()
	}
	return l
}

// link checks the references between sections that Rewrite relies on.
func (m *Module) link() error {
	if len(m.functions) != len(m.bodies) {
		return fmt.Errorf("%d functions are declared but %d have a body", len(m.functions), len(m.bodies))
	}
	if len(m.functions)+m.importedFuncs > maxFunctions {
		return fmt.Errorf("more than %d functions", maxFunctions)
	}
	for i, t := range m.functions {
		if uint64(t) >= uint64(len(m.Types)) {
			return fmt.Errorf("function %d has unknown type %d", i, t)
		}
	}
	for i, e := range m.Exports {
		if e.Kind != Func {
			continue
		}
		t, ok := m.funcType(e.Index)
		if !ok {
			return fmt.Errorf("export %q names unknown function %d", e.Name, e.Index)
		}
		m.Exports[i].Type = t
	}
	if m.start != nil {
		if t, ok := m.funcType(*m.start); !ok || len(t.Params)+len(t.Results) != 0 {
			return errors.New("the start function must take and give nothing")
		}
	}
	return nil
}

func (m *Module) funcType(index uint32) (FuncType, bool) {
	if int64(index) >= int64(m.importedFuncs) {
		i := int64(index) - int64(m.importedFuncs)
		if i >= int64(len(m.functions)) {
			return FuncType{}, false
		}
		return m.Types[m.functions[i]], true
	}
	n := uint32(0)
	for _, imp := range m.Imports {
		if imp.Kind != Func {
			continue
		}
		if n == index {
			return imp.Type, true
		}
		n++
	}
	return FuncType{}, false
}

// HasStart tells whether the module has a start function.
func (m *Module) HasStart() bool { return m.start != nil }

// Export returns the export of that name.
func (m *Module) Export(name string) (Export, bool) {
	for _, e := range m.Exports {
		if e.Name == name {
			return e, true
		}
	}
	return Export{}, false
}

// Functions returns how many functions the module defines.
func (m *Module) Functions() int { return len(m.functions) }
