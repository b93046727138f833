// Package bench has the benchmarks of whole nodes; see main_test.go.
package bench
