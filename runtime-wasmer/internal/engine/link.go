//go:build !wasmer_beside

package engine

// The wrapper is imported for its link flags alone: they name the library
// bundled with the module. The product is built with the tag wasmer_beside.
import _ "github.com/wasmerio/wasmer-go/wasmer"
