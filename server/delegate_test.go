package server_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"google.golang.org/grpc/codes"
)

// delegating keeps some helpers from orders. That staff may delegate is the desk's.
var delegating = map[string]string{"delegate.cedar": `
@id("clerks-refund-nothing") forbid (principal, action == Action::"call_tool", resource == Tool::"refund_order")
when { context.chain.contains("clerk") };`}

func (c *client) delegate(t *testing.T, agent, parent string, scopes ...string) (*behalfv1.DelegateResponse, error) {
	return c.tools().Delegate(c.ctx(t), &behalfv1.DelegateRequest{Agent: agent, Task: "look", GrantId: parent, Scopes: &behalfv1.Scopes{Values: scopes}})
}

func (c *client) delegated(t *testing.T, agent, parent string, scopes ...string) *behalfv1.DelegateResponse {
	t.Helper()
	got, err := c.delegate(t, agent, parent, scopes...)
	if err != nil {
		t.Fatalf("Delegate: %v", err)
	}
	return got
}

// under calls a tool with a grant.
func (c *client) under(t *testing.T, grant, tool string) error {
	args := map[string]string{
		"refund_order": `{"order_id":"O-5001","amount_cents":100,"reason":"broken"}`,
	}[tool]
	if args == "" {
		args = `{"customer_id":"C-1001"}`
	}
	_, err := c.tools().CallTool(c.ctx(t), &behalfv1.CallToolRequest{Tool: tool, ArgumentsJson: args, GrantId: grant})
	return err
}

func TestADelegatedGrantOnlyNarrows(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{policies: delegating})
	a, b := w.as(alice), w.as(bob)

	first := a.delegated(t, "helper", "", "crm.read", "orders.read", "audit.read")
	if !slices.Equal(first.GetScopes().GetValues(), []string{"crm.read", "orders.read"}) || !slices.Equal(first.GetDelegationChain(), []string{"helper"}) {
		t.Errorf("got %v, want what alice has of it", first)
	}
	second := a.delegated(t, "clerk", first.GetGrantId(), "crm.read", "orders.refund")
	if !slices.Equal(second.GetScopes().GetValues(), []string{"crm.read"}) || !slices.Equal(second.GetDelegationChain(), []string{"helper", "clerk"}) {
		t.Errorf("got %v, want what the parent has of it", second)
	}
	back := a.delegated(t, "helper", second.GetGrantId(), "crm.read", "orders.read", "orders.refund")
	if !slices.Equal(back.GetScopes().GetValues(), []string{"crm.read"}) || !slices.Equal(back.GetDelegationChain(), []string{"helper", "clerk", "helper"}) {
		t.Errorf("got %v, want the narrowest of a circle", back)
	}
	if back.GetExpiresAt().AsTime().After(first.GetExpiresAt().AsTime()) {
		t.Error("a child outlives its parent")
	}
	nothing := a.delegated(t, "helper", "")

	for _, c := range []struct{ grant, tool, want string }{
		{first.GetGrantId(), "get_customer", ""},
		{first.GetGrantId(), "list_orders", ""},
		{first.GetGrantId(), "refund_order", "DELEGATION_SCOPE"},
		{second.GetGrantId(), "get_customer", ""},
		{second.GetGrantId(), "list_orders", "DELEGATION_SCOPE"},
		{back.GetGrantId(), "list_orders", "DELEGATION_SCOPE"},
		{nothing.GetGrantId(), "get_customer", "DELEGATION_SCOPE"},
	} {
		if err := a.under(t, c.grant, c.tool); reason(err) != c.want {
			t.Errorf("%s under %s: got %v, want %q", c.tool, c.grant, err, c.want)
		}
	}
	_, err := a.tools().Delegate(a.ctx(t), &behalfv1.DelegateRequest{Agent: "helper"})
	wantError(t, err, codes.InvalidArgument, "ARGUMENT_INVALID")

	rows := b.records(t, &behalfv1.QueryAuditRequest{User: "alice", Tool: "get_customer"})
	i := slices.IndexFunc(rows, func(r *behalfv1.AuditRecord) bool { return r.GetGrantId() == second.GetGrantId() })
	if i < 0 || !slices.Equal(rows[i].GetDelegationChain(), []string{"helper", "clerk"}) || rows[i].GetAgent() != "clerk" || rows[i].GetTier() != behalfv1.Tier_TIER_SUBAGENT {
		t.Errorf("got %v, want the call on record with its grant, chain and tier", rows)
	}
	made := slices.DeleteFunc(b.records(t, &behalfv1.QueryAuditRequest{User: "alice"}), func(r *behalfv1.AuditRecord) bool {
		return r.GetAction() != "delegate" || r.GetGrantId() != second.GetGrantId()
	})
	if len(made) != 2 || made[0].GetRedactedArgumentsJson() != `{"task":"look","grant_id":"`+first.GetGrantId()+`"}` {
		t.Errorf("got %v, want the delegation on record with its task and parent, before and after", made)
	}
}

func TestADelegatedGrantHoldsAtEveryDoor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{policies: delegating})
	b := w.as(bob)
	clerk := b.delegated(t, "clerk", "", "crm.read", "orders.refund").GetGrantId()

	list, err := b.tools().ListTools(b.ctx(t), &behalfv1.ListToolsRequest{GrantId: clerk})
	if err != nil || len(list.GetTools()) != 1 || list.GetTools()[0].GetName() != "get_customer" {
		t.Errorf("got %v, %v, want the one tool that its scopes reach and its chain may call", list, err)
	}
	wantError(t, b.under(t, clerk, "refund_order"), codes.PermissionDenied, "POLICY_DENIED") // by the chain
	got := b.check(t, &behalfv1.CheckToolCallRequest{Tool: "get_customer", ArgumentsJson: `{"customer_id":"C-1001"}`, GrantId: clerk, Tier: behalfv1.Tier_TIER_INTERACTIVE})
	if _, err := b.report(t, got.GetCallId(), false, "{}"); err != nil {
		t.Error(err)
	}
	_, err = b.tools().CheckToolCall(b.ctx(t), &behalfv1.CheckToolCallRequest{
		Tool: "get_customer", ArgumentsJson: `{"customer_id":"C-1001"}`, GrantId: clerk, Scopes: &behalfv1.Scopes{},
	})
	wantError(t, err, codes.PermissionDenied, "DELEGATION_SCOPE") // a request narrows a grant further
	for _, r := range b.records(t, &behalfv1.QueryAuditRequest{User: "bob", Agent: "clerk"}) {
		if r.GetTier() != behalfv1.Tier_TIER_SUBAGENT {
			t.Errorf("got tier %v, want subagent whatever was said", r.GetTier())
		}
	}

	w.restart()
	b = w.as(bob)
	if err := b.under(t, clerk, "get_customer"); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	less := &client{b.ClientConn, bearer(w.token(w.idp, person{"bob", bob.roles, "orders.refund"}, nil))}
	wantError(t, less.under(t, clerk, "get_customer"), codes.PermissionDenied, "SCOPE_MISSING") // what he lost is lost to it
}

func TestAGrantWorksOnlyForWhomItWasMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{policies: delegating, optional: true})
	a := w.as(alice)
	id := a.delegated(t, "helper", "", "crm.read").GetGrantId()
	run, err := a.runs().CreateRun(a.ctx(t), &behalfv1.CreateRunRequest{Target: &behalfv1.CreateRunRequest_Agent{Agent: "triage"}, Input: "hello"})
	if err != nil {
		t.Fatal(err)
	}
	events := a.watch(t, run.GetRunId(), 0)

	for name, c := range map[string]struct {
		*client
		code codes.Code
		want string
	}{
		"another person":              {w.as(bob), codes.NotFound, "NOT_FOUND"},
		"another tenant":              {w.as(erin), codes.NotFound, "NOT_FOUND"},
		"her name in another tenant":  {&client{w.dial(w.workload(w.globex, "/app")), bearer(w.token(w.other, alice, nil))}, codes.NotFound, "NOT_FOUND"},
		"the workload alone":          {&client{a.ClientConn, nil}, codes.NotFound, "NOT_FOUND"},
		"she without her application": {&client{w.dial(nil), a.md}, codes.PermissionDenied, "OWNER_MISMATCH"},
	} {
		wantError(t, c.under(t, id, "get_customer"), c.code, c.want)
		if _, err := c.delegate(t, "deeper", id, "crm.read"); reason(err) != c.want {
			t.Errorf("%s delegated alice's grant on: %v", name, err)
		}
	}
	wantError(t, a.under(t, events[0].GetRunStarted().GetGrantId(), "get_customer"), codes.NotFound, "NOT_FOUND") // a run's own

	b := w.as(bob)
	denied := slices.DeleteFunc(b.records(t, &behalfv1.QueryAuditRequest{User: "bob", Tool: "get_customer"}), func(r *behalfv1.AuditRecord) bool {
		return r.GetReason() != behalfv1.ErrorReason_ERROR_REASON_NOT_FOUND
	})
	if len(denied) != 1 || denied[0].GetGrantId() == id || len(denied[0].GetDelegationChain()) > 0 {
		t.Errorf("got %v, want bob's try on record as his own", denied)
	}
}

func TestADelegatedGrantEnds(t *testing.T) {
	t.Parallel()
	var on atomic.Int64
	w := newWorld(t, setup{policies: delegating, options: []behalf.Option{behalf.WithClock(func() time.Time { return time.Now().Add(time.Duration(on.Load())) })}})
	short := &client{w.dial(w.workload(w.acme, "/app")), bearer(w.token(w.idp, alice, map[string]any{"exp": time.Now().Add(3 * time.Minute).Unix()}))}
	long := &client{short.ClientConn, bearer(w.token(w.idp, alice, map[string]any{"exp": time.Now().Add(time.Hour).Unix()}))}
	id := short.delegated(t, "helper", "", "crm.read").GetGrantId()
	child := long.delegated(t, "deeper", id, "crm.read")
	if left := time.Until(child.GetExpiresAt().AsTime()); left > 4*time.Minute {
		t.Errorf("the child ends in %v, want with its parent", left)
	}
	if err := long.under(t, id, "get_customer"); err != nil {
		t.Fatal(err)
	}

	on.Store(int64(5 * time.Minute))

	wantError(t, long.under(t, id, "get_customer"), codes.Unauthenticated, "CREDENTIAL_EXPIRED")
	wantError(t, long.under(t, child.GetGrantId(), "get_customer"), codes.Unauthenticated, "CREDENTIAL_EXPIRED")
	_, err := long.delegate(t, "deeper", id, "crm.read")
	wantError(t, err, codes.Unauthenticated, "CREDENTIAL_EXPIRED")
}

func TestAChainOfDelegationsIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{policies: delegating})
	a, parent := w.as(alice), ""
	for range 8 {
		parent = a.delegated(t, "helper", parent, "crm.read").GetGrantId()
	}

	_, err := a.delegate(t, "helper", parent, "crm.read")

	wantError(t, err, codes.PermissionDenied, "DELEGATION_SCOPE")
	if err := a.under(t, parent, "get_customer"); err != nil {
		t.Errorf("got %v for the eighth", err)
	}
}

func TestAConfiguredNameIsOnlyForItsWorkloads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{policies: delegating, edit: func(c *config.Config) {
		support := c.Agents["support"]
		support.External = []string{"spiffe://" + acmeDomain + "/app"}
		c.Agents["support"] = support
		billing := c.Agents["billing"]
		billing.External = []string{"spiffe://" + acmeDomain + "/till"}
		c.Agents["billing"] = billing
		c.GroupChats = map[string]config.GroupChat{"desk": {Kind: config.RoundRobin, Participants: []config.Participant{{Name: "triage"}}, MaxTurns: 1}}
	}})
	b := w.as(bob)

	for _, name := range []string{"triage", "billing", "desk"} {
		_, err := b.delegate(t, name, "", "crm.read")
		wantError(t, err, codes.PermissionDenied, "DELEGATION_SCOPE")
	}
	got := b.delegated(t, "support", "", "crm.read", "orders.read", "orders.refund")

	if !slices.Equal(got.GetScopes().GetValues(), []string{"crm.read", "orders.read"}) {
		t.Errorf("got %v, want support's own ceiling", got.GetScopes())
	}
	if err := b.under(t, got.GetGrantId(), "get_customer"); err != nil {
		t.Error(err)
	}
	wantError(t, b.under(t, got.GetGrantId(), "refund_order"), codes.NotFound, "TOOL_UNKNOWN") // none of support's tools
	denied := slices.DeleteFunc(b.records(t, &behalfv1.QueryAuditRequest{User: "bob"}), func(r *behalfv1.AuditRecord) bool {
		return r.GetAction() != "delegate" || r.GetReason() != behalfv1.ErrorReason_ERROR_REASON_DELEGATION_SCOPE
	})
	if len(denied) != 3 {
		t.Errorf("got %v, want each taken name on record", denied)
	}
}

func TestADelegatedGrantHasTheCeilingThatItsAgentHasNow(t *testing.T) {
	t.Parallel()
	outside := func(scopes ...string) func(*config.Config) {
		return func(c *config.Config) {
			support := c.Agents["support"]
			support.External, support.Scopes = []string{"spiffe://" + acmeDomain + "/app"}, &scopes
			c.Agents["support"] = support
		}
	}
	w := newWorld(t, setup{policies: delegating, edit: outside("crm.read", "orders.read")})
	id := w.as(bob).delegated(t, "support", "", "crm.read", "orders.read").GetGrantId()
	if err := w.as(bob).under(t, id, "get_customer"); err != nil {
		t.Fatal(err)
	}

	w.set.edit = outside("orders.read")
	w.restart()

	wantError(t, w.as(bob).under(t, id, "get_customer"), codes.PermissionDenied, "DELEGATION_SCOPE")
	if err := w.as(bob).under(t, id, "list_orders"); err != nil {
		t.Errorf("got %v for what it still has", err)
	}
}

// narrowly adds external agents to a config, by the tools of each.
func narrowly(agents map[string][]string) func(*config.Config) {
	return func(c *config.Config) {
		for name, tools := range agents {
			a := c.Agents["support"]
			a.Scopes, a.Tools, a.External = nil, tools, []string{"spiffe://" + acmeDomain + "/app"}
			c.Agents[name] = a
		}
	}
}

func TestAGrantOfAnAgentThatIsGoneIsRefused(t *testing.T) {
	t.Parallel()
	var gone atomic.Bool
	add := narrowly(map[string][]string{"narrow": {"get_customer"}})
	w := newWorld(t, setup{reread: true, policies: delegating, edit: func(c *config.Config) {
		if !gone.Load() {
			add(c)
		}
	}})
	b := w.as(bob)
	narrow := b.delegated(t, "narrow", "", "crm.read", "orders.refund").GetGrantId()
	below := b.delegated(t, "label", narrow, "crm.read", "orders.refund").GetGrantId()
	label := b.delegated(t, "label", "", "crm.read").GetGrantId()
	for _, id := range []string{narrow, below, label} {
		succeed(t, b.under(t, id, "get_customer"))
	}

	gone.Store(true)
	b.reload(t)

	for _, id := range []string{narrow, below} {
		for _, tool := range []string{"get_customer", "refund_order"} {
			wantError(t, b.under(t, id, tool), codes.PermissionDenied, "DELEGATION_SCOPE")
		}
		_, err := b.delegate(t, "label", id, "crm.read")
		wantError(t, err, codes.PermissionDenied, "DELEGATION_SCOPE")
	}
	succeed(t, b.under(t, label, "get_customer"))
	gone.Store(false)
	b.reload(t)
	succeed(t, b.under(t, narrow, "get_customer")) // it is there again, and has no more than it had
	wantError(t, b.under(t, narrow, "refund_order"), codes.NotFound, "TOOL_UNKNOWN")
}

func TestADelegatedGrantHasTheToolsThatAllOfItsChainHave(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{policies: delegating, edit: narrowly(map[string][]string{
		"reader": {"get_customer", "list_orders"}, "payer": {"get_customer", "refund_order"},
	})})
	b := w.as(bob)
	chain := func(agents ...string) (id string) {
		for _, name := range agents {
			id = b.delegated(t, name, id, "crm.read", "orders.read", "orders.refund").GetGrantId()
		}
		return id
	}
	for id, may := range map[string][]string{
		chain("label"):                    {"get_customer", "list_orders", "refund_order"},
		chain("reader"):                   {"get_customer", "list_orders"},
		chain("reader", "label"):          {"get_customer", "list_orders"},
		chain("label", "reader"):          {"get_customer", "list_orders"},
		chain("reader", "payer"):          {"get_customer"},
		chain("payer", "label", "label"):  {"get_customer", "refund_order"},
		chain("payer", "label", "reader"): {"get_customer"},
	} {
		for _, tool := range []string{"get_customer", "list_orders", "refund_order"} {
			err := b.under(t, id, tool)
			if slices.Contains(may, tool) {
				succeed(t, err)
				continue
			}
			wantError(t, err, codes.NotFound, "TOOL_UNKNOWN")
		}
		list, err := b.tools().ListTools(b.ctx(t), &behalfv1.ListToolsRequest{GrantId: id})
		if err != nil || len(list.GetTools()) != len(may) {
			t.Errorf("got %v, %v; want %q listed", list, err, may)
		}
	}
}

func TestDelegatingNeedsAPermit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{policies: delegating})
	c := w.as(carol)

	_, err := c.delegate(t, "helper", "", "audit.read")

	wantError(t, err, codes.PermissionDenied, "POLICY_DENIED")
}

func TestTheGrantOfAWorkloadAloneIsAbsentToAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{optional: true, policies: map[string]string{"alone.cedar": `@id("alone") permit (principal is Workload, action in [Action::"delegate", Action::"call_tool"], resource);`}})
	app, batch := &client{w.dial(w.workload(w.acme, "/app")), nil}, &client{w.dial(w.workload(w.acme, "/batch")), nil}
	id := app.delegated(t, "helper", "").GetGrantId()

	wantError(t, batch.under(t, id, "get_customer"), codes.NotFound, "NOT_FOUND")
	wantError(t, app.under(t, id, "get_customer"), codes.PermissionDenied, "DELEGATION_SCOPE") // it is there for who made it
}
