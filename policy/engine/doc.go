// Package engine answers "may this grant do this to that?" by Cedar policies, and by
// nothing else: no I/O, no clock but the stopwatch that bounds an evaluation, no
// state. The same question always has the same answer.
//
// [Load] reads a folder, checks every policy against the tools and actions that
// there are, and gives a [Set]; [New] makes the [Engine] of one. [Engine.Decide]
// turns a [Query] into a [Decision] with its duties; [Engine.Findings] says which
// policies mattered, and [Engine.DecideAround] what can be told where values are
// missing.
//
// It enforces nothing and records nothing: that is the guard of package policy.
// What Cedar and its validator are is known here and nowhere above.
//
// # What a policy sees
//
// principal is User::"tenant/subject" (in Role::"…" and Tenant::"…") or, where
// there is no person, Workload::"spiffe://…" (in Tenant::"…"). Both have
// principal.key, "tenant/subject". resource is an Agent, GroupChat, Tool (in its
// Toolset), Session, Run, Approval, Toolset or Tenant; sessions, runs and
// approvals are in the caller's tenant and have resource.owner (a User) and
// resource.owner_key (equal to the owner's principal.key, also for workloads).
//
// context always has all of: args, agent ("" for a direct call), chain (a Set),
// depth (the chain's length), tier, scopes (a Set), workload ("" for none),
// session, time (a datetime) and auth{acr, age}; age is in seconds and the
// largest Long when the token does not say when the person proved themselves.
//
// context.args has the tool's arguments as the model wrote them, typed by the
// tool's JSON Schema: string → String, enum → checked String, integer → Long,
// number → decimal (at most four places), boolean → Bool, array → Set and
// <name>_length, object → Record, base64 string → {length, sha256}. What is not
// required, or may be null, is an optional attribute: guard it with `has`. What
// Cedar cannot type (free-form objects, mixed unions) is not visible.
//
// A policy is checked against every tool that its head can match, so a typo in
// context.args is a load error, and so an argument that only one tool has needs
// that tool in the head (resource == Tool::"…"), not in the condition.
//
// # Contract
//
// Anything unexpected denies. An Engine and a Set are immutable and may be used by
// many goroutines.
package engine
