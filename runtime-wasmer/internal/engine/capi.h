// Prototypes of the standard WebAssembly C API and of wasmer's extensions,
// as far as this package uses them. The library itself comes with the module
// github.com/wasmerio/wasmer-go; its Go wrapper is not used.
#ifndef CALIMERO_CAPI_H
#define CALIMERO_CAPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct wasm_config_t wasm_config_t;
typedef struct wasm_engine_t wasm_engine_t;
typedef struct wasm_store_t wasm_store_t;
typedef struct wasm_module_t wasm_module_t;
typedef struct wasm_instance_t wasm_instance_t;
typedef struct wasm_valtype_t wasm_valtype_t;
typedef struct wasm_functype_t wasm_functype_t;
typedef struct wasm_exporttype_t wasm_exporttype_t;
typedef struct wasm_trap_t wasm_trap_t;
typedef struct wasm_func_t wasm_func_t;
typedef struct wasm_global_t wasm_global_t;
typedef struct wasm_memory_t wasm_memory_t;
typedef struct wasm_extern_t wasm_extern_t;
typedef struct wasmer_metering_t wasmer_metering_t;
typedef struct wasmer_middleware_t wasmer_middleware_t;
typedef struct wasmer_features_t wasmer_features_t;

typedef struct { size_t size; char *data; } wasm_byte_vec_t;
typedef struct { size_t size; wasm_valtype_t **data; } wasm_valtype_vec_t;
typedef struct { size_t size; wasm_exporttype_t **data; } wasm_exporttype_vec_t;
typedef struct { size_t size; wasm_extern_t **data; } wasm_extern_vec_t;

typedef struct {
  uint8_t kind;
  union { int32_t i32; int64_t i64; float f32; double f64; void *ref; } of;
} wasm_val_t;
typedef struct { size_t size; wasm_val_t *data; } wasm_val_vec_t;

enum { WASM_I32 = 0, WASM_I64 = 1 };

typedef wasm_trap_t *(*wasm_func_callback_with_env_t)(void *, const wasm_val_vec_t *, wasm_val_vec_t *);
typedef uint64_t (*wasmer_metering_cost_function_t)(int wasm_operator);

void wasm_byte_vec_new(wasm_byte_vec_t *, size_t, const char *);
void wasm_byte_vec_delete(wasm_byte_vec_t *);
void wasm_val_vec_delete(wasm_val_vec_t *);

wasm_config_t *wasm_config_new(void);
void wasm_config_delete(wasm_config_t *);
void wasm_config_push_middleware(wasm_config_t *, wasmer_middleware_t *);
void wasm_config_set_features(wasm_config_t *, wasmer_features_t *);
wasm_engine_t *wasm_engine_new_with_config(wasm_config_t *);
void wasm_engine_delete(wasm_engine_t *);
wasm_store_t *wasm_store_new(wasm_engine_t *);
void wasm_store_delete(wasm_store_t *);

wasm_valtype_t *wasm_valtype_new(uint8_t);
void wasm_valtype_vec_new(wasm_valtype_vec_t *, size_t, wasm_valtype_t *const[]);
wasm_functype_t *wasm_functype_new(wasm_valtype_vec_t *, wasm_valtype_vec_t *);
void wasm_functype_delete(wasm_functype_t *);
const wasm_byte_vec_t *wasm_exporttype_name(const wasm_exporttype_t *);
void wasm_exporttype_vec_delete(wasm_exporttype_vec_t *);

bool wasm_module_validate(wasm_store_t *, const wasm_byte_vec_t *);
wasm_module_t *wasm_module_new(wasm_store_t *, const wasm_byte_vec_t *);
void wasm_module_delete(wasm_module_t *);
void wasm_module_exports(const wasm_module_t *, wasm_exporttype_vec_t *);
void wasm_module_serialize(const wasm_module_t *, wasm_byte_vec_t *);
wasm_module_t *wasm_module_deserialize(wasm_store_t *, const wasm_byte_vec_t *);

wasm_func_t *wasm_func_new_with_env(wasm_store_t *, const wasm_functype_t *, wasm_func_callback_with_env_t, void *,
                                    void (*)(void *));
void wasm_func_delete(wasm_func_t *);
wasm_trap_t *wasm_func_call(const wasm_func_t *, const wasm_val_vec_t *, wasm_val_vec_t *);

wasm_trap_t *wasm_trap_new(wasm_store_t *, const wasm_byte_vec_t *);
void wasm_trap_delete(wasm_trap_t *);
void wasm_trap_message(const wasm_trap_t *, wasm_byte_vec_t *);

wasm_instance_t *wasm_instance_new(wasm_store_t *, const wasm_module_t *, const wasm_extern_vec_t *, wasm_trap_t **);
void wasm_instance_delete(wasm_instance_t *);
void wasm_instance_exports(const wasm_instance_t *, wasm_extern_vec_t *);

wasm_extern_t *wasm_func_as_extern(wasm_func_t *);
wasm_func_t *wasm_extern_as_func(wasm_extern_t *);
wasm_global_t *wasm_extern_as_global(wasm_extern_t *);
wasm_memory_t *wasm_extern_as_memory(wasm_extern_t *);
void wasm_extern_delete(wasm_extern_t *);
void wasm_extern_vec_delete(wasm_extern_vec_t *);
void wasm_global_get(const wasm_global_t *, wasm_val_t *);
void wasm_global_set(wasm_global_t *, const wasm_val_t *);
char *wasm_memory_data(wasm_memory_t *);
size_t wasm_memory_data_size(const wasm_memory_t *);

void wat2wasm(const wasm_byte_vec_t *, wasm_byte_vec_t *);
int wasmer_last_error_length(void);
int wasmer_last_error_message(char *, int);
const char *wasmer_version(void);
wasmer_metering_t *wasmer_metering_new(uint64_t, wasmer_metering_cost_function_t);
wasmer_middleware_t *wasmer_metering_as_middleware(wasmer_metering_t *);
uint64_t wasmer_metering_get_remaining_points(const wasm_instance_t *);
bool wasmer_metering_points_are_exhausted(const wasm_instance_t *);
void wasmer_metering_set_remaining_points(const wasm_instance_t *, uint64_t);
wasmer_features_t *wasmer_features_new(void);
bool wasmer_features_threads(wasmer_features_t *, bool);
bool wasmer_features_bulk_memory(wasmer_features_t *, bool);
bool wasmer_features_reference_types(wasmer_features_t *, bool);
bool wasmer_features_multi_value(wasmer_features_t *, bool);
bool wasmer_features_simd(wasmer_features_t *, bool);

#endif
