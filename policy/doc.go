// Package policy makes sure that the answer to "may this grant do this to that?"
// is on record before anything happens, and that what was allowed goes on only for
// as long as it would be allowed.
//
// It is the [Guard], the one enforcement point: decide, record durably, let the
// effect happen, record how it ended. It has what has a clock, a store or somebody
// who waits: live authority and locks, permits and approvals, limits that are used
// up, what is taken out of results and of what models say.
//
// It decides nothing itself. Below it:
//
//   - policy/engine answers a [Query] with a [Decision]: Cedar, pure.
//   - policy/arguments reads what a model wrote, strictly, as Cedar values.
//   - policy/redact and policy/pii take out what must not be seen.
//
// and beside it policy/lifecycle, which is for authors: publish, tests, coverage,
// simulation. What all of them speak of has its name here too ([Load], [Set],
// [Engine], [Query], [Entity], [Decision], [Duty]).
//
// It is not the gate: that a tool is known, that its scopes are held, that an
// owner-typed argument is the caller's and that nobody is locked is checked
// before policy is asked ([Guard.Refuse] records those denials). It does not
// verify identities, and it stores nothing itself.
//
//	set, err := policy.Load(policy.Config{Dir: "policies", Tools: tools, Actions: actions})
//	guard, err := policy.NewGuard(policy.GuardConfig{Sink: log, DigestKey: keys})
//	guard.Swap(policy.NewEngine(set))
//	permit, err := guard.Begin(ctx, &policy.Query{Grant: grant, Action: "call_tool", …})
//	if err == nil {
//		err = permit.Wait(ctx) // durable: now the effect may happen
//	}
//
// # Contract
//
// Anything unexpected denies. A Guard may be used by many goroutines. A Permit
// belongs to one call: Wait may be called from several goroutines, everything else
// from one at a time.
package policy
