package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	cedar "github.com/cedar-policy/cedar-go"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
)

// TestTheIndexDecidesAsAllRulesDo compares random sets, some with policies that
// fail, with an evaluation of every policy as it is written.
func TestTheIndexDecidesAsAllRulesDo(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	heads := loadableHeads(t)
	answers := map[string]int{}
	for range 60 {
		e := engine(t, randomSet(rng, heads))
		for _, q := range indexedQueries() {
			want := decideByAll(t, e, q)

			got := e.Decide(q)

			answers[got.Reason]++
			wantDecision(t, got, want.Allow, want.Reason, want.PolicyIDs...)
		}
	}
	if answers[""] < 50 || answers["POLICY_DENIED"] < 50 || answers["POLICY_ERROR"] < 50 {
		t.Errorf("got answers %v, want many of each", answers)
	}
}

// loadableHeads are all heads that can match an action.
func loadableHeads(t *testing.T) []string {
	var heads []string
	for _, principal := range []string{"", " == User::\"acme/alice\"", " in Role::\"support\"", " in Tenant::\"acme\"", " is User", " is User in Role::\"guest\"", " is Workload in Tenant::\"acme\""} {
		for _, action := range []string{"", ` == Action::"call_tool"`, ` in [Action::"run_agent", Action::"lock"]`} {
			for _, resource := range []string{
				"", ` == Tool::"get_customer"`, ` in Tool::"get_customer"`, ` in Toolset::"crm"`, ` is Tool in Toolset::"crm"`, ` == Toolset::"crm"`,
				` == Agent::"billing"`, ` in Agent::"billing"`, ` is Session in Agent::"billing"`, ` is Agent in Agent::"billing"`, ` in Tenant::"acme"`,
			} {
				head := "(principal" + principal + ", action" + action + ", resource" + resource + ")"
				if _, err := Load(deskConfig(map[string]string{"a.cedar": `@id("a") permit ` + head + ";"})); err == nil {
					heads = append(heads, head)
				}
			}
		}
	}
	if len(heads) < 100 {
		t.Fatalf("only %d heads load", len(heads))
	}
	return heads
}

func randomSet(rng *rand.Rand, heads []string) string {
	var b strings.Builder
	for i := range 1 + rng.IntN(12) {
		effect := []string{"permit", "permit", "forbid"}[rng.IntN(3)]
		condition := ""
		if rng.IntN(5) == 0 {
			condition = " when { context.depth * 9223372036854775807 > 0 || true }" // overflows when depth > 1
		}
		fmt.Fprintf(&b, "@id(\"r%d\") %s %s%s;\n", i, effect, heads[rng.IntN(len(heads))], condition)
	}
	return b.String()
}

// indexedQueries ask about resources of all depths, by people and by a workload.
func indexedQueries() []*Query {
	billing := Entity{Type: "Agent", ID: "billing"}
	session := Entity{Type: "Session", ID: "ses_1", Owner: "acme/alice", Parents: []Entity{billing}}
	tool := Entity{Type: "Tool", ID: "get_customer"}
	approval := Entity{Type: "Approval", ID: "apr_1", Owner: "acme/alice", Parents: []Entity{{Type: "Tool", ID: "get_customer", Parents: []Entity{{Type: "Toolset", ID: "crm"}}}, session}}
	var all []*Query
	for _, p := range []identity.Principal{
		person("acme", "alice"), person("acme", "alice", "guest", "support"), person("acme", "bob", "support"), person("globex", "alice", "guest"),
		{Workload: &identity.Workload{ID: "spiffe://x/y", Tenant: "acme", NotAfter: noon()}},
	} {
		for _, r := range []Entity{tool, {Type: "Tool", ID: "send_mail"}, billing, {Type: "Agent", ID: "support"}, session, approval, {Type: "Toolset", ID: "crm"}} {
			q := &Query{Grant: grantOf(p, "a", "b"), Action: "lock", Resource: r, Time: noon()}
			if r.Type == "Tool" {
				q.Action, q.Tool, q.Arguments = ActionCallTool, r.ID, []byte(map[string]string{"get_customer": `{"id":"c"}`, "send_mail": `{"to":[]}`}[r.ID])
			}
			if p.Tenant() == "acme" || r.Owner == "" {
				all = append(all, q)
			}
		}
	}
	return all
}

// decideByAll is what Decide means for a set without duties and tenants.
func decideByAll(t *testing.T, e *Engine, q *Query) Decision {
	t.Helper()
	set := cedar.NewPolicySet()
	for _, r := range e.set.rules {
		set.Add(cedar.PolicyID(r.id), r.policy)
	}
	trial := e.newTrial()
	if err := trial.prepare(q); err != nil {
		t.Fatal(err)
	}
	answer, diag := cedar.Authorize(set, &trial.world, trial.request)
	switch {
	case len(diag.Errors) > 0:
		return Decision{Reason: string(fault.PolicyError), PolicyIDs: errorIDs(diag)}
	case answer == cedar.Deny:
		return Decision{Reason: string(fault.PolicyDenied), PolicyIDs: slices.Clone(reasonIDs(diag))}
	}
	return Decision{Allow: true, PolicyIDs: reasonIDs(diag)}
}
