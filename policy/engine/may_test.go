package engine

import (
	"testing"

	"github.com/behalf-dev/behalf/identity"
)

// A list must not hide what some arguments are allowed, nor show what none are.
func TestMayIsWhetherAnyArgumentsAreAllowed(t *testing.T) {
	const onRefunds = `forbid (principal, action == Action::"call_tool", resource == Tool::"refund_order")`
	alice := person("acme", "alice", "support")
	overage := person("acme", "alice", "support")
	overage.User.RolesUnknown = true
	for name, c := range map[string]struct {
		policies string
		who      identity.Principal
		want     bool
	}{
		"permitted":                     {permitAll, alice, true},
		"no permit":                     {`@id("x") permit (principal, action == Action::"run_agent", resource);`, alice, false},
		"a permit for another role":     {`@id("x") permit (principal in Role::"manager", action, resource);`, alice, false},
		"a permit for some arguments":   {`@id("x") permit (principal, action == Action::"call_tool", resource == Tool::"refund_order") when { context.args.amount_cents < 100 };`, alice, true},
		"forbidden":                     {permitAll + `@id("x") ` + onRefunds + `;`, alice, false},
		"forbidden for some arguments":  {permitAll + `@id("x") ` + onRefunds + ` when { context.args.amount_cents > 100 };`, alice, true},
		"forbidden in this tier":        {permitAll + `@id("x") ` + onRefunds + ` when { context.tier == "interactive" };`, alice, false},
		"another tier":                  {permitAll + `@id("x") ` + onRefunds + ` when { context.tier == "api" };`, alice, true},
		"a duty":                        {permitAll + `@id("x") @rate("1/1h") ` + onRefunds + `;`, alice, true},
		"a sign-in that can be had":     {permitAll + `@id("x") @stepup("acr:mfa") ` + onRefunds + `;`, alice, true},
		"roles that nobody knows":       {permitAll, overage, false},
		"arguments as a whole compared": {permitAll + `@id("x") ` + onRefunds + ` when { context has args && context.args has amount_cents };`, alice, true},
	} {
		e := engine(t, c.policies)
		if got := e.May(callBy(c.who, "refund_order", "")); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
	if engine(t, permitAll).May(callBy(alice, "no_such", "")) {
		t.Error("a tool that is none may be called")
	}
}

// Whatever Decide allows for some arguments, May must not hide.
func TestMayHidesNothingThatDecideAllows(t *testing.T) {
	e := benchEngine(t, 200)
	for _, args := range []string{`{"order":"o-1","amount_cents":1}`, `{"order":"o-1","amount_cents":90000000}`} {
		q := callBy(person("acme", "alice", "staff"), "refund_order", args)
		if e.Decide(q).Allow && !e.May(q) {
			t.Errorf("%s is allowed and hidden", args)
		}
	}
}

func BenchmarkMay(b *testing.B) {
	e := benchEngine(b, 100)
	q := callBy(person("acme", "alice", "support", "staff"), "refund_order", "")
	b.ReportAllocs()
	defer cpuTime(b)()
	for b.Loop() {
		e.May(q)
	}
}
