package server_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/tools"
	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
)

// These tests hold calls that are made elsewhere to what any call is held to.

func (c *client) checks(t *testing.T, r *behalfv1.CheckToolCallRequest) (string, error) {
	t.Helper()
	got, err := c.tools().CheckToolCall(c.ctx(t), r)
	return got.GetCallId(), err
}

func payment1(approval string) *behalfv1.CheckToolCallRequest {
	return &behalfv1.CheckToolCallRequest{Tool: "pay", ArgumentsJson: payArgs, ApprovalId: approval}
}

func TestACallElsewhereWaitsForItsApproval(t *testing.T) {
	t.Parallel()
	w := newCashier(t, setup{policies: map[string]string{"pay.cedar": needsManager, "delegate.cedar": delegating["delegate.cedar"]}})
	a, b := w.as(alice), w.as(bob)
	for _, grant := range []string{"", a.delegated(t, "clerk", "", "crm.read").GetGrantId()} {
		ask := payment1("")
		ask.GrantId = grant
		_, err := a.checks(t, ask)
		wantError(t, err, codes.FailedPrecondition, "APPROVAL_REQUIRED")
		ask.ApprovalId = about(err, "approval_id")
		got, err := b.approvals().GetApproval(b.ctx(t), &behalfv1.GetApprovalRequest{ApprovalId: ask.GetApprovalId()})
		if err != nil || got.GetApproval().GetRunId() != "" || got.GetApproval().GetArgumentsJson() != payArgs {
			t.Errorf("got %v, %v, want a question that no run waits for", got, err)
		}
		_, err = a.checks(t, ask)
		wantError(t, err, codes.FailedPrecondition, "APPROVAL_REQUIRED")
		if err := b.decide(t, ask.GetApprovalId(), true); err != nil {
			t.Fatal(err)
		}

		other := payment1(ask.GetApprovalId())
		other.GrantId, other.ArgumentsJson = grant, `{"to":"eve","amount":701}`
		_, err = a.checks(t, other)
		wantError(t, err, codes.FailedPrecondition, "APPROVAL_DIGEST_MISMATCH")
		id, err := a.checks(t, ask)
		if err != nil {
			t.Fatal(err)
		}
		_, err = a.checks(t, ask)
		wantError(t, err, codes.FailedPrecondition, "APPROVAL_CONSUMED")
		if _, err := a.report(t, id, false, "{}"); err != nil {
			t.Error(err)
		}
	}
	if w.paid.Load() != 0 {
		t.Error("it paid here")
	}
	if strings.Contains(w.log.String(), "tell a run of its approval") {
		t.Error("a run was looked for that there is not")
	}
}

func TestACallElsewhereNeedsTheStepUpAndTheRate(t *testing.T) {
	t.Parallel()
	w := newCashier(t, setup{policies: map[string]string{"pay.cedar": `
		@id("mfa") @stepup("acr:mfa") forbid (principal, action == Action::"call_tool", resource == Tool::"pay");
		@id("twice") @rate("2/1h") forbid (principal, action == Action::"call_tool", resource == Tool::"pay");
		@id("some") @budget("2 calls/24h") forbid (principal, action == Action::"call_tool", resource == Tool::"look_up");`}})
	a := w.as(alice)
	strong := &client{a.ClientConn, bearer(w.token(w.idp, alice, map[string]any{"acr": "mfa", "exp": time.Now().Add(2 * time.Hour).Unix()}))}
	look := &behalfv1.CheckToolCallRequest{Tool: "look_up", ArgumentsJson: "{}"}

	for range 3 { // a denied call is not charged
		_, err := a.checks(t, payment1(""))
		wantError(t, err, codes.PermissionDenied, "STEP_UP_REQUIRED")
		if about(err, "acr") != "mfa" {
			t.Errorf("got %v, want what is needed", err)
		}
	}
	for _, ask := range []*behalfv1.CheckToolCallRequest{payment1(""), look} {
		reported, err := strong.checks(t, ask)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := strong.report(t, reported, true, `"no"`); err != nil {
			t.Fatal(err)
		}
		if _, err := strong.checks(t, ask); err != nil { // and never reported
			t.Fatal(err)
		}
	}
	_, err := strong.checks(t, payment1(""))
	wantError(t, err, codes.ResourceExhausted, "RATE_LIMITED")
	_, err = strong.checks(t, look)
	wantError(t, err, codes.ResourceExhausted, "BUDGET_EXHAUSTED")
	w.now.forward(20 * time.Minute) // both are given up; they may have happened
	_, err = strong.checks(t, payment1(""))
	wantError(t, err, codes.ResourceExhausted, "RATE_LIMITED")
	wantError(t, strong.pay(t, payArgs, ""), codes.ResourceExhausted, "RATE_LIMITED")
}

func TestACallElsewhereIsOneThatItsPersonHasInFlight(t *testing.T) {
	t.Parallel()
	begun, end := make(chan struct{}, 2), make(chan struct{})
	w := newWorld(t, setup{
		spies: []tools.Tool{tools.Func("dwell", "Waits.", func(ctx context.Context, _ none) (none, error) {
			begun <- struct{}{}
			<-end
			return none{}, nil
		}, tools.ReadOnly())},
		edit: func(c *config.Config) { c.Server.Limits.ToolCallsPerUser = 2 },
	})
	a := w.as(alice)
	dwell := func() error {
		_, err := a.tools().CallTool(a.ctx(t), &behalfv1.CallToolRequest{Tool: "dwell", ArgumentsJson: "{}"})
		return err
	}
	done := make(chan error, 2)
	go func() { done <- dwell() }() // ends with end
	until(t, "the call", begun)

	id := a.check(t, customerOf).GetCallId()
	wantError(t, dwell(), codes.ResourceExhausted, "RATE_LIMITED")
	if _, err := w.as(dave).checks(t, customerOf); err != nil {
		t.Errorf("another person: %v", err)
	}
	if _, err := a.report(t, id, false, "{}"); err != nil {
		t.Fatal(err)
	}
	go func() { done <- dwell() }() // ends with end
	until(t, "the call in its place", begun)
	_, err := a.checks(t, customerOf)
	wantError(t, err, codes.ResourceExhausted, "RATE_LIMITED")
	close(end)
	for range 2 {
		if err := until(t, "the end", done); err != nil {
			t.Error(err)
		}
	}
	id = a.check(t, customerOf).GetCallId()
	_, err = a.checks(t, customerOf) // half of the lanes
	wantError(t, err, codes.ResourceExhausted, "RATE_LIMITED")
	if _, err := a.report(t, id, false, "{}"); err != nil {
		t.Error(err)
	}
}

func TestACallOfARunIsOneThatItsPersonHasInFlight(t *testing.T) {
	t.Parallel()
	begun, end := make(chan struct{}, 2), make(chan struct{})
	w := newWorld(t, setup{
		options: []behalf.Option{behalf.WithModel("default", doer{})},
		spies: []tools.Tool{tools.Func("dwell", "Waits.", func(context.Context, none) (none, error) {
			begun <- struct{}{}
			<-end
			return none{}, nil
		}, tools.ReadOnly())},
		edit: func(c *config.Config) { c.Server.Limits.ToolCallsPerUser = 1 },
	})
	a := w.as(alice)
	done := make(chan error, 1)
	go func() { // ends with end
		_, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "support", Input: "dwell"})
		done <- err
	}()
	until(t, "the call of the run", begun)

	err := a.customer(t)
	close(end)

	wantError(t, err, codes.ResourceExhausted, "RATE_LIMITED")
	if err := until(t, "the end", done); err != nil {
		t.Error(err)
	}
	if err := a.customer(t); err != nil {
		t.Errorf("got %v when none is in flight", err)
	}
}

func TestALockCutsACallThatIsBeingMadeElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{policies: delegating})
	a, b := w.as(alice), w.as(bob)
	deep := a.delegated(t, "deeper", a.delegated(t, "helper", "", "crm.read").GetGrantId(), "crm.read").GetGrantId()
	under := &behalfv1.CheckToolCallRequest{Tool: customerOf.GetTool(), ArgumentsJson: customerOf.GetArgumentsJson(), GrantId: deep}
	for name, target := range map[string]*behalfv1.LockTarget{
		"the tool": lockTool("get_customer"), "an agent of the chain": lockAgent("helper"), "the agent": lockAgent("deeper"),
	} {
		id, err := a.checks(t, under)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := b.lock(t, target); err != nil {
			t.Fatal(err)
		}

		shown, err := a.report(t, id, false, `{"customer_id":"C-1001"}`)
		wantError(t, err, codes.PermissionDenied, "PRINCIPAL_LOCKED")
		if shown != "" {
			t.Errorf("%s: got %s to show", name, shown)
		}
		// The second row says that the call was cut.
		if diff := gocmp.Diff([]string{"DECISION alice OUTCOME_UNSPECIFIED", "DECISION alice OUTCOME_UNSPECIFIED", "OUTCOME alice OUTCOME_SUCCEEDED"}, b.phases(t, id)); diff != "" {
			t.Errorf("%s: rows (-want +got):\n%s", name, diff)
		}
		_, err = a.checks(t, under)
		wantError(t, err, codes.PermissionDenied, "PRINCIPAL_LOCKED")
		if strings.Contains(name, "agent") {
			_, err = a.delegate(t, "deepest", deep, "crm.read")
			wantError(t, err, codes.PermissionDenied, "PRINCIPAL_LOCKED")
		}
		if err := b.unlock(t, target); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAPolicyCutsACallElsewhereAndAnExpiryDoesNot(t *testing.T) {
	t.Parallel()
	now := &clock{}
	w := newWorld(t, setup{options: []behalf.Option{behalf.WithClock(now.Now)}})
	a, b := w.as(alice), w.as(bob)
	short := &client{a.ClientConn, bearer(w.token(w.idp, alice, map[string]any{"exp": time.Now().Add(3 * time.Minute).Unix()}))}
	id := short.check(t, customerOf).GetCallId()
	now.forward(5 * time.Minute)
	if shown, err := a.report(t, id, false, `{"customer_id":"C-1001"}`); err != nil || shown == "" {
		t.Errorf("with a fresh credential: got %s, %v", shown, err)
	}

	id = a.check(t, customerOf).GetCallId()
	w.policy("no.cedar", `@id("no-customers") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer");`)
	if _, err := b.admin().ReloadConfig(b.ctx(t), &behalfv1.ReloadConfigRequest{}); err != nil {
		t.Fatal(err)
	}
	shown, err := a.report(t, id, false, `{"customer_id":"C-1001"}`)
	wantError(t, err, codes.PermissionDenied, "POLICY_DENIED")
	if shown != "" {
		t.Errorf("got %s to show", shown)
	}
}

func TestDetectorsLookAtCallsElsewhere(t *testing.T) {
	t.Parallel()
	l := &ledger{}
	w := newWorld(t, setup{spies: l.tools(), policies: map[string]string{"cards.cedar": cardsOfCalls}})
	a := w.as(alice)
	ask := &behalfv1.CheckToolCallRequest{Tool: "pay", ArgumentsJson: `{"note":"card ` + cardInArgument + `"}`}

	got := a.check(t, ask)
	if sent := got.GetSentArgumentsJson(); strings.Contains(sent, cardInArgument) || !strings.Contains(sent, "card ") {
		t.Errorf("got %s to send, want it without the number", sent)
	}
	shown, err := a.report(t, got.GetCallId(), false, `{"number":`+cardInResult+`,"said":"5500-0055 5555 5559","kept":"order 42"}`)
	if err != nil || strings.Contains(shown, "5500") || strings.Contains(shown, "5559") || !strings.Contains(shown, "order 42") {
		t.Errorf("got %s, %v, want the rest only", shown, err)
	}
	shown, err = a.report(t, a.check(t, ask).GetCallId(), true, `"card 3566 0020 2036 0505 declined"`)
	if err != nil || strings.Contains(shown, "3566") || !strings.Contains(shown, "declined") {
		t.Errorf("a failure: got %s, %v, want it without the number", shown, err)
	}
	rows := w.as(bob).records(t, &behalfv1.QueryAuditRequest{Tool: "pay"})
	for _, r := range rows {
		if strings.Contains(r.GetRedactedArgumentsJson(), cardInArgument) {
			t.Errorf("the number is on record: %v", r)
		}
	}
	if len(rows) != 4 {
		t.Errorf("got %d rows, want decision and outcome of both", len(rows))
	}
}

// A check outlives its credential, as who reports has a fresh one; it must not
// outlive anything else because of that.
func TestACallElsewhereIsCutAfterItsCredentialHasEnded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*testing.T, *world, *client)
		report person
		reason string
	}{
		"a lock": {func(t *testing.T, _ *world, b *client) {
			if err := b.lock(t, lockTool("get_customer")); err != nil {
				t.Fatal(err)
			}
		}, alice, "PRINCIPAL_LOCKED"},
		"a policy": {func(_ *testing.T, w *world, _ *client) {
			w.policy("no.cedar", `@id("no-customers") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer");`)
		}, alice, "POLICY_DENIED"},
		"a role that is gone": {func(*testing.T, *world, *client) {}, person{alice.subject, []string{"guest"}, alice.scopes}, "POLICY_DENIED"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := &clock{}
			w := newWorld(t, setup{options: []behalf.Option{behalf.WithClock(now.Now)}})
			a, b := w.as(c.report), w.as(bob)
			short := &client{a.ClientConn, bearer(w.token(w.idp, alice, map[string]any{"exp": time.Now().Add(3 * time.Minute).Unix()}))}
			id := short.check(t, customerOf).GetCallId()
			now.forward(5 * time.Minute)
			if _, err := b.admin().ReloadConfig(b.ctx(t), &behalfv1.ReloadConfigRequest{}); err != nil { // it is looked at, and has ended
				t.Fatal(err)
			}
			c.change(t, w, b)
			if _, err := b.admin().ReloadConfig(b.ctx(t), &behalfv1.ReloadConfigRequest{}); err != nil {
				t.Fatal(err)
			}

			shown, err := a.report(t, id, false, `{"customer_id":"C-1001"}`)
			wantError(t, err, codes.PermissionDenied, c.reason)
			if shown != "" {
				t.Errorf("got %s to show", shown)
			}
		})
	}
}

// A repeated check is leave to go ahead: it needs what any check needs.
func TestARepeatedCheckNeedsWhatACheckNeeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	ask := &behalfv1.CheckToolCallRequest{Tool: customerOf.GetTool(), ArgumentsJson: customerOf.GetArgumentsJson(), RequestId: "one"}
	id := w.as(alice).check(t, ask).GetCallId()

	_, err := w.as(person{alice.subject, alice.roles, "orders.read"}).checks(t, ask)
	wantError(t, err, codes.PermissionDenied, "SCOPE_MISSING")
	_, err = w.as(person{alice.subject, []string{"guest"}, alice.scopes}).checks(t, ask)
	wantError(t, err, codes.PermissionDenied, "POLICY_DENIED")
	if again := w.as(alice).check(t, ask); again.GetCallId() != id {
		t.Errorf("got %v, want call %s", again, id)
	}
}
