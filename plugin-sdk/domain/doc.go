// Package domain holds the plain types every part of the node and every plugin agrees on: identifiers, keys, aliases,
// roles and policies. It depends on nothing but the standard library and a base58 encoder, does no I/O, and all its
// values are safe to copy and to compare with ==.
//
// Text forms are those of the reference node: identifiers and public keys are base58 (Bitcoin alphabet, no checksum),
// group ids are lower-case hex (governance.md §1.1, http-api.md §0).
package domain
