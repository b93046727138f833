package wasmer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/guestabi"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/runtime-wasmer/internal/engine"
	"github.com/calimero-go/core/runtime-wasmer/internal/rewrite"
)

// DefaultPages caps the memory of a module for which no other cap is named.
const DefaultPages = 4096

// built is a module as it is run: what is known of it and its machine code.
type built struct {
	Info     runtime.ModuleInfo
	HasStart bool
	Artifact []byte `json:"-"`
}

// Compiler turns a module into its built form, which Build makes. A module that
// the engine refuses is a *runtime.Fault of kind FaultCompilation.
type Compiler func(ctx context.Context, wasm []byte, pages uint32) ([]byte, error)

// Build is the Compiler that works in this process: validation, guards,
// compilation. The engine's compiler may abort the process on a module made to
// do so; NewChildCompiler keeps that away from running executions.
func Build(_ context.Context, wasm []byte, pages uint32) ([]byte, error) {
	if !bytes.HasPrefix(wasm, rewrite.Magic[:4]) {
		binary, err := engine.TextToBinary(wasm)
		if err != nil {
			return nil, guestabi.CompilationFault("WebAssembly translation error: Error when converting wat: " + err.Error())
		}
		wasm = binary
	}
	if err := engine.Validate(wasm); err != nil {
		return nil, guestabi.CompilationFault("Validation error: " + err.Error())
	}
	m, err := rewrite.Parse(wasm)
	if err != nil {
		return nil, guestabi.CompilationFault(err.Error())
	}
	guarded, err := m.Rewrite(pages)
	if err != nil {
		return nil, guestabi.CompilationFault(err.Error())
	}
	artifact, err := engine.Compile(guarded)
	if err != nil {
		return nil, guestabi.CompilationFault(err.Error())
	}
	return (&built{Info: describe(m), HasStart: m.HasStart(), Artifact: artifact}).encode()
}

// encode writes the description's length in one line of text, the description, the artifact.
func (b *built) encode() ([]byte, error) {
	head, err := json.Marshal(b)
	if err != nil {
		return nil, errkind.Internal.Errorf("encode module description: %w", err)
	}
	out := fmt.Appendf(make([]byte, 0, len(head)+len(b.Artifact)+16), "%d\n", len(head))
	return append(append(out, head...), b.Artifact...), nil
}

func decodeBuilt(in []byte) (*built, error) {
	line, rest, ok := bytes.Cut(in, []byte{'\n'})
	var n int
	if ok {
		if _, err := fmt.Sscanf(string(line[:min(len(line), 10)]), "%d", &n); err != nil {
			ok = false
		}
	}
	if !ok || n < 0 || n > len(rest) {
		return nil, errkind.Corrupt.Errorf("compiled module has no description")
	}
	b := &built{Artifact: rest[n:]}
	if err := json.Unmarshal(rest[:n], b); err != nil {
		return nil, errkind.Corrupt.Errorf("read description of a compiled module: %w", err)
	}
	return b, nil
}

var kinds = [...]string{rewrite.Func: "func", rewrite.Table: "table", rewrite.Memory: "memory", rewrite.Global: "global"}

var valTypes = map[byte]string{
	rewrite.I32: "i32", rewrite.I64: "i64", rewrite.F32: "f32", rewrite.F64: "f64", rewrite.V128: "v128",
	0x70: "funcref", 0x6f: "externref",
}

func describe(m *rewrite.Module) runtime.ModuleInfo {
	var info runtime.ModuleInfo
	for _, imp := range m.Imports {
		info.Imports = append(info.Imports, runtime.Import{Module: imp.Module, Name: imp.Name, Kind: kindName(imp.Kind),
			Params: typeNames(imp.Type.Params), Results: typeNames(imp.Type.Results)})
	}
	for _, e := range m.Exports {
		info.Exports = append(info.Exports, runtime.Export{Name: e.Name, Kind: kindName(e.Kind),
			Params: typeNames(e.Type.Params), Results: typeNames(e.Type.Results)})
		if e.Name == guestabi.RegisterMerge && e.Kind == rewrite.Func && len(e.Type.Params)+len(e.Type.Results) == 0 {
			info.RegistersMerge = true
		}
	}
	if m.Memory != nil {
		info.MemoryMinPages = m.Memory.Min
		if m.Memory.HasMax {
			info.MemoryMaxPages = m.Memory.Max
		}
	}
	return info
}

func kindName(k int) string {
	if k >= 0 && k < len(kinds) {
		return kinds[k]
	}
	return fmt.Sprintf("kind %d", k)
}

func typeNames(types []byte) []string {
	var out []string
	for _, t := range types {
		name, ok := valTypes[t]
		if !ok {
			name = fmt.Sprintf("type 0x%02x", t)
		}
		out = append(out, name)
	}
	return out
}
