package engine

// #include "shim.h"
import "C"

import (
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"
)

// runners maps the integer handles that C code holds to runners. C never sees
// a Go pointer.
var (
	runners    sync.Map // uint64 -> *Runner
	nextHandle atomic.Uint64
)

// calimeroHostCall is the one way from guest code into Go. A non-zero result
// stops the guest; the reason stays with the runner.
//
//export calimeroHostCall
func calimeroHostCall(handle C.uint64_t, index C.uint32_t, args *C.uint64_t, nargs C.uint32_t, mem *C.uint8_t, memLen C.size_t, result *C.uint64_t) C.int {
	v, ok := runners.Load(uint64(handle))
	if !ok {
		return 1
	}
	r := v.(*Runner)
	in := unsafe.Slice((*uint64)(unsafe.Pointer(args)), int(nargs))
	view := unsafe.Slice((*byte)(unsafe.Pointer(mem)), int(memLen))
	out, err := r.hostCall(int(index), in, view)
	if err != nil {
		r.hostErr = err
		return 1
	}
	*result = C.uint64_t(out)
	return 0
}

// hostCall turns a panic into an error: it must not unwind through guest frames.
func (r *Runner) hostCall(index int, args []uint64, mem []byte) (out uint64, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &HostPanic{Value: fmt.Sprint(p)}
		}
	}()
	return r.host.HostCall(index, args, mem)
}
