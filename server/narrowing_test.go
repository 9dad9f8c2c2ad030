package server_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/model/modeltest"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc/codes"
)

func TestATenantNamedInARequestMustBeTheCallers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a := w.as(alice)
	start := &behalfv1.CreateRunRequest{Target: &behalfv1.CreateRunRequest_Agent{Agent: "triage"}, Input: "hello", Tenant: "globex"}
	for name, call := range map[string]func() error{
		"RunAgent": func() error {
			_, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: "hello", Tenant: "globex"})
			return err
		},
		"StreamAgent": func() error {
			_, err := a.stream(t, &behalfv1.StreamAgentRequest{Agent: "triage", Input: "hello", Tenant: "globex"})
			return err
		},
		"CreateRun": func() error { _, err := a.runs().CreateRun(a.ctx(t), start); return err },
		"CallTool": func() error {
			_, err := a.tools().CallTool(a.ctx(t), &behalfv1.CallToolRequest{Tool: "get_customer", ArgumentsJson: `{"customer_id":"C-1001"}`, Tenant: "globex"})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, call(), codes.PermissionDenied, "TENANT_MISMATCH") })
	}
	t.Run("a workload that carries another tenant's person", func(t *testing.T) {
		// globex's application may present globex's people only; acme's may not present them at all.
		mixed := &client{w.dial(w.workload(w.acme, "/app")), bearer(w.token(w.other, erin, nil))}
		_, err := mixed.admin().WhoAmI(mixed.ctx(t), &behalfv1.WhoAmIRequest{})
		wantError(t, err, codes.PermissionDenied, "CARRIER_NOT_ALLOWED")
	})
	if _, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: "hello", Tenant: "acme"}); err != nil {
		t.Errorf("got %v for her own tenant, want it accepted", err)
	}
}

func TestScopesOfARequestOnlyNarrow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a, d := w.as(alice), w.as(dave)
	customer := func(c *client, s *behalfv1.Scopes) error {
		_, err := c.tools().CallTool(c.ctx(t), &behalfv1.CallToolRequest{Tool: "get_customer", ArgumentsJson: `{"customer_id":"C-1001"}`, Scopes: s})
		return err
	}
	list := func(c *client, s ...string) error {
		_, err := c.tools().CallTool(c.ctx(t), &behalfv1.CallToolRequest{
			Tool: "list_orders", ArgumentsJson: `{"customer_id":"C-1001"}`, Scopes: &behalfv1.Scopes{Values: s},
		})
		return err
	}

	if err := customer(a, nil); err != nil {
		t.Errorf("got %v without narrowing, want it allowed", err)
	}
	wantError(t, customer(a, &behalfv1.Scopes{}), codes.PermissionDenied, "DELEGATION_SCOPE") // present and empty: nothing
	wantError(t, customer(a, &behalfv1.Scopes{Values: []string{"orders.read"}}), codes.PermissionDenied, "DELEGATION_SCOPE")
	wantError(t, list(d, "orders.read", "crm.read"), codes.PermissionDenied, "SCOPE_MISSING") // dave has no orders.read to ask for
}

func TestARunWithEmptyScopesHasNoTools(t *testing.T) {
	t.Parallel()
	m := modeltest.NewServer(t)
	m.Queue("scripted", modeltest.Reply{Calls: []agents.CallRequest{{ID: "c1", Tool: "get_customer", Arguments: `{"customer_id":"C-1001"}`}}}, modeltest.Reply{Text: "no"})
	w := newWorld(t, setup{model: m})
	a := w.as(alice)

	r, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "support", Input: "look", Scopes: &behalfv1.Scopes{}})
	if err != nil {
		t.Fatal(err)
	}

	if len(r.GetToolCalls()) != 1 || r.GetToolCalls()[0].GetDecision() != behalfv1.Decision_DECISION_DENY {
		t.Errorf("got %v, want one call that was denied", r.GetToolCalls())
	}
	if q := string(m.Requests()[0].Body); strings.Contains(q, "get_customer") {
		t.Error("the model was offered a tool that the run has no scopes for")
	}
}

func TestTheScopesOfAnAgentBoundWhoRunsIt(t *testing.T) {
	t.Parallel()
	l := &daybook{}
	w := newWorld(t, setup{
		spies: []tools.Tool{l.tool("note", tools.ReadOnly())}, options: []behalf.Option{behalf.WithModel("default", doer{})},
		edit: func(c *config.Config) {
			c.Agents["hand"] = config.Agent{Kind: config.KindAssistant, Model: "default", Tools: []string{"spy/*"}, Scopes: &[]string{"crm.read"}}
		},
	})
	a := w.as(alice)

	_, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "hand", Input: "note"})

	if got := l.new(); err != nil || !slices.Equal(got, []string{"note for alice with crm.read"}) {
		t.Errorf("got %q, %v, want one call with the agent's scopes", got, err)
	}
}
