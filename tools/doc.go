// Package tools is the world behind one gate: what agents may call, and the
// only way to call it.
//
// It is not the place where tools are decided upon (package policy) or where
// their records become durable (package audit); the gate asks both and does
// nothing before they answered. It knows nothing of gRPC handlers or runs.
//
// The main types, in the order in which a call meets them:
//
//   - Descriptor and Tool: what the gate must know of a tool, and the thing
//     behind it. Func makes a Tool of a typed Go function, FuncIn of one that must
//     know in which session it is called.
//
//   - Registry: all tools of one configuration, immutable. It closes and
//     compiles their schemas, so that a tool which cannot be governed is an
//     error at the start and not at a call.
//
//   - Nested: the descriptor of an agent or group chat that is a tool. Its calls
//     come through Gate.Govern, from team.AsTools.
//
//   - Gate: agents.Toolbox for one agent, and Direct for the call without an
//     agent. Both doors share one body:
//
//     descriptor → in the agent's list → strict arguments → live authority →
//     scopes → owner → policy → ToolCallDecided → decision durable →
//     still so → effect → redact → outcome → ToolCallFinished
//
// An example:
//
//	reg, err := tools.NewRegistry(tools.Func("get_order", "Looks up one order.", getOrder, tools.ReadOnly(), tools.Scopes("orders.read")))
//	…
//	gate, err := tools.NewGate(tools.GateConfig{Registry: reg, Guard: guard, Journal: log, Agent: "support", Tools: []string{"get_order"}})
//	…
//	for ev, err := range gate.Call(ctx, agents.ToolCall{ID: id, Name: "get_order", Arguments: `{"id":7}`}) { … }
//
// A tool that runs in another process passes an [Elsewhere]: it is decided here,
// called there, and what came of it is redacted and recorded here. Whoever calls it gets
// a [Ticket] for the tool's backend, where that verifies tokens.
//
// # Contract
//
// A refusal is a result that the model can read: ToolCallDecided{deny} and a
// failed ToolCallFinished whose JSON names the reason and the permitted next
// step. Only four things end the run with an error: no identity in the context,
// an audit log that cannot record, a cancelled context, and a fault of the
// program itself. In all four nothing was done, or what was done has its outcome
// recorded.
//
// The loop body of the consumer is the commit: when it breaks at
// ToolCallDecided the tool is not called. A read tool's context is cancelled
// with the caller's. A started write is not: it has its own deadline, the gate
// waits for it and records its outcome even when nobody listens any more.
//
// While a call is made its tool may tell how far it is (ProgressFrom): the gate yields
// the newest of that as ToolCallProgress, which nobody stores. Telling never waits.
//
// Arguments and results are hostile text. Both are parsed by one strict decoder
// (see parseJSON): exact case, no duplicate names, bounded size and depth;
// arguments also with exact numbers and without the names by which JSON can
// smuggle entities into a policy.
//
// Registry, Tool and Gate may be used by many goroutines at once; a Tool's Call
// must allow that.
package tools
