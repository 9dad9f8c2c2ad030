package server_test

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/fault"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/model/modeltest"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// noApprovals is a service in which nobody asks for any.
type noApprovals struct{}

var errNoApproval = fault.New(codes.NotFound, fault.NotFound, "there is no such approval")

func (noApprovals) Approval(context.Context, string, string) (audit.Approval, error) {
	return audit.Approval{}, errNoApproval
}

func (noApprovals) Approvals(context.Context, string, string, int) ([]audit.Approval, error) {
	return nil, nil
}
func (noApprovals) MayDecide(identity.Grant, *audit.Approval) bool { return false }
func (noApprovals) State(a *audit.Approval) string                 { return a.State }
func (noApprovals) DecideApproval(context.Context, string, bool, string) (audit.Approval, error) {
	return audit.Approval{}, errNoApproval
}

// frank is another manager.
var frank = person{"frank", []string{"manager", "support"}, "crm.read orders.read orders.refund audit.read ops"}

const needsManager = `@id("pay-needs-a-manager") @approve("Role::\"manager\"")
	forbid (principal, action == Action::"call_tool", resource == Tool::"pay");`

const mayApprove = `@id("approvals") permit (principal, action in [Action::"list_approvals", Action::"get_approval"], resource);
	@id("managers-approve") permit (principal, action == Action::"decide_approval", resource) when { principal in Role::"manager" };`

// payment is what the tool of these tests takes.
type payment struct {
	To     string `json:"to"`
	Amount int    `json:"amount"`
}

// cashier is a world whose support agent pays, which a manager must approve.
type cashier struct {
	*world
	paid *atomic.Int64
	now  *clock
	m    *modeltest.Server
}

// clock runs with the wall's and can be set forward.
type clock struct{ ahead atomic.Int64 }

func (c *clock) Now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) forward(d time.Duration) { c.ahead.Add(int64(d)) }

const payArgs = `{"to":"eve","amount":700}`

// newCashier makes the world; calls are what the model asks for first.
func newCashier(t *testing.T, set setup, calls ...agents.CallRequest) *cashier {
	t.Helper()
	c := &cashier{paid: &atomic.Int64{}, now: &clock{}, m: modeltest.NewServer(t)}
	c.m.Handle("scripted", func(r modeltest.Request) modeltest.Reply {
		if bytes.Contains(r.Body, []byte(`"role":"tool"`)) {
			return modeltest.Reply{Text: "All done."}
		}
		return modeltest.Reply{Calls: calls}
	})
	set.model = c.m
	set.spies = append(set.spies, tools.Func("pay", "Pays.", func(context.Context, payment) (none, error) {
		c.paid.Add(1)
		return none{}, nil
	}), tools.Func("look_up", "Looks.", func(context.Context, none) (string, error) { return "seen", nil }, tools.ReadOnly()))
	if set.policies == nil {
		set.policies = map[string]string{"pay.cedar": needsManager}
	}
	set.policies["approvals.cedar"] = mayApprove
	edit := set.edit
	set.edit = func(cfg *config.Config) {
		cfg.Server.Limits.CallsPerUser, cfg.Server.Limits.ToolCallsPerUser = 200, 200 // many at once is what some tests are about
		if edit != nil {
			edit(cfg)
		}
	}
	set.options = append(set.options, behalf.WithClock(c.now.Now))
	c.world = newWorld(t, set)
	return c
}

func pay(id string) agents.CallRequest {
	return agents.CallRequest{ID: id, Tool: "pay", Arguments: payArgs}
}

func (c *client) approvals() behalfv1.ApprovalServiceClient {
	return behalfv1.NewApprovalServiceClient(c)
}

func (c *client) decide(t *testing.T, id string, yes bool) error {
	t.Helper()
	d := behalfv1.ApprovalDecision_APPROVAL_DECISION_DENY
	if yes {
		d = behalfv1.ApprovalDecision_APPROVAL_DECISION_APPROVE
	}
	_, err := c.approvals().DecideApproval(c.ctx(t), &behalfv1.DecideApprovalRequest{ApprovalId: id, Decision: d, Comment: "because"})
	return err
}

// about is what an error says under a key of its metadata.
func about(err error, key string) string {
	for _, d := range status.Convert(err).Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok {
			return i.GetMetadata()[key]
		}
	}
	return ""
}

func (c *client) pay(t *testing.T, args, approval string) error {
	t.Helper()
	_, err := c.tools().CallTool(c.ctx(t), &behalfv1.CallToolRequest{Tool: "pay", ArgumentsJson: args, ApprovalId: approval})
	return err
}

// untilItWaits runs the agent until it waits and gives the approval and the run.
func (c *client) untilItWaits(t *testing.T) (approval, run string) {
	t.Helper()
	_, err := c.agents().RunAgent(c.ctx(t), &behalfv1.RunAgentRequest{Agent: "support", Input: "pay eve"})
	wantError(t, err, codes.FailedPrecondition, "APPROVAL_REQUIRED")
	approval, run = about(err, "approval_id"), about(err, "run_id")
	if approval == "" || run == "" || about(err, "expires_at") == "" {
		t.Fatalf("got %v, want the approval, its end and the run", err)
	}
	return approval, run
}
