// Package interceptors is the chain that each RPC passes, one list for unary
// calls and streams.
//
// New builds the whole chain in one order (DESIGN 3):
//
//	log+metrics · status · recover · identify · limits · validate · authorize
//
// A layer is written once, as a function around the rest of the call; the two
// gRPC halves are made from it, so no layer can exist for only one of them.
// What depends on the request's message runs when it arrives, at once for a unary
// call: validate on each RecvMsg of a stream, authorize on the first. What must happen before the first byte leaves (the durable decision)
// runs before the first SendMsg.
//
// A message that is too large or cannot be decoded is refused by the chain too,
// after identify, and not by gRPC before it: see codec.
//
// Handlers find the caller's identity in the context (identity.FromContext) and
// have no other way to learn who calls. Metadata that could be mistaken for
// identity is gone by then.
//
// It is not where business rules live: which policy action an RPC means stands
// in its proto option, who owns an object is answered by the server's resolver.
//
// A Chain is immutable and safe for all goroutines of a server.
package interceptors
