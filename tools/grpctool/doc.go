// Package grpctool makes the methods of a gRPC service governed tools, without code:
// what they take and give is read from their descriptors, and each call carries a
// token that says for whom it is made.
//
// It is not the gate, which decides (package tools), nor the token (package
// calltoken), nor the backend's side of it. It reads no config file and starts
// nothing by itself.
//
// The main types: [Config] says which services, where and how; [Source] is the
// backend; [Source.Tools] are its methods as they are known now.
//
//	src, err := grpctool.New(grpctool.Config{Toolset: "crm", Target: "crm:443", Services: []string{"crm.v1.CustomersService"}, TLS: mtls, Tokens: tokens,
//		Backend: tools.Backend{Audience: "crm", Type: calltoken.TypeCall}})
//	go src.Run(ctx)
//	<-src.Changed()
//	list, err := src.Tools() // for tools.NewRegistry
//
// # What becomes a tool
//
// Methods that take one message; those that give a stream are tools whose result is a
// list of at most so many messages. The rest is in Notes with the reason. The name is
// the method's in snake case, behind the prefix. The facts of a tool are the
// backend's own options (behalf.v1.tool and behalf.v1.field), and the config's go
// before them; who owns no options has a write without scopes. Reflection has no
// comments, so descriptions want a descriptor set.
//
// A parameter whose name looks like a person's id ([Config.Waived]) must have an owner
// or a waiver; with an owner it is required. This is an error and not a note, for
// without it an agent could name anybody. One that can hold anything must have a
// waiver; without it the method is left out. An owner always wins over a waiver.
//
// # JSON
//
// Protobuf's JSON with the names of the proto file (customer_id) and no others, whatever
// json_name says: they are what policies see in context.args and redactions in results.
//
//   - Integers of 64 bits: in arguments a number or a text, each exact and with one
//     spelling; to policies a Long either way, so a uint64 above the largest int64 is
//     refused. In results texts.
//   - A float or a double may be rounded when it is sent. Arguments end where that would
//     make another whole number of one, at 2^24 and 2^53-1; a fraction is rounded.
//   - Enums are names, of a number its first. A result may have a number that no name is
//     known of.
//   - At most one field of a oneof. Null is no value.
//   - Maps are objects, to policies invisible. Bytes are base64, the standard one.
//   - Timestamp, Duration, FieldMask and the wrappers are what protobuf's JSON makes
//     of them; paths in a mask are lowerCamelCase.
//   - Struct, Value, ListValue and Any need a waiver in arguments, where no policy sees
//     into them; numbers that they would round are refused. Results may have them.
//   - An Any is of a message of the backend's files, or of a standard one, and its "@type"
//     is a URL whose end names it; nothing is fetched. Four may be in each other. In an
//     argument all else is refused, and messages that have an owner, at any depth; in a
//     result all else is {}, and hidden fields are left out as everywhere. No schema says
//     which messages; those files are part of the tool's Revision, so that a change of any
//     of them makes another tool of a method with an Any.
//   - A message that has itself in it is followed by policies to the second level, and
//     nests as deeply as all arguments may. What is larger than 2,000 fields is refused.
//   - Of proto2 and of editions: required fields are, enums are closed where they say
//     so, extensions are in no schema and left out of results. Groups, and messages that
//     are written like them, are refused: in JSON they have two names.
//   - Results have fields that are empty too, and no fields of classes
//     ([Config.Reveal]) that are hidden. What the descriptors do not have is left out,
//     and the descriptors are read again.
//
// # A call
//
// The arguments become a message once; its bytes are digested for the token and sent.
// The token is minted when it is known by which connection the call goes: cnf is the
// certificate that was shown there, whatever SVID is current. Beside it goes our own
// traceparent, and nothing of what came in.
//
// A call is made once. gRPC's retries are off, and where it would silently repeat a
// call that the server says it has not looked at, no second token is minted: the call
// has failed. A call that found another connection than the descriptors came from has
// not been sent, and waits for them once.
//
// What a backend answers is a failed result in its own words, bounded and cleaned; a
// backend that is lost, slow or does not know us is TOOL_UNAVAILABLE, and
// OUTCOME_UNKNOWN if a write may have happened: any end but a clear refusal.
//
// # While a backend is down
//
// New needs no network. A backend that was never reached has no tools, since nobody
// knows what they take: Tools says [ErrNotRead], Awaited the names that the config
// knows, and policies may speak of the tool set as absent. With a descriptor set they
// are there from the beginning. Tools that are known stay, and their calls fail with
// TOOL_UNAVAILABLE; a call waits two seconds for a connection that is being replaced.
// That is done at once when one is lost that has lasted, and in growing intervals, up to
// [Config.Reread], while a backend hangs up on each.
//
// A tool is good for the descriptors that it was made of. When a method is another
// one now, calls of the old tool fail with TOOL_UNAVAILABLE until whoever listens to
// Changed has made a registry of the new tools.
//
// # Contract
//
// A backend is trusted with what it says about its own methods, and with nothing else:
// descriptors, answers and errors are bounded in bytes, number, nesting and time. One
// backend is one Source with one connection; none waits for another. Run blocks until
// its context ends, and owns all goroutines. Everything else may be called from many.
package grpctool
