// Package mcpserver is behalf as an MCP server: an IDE, or an agent of somebody else,
// uses the governed tools, and the agents as tools.
//
// It is a translation between two protocols and nothing else. It knows no identity
// and no policy: each request becomes a call of the RPCs with the caller's token, so
// the chain, the gate and the record are theirs. It keeps no sessions.
//
// # Contract
//
// A request without exactly one good token is 401 with where to get one (RFC 9728).
// What policy refuses is a result that a model can read, with its reason and how to
// go on: a client lets a model choose a tool and arguments, so an approved call is
// made with the tool call-approved. Nothing of a request but the token and the
// arguments goes any further. A request that goes away ends what it asked for.
//
// Who asks an agent with a progress token hears of its turns and tool calls what the
// run's events show. A client that reads slowly loses words and holds up nobody.
package mcpserver
