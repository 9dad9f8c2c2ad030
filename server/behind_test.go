package server_test

import (
	"slices"
	"sync/atomic"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"google.golang.org/protobuf/types/descriptorpb"
)

// TestWhatIsApprovedForOneBackendIsNotDoneAtAnother, although a reload has put it
// behind the same name.
func TestWhatIsApprovedForOneBackendIsNotDoneAtAnother(t *testing.T) {
	t.Parallel()
	var moved atomic.Bool
	one, two := shut(t), shut(t)
	before, after := withCRM(t, one, false), withCRM(t, two, false)
	w := newWorld(t, setup{reread: true, edit: func(c *config.Config) {
		if moved.Load() {
			after(c)
			return
		}
		before(c)
	}, bare: crmPolicies + mayApprove + `
@id("managers-operate") permit (principal in Role::"manager", action == Action::"reload_config", resource);
@id("refunds-need-a-manager") @approve("Role::\"manager\"") forbid (principal, action == Action::"call_tool", resource == Tool::"refund_order");`})
	first, second := &release{}, &release{}
	same := func(*descriptorpb.FileDescriptorProto) {}
	first.deploy(w, one, same)
	second.deploy(w, two, same)
	a, b := w.as(alice), w.as(bob)
	const refund = `{"customer_id":"alice","order_id":"o"}`
	var id string
	eventually(t, "the backend is there", func() bool {
		_, err := a.callTool(t, "refund_order", refund)
		id = about(err, "approval_id")
		return reason(err) == "APPROVAL_REQUIRED"
	})
	succeed(t, b.decide(t, id, true))
	moved.Store(true)
	b.reload(t)

	_, err := a.tools().CallTool(a.ctx(t), &behalfv1.CallToolRequest{Tool: "refund_order", ArgumentsJson: refund, ApprovalId: id})
	if reason(err) != "APPROVAL_DIGEST_MISMATCH" || second.calls.Load() != 0 {
		t.Errorf("got %v and %d calls of the other backend, want the approval to be of no use there", err, second.calls.Load())
	}
}

// TestWhatIsApprovedForOneAgentIsNotDoneByAnother that the config has put behind the
// same tool.
func TestWhatIsApprovedForOneAgentIsNotDoneByAnother(t *testing.T) {
	t.Parallel()
	var swapped atomic.Bool
	w := newCashier(t, setup{reread: true, policies: map[string]string{
		"pay.cedar": `@id("ask-needs-a-manager") @approve("Role::\"manager\"") forbid (principal, action == Action::"call_tool", resource == Tool::"ask");
@id("all-ask") permit (principal, action == Action::"call_tool", resource == Tool::"ask");`,
	}, edit: func(c *config.Config) {
		callee := "support"
		if swapped.Load() {
			callee = "billing"
		}
		c.Tools["ask"] = config.Toolset{Agent: callee, Description: "Asks somebody."}
		triage := c.Agents["triage"]
		triage.Tools, triage.Handoffs = []string{"ask"}, nil
		c.Agents["triage"] = triage
	}}, agents.CallRequest{ID: "c1", Tool: "ask", Arguments: `{"task":"look"}`})
	a, b := w.as(alice), w.as(bob)
	_, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: "go"})
	id, run := about(err, "approval_id"), about(err, "run_id")
	if id == "" {
		t.Fatalf("got %v, want that it waits", err)
	}
	swapped.Store(true)
	b.reload(t)
	succeed(t, b.decide(t, id, true))
	a.finished(t, run)

	for _, e := range a.watch(t, run, 0) {
		if slices.Contains(e.GetDelegationChain(), "billing") {
			t.Fatalf("approved for support, and billing acts: %v", e)
		}
	}
}
