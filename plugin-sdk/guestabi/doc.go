// Package guestabi is what a guest sees of its host: every function of import
// module `env`, the registers, the limits, the life of a call and the exact
// error texts (guest-abi.md). It knows no WebAssembly engine: an engine gives it
// the linear memory with each call and runs exports through [Instance].
//
// An engine author links a module with [Link], makes an [Execution] for each
// call, passes every import call to [Execution.Call], and drives the instance
// with [Run].
package guestabi
