// Package engine computes the rows of a context's state from the actions that its deltas carry, so that equal sets of
// deltas give equal rows and an equal root hash, on the author as on every receiver and in any order of arrival
// (convergence.md; docs/design/state-engine.md has the rule in short and where it differs from that page).
//
// [Apply] joins the actions of a delta into the rows that a [View] shows. [Author] does what the author of a delta needs:
// it cleans the guest's artifact, applies what is left and sorts the rows that the guest wrote into those the engine
// replaces and those it does not know. [Genesis] applies the first delta of a context, whoever made it.
//
// Everything here is a pure function: no I/O but the view's, no clock, no goroutine, no state between calls, no
// randomness. Nothing handed in is changed, except that results may share memory with the actions' data. Time and memory
// are linear in the actions and in the rows they touch. Malformed rows are errors of kind errkind.Corrupt; bad actions
// never are errors: each is refused alone, with a reason.
package engine
