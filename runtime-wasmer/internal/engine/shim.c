#if defined(__linux__)
#define _GNU_SOURCE
#include <malloc.h>
#endif
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shim.h"

// Implemented in Go (trampoline.go).
extern int calimeroHostCall(uint64_t handle, uint32_t index, uint64_t *args, uint32_t nargs, uint8_t *mem, size_t memlen,
                            uint64_t *result);

typedef struct {
  runner *r;
  uint32_t index;
  shim_sig sig;
} import_env;

struct runner {
  wasm_engine_t *engine;
  wasm_store_t *store;
  wasm_module_t *module;
  wasm_exporttype_vec_t types;
  size_t nimports;
  import_env *envs;
  wasm_func_t **funcs;
  wasm_extern_t **imports;
  uint64_t handle;
  // The running instance, NULL between calls.
  wasm_instance_t *instance;
  wasm_extern_vec_t exports;
  wasm_memory_t *memory;
  wasm_global_t *stack;
  wasm_global_t *stop;
};

// Guest frames live on the thread's own stack. The guard counts upper bounds of
// frame sizes, so it needs room that is reserved but hardly ever touched. The
// reserve is for host functions and for what the guard does not count (2 MiB:
// rewrite.UnguardedStack).
enum { THREAD_STACK = 64 << 20, STACK_RESERVE = 4 << 20 };

#if defined(__linux__) && defined(__GLIBC__)
__attribute__((constructor)) static void shim_init(void) {
  // A few arenas, two per CPU: with one, guests that run at the same time wait
  // for each other's allocations; with one per thread, which is the default,
  // the process grows without end.
  long cpus = sysconf(_SC_NPROCESSORS_ONLN);
  mallopt(M_ARENA_MAX, cpus < 1 ? 2 : cpus > 8 ? 16 : 2 * (int)cpus);
  // Large blocks stay mappings of their own, whatever was freed before: on the
  // heap they would leave holes that small long-lived blocks keep open.
  mallopt(M_MMAP_THRESHOLD, 128 << 10);
  pthread_attr_t attr;
  size_t size = 0;
  if (pthread_getattr_default_np(&attr) != 0) return;
  if (pthread_attr_getstacksize(&attr, &size) == 0 && size < THREAD_STACK) {
    if (pthread_attr_setstacksize(&attr, THREAD_STACK) == 0) (void)pthread_setattr_default_np(&attr);
  }
  pthread_attr_destroy(&attr);
}
#endif

static __thread uintptr_t stack_low;

static uintptr_t thread_stack_low(void) {
  if (stack_low != 0) return stack_low;
#if defined(__APPLE__)
  pthread_t self = pthread_self();
  stack_low = (uintptr_t)pthread_get_stackaddr_np(self) - pthread_get_stacksize_np(self);
#else
  pthread_attr_t attr;
  void *addr = NULL;
  size_t size = 0;
  if (pthread_getattr_np(pthread_self(), &attr) != 0) return 0;
  if (pthread_attr_getstack(&attr, &addr, &size) == 0) stack_low = (uintptr_t)addr;
  pthread_attr_destroy(&attr);
#endif
  return stack_low;
}

// Bytes of native stack a guest may use from here.
static uint32_t stack_room(void) {
  uintptr_t here = (uintptr_t)__builtin_frame_address(0), low = thread_stack_low();
  if (low == 0 || here <= low + STACK_RESERVE + (64 << 10)) return 0;
  uintptr_t room = here - low - STACK_RESERVE;
  return room > INT32_MAX ? INT32_MAX : (uint32_t)room;
}

static char *copy_text(const char *s, size_t n) {
  char *p = malloc(n + 1);
  if (p == NULL) abort();
  memcpy(p, s, n);
  p[n] = 0;
  return p;
}

// The library keeps the last error per thread, so it is read before returning to Go.
static char *last_error(const char *fallback) {
  int n = wasmer_last_error_length();
  if (n <= 0 || n > 1 << 20) return copy_text(fallback, strlen(fallback));
  char *buf = malloc((size_t)n + 1);
  if (buf == NULL) abort();
  int got = wasmer_last_error_message(buf, n);
  buf[got > 0 && got <= n ? got : 0] = 0;
  return buf;
}

static uint64_t op_cost(int op) {
  (void)op;
  return 1;
}

// An engine that meters. Each takes one compilation: a second one on it aborts.
static wasm_engine_t *metered_engine(void) {
  wasm_config_t *config = wasm_config_new();
  wasmer_features_t *features = wasmer_features_new();
  wasmer_features_threads(features, false);
  wasmer_features_bulk_memory(features, true);
  wasmer_features_reference_types(features, true);
  wasmer_features_multi_value(features, true);
  wasmer_features_simd(features, true);
  wasm_config_set_features(config, features);
  wasm_config_push_middleware(config, wasmer_metering_as_middleware(wasmer_metering_new(0, op_cost)));
  return wasm_engine_new_with_config(config);
}

static void *take_bytes(wasm_byte_vec_t *v, size_t *outlen, char **err) {
  void *out = NULL;
  if (v->data == NULL || v->size == 0) {
    *err = last_error("empty output");
  } else if ((out = malloc(v->size)) != NULL) {
    memcpy(out, v->data, v->size);
    *outlen = v->size;
  } else {
    *err = copy_text("out of memory", 13);
  }
  if (v->data != NULL) wasm_byte_vec_delete(v);
  return out;
}

void *shim_text_to_binary(const uint8_t *in, size_t len, size_t *outlen, char **err) {
  wasm_byte_vec_t text = {len, (char *)in}, out = {0, NULL};
  wat2wasm(&text, &out);
  return take_bytes(&out, outlen, err);
}

int shim_validate(const uint8_t *wasm, size_t len, char **err) {
  wasm_engine_t *engine = metered_engine();
  wasm_store_t *store = wasm_store_new(engine);
  wasm_byte_vec_t bytes = {len, (char *)wasm};
  int rc = SHIM_OK;
  if (!wasm_module_validate(store, &bytes)) {
    *err = last_error("invalid module");
    rc = SHIM_FAIL;
  }
  wasm_store_delete(store);
  wasm_engine_delete(engine);
  return rc;
}

void *shim_compile(const uint8_t *wasm, size_t len, size_t *outlen, char **err) {
  wasm_engine_t *engine = metered_engine();
  wasm_store_t *store = wasm_store_new(engine);
  wasm_byte_vec_t bytes = {len, (char *)wasm}, out = {0, NULL};
  void *artifact = NULL;
  wasm_module_t *module = wasm_module_new(store, &bytes);
  if (module == NULL) {
    *err = last_error("the engine refused the module");
  } else {
    wasm_module_serialize(module, &out);
    artifact = take_bytes(&out, outlen, err);
    wasm_module_delete(module);
  }
  wasm_store_delete(store);
  wasm_engine_delete(engine);
  return artifact;
}

static wasm_trap_t *host_trap(runner *r) {
  static const char text[] = "host error";
  wasm_byte_vec_t msg;
  wasm_byte_vec_new(&msg, sizeof text, text);
  wasm_trap_t *t = wasm_trap_new(r->store, &msg);
  wasm_byte_vec_delete(&msg);
  return t;
}

// The library also leaves the list of results behind, after it has read it. Its
// own list is freed and replaced by one that needs no freeing. This is done only
// for the build of the library that was seen to never free it; the others are
// not worth a double free.
#if defined(__linux__) && defined(__x86_64__)
static __thread wasm_val_t result_slot;

static void own_results(wasm_val_vec_t *results) {
  if (results->size != 1) return;
  result_slot = results->data[0];
  wasm_val_vec_delete(results);
  results->size = 1;
  results->data = &result_slot;
}
#else
static void own_results(wasm_val_vec_t *results) { (void)results; }
#endif

static wasm_trap_t *trampoline(void *env, const wasm_val_vec_t *args, wasm_val_vec_t *results) {
  import_env *e = env;
  uint64_t in[8] = {0}, out = 0;
  uint32_t n = e->sig.nparams;
  for (uint32_t i = 0; i < n; i++)
    in[i] = e->sig.params[i] == WASM_I32 ? (uint64_t)(uint32_t)args->data[i].of.i32 : (uint64_t)args->data[i].of.i64;
  // The library leaves its list of arguments behind; deleting clears it too.
  wasm_val_vec_delete((wasm_val_vec_t *)args);
  own_results(results);
  uint8_t *mem = NULL;
  size_t memlen = 0;
  shim_memory(e->r, &mem, &memlen);
  if (calimeroHostCall(e->r->handle, e->index, in, n, mem, memlen, &out) != 0) return host_trap(e->r);
  if (e->sig.nresults == 1) {
    results->data[0].kind = e->sig.result;
    if (e->sig.result == WASM_I32)
      results->data[0].of.i32 = (int32_t)(uint32_t)out;
    else
      results->data[0].of.i64 = (int64_t)out;
  }
  return NULL;
}

static wasm_functype_t *functype(const shim_sig *s) {
  wasm_valtype_t *p[8], *q[1];
  wasm_valtype_vec_t params, results;
  for (int i = 0; i < s->nparams; i++) p[i] = wasm_valtype_new(s->params[i]);
  if (s->nresults == 1) q[0] = wasm_valtype_new(s->result);
  wasm_valtype_vec_new(&params, s->nparams, p);
  wasm_valtype_vec_new(&results, s->nresults, q);
  return wasm_functype_new(&params, &results);
}

runner *shim_load(const uint8_t *artifact, size_t len, const shim_sig *sigs, size_t nsigs, uint64_t handle, char **err) {
  runner *r = calloc(1, sizeof *r);
  if (r == NULL) abort();
  r->handle = handle;
  r->engine = metered_engine();
  r->store = wasm_store_new(r->engine);
  wasm_byte_vec_t bytes = {len, (char *)artifact};
  r->module = wasm_module_deserialize(r->store, &bytes);
  if (r->module == NULL) {
    *err = last_error("the engine refused the compiled module");
    shim_unload(r);
    return NULL;
  }
  wasm_module_exports(r->module, &r->types);
  r->envs = calloc(nsigs + 1, sizeof *r->envs);
  r->funcs = calloc(nsigs + 1, sizeof *r->funcs);
  r->imports = calloc(nsigs + 1, sizeof *r->imports);
  if (r->envs == NULL || r->funcs == NULL || r->imports == NULL) abort();
  r->nimports = nsigs;
  for (size_t i = 0; i < nsigs; i++) {
    r->envs[i] = (import_env){r, (uint32_t)i, sigs[i]};
    wasm_functype_t *t = functype(&sigs[i]);
    r->funcs[i] = wasm_func_new_with_env(r->store, t, trampoline, &r->envs[i], NULL);
    wasm_functype_delete(t);
    r->imports[i] = wasm_func_as_extern(r->funcs[i]);
  }
  return r;
}

void shim_unload(runner *r) {
  shim_drop(r);
  for (size_t i = 0; i < r->nimports; i++) wasm_func_delete(r->funcs[i]);
  if (r->types.data != NULL) wasm_exporttype_vec_delete(&r->types);
  if (r->module != NULL) wasm_module_delete(r->module);
  wasm_store_delete(r->store);
  wasm_engine_delete(r->engine);
  free(r->imports);
  free(r->funcs);
  free(r->envs);
  free(r);
#if defined(__linux__) && defined(__GLIBC__)
  malloc_trim(0);  // loading a module needs several times its size for a moment
#endif
}

long shim_export(const runner *r, const char *name, size_t len) {
  for (size_t i = 0; i < r->types.size; i++) {
    const wasm_byte_vec_t *n = wasm_exporttype_name(r->types.data[i]);
    if (n->size == len && memcmp(n->data, name, len) == 0) return (long)i;
  }
  return -1;
}

static char *take_trap(wasm_trap_t *trap) {
  wasm_byte_vec_t msg = {0, NULL};
  wasm_trap_message(trap, &msg);
  size_t n = msg.size;
  while (n > 0 && msg.data[n - 1] == 0) n--;
  char *text = copy_text(msg.data == NULL ? "" : msg.data, n);
  if (msg.data != NULL) wasm_byte_vec_delete(&msg);
  wasm_trap_delete(trap);
  return text;
}

int shim_instantiate(runner *r, long memory, long stack, long stop, char **err) {
  wasm_extern_vec_t imports = {r->nimports, r->imports};
  wasm_trap_t *trap = NULL;
  r->instance = wasm_instance_new(r->store, r->module, &imports, &trap);
  if (r->instance == NULL) {
    if (trap != NULL) {
      *err = take_trap(trap);
      return SHIM_TRAP;
    }
    *err = last_error("instantiation failed");
    return SHIM_FAIL;
  }
  wasm_instance_exports(r->instance, &r->exports);
  if (memory >= 0 && (size_t)memory < r->exports.size) r->memory = wasm_extern_as_memory(r->exports.data[memory]);
  if (stack >= 0 && (size_t)stack < r->exports.size) r->stack = wasm_extern_as_global(r->exports.data[stack]);
  if (stop >= 0 && (size_t)stop < r->exports.size) r->stop = wasm_extern_as_global(r->exports.data[stop]);
  return SHIM_OK;
}

void shim_drop(runner *r) {
  if (r->instance == NULL) return;
  r->memory = NULL;
  r->stack = NULL;
  r->stop = NULL;
  wasm_extern_vec_delete(&r->exports);
  r->exports = (wasm_extern_vec_t){0, NULL};
  wasm_instance_delete(r->instance);
  r->instance = NULL;
}

int shim_call(runner *r, long index, uint32_t stack, char **err) {
  if (index < 0 || (size_t)index >= r->exports.size) {
    *err = copy_text("no such export", 14);
    return SHIM_FAIL;
  }
  wasm_func_t *f = wasm_extern_as_func(r->exports.data[index]);
  if (f == NULL) {
    *err = copy_text("export is not a function", 24);
    return SHIM_FAIL;
  }
  if (r->stack != NULL) {
    uint32_t room = stack_room();
    wasm_val_t v = {.kind = WASM_I32, .of = {.i32 = (int32_t)(stack < room ? stack : room)}};
    wasm_global_set(r->stack, &v);
  }
  wasm_val_vec_t args = {0, NULL}, results = {0, NULL};
  wasm_trap_t *trap = wasm_func_call(f, &args, &results);
  if (trap == NULL) return SHIM_OK;
  *err = take_trap(trap);
  if (shim_stack_left(r) < 0) {
    // Give the touched part of this thread's stack back.
    uintptr_t low = thread_stack_low(), here = (uintptr_t)__builtin_frame_address(0);
    if (low != 0) {
      low = (low + 0x1ffff) & ~(uintptr_t)0xffff;
      here = (here - (256 << 10)) & ~(uintptr_t)0xffff;
      if (here > low) (void)madvise((void *)low, here - low, MADV_DONTNEED);
    }
  }
  return SHIM_TRAP;
}

int32_t shim_stack_left(runner *r) {
  if (r->stack == NULL) return 0;
  wasm_val_t v = {0};
  wasm_global_get(r->stack, &v);
  return v.of.i32;
}

void shim_memory(runner *r, uint8_t **data, size_t *len) {
  *data = NULL;
  *len = 0;
  if (r->memory == NULL) return;
  *data = (uint8_t *)wasm_memory_data(r->memory);
  *len = wasm_memory_data_size(r->memory);
}

void shim_stop(runner *r) {
  if (r->stop == NULL) return;
  wasm_val_t one = {.kind = WASM_I32, .of = {.i32 = 1}};
  wasm_global_set(r->stop, &one);
}

void shim_set_points(runner *r, uint64_t points) {
  if (r->instance != NULL) wasmer_metering_set_remaining_points(r->instance, points);
}

uint64_t shim_points(runner *r) {
  return r->instance == NULL ? 0 : wasmer_metering_get_remaining_points(r->instance);
}

int shim_exhausted(runner *r) {
  return r->instance != NULL && wasmer_metering_points_are_exhausted(r->instance);
}
