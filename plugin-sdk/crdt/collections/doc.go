// Package collections writes the collections of the SDK for guests that leave that to their host, as those in
// JavaScript do (crdt-storage.md §3, §4, §5.2, §9.3): maps, vectors, sets, registers, counters, user and frozen storage,
// and the root document. It changes index and entry rows the way the SDK does inside a guest and records the actions that
// become the call's artifact, so that guests of both kinds leave the same behind.
//
// A [Writer] works for one execution. Rows are read and written through [Rows]; time, randomness and the logical clock
// are the caller's, so a Writer is deterministic. It is not for concurrent use. Errors of type [Error] are answers for the
// guest; any other error ends the execution.
package collections
