// Package conformance holds what users of AutoGen AgentChat are used to, as data,
// and its test runs all of it through the real core: agents and teams, the real
// gate with tools behind it, and the real model adapter in front of a scripted
// server. There is no code to import.
//
// It is not a test of how we do it: each case says what a person sees. What
// differs on purpose is in the table wants, as literally as the cases themselves;
// what is missing is in the table notYet, with the reason and what the case shows
// instead. A case of that table that passes fails the test until its line is
// removed.
//
// autogen.yaml was made by running the cases against AutoGen 0.7.5; how to read it
// is in ORCHESTRATION.md. The test reads it strictly: a key that it does not know
// is an error.
//
// How AutoGen's world is mapped to ours, all of it in the test's files:
//
//   - a team object with its state is a team and a transcript; a fresh instance is
//     both built anew; reset is an empty transcript
//   - save and load is the transcript's events through the wire form and back
//   - AutoGen's defaults are set explicitly: one tool round, reflection only with
//     an output schema
//   - a team is named like AutoGen's manager of its kind, so that sources read the
//     same
//   - results are JSON for us and text for AutoGen
//   - an executor of code is a tool behind the gate, which ends as the case says;
//     who does not approve of the code is the gate
//   - errors and stop reasons are compared as situations (situations_test.go)
//   - time is the runner's: sleeping moves its clock on
//   - cancelling after some time is cancelling when the scripted model hangs
package conformance
