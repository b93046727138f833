// Package converge runs random histories of real guests over several nodes and checks the promise of the state engine:
// equal sets of deltas give equal states. Calls, forks, orders of delivery, duplicates, partitions, restarts, joins by
// snapshot, clocks that differ: all come from a history's seed and nothing else, so a seed is a test case.
//
// When a history ends, every delta is delivered to every node. Then all rows and roots must be equal, equal to those
// that a shuffled, non-causal application of the same deltas gives, and every hash must hold; queries must answer the
// same on all nodes; and no acknowledged write may be missing that nothing conflicted with, which a model of each
// application knows (apps_*.go).
package converge
