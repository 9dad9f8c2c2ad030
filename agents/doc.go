// Package agents is the core: agents, what they say and do as events, and the
// transcript that is their whole state.
//
// It is not a server, a store or a policy. It knows no gRPC, no SQL, no model
// vendor. It never decides what a call may do: it hands each call to a [Toolbox]
// and each question to a [Model], both of which others implement.
//
// The main types, in the order a reader needs them:
//
//   - [Event]: one thing that happened, with a [Body] that says what
//   - [Transcript]: a session's stored events; an agent reads one thread of it
//   - [Agent]: a function from a transcript to a stream of events
//   - [Assistant]: a model in a loop with tools and hand-offs
//   - [Desk]: agents that hand a conversation to each other, each under its own
//     narrowed grant; a single agent is a desk of one
//   - [Toolbox], [Model], [Prompt]: what an assistant needs from outside
//   - [Team]: a group chat, made by [NewRoundRobin], [NewSelector], [NewSwarm],
//     [NewGraph], [NewMagentic]
//   - [Condition]: when a team stops, a value; [Watch] asks one directly
//   - [Human], [Society], [Filter], [Coder]: a person, a team with one voice, an
//     agent that hears only some of what is said, and one that has code run, as
//     participants
//   - [Memory], [Window], [Output]: what an assistant remembers, sees and answers
//   - [AsTools]: agents and teams as tools
//
// # The contract
//
// Iterator. Run is lazy. Its stream ends with a RunFinished, with one error
// (always last), or because somebody else's answer is missing; nothing follows.
// In the last case the pauses (ApprovalRequested, InputRequested,
// CredentialRequired) are the last events of the calls that caused them and come
// after the results of all other calls. Running the agent again on a transcript
// that still waits for an approval or an input yields nothing; running it on one
// that is finished yields nothing. The stream of a member of a team may also end
// with its own HandedOff: its part is over and the team goes on with another.
//
// Commit. The consumer's loop body is the commit. It stamps the event
// ([Transcript.Stamp] gives the sequence, the run and the call id; the consumer
// adds time and session), stores it, appends it to the transcript, and goes on.
// An agent reads its own events back from there before it acts on them; a
// consumer that does not append gets an error. Live events ([Event.Live]) are
// shown and neither stamped nor appended. After a barrier ([Event.Barrier]) the
// loop body returns only when the event and all before it are durable.
//
// Resume. Whatever an agent does next is a fold over the stored events of its
// thread since the last RunStarted. So Run on any prefix continues it, in any
// process. The one exception is the world: a call whose decision is stored and
// whose result is not is made again with ToolCall.Resumed set, and the Toolbox
// knows what may be repeated.
//
// Prompt. What a model is shown is the conversation through its [Window], then what
// counts only for now: what a [Memory] gave, and an answer that did not fit its
// schema with what is wrong with it. Neither is kept in the conversation.
//
// Failure. A tool that fails, a call that makes no sense and a hand-off that is
// refused are results the model can read. An error ends the run; what the model
// had said until then is stored first, as a Message that is Incomplete. The
// consumer writes the RunFinished of a run that ended with an error.
//
// Break and cancel. When the consumer breaks, Run cancels what it started, waits
// for it and returns. When the context is cancelled, Run ends with its cause;
// calls that do not stop (a write that began) are waited for and their results
// are yielded before the error.
//
// Threads. An event with an empty thread belongs to the session itself; a nested
// run (an agent as a tool, a participant's turn) uses its own thread, and a fold
// reads only one. The nested run opens its thread with a RunStarted and its input.
// An answer (ApprovalDecided, InputReceived) is stored in the thread of its pause.
// A participant of a team has one thread for all its turns, "/" and its name after
// the team's, so that it remembers what it did; its input is what the others said
// since. Each plan after the first, of a team that is led, gives its participants
// new threads that end in # and the plan's number: they remember nothing.
// What it says is lifted: copied into the team's thread with its message id.
// An agent as a tool has the calling thread's, "/+" and the tool's name; calls of
// the same tool in one reply after the first have threads named by the call. Copies
// carry no usage: the sum over all Messages, SpeakerSelecteds and PlanUpdateds of
// all threads is what the run used.
//
// A [Society] and a [Filter] let their guest run in a thread below their own, and
// invite it with a SpeakerSelected; that of a society's team ends in # and the
// number of the turn after the first.
//
// Choices. Who speaks next is stored as a SpeakerSelected before they speak, and
// read back from there. What a function outside decided (a selector's, an external
// stop's) is stored before it counts; the function of a condition or of a graph's
// edge is asked again. What an orchestrator found, planned and judged is a
// PlanUpdated before it acts on it; it speaks in messages of the team. So is what a
// coder's model says of code that failed.
//
// Code. Nothing here runs any. A [Coder] makes one call of the code that it reads
// or writes, and the Toolbox governs that like all others.
//
// Identity. The grant is in the context ([identity.FromContext]) and nowhere
// else. An assistant runs only under a grant whose innermost agent it is. A Desk
// makes that grant, for the first agent and for each hand-off; authority only
// narrows, also when a conversation is handed back.
//
// Ownership. Events are values; slices and pointers in them are never changed
// after they were yielded. A Prompt is read-only for the model and may be used
// until Generate returns.
//
// Concurrency. Agents hold no state and may run many transcripts at the same
// time; one transcript is run by one Run at a time. All events of a Run are
// yielded on the goroutine that ranges over it.
package agents
