package server_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

func (c *client) payOnce(t *testing.T, id, args, approval string) (*behalfv1.CallToolResponse, error) {
	t.Helper()
	return c.tools().CallTool(c.ctx(t), &behalfv1.CallToolRequest{Tool: "pay", ArgumentsJson: args, ApprovalId: approval, RequestId: id})
}

func TestACallWithARequestIDIsMadeOnce(t *testing.T) {
	t.Parallel()
	w := newCashier(t, setup{policies: map[string]string{}})
	a := w.as(alice)
	first, err := a.payOnce(t, "one", payArgs, "")
	if err != nil {
		t.Fatal(err)
	}

	again, err := a.payOnce(t, "one", payArgs, "")
	if err != nil || !proto.Equal(again, first) || w.paid.Load() != 1 {
		t.Errorf("got %v, %v and %d payments, want %v again and one", again, err, w.paid.Load(), first)
	}
	_, err = a.payOnce(t, "one", `{"to":"eve","amount":701}`, "")
	wantError(t, err, codes.InvalidArgument, "ARGUMENT_INVALID")
	for name, c := range map[string]*client{"another person": w.as(frank), "another tenant": w.as(erin)} {
		other, err := c.payOnce(t, "one", payArgs, "")
		if name == "another person" && (err != nil || other.GetCallId() == first.GetCallId()) {
			t.Errorf("%s: got %v, %v, want a call of their own", name, other, err)
		}
	}
	before := w.paid.Load()
	w.restart()
	a = w.as(alice)
	if again, err := a.payOnce(t, "one", payArgs, ""); err != nil || !proto.Equal(again, first) || w.paid.Load() != before {
		t.Errorf("after a restart: got %v, %v and %d payments, want %v and %d", again, err, w.paid.Load(), first, before)
	}
}

func TestManyWithOneRequestIDMakeOneCall(t *testing.T) {
	t.Parallel()
	w := newCashier(t, setup{policies: map[string]string{}})
	a := w.as(alice)
	var answered atomic.Int64
	var group sync.WaitGroup
	for range 40 {
		group.Go(func() {
			_, err := a.payOnce(t, "many", payArgs, "")
			switch {
			case err == nil:
				answered.Add(1)
			case reason(err) != "OUTCOME_UNKNOWN":
				t.Errorf("got %v", err)
			}
		})
	}
	group.Wait()
	if w.paid.Load() != 1 || answered.Load() < 1 {
		t.Errorf("got %d payments and %d answers, want one payment", w.paid.Load(), answered.Load())
	}
}

func TestARefusedCallLeavesItsRequestIDFree(t *testing.T) {
	t.Parallel()
	w := newCashier(t, setup{})
	a, b := w.as(alice), w.as(bob)
	_, err := a.payOnce(t, "one", payArgs, "")
	wantError(t, err, codes.FailedPrecondition, "APPROVAL_REQUIRED")
	approval := about(err, "approval_id")
	if err := b.decide(t, approval, true); err != nil {
		t.Fatal(err)
	}

	first, err := a.payOnce(t, "one", payArgs, approval)
	if err != nil {
		t.Fatal(err)
	}
	again, err := a.payOnce(t, "one", payArgs, approval)
	if err != nil || !proto.Equal(again, first) || w.paid.Load() != 1 {
		t.Errorf("got %v, %v and %d payments, want the answer again", again, err, w.paid.Load())
	}
}

// A call that may have been made is not made again: its request id stays taken.
func TestACallWhoseOutcomeIsNotKnownKeepsItsRequestID(t *testing.T) {
	t.Parallel()
	var w *world
	var paid atomic.Int64
	mend := func() {}
	w = newWorld(t, setup{spies: []tools.Tool{tools.Func("pay", "Pays.", func(context.Context, payment) (none, error) {
		if paid.Add(1) == 1 {
			mend = w.breakAudit() // it was decided on record; its outcome cannot be
		}
		return none{}, nil
	})}})
	a := w.as(alice)
	_, err := a.payOnce(t, "one", payArgs, "")
	wantError(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	mend()

	_, err = a.payOnce(t, "one", payArgs, "")

	wantError(t, err, codes.Aborted, "OUTCOME_UNKNOWN")
	if paid.Load() != 1 {
		t.Errorf("got %d payments, want one", paid.Load())
	}
}

// An answer is given again only to whom the call would still be allowed, and as it
// would still be shown; each time is on record.
func TestAnAnswerIsDecidedAnew(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	w := newWorld(t, setup{spies: []tools.Tool{tools.Func("card", "Shows.", func(context.Context, none) (map[string]string, error) {
		calls.Add(1)
		return map[string]string{"number": "4111"}, nil
	}, tools.ReadOnly())}})
	a, b := w.as(alice), w.as(bob)
	card := func() (*behalfv1.CallToolResponse, error) {
		return a.tools().CallTool(a.ctx(t), &behalfv1.CallToolRequest{Tool: "card", ArgumentsJson: "{}", RequestId: "one"})
	}
	reload := func(policy string) {
		t.Helper()
		w.policy("card.cedar", policy)
		if _, err := b.admin().ReloadConfig(b.ctx(t), &behalfv1.ReloadConfigRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if got, err := card(); err != nil || !strings.Contains(got.GetResultJson(), "4111") {
			t.Fatalf("got %v, %v", got, err)
		}
	}

	for name, policy := range map[string]string{
		"forbidden": `@id("no-card") forbid (principal, action == Action::"call_tool", resource == Tool::"card");`,
		"hidden":    `@id("hide-card") @redact("result:$.number") forbid (principal, action == Action::"call_tool", resource == Tool::"card");`,
	} {
		reload(policy)
		if got, err := card(); reason(err) != "POLICY_DENIED" || got != nil {
			t.Errorf("%s: got %v, %v, want POLICY_DENIED", name, got, err)
		}
	}
	reload("// nothing")
	if err := b.lock(t, lockTool("card")); err != nil {
		t.Fatal(err)
	}
	_, err := card()
	wantError(t, err, codes.PermissionDenied, "PRINCIPAL_LOCKED")
	if err := b.unlock(t, lockTool("card")); err != nil {
		t.Fatal(err)
	}
	if _, err := card(); err != nil {
		t.Error(err)
	}

	rows := map[string]int{}
	for _, r := range b.records(t, &behalfv1.QueryAuditRequest{Tool: "card"}) {
		rows[fmt.Sprintf("%v %v %v", strings.HasPrefix(r.GetCallId(), "read_"), r.GetPhase(), r.GetDecision())]++
	}
	if calls.Load() != 1 || rows["false AUDIT_PHASE_DECISION DECISION_ALLOW"] != 1 || rows["true AUDIT_PHASE_DECISION DECISION_ALLOW"] != 2 || rows["true AUDIT_PHASE_DECISION DECISION_DENY"] != 3 {
		t.Errorf("got %d calls and rows %v, want one call, and each repeat on record", calls.Load(), rows)
	}
}
