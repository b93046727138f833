package guestabi

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// Module is the import module of all functions of this package; modules that
// start with ExtPrefix belong to host-function plugins.
const (
	Module    = "env"
	ExtPrefix = "ext:"
)

// Function is one function a guest can import.
type Function struct {
	Module, Name string
	// Params and Results hold i32 and i64, at most one result.
	Params, Results []string
	call            func(*Execution, memory, []uint64) (uint64, error)
}

// table is guest-abi.md §1.4 in its order. A signature is one letter per
// parameter (i = i32, l = i64), a colon, one letter for the result.
var table = []struct {
	name, sig string
	call      func(*Execution, memory, []uint64) (uint64, error)
}{
	{"panic", "l:", (*Execution).guestPanic},
	{"panic_utf8", "ll:", (*Execution).guestPanicUTF8},
	{"register_len", "l:l", (*Execution).registerLen},
	{"read_register", "ll:i", (*Execution).readRegister},
	{"context_id", "l:", (*Execution).contextID},
	{"executor_id", "l:", (*Execution).executorID},
	{"input", "l:", (*Execution).input},
	{"value_return", "l:", (*Execution).valueReturn},
	{"log_utf8", "l:", (*Execution).log},
	{"js_std_d_print", "lll:i", (*Execution).print},
	{"emit", "l:", (*Execution).emit},
	{"emit_with_handler", "ll:", (*Execution).emitWithHandler},
	{"xcall", "l:", (*Execution).xcall},
	{"commit", "ll:", (*Execution).commit},
	{"persist_root_state", "lll:", (*Execution).persistRootState},
	{"read_root_state", "l:i", (*Execution).readRootState},
	{"apply_storage_delta", "l:", (*Execution).applyStorageDelta},
	{"flush_delta", ":i", (*Execution).flushDelta},
	{"storage_write", "lll:i", (*Execution).storageWrite},
	{"storage_read", "ll:i", (*Execution).storageRead},
	{"storage_remove", "ll:i", (*Execution).storageRemove},
	{"private_storage_read", "ll:i", (*Execution).privateRead},
	{"private_storage_remove", "ll:i", (*Execution).privateRemove},
	{"private_storage_write", "ll:i", (*Execution).privateWrite},
	{"js_crdt_map_new", "l:i", (*Execution).mapNew},
	{"js_crdt_map_get", "lll:i", (*Execution).mapGet},
	{"js_crdt_map_insert", "llll:i", (*Execution).mapInsert},
	{"js_crdt_map_remove", "lll:i", (*Execution).mapRemove},
	{"js_crdt_map_contains", "ll:i", (*Execution).mapContains},
	{"js_crdt_map_iter", "ll:i", (*Execution).mapIter},
	{"js_crdt_vector_new", "l:i", (*Execution).vectorNew},
	{"js_crdt_vector_len", "ll:i", (*Execution).vectorLen},
	{"js_crdt_vector_push", "ll:i", (*Execution).vectorPush},
	{"js_crdt_vector_get", "lll:i", (*Execution).vectorGet},
	{"js_crdt_vector_pop", "ll:i", (*Execution).vectorPop},
	{"js_crdt_set_new", "l:i", (*Execution).setNew},
	{"js_crdt_set_insert", "ll:i", (*Execution).setInsert},
	{"js_crdt_set_contains", "ll:i", (*Execution).setContains},
	{"js_crdt_set_remove", "ll:i", (*Execution).setRemove},
	{"js_crdt_set_len", "ll:i", (*Execution).setLen},
	{"js_crdt_set_iter", "ll:i", (*Execution).setIter},
	{"js_crdt_set_clear", "l:i", (*Execution).setClear},
	{"js_crdt_lww_new", "l:i", (*Execution).registerNew},
	{"js_crdt_lww_set", "lli:i", (*Execution).registerSet},
	{"js_crdt_lww_get", "ll:i", (*Execution).registerGet},
	{"js_crdt_lww_timestamp", "ll:i", (*Execution).registerTimestamp},
	{"js_crdt_counter_new", "l:i", (*Execution).counterNew},
	{"js_crdt_counter_increment", "l:i", (*Execution).counterIncrement},
	{"js_crdt_counter_value", "ll:i", (*Execution).counterValue},
	{"js_crdt_counter_get_executor_count", "llil:i", (*Execution).counterExecutorCount},
	{"js_user_storage_new", "l:i", (*Execution).userStorageNew},
	{"js_user_storage_insert", "lll:i", (*Execution).userStorageInsert},
	{"js_user_storage_get", "ll:i", (*Execution).userStorageGet},
	{"js_user_storage_get_for_user", "lll:i", (*Execution).userStorageGetFor},
	{"js_user_storage_remove", "ll:i", (*Execution).userStorageRemove},
	{"js_user_storage_contains", "l:i", (*Execution).userStorageContains},
	{"js_user_storage_contains_user", "ll:i", (*Execution).userStorageContainsUser},
	{"js_frozen_storage_new", "l:i", (*Execution).frozenStorageNew},
	{"js_frozen_storage_add", "lll:i", (*Execution).frozenStorageAdd},
	{"js_frozen_storage_get", "lll:i", (*Execution).frozenStorageGet},
	{"js_frozen_storage_contains", "ll:i", (*Execution).frozenStorageContains},
	{"fetch", "lllll:i", (*Execution).fetch},
	{"random_bytes", "l:", (*Execution).randomBytes},
	{"time_now", "l:", (*Execution).timeNow},
	{"ed25519_verify", "lll:i", (*Execution).ed25519Verify},
	{"blob_create", ":l", (*Execution).blobCreate},
	{"blob_write", "ll:l", (*Execution).blobWrite},
	{"blob_close", "ll:i", (*Execution).blobClose},
	{"blob_open", "l:l", (*Execution).blobOpen},
	{"blob_read", "ll:l", (*Execution).blobRead},
	{"blob_announce_to_context", "ll:i", (*Execution).blobAnnounce},
}

var functions = sync.OnceValue(func() map[string]*Function {
	m := make(map[string]*Function, len(table))
	for _, t := range table {
		params, results, _ := strings.Cut(t.sig, ":")
		f := &Function{Module: Module, Name: t.name, Params: valTypes(params), Results: valTypes(results), call: t.call}
		m[t.name] = f
	}
	return m
})

func valTypes(letters string) []string {
	out := make([]string, 0, len(letters))
	for _, c := range letters {
		if c == 'i' {
			out = append(out, "i32")
		} else {
			out = append(out, "i64")
		}
	}
	return out
}

// Imports returns all functions of module env in the order of guest-abi.md §1.4.
// They must not be changed.
func Imports() []*Function {
	out := make([]*Function, len(table))
	for i, t := range table {
		out[i] = functions()[t.name]
	}
	return out
}

// CheckImports refuses a module at install, with an error of kind Unsupported
// that names every import it cannot have. Imports of host-function plugins pass:
// whether they are granted is decided when the application runs.
func CheckImports(imports []runtime.Import) error {
	reasons := map[string][]string{}
	var order []string
	for _, imp := range imports {
		_, reason := resolve(imp)
		if reason == "" || strings.HasPrefix(imp.Module, ExtPrefix) && imp.Kind == "func" {
			continue
		}
		if reasons[reason] == nil {
			order = append(order, reason)
		}
		reasons[reason] = append(reasons[reason], fmt.Sprintf("%q.%q", imp.Module, imp.Name))
	}
	if len(order) == 0 {
		return nil
	}
	var parts []string
	for _, reason := range order {
		names := reasons[reason]
		if len(names) > 5 {
			names = append(slices.Clone(names[:5]), fmt.Sprintf("and %d more", len(reasons[reason])-5))
		}
		parts = append(parts, strings.Join(names, ", ")+": "+reason)
	}
	return errkind.Unsupported.Errorf("module imports what this node does not offer: %s", strings.Join(parts, "; "))
}

// Link resolves the imports of a module in their order. The fault is the
// reference's link error for the first import that cannot be given.
func Link(imports []runtime.Import) ([]*Function, *runtime.Fault) {
	out := make([]*Function, len(imports))
	for i, imp := range imports {
		f, reason := resolve(imp)
		if reason != "" {
			return nil, LinkFault(fmt.Sprintf("Error while importing %s.%s: %s", quote(imp.Module), quote(imp.Name), reason))
		}
		out[i] = f
	}
	return out, nil
}

// resolve finds the function for an import; reason is not empty when it cannot
// be given. Functions of host-function plugins are found here once they exist:
// a granted one becomes a Function with the register ABI.
func resolve(imp runtime.Import) (*Function, string) {
	switch {
	case imp.Kind != "func":
		return nil, "unknown import. Expected " + strings.ToUpper(imp.Kind[:min(1, len(imp.Kind))]) + imp.Kind[min(1, len(imp.Kind)):]
	case strings.HasPrefix(imp.Module, ExtPrefix):
		return nil, "host function is not granted to this application"
	}
	f := functions()[imp.Name]
	if imp.Module != Module || f == nil {
		return nil, "unknown import. Expected " + describe(imp.Params, imp.Results)
	}
	if !slices.Equal(f.Params, imp.Params) || !slices.Equal(f.Results, imp.Results) {
		return nil, "incompatible import type. Expected " + describe(imp.Params, imp.Results) + " but received " + describe(f.Params, f.Results)
	}
	return f, ""
}

func describe(params, results []string) string {
	list := func(types []string) string { return strings.ToUpper(strings.Join(types, ", ")) }
	return fmt.Sprintf("Function(FunctionType { params: [%s], results: [%s] })", list(params), list(results))
}
