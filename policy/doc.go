// Package policy answers "may this grant do this to that?" and makes sure that
// the answer is on record before anything happens.
//
// It is two things. [Engine] is pure: an immutable snapshot of Cedar policies
// that turns a [Query] into a [Decision], with no I/O and no clock but the
// stopwatch that bounds an evaluation. [Guard] is the one enforcement point:
// decide, record durably, let the effect happen, record how it ended.
//
// It is not the gate: that a tool is known, that its scopes are held, that an
// owner-typed argument is the caller's and that nobody is locked is checked
// before policy is asked ([Guard.Refuse] records those denials). It does not
// verify identities, and it stores nothing itself.
//
// Types in the order of use: [Config], [Load], [Set], [Engine], [Query],
// [Decision], [Redaction], [Guard], [Permit], and for policy authors [Publish],
// [Case], [RunTests], [Coverage], [Explanation] and [Simulate].
//
//	set, err := policy.Load(policy.Config{Dir: "policies", Tools: tools, Actions: actions})
//	engine := policy.NewEngine(set)
//	guard, err := policy.NewGuard(policy.GuardConfig{Sink: log, DigestKey: keys})
//	guard.Swap(engine)
//	permit, err := guard.Begin(ctx, &policy.Query{Grant: grant, Action: "call_tool", …})
//	if err == nil {
//		err = permit.Wait(ctx) // durable: now the effect may happen
//	}
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
// # Why JSONPath by a library
//
// Redaction paths are parsed and applied by ojg/jp: one grammar that policy
// authors know. Filters and scripts are refused at load, because a hostile
// result would steer them, and after each redaction the path is evaluated again:
// if anything but the mark is found, the whole value is replaced. What has no place
// that is known beforehand is found by the detectors of package pii.
//
// # Contract
//
// Anything unexpected denies. An Engine and a Set are immutable and may be used
// by many goroutines; so may a Guard. A Permit belongs to one call: Wait may be
// called from several goroutines, everything else from one at a time.
package policy
