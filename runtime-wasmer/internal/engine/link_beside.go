//go:build wasmer_beside

package engine

// #cgo LDFLAGS: -lwasmer
// #cgo linux LDFLAGS: -Wl,-rpath,$ORIGIN
// #cgo darwin LDFLAGS: -Wl,-rpath,@loader_path
import "C"

// Keeps the module that brings the library a dependency under this tag too.
// The builder names the library's folder in CGO_LDFLAGS (see build.sh).
import _ "github.com/wasmerio/wasmer-go/wasmer/packaged/lib"
