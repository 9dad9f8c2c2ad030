package conformance_test

// wants are the cases that come out differently here on purpose, in the form of
// the cases: what stands in a want replaces that part of its case. All wants of a
// case must hold.
//
// They are the cases that are marked diverge, and the two whose note recommends or
// announces another behaviour (AA-16, AA-26).
var wants = map[string][]string{
	// One summary line per executed call.
	"AA-05-loop-exhausted": {`
calls: {a: 2}
steps: [{run: go, events: ["user text: go", "a req: echo", "a res: echo=one", "a req: echo", "a res: echo=two", "a summary: one\ntwo"], stop: null}]`},

	// A hand-off whose arguments are broken still hands off, with the configured
	// message: the name decides.
	"AA-16-handoff-bad-json": {`
steps: [{run: go, events: ["user text: go", "a req: transfer_to_b", "a res: transfer_to_b=Transferred to b, adopting the role of b immediately.",
  "a handoff>b: Transferred to b, adopting the role of b immediately."]}]`},

	// What a memory gave is shown in each turn and not kept.
	"AA-26-memory": {`
sees: {a: {
  1: ["user[user]: q1", "system: *1. likes pizza\n2. no cheese"],
  2: ["user[user]: q1", "assistant: r1", "user[user]: q2", "system: *1. likes pizza\n2. no cheese"]}}`},

	// A cancel ends the run as cancelled; to go on continues with the next speaker up
	// to the turn limit; a reset gives a fresh team.
	"RR-12-cancel-model-call": {`
script: {a: [one, three, five, six, seven], b: [{hang: true}, two, four]}
steps:
  - {run: go, cancel_after_ms: 300, events: ["user text: go", "a text: one"], error: CancelledError}
  - {events: ["a text: three", "b text: two", "a text: five"], stop: Maximum number of turns 3 reached.}
  - {op: reset}
  - {run: again, events: ["user text: again", "a text: six", "b text: four", "a text: seven"], stop: Maximum number of turns 3 reached.}
sees: {a: {
  2: ["user[user]: go", "assistant: one"],
  4: ["user[user]: again"]}}`},

	// The pick of a function is the previous speaker too: b is the only candidate.
	"SEL-08-func-skips-previous": {`
script: {selector: [a], a: [a1, a2], b: [b1]}
calls: {selector: 0}
steps: [{run: go, events: ["user text: go", "a text: a1", "b text: b1"], stop: Maximum number of turns 2 reached.}]`},

	// Save and load change nothing: the second stop is b's again, and a is next.
	"GF-16-state-in-cycle": {`
script: {a: [a1, a2, a3], b: [loop, loop, exit], c: [c1]}
steps:
  - {run: go, events: ["user text: go", "a text: a1", "b text: loop"], stop: "'b' answered"}
  - {op: save_load}
  - {events: ["a text: a2", "b text: loop"], stop: "'b' answered"}
  - {op: save_load}
  - {events: ["a text: a3", "b text: exit"], stop: "'b' answered"}
  - {op: save_load}
  - {events: ["c text: c1"], stop: Digraph execution is complete}`},

	// Every answer of the wave counts: stop after it.
	"GF-18-parallel-delta": {`
calls: {d: 0}
steps: [{run: go, events: ["user text: go", "a text: a1", ["b text: b1", "c req: slow", "c res: slow=c1", "c summary: c1"]], stop: "'b' answered"}]`},

	// A node runs once per wave, however many of its groups fired.
	"GF-21-two-groups-twice": {`
calls: {c: 1}
steps: [{run: go, events: ["user text: go", ["a text: a1", "b text: b1"], "c text: c1"], stop: Digraph execution is complete}]`},

	// Edges belong to the participant: b runs.
	"GF-24-wrapper-name": {`
script: {inner: [i1], b: [b1]}
steps: [{run: go, events: ["user text: go", "inner text: i1", "b text: b1"], stop: Digraph execution is complete}]`},

	// A new plan clears the stalls: of two that it takes, one before the plan does not
	// count after it. And the number of new plans is capped, then there is an answer.
	"MG-03-stall-not-cleared": {`
calls: {orchestrator: 10}
steps: [{run: task, events: ["user text: task", "MagenticOneOrchestrator text: *", "MagenticOneOrchestrator text: *f2*",
  "MagenticOneOrchestrator text: *f3*", "MagenticOneOrchestrator text: fin"], stop: ok}]`, `
team: {kind: magentic, participants: [a, b], max_stalls: 2}
script: {orchestrator: [f, p, {ledger: [false, false, false, a, i1]}, {ledger: [false, false, false, a, i2]}, f2, p2, {ledger: [false, false, false, a, i3]}, {ledger: [true, true, false, a, x, ok]}, fin], a: [a1, a2]}
calls: {orchestrator: 9}
steps: [{run: task, events: ["user text: task", "MagenticOneOrchestrator text: *", "MagenticOneOrchestrator text: i1", "a text: a1",
  "MagenticOneOrchestrator text: *f2*", "MagenticOneOrchestrator text: i3", "a text: a2", "MagenticOneOrchestrator text: fin"], stop: ok}]`, `
script: {orchestrator: [f, p, {ledger: [false, false, false, a, i1]}, f2, p2, {ledger: [false, false, false, a, i2]}, f3, p3, {ledger: [false, false, false, a, i3]}, f4, p4, {ledger: [false, false, false, a, i4]}, fin]}
calls: {orchestrator: 13}
steps: [{run: task, events: ["user text: task", "MagenticOneOrchestrator text: *", "MagenticOneOrchestrator text: *f2*",
  "MagenticOneOrchestrator text: *f3*", "MagenticOneOrchestrator text: *f4*", "MagenticOneOrchestrator text: fin"], stop: No progress after 3 new plans}]`},

	// The model is told what is wrong with its ledger and asked again.
	"MG-07-unknown-speaker": {`
script: {orchestrator: [f, p, {ledger: [false, true, false, zed, i]}, {ledger: [false, true, false, a, i]}, {ledger: [true, true, false, a, x, ok]}, fin], a: [a1]}
calls: {orchestrator: 6}
steps: [{run: task, events: ["user text: task", "MagenticOneOrchestrator text: *", "MagenticOneOrchestrator text: i", "a text: a1", "MagenticOneOrchestrator text: fin"], stop: ok}]
sees: {orchestrator: {4: ["assistant: *", "user[MagenticOneOrchestrator]: *", "assistant: *zed*", "user[MagenticOneOrchestrator]: *next_speaker: the answer must be one of a, b*"]}}`},

	// Both calls succeed, each with a team of its own.
	"TL-04-team-tool-twice": {`
calls: {m: 1, x: 2}
steps: [{run: go, events: ["user text: go", "m req: team_tool, team_tool", ["user text: s1", "user text: s2", "x text: x1", "x text: x2"],
  "m res: team_tool=x*, team_tool=x*", "m summary: x*\nx*"], stop: null}]`},

	// The clock starts with the run; what passed before and between runs does not count.
	"T-21-timeout-idle": {`
team: {kind: round_robin, participants: [a], until: {timeout: 0.2}, max_turns: 1}
script: {a: [one, two]}
steps:
  - {op: sleep, s: 0.4}
  - {run: go, events: ["user text: go", "a text: one"], stop: Maximum number of turns 1 reached.}
  - {op: sleep, s: 0.4}
  - {run: again, events: ["user text: again", "a text: two"], stop: Maximum number of turns 1 reached.}`},
}
