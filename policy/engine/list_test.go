package engine

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
)

// listed are tools in three toolsets, and one in none.
func listed(t testing.TB, files map[string]string) *Engine {
	t.Helper()
	c := deskConfig(files)
	for i := range 12 {
		c.Tools = append(c.Tools, ToolSchema{Name: fmt.Sprintf("tool_%d", i), Toolset: []string{"red", "green", "blue", ""}[i%4], Schema: []byte(`{"type":"object","properties":{"n":{"type":"integer"}}}`)})
	}
	set, err := Load(c)
	if err != nil {
		t.Fatal(err)
	}
	return New(set)
}

func resources(e *Engine) (all []Entity) {
	for name, tool := range e.set.schema.tools {
		r := Entity{Type: "Tool", ID: name}
		if tool.toolset != "" {
			r.Parents = []Entity{{Type: "Toolset", ID: tool.toolset}}
		}
		all = append(all, r)
	}
	return all
}

// TestAListIsWhatEachToolIsAskedAlone compares lists under random sets with each tool
// asked by itself, and with the decision about calls of it: what some call is allowed
// is listed, and where no policy looks at arguments, nothing else is.
func TestAListIsWhatEachToolIsAskedAlone(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	seen := map[string]int{}
	for range 400 {
		onArguments := rng.IntN(2) == 0
		src := randomList(rng, "r", onArguments)
		files := map[string]string{"base.cedar": src}
		if rng.IntN(3) == 0 {
			files["tenants/acme/own.cedar"] = randomList(rng, "t", onArguments)
		}
		e := listed(t, files)
		for _, who := range []identity.Principal{person("acme", "alice", "support"), person("acme", "bob"), {Workload: &identity.Workload{ID: "spiffe://x/y", Tenant: "acme", NotAfter: noon()}}} {
			all := resources(e)
			q := callBy(who, "tool_0", "")
			may := e.MayEach(q, all)
			for i, r := range all {
				alone := callBy(who, r.ID, "")
				alone.Resource = r
				if got := e.May(alone); got != may[i] {
					t.Fatalf("%s: got %v in the list, and %v alone, under\n%v", r.ID, may[i], got, files)
				}
				holdToDecisions(t, e, alone, may[i], onArguments, files)
				seen[fmt.Sprint(onArguments, may[i])]++
			}
		}
	}
	for _, kind := range []string{"true true", "true false", "false true", "false false"} {
		if seen[kind] < 500 {
			t.Errorf("got %v, want many of each", seen)
		}
	}
}

// holdToDecisions asks about calls with some arguments.
func holdToDecisions(t *testing.T, e *Engine, q *Query, listed, onArguments bool, files map[string]string) {
	t.Helper()
	possible := false
	for _, args := range argumentsFor(q.Tool) {
		one := *q
		one.Arguments = []byte(args)
		d := e.Decide(&one)
		possible = possible || d.Allow || d.Reason == string(fault.StepUpRequired)
	}
	if possible && !listed || listed && !possible && !onArguments {
		t.Fatalf("%s: listed: %v; a call is possible: %v, under\n%v", q.Tool, listed, possible, files)
	}
}

func argumentsFor(tool string) []string {
	switch tool {
	case "get_customer", "update_customer":
		return []string{`{"id":"c"}`}
	case "refund_order":
		return []string{`{"order":"o","amount_cents":1}`}
	case "send_mail":
		return []string{`{"to":[]}`}
	}
	return []string{`{}`, `{"n":1}`, `{"n":7}`}
}

// randomList are policies that know tools by head and by condition, in each way that
// there is.
func randomList(rng *rand.Rand, prefix string, onArguments bool) string {
	pick := func(all ...string) string { return all[rng.IntN(len(all))] }
	tool := func() string { return fmt.Sprintf("Tool::%q", fmt.Sprintf("tool_%d", rng.IntN(12))) }
	ours := func() string { return fmt.Sprintf("Toolset::%q", pick("red", "green", "blue")) }
	set := func() string { return fmt.Sprintf("Toolset::%q", pick("red", "green", "blue", "crm")) }
	about := func() string {
		return pick(
			"resource == "+tool(), tool()+" == resource", "resource in "+set(), "resource in ["+set()+", "+set()+"]", "resource in ["+tool()+", "+tool()+"]", "["+tool()+", "+tool()+"].contains(resource)",
			"resource is Tool in "+set(), "!(resource in "+set()+")", "(if resource == "+tool()+" then context.tier == \"api\" else resource in "+set()+")",
			"["+tool()+"].containsAny([resource, "+tool()+"])", `context.tier == "interactive"`, `context.scopes.contains("crm.read")`, "context.depth * 9223372036854775807 > 0", "resource has owner",
		)
	}
	var b strings.Builder
	for i := range 1 + rng.IntN(6) {
		duty, effect := "", pick("permit", "permit", "forbid")
		if effect == "forbid" {
			duty = pick("", "", `@rate("9/1m") `, `@stepup("acr:mfa") `)
		}
		when := about()
		if rng.IntN(2) == 0 {
			when += pick(" && ", " || ") + about()
		}
		if onArguments && rng.IntN(2) == 0 {
			when = pick("context.args has n && context.args.n > 5 && ("+when+")", "("+when+") || (context.args has n && context.args.n == 1)")
		}
		head := pick("principal", `principal == User::"acme/alice"`, `principal in Role::"support"`) + `, action == Action::"call_tool", ` +
			pick("resource", "resource is Tool", "resource == "+tool(), "resource in "+ours(), "resource is Tool in "+ours())
		fmt.Fprintf(&b, "@id(\"%s%d\") %s%s (%s) when { %s };\n", prefix, i, duty, effect, head, when)
	}
	return b.String()
}

func TestAListHasNothingThatThePoliciesDoNotKnow(t *testing.T) {
	e := listed(t, map[string]string{"base.cedar": permitAll})
	foreign := Entity{Type: "Tool", ID: "tool_0", Parents: []Entity{{Type: "Toolset", ID: "green"}}}
	got := e.MayEach(call("tool_0", ""), []Entity{{Type: "Tool", ID: "tool_0"}, {Type: "Tool", ID: "no_such"}, foreign, {Type: "Agent", ID: "tool_0"}})
	if !got[0] || got[1] || got[2] || got[3] {
		t.Errorf("got %v, want the known tool in its own toolset alone", got)
	}
}

func BenchmarkMayEach(b *testing.B) {
	e := benchEngine(b, 100)
	var all []Entity
	for i := range 1_000 {
		all = append(all, Entity{Type: "Tool", ID: fmt.Sprintf("tool_%d", i%200)})
	}
	q := callBy(person("acme", "alice", "support", "staff"), "tool_0", "")
	b.ReportAllocs()
	defer cpuTime(b)()
	for b.Loop() {
		e.MayEach(q, all)
	}
}
