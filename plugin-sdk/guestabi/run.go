package guestabi

import (
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// Names the host looks for in a module.
const (
	MemoryExport   = "memory"
	RegisterMerge  = "__calimero_register_merge"
	exportFunction = "func"
)

// Instance is a fresh instance of a module whose start function has not run.
type Instance interface {
	// Start runs the start function; modules without one never see the call.
	Start() error
	// Invoke runs an exported function of type () -> (). The error is the one a
	// host function returned, a Trap or a Fault for what the guest did, or any
	// other for a failure of the engine.
	Invoke(export string) error
}

// Run takes a call through its life (guest-abi.md §5.1): method name, start
// function, memory, merge hook, method. instantiate is called once the name is
// good. exports and hasStart describe the module. The fault is what the guest
// ended with, nil for a regular end; the error is the host's own failure.
func (x *Execution) Run(method string, exports []runtime.Export, hasStart bool, instantiate func() (Instance, error)) (*runtime.Fault, error) {
	if f := CheckMethod(method, x.limits.MaxMethodNameLength); f != nil {
		return f, nil
	}
	in, err := instantiate()
	if err != nil {
		return split(err)
	}
	if hasStart {
		x.starting = true
		err := in.Start()
		x.starting = false
		if err != nil {
			return split(err)
		}
	}
	if e, ok := find(exports, MemoryExport); !ok {
		return MethodNotFound(MemoryExport), nil
	} else if e.Kind != "memory" {
		return errExportKind, nil
	}
	if e, ok := find(exports, RegisterMerge); ok && plain(e) {
		if f, err := split(in.Invoke(RegisterMerge)); err != nil || f != nil && !ignorable(f) {
			return f, err
		}
	}
	e, ok := find(exports, method)
	switch {
	case !ok:
		return MethodNotFound(method), nil
	case e.Kind != exportFunction:
		return errExportKind, nil
	case !plain(e):
		return InvalidSignature(method), nil
	}
	return split(in.Invoke(method))
}

func split(err error) (*runtime.Fault, error) {
	if err == nil {
		return nil, nil
	}
	if f := AsFault(err); f != nil {
		return f, nil
	}
	return nil, err
}

// ignorable tells the failures of the merge hook that do not end the call: the
// guest's own. A budget that is used up stays used up.
func ignorable(f *runtime.Fault) bool {
	switch f.Kind {
	case runtime.FaultTrap, runtime.FaultHost, runtime.FaultMemory:
		return true
	}
	return false
}

func plain(e runtime.Export) bool {
	return e.Kind == exportFunction && len(e.Params) == 0 && len(e.Results) == 0
}

func find(exports []runtime.Export, name string) (runtime.Export, bool) {
	for _, e := range exports {
		if e.Name == name {
			return e, true
		}
	}
	return runtime.Export{}, false
}
