// Package crdt is the state model that applications and nodes share: the ids and keys of entities, their metadata and
// index rows, the actions an execution produces, their signatures, the hybrid clock and the ids of deltas
// (crdt-storage.md §1-§7). Every layout is byte-exact with the reference, every reader is strict and bounded by its
// input (package borsh).
//
// Times are nanoseconds since the Unix epoch unless they are a [Timestamp].
package crdt
