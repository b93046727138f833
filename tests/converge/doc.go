// Package converge runs random histories of real guests over several nodes and checks the promise of the state engine:
// equal sets of deltas give equal states. Calls, forks, orders of delivery, duplicates, partitions, restarts, joins by
// snapshot, clocks that differ: all come from a history's seed and nothing else, so a seed is a test case.
//
// A node is either light, the engine over rows in a map, or full, a contexts manager over a store in memory that is torn
// down and opened again. Both run the guest in the runtime plugin, linked into the process.
//
// When a history ends, every delta is delivered to every node. Then all rows and roots must be equal, equal to those
// that a shuffled, non-causal application of the same deltas gives, and every hash must hold; queries must answer the
// same on all nodes; and no acknowledged write may be missing that nothing conflicted with, which a model of each
// application knows (apps*.go). In conflict-free histories the guest's root hash must be the engine's after every call.
package converge
