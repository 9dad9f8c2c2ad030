// Package agents is the core: agents, what they say and do as events, and the
// transcript that is their whole state.
//
// It is not a server, a store or a policy. It knows no gRPC, no SQL, no model
// vendor. It never decides what a call may do: it hands each call to a [Toolbox]
// and each question to a [Model], both of which others implement.
//
// It is one agent, too, and not several: whoever lets others speak is in package
// team, which rests on this one.
//
// The main types, in the order a reader needs them:
//
//   - [Event]: one thing that happened, with a [Body] that says what
//   - [Transcript]: a session's stored events; an agent reads one thread of it
//   - [Agent]: a function from a transcript to a stream of events
//   - [Toolbox], [Model], [Prompt]: what an agent needs from outside
//   - [Assistant]: a model in a loop with tools and hand-offs
//   - [Coder], [Human]: an agent that has code run, and a person
//   - [Memory], [Window], [Output]: what an assistant remembers, sees and answers
//   - [Fold], [Commit], [Merge], [Consult]: for who writes an agent: to know its
//     thread, to speak in it, to listen to several streams, to ask a model aside
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
// Prompt. What a model is shown is the conversation, from its opening on, through
// its [Window], then what counts only for now: what a [Memory] gave, and an answer
// that did not fit its schema with what is wrong with it. Neither is kept in the
// conversation.
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
// Which threads there are is the affair of who opens them; package team says how
// it names its own. What is copied from one thread to another carries no usage: the
// sum over all Messages, SpeakerSelecteds and PlanUpdateds of all threads is what
// the run used.
//
// Choices. What a model decided about the run, and what a function outside decided,
// is an event before it counts, and is read back from there. So is what a coder's
// model says of code that failed.
//
// Code. Nothing here runs any. A [Coder] makes one call of the code that it reads
// or writes, and the Toolbox governs that like all others.
//
// Identity. The grant is in the context ([identity.FromContext]) and nowhere
// else. An agent runs only under a grant whose innermost agent it is ([OwnChain]).
// Who lets it run makes that grant; authority only narrows.
//
// Ownership. Events are values; slices and pointers in them are never changed
// after they were yielded. A Prompt is read-only for the model and may be used
// until Generate returns.
//
// Concurrency. Agents hold no state and may run many transcripts at the same
// time; one transcript is run by one Run at a time. All events of a Run are
// yielded on the goroutine that ranges over it.
package agents
