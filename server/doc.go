// Package server is the gRPC face: it translates between the wire and the
// packages below, and does nothing else.
//
// New takes everything that an RPC can reach, registers all services of
// behalf.v1 with health and reflection, reads each RPC's access rule and builds
// the interceptor chain. There is no way to make a server without the chain, and
// a method without a rule is an error of New. One file holds one service.
//
// What it is not: it decides nothing (that is the guard, asked by the chain, by
// the tool gate, by Converse for each turn and by lists of what can be run), and it
// keeps no state. Handlers learn who calls only from identity.FromContext, and
// Converse from a fresh token of the same person. Only Converse has a goroutine
// beside the handler's: it receives while the handler sends.
//
// Server.Run blocks until its context ends, then stops gracefully within a
// deadline. All handlers may run at the same time.
package server
