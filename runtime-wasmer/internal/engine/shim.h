#ifndef CALIMERO_SHIM_H
#define CALIMERO_SHIM_H

#include "capi.h"

typedef struct runner runner;

// A host function's type: kinds of its parameters, then at most one result.
typedef struct {
  uint8_t nparams;
  uint8_t nresults;
  uint8_t params[8];
  uint8_t result;
} shim_sig;

enum { SHIM_OK = 0, SHIM_TRAP = 1, SHIM_FAIL = 2 };

// Every function that fails returns a text of its own in *err; the caller frees it.
void *shim_text_to_binary(const uint8_t *in, size_t len, size_t *outlen, char **err);
int shim_validate(const uint8_t *wasm, size_t len, char **err);
void *shim_compile(const uint8_t *wasm, size_t len, size_t *outlen, char **err);

runner *shim_load(const uint8_t *artifact, size_t len, const shim_sig *sigs, size_t nsigs, uint64_t handle, char **err);
void shim_unload(runner *r);
// Index of an export, -1 when there is none of that name.
long shim_export(const runner *r, const char *name, size_t len);

int shim_instantiate(runner *r, long memory, long stack, long stop, char **err);
void shim_drop(runner *r);
// Runs an export of type () -> (). stack is the guard's budget in bytes.
int shim_call(runner *r, long index, uint32_t stack, char **err);
// What the stack guard left; negative = it stopped the guest.
int32_t shim_stack_left(runner *r);
void shim_memory(runner *r, uint8_t **data, size_t *len);
// Sets the global that the guest looks at; may be called while it runs.
void shim_stop(runner *r);
void shim_set_points(runner *r, uint64_t points);
uint64_t shim_points(runner *r);
int shim_exhausted(runner *r);

#endif
