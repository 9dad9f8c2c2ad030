package server_test

import (
	"bytes"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/model/modeltest"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// comeBack is when an error says to come back; 0: it does not.
func comeBack(err error) time.Duration {
	for _, d := range status.Convert(err).Details() {
		if r, ok := d.(*errdetails.RetryInfo); ok {
			return r.GetRetryDelay().AsDuration()
		}
	}
	return 0
}

func TestABudgetOfCallsHoldsForAPersonEverywhereAndAfterARestart(t *testing.T) {
	t.Parallel()
	w := newCashier(t, setup{policies: map[string]string{
		"pay.cedar": `@id("ten") @budget("10 calls/1h") forbid (principal, action == Action::"call_tool", resource == Tool::"pay");`,
	}}, pay("c1"))
	a := w.as(alice)
	if _, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "support", Input: "pay"}); err != nil || w.paid.Load() != 1 {
		t.Fatalf("got %v and %d payments, want one by the agent", err, w.paid.Load())
	}
	var refused atomic.Int64
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			if err := a.pay(t, payArgs, ""); err != nil {
				wantError(t, err, codes.ResourceExhausted, "BUDGET_EXHAUSTED")
				if comeBack(err) <= 0 {
					t.Errorf("%v does not say when to come back", err)
				}
				refused.Add(1)
			}
		})
	}
	group.Wait()
	if w.paid.Load() != 10 || refused.Load() != 55 {
		t.Errorf("got %d payments and %d refusals, want 10 and 55", w.paid.Load(), refused.Load())
	}
	if err := w.as(bob).pay(t, payArgs, ""); err != nil {
		t.Errorf("another person: %v", err)
	}

	q := &behalfv1.ExplainDecisionRequest{Action: "call_tool", Resource: `Tool::"pay"`, ArgumentsJson: payArgs}
	now := a.why(t, q)
	q.Time = timestamppb.New(w.now.Now().Add(2 * time.Hour))
	later := a.why(t, q)
	if now.GetDecision() != behalfv1.Decision_DECISION_DENY || now.GetReason() != behalfv1.ErrorReason_ERROR_REASON_BUDGET_EXHAUSTED || now.GetRefusedBy() != "duty" {
		t.Errorf("got %v, want it to be denied now", now)
	}
	if l := now.GetLimits(); len(l) != 1 || l[0].GetPolicyId() != "ten" || l[0].GetUsed() != 10 || l[0].GetLimit() != 10 || !l[0].GetRefillsAt().AsTime().After(w.now.Now()) {
		t.Errorf("got %v, want ten of ten used and when there is room", l)
	}
	if later.GetDecision() != behalfv1.Decision_DECISION_ALLOW || len(later.GetLimits()) != 1 {
		t.Errorf("got %v, want what policy says of another time", later)
	}
	if err := w.as(bob).pay(t, payArgs, ""); err != nil {
		t.Errorf("asking took from a limit: %v", err)
	}

	w.restart()
	wantError(t, w.as(alice).pay(t, payArgs, ""), codes.ResourceExhausted, "BUDGET_EXHAUSTED")
}

func TestABudgetOfTokensBoundsTheModelCallsOfRuns(t *testing.T) {
	t.Parallel()
	m := modeltest.NewServer(t)
	m.Handle("scripted", func(r modeltest.Request) modeltest.Reply {
		if bytes.Contains(r.Body, []byte("at length")) {
			return modeltest.Reply{Text: strings.Repeat("and so on ", 4000)}
		}
		return modeltest.Reply{Text: "Fine.", Usage: agents.Usage{PromptTokens: 1500, CompletionTokens: 500}}
	})
	w := newWorld(t, setup{model: m, policies: map[string]string{
		"tokens.cedar": `@id("tokens") @budget("7000 tokens/24h") forbid (principal, action == Action::"run_agent", resource);`,
	}})
	run := func(p person, text string) error {
		c := w.as(p)
		_, err := c.agents().RunAgent(c.ctx(t), &behalfv1.RunAgentRequest{Agent: "support", Input: text})
		return err
	}
	for range 3 { // 6,000 tokens, as the model says
		if err := run(alice, "hello"); err != nil {
			t.Fatal(err)
		}
	}

	err := run(alice, "at length") // there are some left, but not for all of that
	wantError(t, err, codes.ResourceExhausted, "BUDGET_EXHAUSTED")
	if comeBack(err) <= 0 {
		t.Errorf("%v does not say when to come back", err)
	}
	asked := m.Count()
	wantError(t, run(alice, "hello"), codes.ResourceExhausted, "BUDGET_EXHAUSTED")
	if m.Count() != asked {
		t.Error("the model was asked although nothing is left")
	}
	if err := run(bob, "hello"); err != nil {
		t.Errorf("another person: %v", err)
	}

	w.restart()
	wantError(t, run(alice, "hello"), codes.ResourceExhausted, "BUDGET_EXHAUSTED")
}
