// Package runs executes agents so that what they do outlives connections and
// processes: the event log, sessions, the runs in them, watching, cancelling,
// and going on after a crash.
//
// It is not the agents, the guard or the gRPC face. It decides nothing about
// rights: it takes the grant from the context, keeps its record, and asks the
// hooks of its Config where policy has a say. It stores no tokens.
//
// The main types, in the order a reader needs them:
//
//   - [Log]: a session's events; [Memory] and [JetStream] are its two forms
//   - [Engine]: starts runs, executes them, tells about them
//   - [Spec] and [Run]: one run, started; its Events drive the agent
//   - [Status]: what the stored events say about a run
//   - [Index], [Grants], [Queue]: what the engine needs beside the log
//
// A server streams a run like this:
//
//	run, err := engine.Start(ctx, runs.Spec{Target: "support", Input: text})
//	if err != nil {
//		return err
//	}
//	for ev, err := range run.Events(ctx) {
//		if err != nil {
//			return err
//		}
//		if err := stream.Send(wire.Encode(&ev)); err != nil {
//			return err // the loop ends, the run is cancelled, its session is usable
//		}
//	}
//
// # The contract
//
// The session is the log, a run is a slice of it. One run of a session is open at
// a time. Whoever appends names the newest sequence it knows; if that is no
// longer so it gets ErrConflict and stops without a trace. So a run is executed by
// at most one process that gets anywhere, and no lock has to be held.
//
// Steps. Events are appended step by step: at each barrier, at the end, and
// before a delta that follows stored events, because nobody is shown a sequence
// that may not last. A stored event is shown after its step was appended; events
// are never reordered. If a step cannot be stored the agent does not go on, so
// its effect does not happen, and the run ends as failed.
//
// Ends. Every run ends with a RunFinished in the log, or it waits, or its process
// died or was shut down. Then the next start of the engine (or another process,
// through the queue) goes on with it if it is detached, and cancels it if it was
// attached, since its client is gone. A run that was woken by an answer is
// detached from then on.
//
// Cancel. The agent's context ends with a cause; what it still yields of things
// that had begun is kept, nothing new begins. Text that was being said becomes a
// Message that is Incomplete.
//
// Authority. An attached run acts under the caller's grant. A detached or woken
// one acts under the stored grant, if that has not expired and Config.Resume
// agrees; an expired one waits as CredentialRequired for its person, see
// [Engine.Refresh].
//
// Ownership and concurrency. [Engine.Run] owns the workers and returns when they
// have. An attached run is executed in the goroutine that ranges over its Events;
// no method starts a goroutine that outlives it. [Engine.Answer] must not be
// called from inside that loop: it waits for the run to take the answer.
// [JetStream] is closed by whoever opened it, after Engine.Run has returned.
package runs
