package rewrite

import "fmt"

// stopCheck is the code that ends the guest when the stop flag is set.
func (m *Module) stopCheck() []byte {
	b := appendU32([]byte{0x23}, uint32(m.globals)+1)
	return append(b, 0x04, 0x40, 0x00, 0x0b) // if unreachable end
}

// function is what one walk over a body finds.
type function struct {
	body     []byte   // with a stop check at the start of every loop
	calls    []uint32 // functions called directly, by index
	indirect bool     // calls through a table
	refs     bool     // makes references to functions
}

func (m *Module) walkCode() ([]function, error) {
	check := m.stopCheck()
	out := make([]function, len(m.bodies))
	for i, body := range m.bodies {
		if err := out[i].walk(body, check); err != nil {
			return nil, fmt.Errorf("read body of function %d: %w", m.importedFuncs+i, err)
		}
	}
	return out, nil
}

func (f *function) walk(body, check []byte) error {
	r := &reader{b: body}
	for range r.count("local groups", maxLocals) {
		r.u32()
		r.byte()
		if r.err != nil {
			break
		}
	}
	var out []byte
	copied := 0
	for len(r.b) > 0 {
		op := r.byte()
		if op == 0x10 {
			f.calls = append(f.calls, r.u32())
			continue
		}
		r.immediates(op)
		if r.err != nil {
			break
		}
		switch op {
		case 0x03:
			at := len(body) - len(r.b)
			out = append(append(out, body[copied:at]...), check...)
			copied = at
		case 0x11:
			f.indirect = true
		case 0xd2:
			f.refs = true
		}
	}
	if copied == 0 {
		f.body = body
	} else {
		f.body = append(out, body[copied:]...)
	}
	return r.err
}

// leb skips a LEB128 number of either sign.
func (r *reader) leb() {
	for range 10 {
		if r.byte() < 0x80 {
			return
		}
	}
	r.fail(fmt.Errorf("integer too large"))
}

func (r *reader) lebs(n int) {
	for range n {
		r.leb()
	}
}

// immediates skips what follows an opcode. The engine has validated the code, so
// only lengths matter; an opcode that is not known here refuses the module.
func (r *reader) immediates(op byte) {
	switch {
	case op <= 0x01, op == 0x05, op == 0x0b, op == 0x0f, op == 0x1a, op == 0x1b, op >= 0x45 && op <= 0xc4, op == 0xd1:
	case op >= 0x02 && op <= 0x04, op == 0x0c, op == 0x0d, op >= 0x20 && op <= 0x26,
		op >= 0x3f && op <= 0x42, op == 0xd0, op == 0xd2:
		r.leb()
	case op == 0x0e: // br_table
		n := r.count("branch targets", 1<<20)
		r.lebs(n + 1)
	case op == 0x11, op >= 0x28 && op <= 0x3e: // call_indirect; loads and stores
		r.lebs(2)
	case op == 0x1c: // select with types
		r.take(uint32(r.count("select types", maxSignature)))
	case op == 0x43:
		r.take(4)
	case op == 0x44:
		r.take(8)
	case op == 0xfc:
		r.miscImmediates(r.u32())
	case op == 0xfd:
		r.vectorImmediates(r.u32())
	default:
		r.fail(fmt.Errorf("instruction 0x%02x is not supported", op))
	}
}

// miscImmediates are those of saturating conversions and bulk operations.
func (r *reader) miscImmediates(op uint32) {
	switch {
	case op <= 7:
	case op == 9, op == 11, op == 13, op >= 15 && op <= 17:
		r.leb()
	case op == 8, op == 10, op == 12, op == 14:
		r.lebs(2)
	default:
		r.fail(fmt.Errorf("instruction 0xfc %d is not supported", op))
	}
}

func (r *reader) vectorImmediates(op uint32) {
	switch {
	case op <= 11, op == 92, op == 93: // loads and stores
		r.lebs(2)
	case op == 12, op == 13: // constant, shuffle
		r.take(16)
	case op >= 21 && op <= 34: // lanes
		r.byte()
	case op >= 84 && op <= 91: // loads and stores of a lane
		r.lebs(2)
		r.byte()
	case op > 255:
		r.fail(fmt.Errorf("instruction 0xfd %d is not supported", op))
	}
}
