// Package jsonvalue reads and writes JSON as the reference's codec does (guest-abi.md §6.1, http-api.md §0): what it
// accepts, how it prints numbers and strings, what its errors say and where they point. Nesting is at most [MaxDepth].
//
// encoding/json cannot stand in: it escapes <, >, & and U+2028, sorts the keys of maps, and prints numbers otherwise,
// while guests borrow strings from their input, which works only when nothing is escaped needlessly.
package jsonvalue
