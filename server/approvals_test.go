package server_test

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"google.golang.org/grpc/codes"
)

func TestARunWaitsForItsApprovalAndGoesOn(t *testing.T) {
	t.Parallel()
	w := newCashier(t, setup{}, pay("c1"))
	a, b := w.as(alice), w.as(bob)

	approval, run := a.untilItWaits(t)

	got, err := b.approvals().ListApprovals(b.ctx(t), &behalfv1.ListApprovalsRequest{})
	if err != nil || len(got.GetApprovals()) != 1 {
		t.Fatalf("got %v, %v, want the one that waits", got, err)
	}
	q := got.GetApprovals()[0]
	if q.GetApprovalId() != approval || !q.GetMayDecide() || q.GetArgumentsJson() != payArgs || q.GetTool() != "pay" || q.GetRequester().GetSubject() != "alice" ||
		q.GetRunId() != run || q.GetState() != behalfv1.ApprovalState_APPROVAL_STATE_PENDING || q.GetApproverRoles()[0] != `Role::"manager"` || q.GetDelegationChain()[0] != "support" {
		t.Errorf("got %v", q)
	}
	if w.paid.Load() != 0 {
		t.Fatal("it paid before anybody agreed")
	}
	if err := b.decide(t, approval, true); err != nil {
		t.Fatal(err)
	}
	if e := a.finished(t, run); e.GetRunFinished().GetOutput() != "All done." || w.paid.Load() != 1 {
		t.Errorf("got %v and %d payments, want the run done and one", e, w.paid.Load())
	}
	wantError(t, b.decide(t, approval, false), codes.FailedPrecondition, "APPROVAL_CONSUMED")
	var decisions []string
	for _, r := range b.records(t, &behalfv1.QueryAuditRequest{RunId: run, Tool: "pay"}) {
		decisions = append(decisions, r.GetPhase().String()+" "+r.GetDecision().String()+" "+r.GetApprover())
		if r.GetApprovalId() != approval {
			t.Errorf("a row of the call does not name the approval: %v", r)
		}
	}
	if len(decisions) != 3 || decisions[0] != "AUDIT_PHASE_DECISION DECISION_WAIT " || decisions[1] != "AUDIT_PHASE_DECISION DECISION_ALLOW acme/bob" {
		t.Errorf("got rows %q, want wait, allow by bob, outcome", decisions)
	}
}

func TestWhoMayDecideAnApproval(t *testing.T) {
	t.Parallel()
	w := newCashier(t, setup{}, pay("c1"))
	approval, run := w.as(frank).untilItWaits(t) // a manager asks
	frank, alice, erin, bob := w.as(frank), w.as(alice), w.as(erin), w.as(bob)

	wantError(t, frank.decide(t, approval, true), codes.PermissionDenied, "POLICY_DENIED") // nobody approves their own
	wantError(t, alice.decide(t, approval, true), codes.NotFound, "NOT_FOUND")             // no manager: it is not there for her
	wantError(t, erin.decide(t, approval, true), codes.NotFound, "NOT_FOUND")              // a manager of another tenant
	for _, c := range []*client{alice, erin} {
		_, err := c.approvals().GetApproval(c.ctx(t), &behalfv1.GetApprovalRequest{ApprovalId: approval})
		wantError(t, err, codes.NotFound, "NOT_FOUND")
		if l, err := c.approvals().ListApprovals(c.ctx(t), &behalfv1.ListApprovalsRequest{}); err != nil || len(l.GetApprovals()) != 0 {
			t.Errorf("got %v, %v, want an empty list", l, err)
		}
	}
	own, err := frank.approvals().GetApproval(frank.ctx(t), &behalfv1.GetApprovalRequest{ApprovalId: approval})
	if err != nil || own.GetApproval().GetMayDecide() {
		t.Errorf("got %v, %v, want to see it and not to decide it", own, err)
	}
	if w.paid.Load() != 0 {
		t.Error("it paid")
	}
	if err := bob.decide(t, approval, true); err != nil {
		t.Fatal(err)
	}
	frank.finished(t, run)
	if w.paid.Load() != 1 {
		t.Errorf("got %d payments, want 1", w.paid.Load())
	}
}

func TestADeniedApprovalIsAFailedResultForTheModel(t *testing.T) {
	t.Parallel()
	w := newCashier(t, setup{}, pay("c1"))
	a, b := w.as(alice), w.as(bob)
	approval, run := a.untilItWaits(t)

	if err := b.decide(t, approval, false); err != nil {
		t.Fatal(err)
	}

	if e := a.finished(t, run); e.GetRunFinished().GetOutput() != "All done." || w.paid.Load() != 0 {
		t.Errorf("got %v and %d payments, want the run to end without one", e, w.paid.Load())
	}
	if last := w.m.Requests(); !bytes.Contains(last[len(last)-1].Body, []byte("APPROVAL_DENIED")) {
		t.Error("the model does not read that the call was not approved")
	}
}

func TestAnApprovalThatNobodyDecidesExpires(t *testing.T) {
	t.Parallel()
	w := newCashier(t, setup{edit: func(c *config.Config) { c.Policy.ApprovalLife = 10 * time.Minute }}, pay("c1"))
	a, b := w.as(alice), w.as(bob)
	approval, run := a.untilItWaits(t)
	direct := about(a.pay(t, payArgs, ""), "approval_id")
	if err := b.decide(t, direct, true); err != nil {
		t.Fatal(err)
	}

	w.now.forward(11 * time.Minute)

	a.finished(t, run)
	if last := w.m.Requests(); !bytes.Contains(last[len(last)-1].Body, []byte("APPROVAL_EXPIRED")) {
		t.Error("the model does not read that nobody approved in time")
	}
	wantError(t, b.decide(t, approval, true), codes.FailedPrecondition, "APPROVAL_EXPIRED")
	wantError(t, a.pay(t, payArgs, direct), codes.FailedPrecondition, "APPROVAL_EXPIRED") // agreed, and used too late
	if w.paid.Load() != 0 {
		t.Error("it paid")
	}
}

func TestAWaitingRunSurvivesARestart(t *testing.T) {
	t.Parallel()
	w := newCashier(t, setup{embedded: true}, pay("c1"))
	approval, run := w.as(alice).untilItWaits(t)

	w.restart()
	if err := w.as(bob).decide(t, approval, true); err != nil {
		t.Fatal(err)
	}
	w.as(alice).finished(t, run)
	if w.paid.Load() != 1 {
		t.Errorf("got %d payments, want 1", w.paid.Load())
	}

	w.restart()
	direct := about(w.as(alice).pay(t, payArgs, ""), "approval_id")
	if err := w.as(bob).decide(t, direct, true); err != nil {
		t.Fatal(err)
	}
	if err := w.as(alice).pay(t, payArgs, direct); err != nil {
		t.Fatal(err)
	}
	w.restart()
	wantError(t, w.as(alice).pay(t, payArgs, direct), codes.FailedPrecondition, "APPROVAL_CONSUMED")
	if w.paid.Load() != 2 {
		t.Errorf("got %d payments, want 2", w.paid.Load())
	}
}

func TestAnApprovalOfADirectCallServesExactlyThatCallOnce(t *testing.T) {
	t.Parallel()
	w := newCashier(t, setup{}, pay("c1"))
	a, b, other := w.as(alice), w.as(bob), w.as(frank)
	err := a.pay(t, payArgs, "")
	wantError(t, err, codes.FailedPrecondition, "APPROVAL_REQUIRED")
	approval := about(err, "approval_id")

	wantError(t, a.pay(t, payArgs, approval), codes.FailedPrecondition, "APPROVAL_REQUIRED")
	if err := b.decide(t, approval, true); err != nil {
		t.Fatal(err)
	}
	wantError(t, a.pay(t, `{"to":"eve","amount":701}`, approval), codes.FailedPrecondition, "APPROVAL_DIGEST_MISMATCH")
	wantError(t, other.pay(t, payArgs, approval), codes.FailedPrecondition, "APPROVAL_DIGEST_MISMATCH")
	wantError(t, w.as(erin).pay(t, payArgs, approval), codes.NotFound, "NOT_FOUND")
	_, err = a.tools().CallTool(a.ctx(t), &behalfv1.CallToolRequest{Tool: "look_up", ArgumentsJson: "{}", ApprovalId: approval})
	wantError(t, err, codes.FailedPrecondition, "APPROVAL_DIGEST_MISMATCH")
	if w.paid.Load() != 0 {
		t.Fatal("it paid")
	}

	var won, consumed atomic.Int64
	var group sync.WaitGroup
	for range 100 {
		group.Go(func() {
			switch err := a.pay(t, payArgs, approval); {
			case err == nil:
				won.Add(1)
			case reason(err) == "APPROVAL_CONSUMED":
				consumed.Add(1)
			default:
				t.Errorf("got %v", err)
			}
		})
	}
	group.Wait()

	if won.Load() != 1 || consumed.Load() != 99 || w.paid.Load() != 1 {
		t.Errorf("got %d calls made, %d refused, %d payments; want 1, 99, 1", won.Load(), consumed.Load(), w.paid.Load())
	}
}

func TestAChangedPolicyStillDeniesWhatWasApproved(t *testing.T) {
	t.Parallel()
	w := newCashier(t, setup{}, pay("c1"))
	a, b := w.as(alice), w.as(bob)
	direct := about(a.pay(t, payArgs, ""), "approval_id")
	approval, run := a.untilItWaits(t)
	w.policy("pay.cedar", needsManager+`@id("no-pay") forbid (principal, action == Action::"call_tool", resource == Tool::"pay");`)
	if _, err := b.admin().ReloadConfig(b.ctx(t), &behalfv1.ReloadConfigRequest{}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{direct, approval} {
		if err := b.decide(t, id, true); err != nil {
			t.Fatal(err)
		}
	}

	a.finished(t, run)
	wantError(t, a.pay(t, payArgs, direct), codes.PermissionDenied, "POLICY_DENIED")

	if w.paid.Load() != 0 {
		t.Error("it paid what policy forbids by now")
	}
}

func TestAnotherApproverThanWasAskedDenies(t *testing.T) {
	t.Parallel()
	w := newCashier(t, setup{})
	a, b := w.as(alice), w.as(bob)
	direct := about(a.pay(t, payArgs, ""), "approval_id")
	if err := b.decide(t, direct, true); err != nil {
		t.Fatal(err)
	}
	w.policy("more.cedar", `@id("auditors-too") @approve("Role::\"auditor\"") forbid (principal, action == Action::"call_tool", resource == Tool::"pay");`)
	if _, err := b.admin().ReloadConfig(b.ctx(t), &behalfv1.ReloadConfigRequest{}); err != nil {
		t.Fatal(err)
	}

	wantError(t, a.pay(t, payArgs, direct), codes.PermissionDenied, "POLICY_DENIED")

	both := about(a.pay(t, payArgs, ""), "approval_id")
	wantError(t, b.decide(t, both, true), codes.NotFound, "NOT_FOUND") // bob is one of the two
	if w.paid.Load() != 0 {
		t.Error("it paid")
	}
}

func TestCallsThatNeedAnApprovalWaitTogetherAndOthersRun(t *testing.T) {
	t.Parallel()
	w := newCashier(t, setup{}, pay("c1"), agents.CallRequest{ID: "c2", Tool: "look_up", Arguments: "{}"}, pay("c3"))
	a, b := w.as(alice), w.as(bob)
	s, err := a.agents().StreamAgent(a.ctx(t), &behalfv1.StreamAgentRequest{Agent: "support", Input: "pay twice"})
	if err != nil {
		t.Fatal(err)
	}
	seen, finished := []string{}, 0
	for len(seen) < 2 {
		m, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if m.GetEvent().GetToolCallFinished() != nil {
			finished++
		}
		if q := m.GetEvent().GetApprovalRequested(); q != nil {
			seen = append(seen, q.GetApprovalId())
		}
	}
	if finished != 1 || w.paid.Load() != 0 {
		t.Errorf("got %d results and %d payments before the approvals, want 1 and 0", finished, w.paid.Load())
	}

	if err := errors.Join(b.decide(t, seen[0], true), b.decide(t, seen[1], false)); err != nil {
		t.Fatal(err)
	}

	rest, err := messages(s) // the stream goes on
	if err != nil {
		t.Fatal(err)
	}
	if e := rest[len(rest)-1].GetEvent(); e.GetRunFinished().GetOutput() != "All done." || w.paid.Load() != 1 {
		t.Errorf("got %v and %d payments, want the run done and one", e, w.paid.Load())
	}
}

func TestPendingApprovalsOfOnePersonAreCapped(t *testing.T) {
	t.Parallel()
	w := newCashier(t, setup{})
	a := w.as(alice)
	first := about(a.pay(t, payArgs, ""), "approval_id")
	for range 19 {
		wantError(t, a.pay(t, payArgs, ""), codes.FailedPrecondition, "APPROVAL_REQUIRED")
	}

	wantError(t, a.pay(t, payArgs, ""), codes.ResourceExhausted, "STREAM_LIMIT")
	wantError(t, w.as(frank).pay(t, payArgs, ""), codes.FailedPrecondition, "APPROVAL_REQUIRED") // nobody else's

	if err := w.as(bob).decide(t, first, false); err != nil {
		t.Fatal(err)
	}
	wantError(t, a.pay(t, payArgs, first), codes.PermissionDenied, "APPROVAL_DENIED")
	wantError(t, a.pay(t, payArgs, ""), codes.FailedPrecondition, "APPROVAL_REQUIRED")
}

func TestAConversationDecidesAnApproval(t *testing.T) {
	t.Parallel()
	w := newCashier(t, setup{}, pay("c1"))
	a, b := w.as(alice), w.as(bob)
	decision := func(id string) *behalfv1.ConverseRequest {
		return &behalfv1.ConverseRequest{Request: &behalfv1.ConverseRequest_Decision{Decision: &behalfv1.ConversationDecision{
			ApprovalId: id, Decision: behalfv1.ApprovalDecision_APPROVAL_DECISION_APPROVE,
		}}}
	}
	open := &behalfv1.ConverseRequest{Request: &behalfv1.ConverseRequest_Open{Open: &behalfv1.OpenConversation{
		Target: &behalfv1.OpenConversation_Agent{Agent: "support"},
	}}}
	hers := a.converse(t)
	hers.send(open)
	hers.say("pay eve")
	asked := hers.until(func(e *behalfv1.Event) bool { return e.GetApprovalRequested() != nil })
	id := asked.GetApprovalRequested().GetApprovalId()

	own := a.converse(t)
	own.send(open)
	own.send(decision(id))
	wantError(t, own.end(), codes.PermissionDenied, "POLICY_DENIED")
	stranger := w.as(dave).converse(t)
	stranger.send(open)
	stranger.send(decision(id))
	wantError(t, stranger.end(), codes.NotFound, "NOT_FOUND") // as by the other door
	his := b.converse(t)
	his.send(open)
	his.send(decision(id))

	hers.until(finished)
	if w.paid.Load() != 1 {
		t.Errorf("got %d payments, want 1", w.paid.Load())
	}
}

func TestAStepUpIsMetByAFreshToken(t *testing.T) {
	t.Parallel()
	w := newCashier(t, setup{policies: map[string]string{
		"pay.cedar": `@id("mfa") @stepup("acr:mfa, max_age:5m") forbid (principal, action == Action::"call_tool", resource == Tool::"pay");`,
	}})
	a := w.as(alice)
	err := a.pay(t, payArgs, "")
	wantError(t, err, codes.PermissionDenied, "STEP_UP_REQUIRED")
	if about(err, "acr") != "mfa" || about(err, "max_age") != "300" {
		t.Errorf("got %v, want what is needed", err)
	}
	with := func(acr string, ago time.Duration) *client {
		return &client{a.ClientConn, bearer(w.token(w.idp, alice, map[string]any{"acr": acr, "auth_time": time.Now().Add(-ago).Unix()}))}
	}

	wantError(t, with("mfa", 6*time.Minute).pay(t, payArgs, ""), codes.PermissionDenied, "STEP_UP_REQUIRED")
	wantError(t, with("pwd", time.Minute).pay(t, payArgs, ""), codes.PermissionDenied, "STEP_UP_REQUIRED")
	if err := with("mfa", time.Minute).pay(t, payArgs, ""); err != nil || w.paid.Load() != 1 {
		t.Errorf("got %v and %d payments, want one", err, w.paid.Load())
	}
}

func TestAStepUpComesBeforeAnybodyIsAsked(t *testing.T) {
	t.Parallel()
	w := newCashier(t, setup{policies: map[string]string{
		"pay.cedar": needsManager + `@id("mfa") @stepup("acr:mfa") forbid (principal, action in [Action::"call_tool", Action::"decide_approval"], resource);`,
	}})
	a, b := w.as(alice), w.as(bob)
	wantError(t, a.pay(t, payArgs, ""), codes.PermissionDenied, "STEP_UP_REQUIRED")
	strong := func(p person) *client {
		return &client{a.ClientConn, bearer(w.token(w.idp, p, map[string]any{"acr": "mfa"}))}
	}
	approval := about(strong(alice).pay(t, payArgs, ""), "approval_id")

	wantError(t, b.decide(t, approval, true), codes.PermissionDenied, "STEP_UP_REQUIRED") // the approver too
	if err := strong(bob).decide(t, approval, true); err != nil {
		t.Fatal(err)
	}
	wantError(t, a.pay(t, payArgs, approval), codes.PermissionDenied, "STEP_UP_REQUIRED") // decided again at the call
	if err := strong(alice).pay(t, payArgs, approval); err != nil || w.paid.Load() != 1 {
		t.Errorf("got %v and %d payments, want one", err, w.paid.Load())
	}
}
