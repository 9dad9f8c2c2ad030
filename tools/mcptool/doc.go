// Package mcptool makes governed tools of the tools of an MCP server, over
// streamable HTTP or as a program that it starts (stdio).
//
// It is not a gate and has no policy: what it gives are tools.Tool, and everything
// that holds for those holds for these.
//
// The main types, in the order in which a program meets them:
//
//   - Config: one server, what the operator knows of its tools, and its bounds.
//   - Source: New never blocks; Run keeps the server connected and its list read;
//     Tools gives what was accepted, and Changed says that it is something else.
//   - Pins: what was accepted. Offer is what waits, and Accept takes it.
//
// An example:
//
//	src, err := mcptool.New(mcptool.Config{
//		Name: "wiki", URL: "https://wiki.example/mcp", Tokens: tokens, Backend: tools.Backend{Audience: "wiki", Type: calltoken.TypeCall},
//		Tools: map[string]mcptool.Known{"getPage": {Effect: tools.Read, Scopes: []string{"wiki.read"}}}, Pins: mcptool.NewFilePins(path),
//	})
//	…
//	go src.Run(ctx)
//	all, err := src.Tools() // for tools.NewRegistry, and again after src.Changed()
//
// # What a server may say
//
// A server's words reach a model only as they were accepted: name, description,
// schemas and annotations have one hash. What was never accepted is no tool. What is
// different now is TOOL_UNAVAILABLE with what an operator must type, and none of its
// other text is shown. What the server says of a tool's effect decides nothing.
//
// The result of a tool with an output schema is its structured content, held to the
// schema that was accepted. There must be some, as the protocol says: where policies
// take things out of results by their place, text would be a way around them. Any other
// tool's is {"content":[…]}, in which text is text and everything else is described. A
// call whose answer is lost or cannot be read is OUTCOME_UNKNOWN unless the tool only
// reads.
//
// # Who asks
//
// Over HTTP each request that is made in the course of a call carries a token of its
// own in the authorization header: the call itself, the handshake of the person's
// session where there is none yet, and the notice that the call was cancelled. Its
// args_s256 is the digest of that request's whole HTTP body, which is what
// calltoken.Verifier.Middleware verifies, and its cnf is the certificate that the
// connection was opened with. A session of the protocol belongs to one person
// (issuer, subject, tenant). The requests that read the list are in nobody's name and
// carry no token; a backend lets them through and refuses tools/call without one.
//
// A stdio server is one process with one session for all, and its input does not say
// who asks. A tool of it may have owner parameters, which the gate compares, and no
// audience. The program gets the environment of the config and nothing of ours, and
// is killed with its process group. A child that it puts into a session or group of its
// own (setsid, a daemon) is not in that, and outlives it and us: run such a program where
// something else ends it, in a container or a unit of its own. If we are killed ourselves
// the kernel kills the program, and not what it has started: configure the program and
// not a launcher.
//
// # Contract
//
// Everything from a server is bounded: a message, a list, what it says by itself, and
// the time it takes. A server can ask nothing of us: sampling, elicitation and roots
// are not offered. Source may be used by many goroutines; Run is called once and
// owns all goroutines, and when it returns no goroutine, connection or program is left;
// see above for what a program may have hidden.
package mcptool
