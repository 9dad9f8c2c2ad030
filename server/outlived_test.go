package server_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/model/modeltest"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc/codes"
)

// inTurn is a model that asks for one call after the other, by how many answers it has
// seen, and then is done.
func inTurn(t *testing.T, calls ...agents.CallRequest) *modeltest.Server {
	t.Helper()
	m := modeltest.NewServer(t)
	m.Handle("scripted", func(r modeltest.Request) modeltest.Reply {
		if n := bytes.Count(r.Body, []byte(`"role":"tool"`)); n < len(calls) {
			return modeltest.Reply{Calls: calls[n : n+1]}
		}
		return modeltest.Reply{Text: "All done."}
	})
	return m
}

// payer is a tool that counts.
func payer(paid *atomic.Int64) tools.Tool {
	return tools.Func("pay", "Pays.", func(context.Context, payment) (none, error) {
		paid.Add(1)
		return none{}, nil
	}, tools.Scopes("crm.read"))
}

// TestARunDoesNotOutliveTheGrantOfItsWorkload takes the grant away, or narrows it, while
// a run waits for somebody and while a detached one works. Both have only a stored grant.
func TestARunDoesNotOutliveTheGrantOfItsWorkload(t *testing.T) {
	t.Parallel()
	const (
		whole = `{ id: "spiffe://acme.test/batch", scopes: [crm.read], may_present_users_from: ["` + acmeIssuer + `"] }, `
		bare  = `{ id: "spiffe://acme.test/batch", may_present_users_from: ["` + acmeIssuer + `"] }, `
		alone = `{ id: "spiffe://acme.test/batch", scopes: [crm.read] }, `
	)
	for name, c := range map[string]struct {
		detached, brings, pays bool
		left                   string // of the grant
	}{
		"alone, waits":                    {false, false, false, ""},
		"alone, works":                    {true, false, false, ""},
		"alone, waits, has no scopes now": {false, false, false, bare},
		"alone, waits, brings nobody now": {false, false, true, alone},
		"brings her, waits":               {false, true, false, ""},
		"brings her, works":               {true, true, false, ""},
		"brings nobody now, waits":        {false, true, false, alone},
		"brings her, has no scopes now":   {false, true, true, bare},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var paid atomic.Int64
			begun, goOn := make(chan string, 1), make(chan struct{})
			calls, policy := []agents.CallRequest{pay("c1")}, needsManager
			if c.detached {
				calls, policy = append([]agents.CallRequest{{ID: "w1", Tool: "wait", Arguments: `{}`}}, calls...), ""
			}
			w := newWorld(t, setup{
				reread: true, trust: true, model: inTurn(t, calls...),
				spies:    []tools.Tool{payer(&paid), holdTool("wait", tools.Risk("low"), begun, goOn)},
				policies: map[string]string{"pay.cedar": policy + ` @id("batch") permit (principal, action, resource);`},
			})
			b, without := w.as(bob), w.identities(w.idp, w.other)
			grants := func(list string) string { return strings.Replace(without, "grants: [", "grants: ["+list, 1) }
			w.rewrite(without, grants(whole))
			b.reload(t)
			batch := &client{w.dial(w.workload(w.acme, "/batch")), nil}
			if c.brings {
				batch.md = bearer(w.token(w.idp, alice, nil))
			}
			approval := ""
			if c.detached {
				_, err := batch.runs().CreateRun(batch.ctx(t), &behalfv1.CreateRunRequest{Target: &behalfv1.CreateRunRequest_Agent{Agent: "support"}, Input: "go"})
				succeed(t, err)
				until(t, "the tool", begun)
			} else {
				approval, _ = batch.untilItWaits(t)
			}

			w.rewrite(grants(whole), grants(c.left))
			b.reload(t)
			close(goOn)
			if approval != "" {
				succeed(t, b.decide(t, approval, true))
			}

			refused := func() bool {
				rows := b.records(t, &behalfv1.QueryAuditRequest{Decision: behalfv1.Decision_DECISION_DENY})
				return len(rows) > 0 && rows[0].GetWorkload() == "spiffe://acme.test/batch" && rows[0].GetReason() == behalfv1.ErrorReason_ERROR_REASON_CREDENTIAL_INVALID
			}
			w.eventually(func() bool { return paid.Load() > 0 || refused() })
			if (paid.Load() > 0) != c.pays {
				t.Errorf("paid %d times", paid.Load())
			}
		})
	}
}

// TestAHandOffReachesWhatItLedToBefore changes a hand-off that a session went by: a run
// that waits is held against it as it is now, and so is the next run.
func TestAHandOffReachesWhatItLedToBefore(t *testing.T) {
	t.Parallel()
	const as = "- { to: support, scopes: [crm.read, orders.read] }\n"
	for name, c := range map[string]struct{ is, why string }{
		"as it was":    {as, ""},
		"narrowed":     {"- { to: support, scopes: [orders.read] }\n", "DELEGATION_SCOPE"},
		"left nothing": {"- { to: support, scopes: [] }\n", "DELEGATION_SCOPE"},
		"taken away":   {"\n", "NOT_FOUND"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var paid atomic.Int64
			w := newWorld(t, setup{
				reread: true, spies: []tools.Tool{payer(&paid)}, policies: map[string]string{"pay.cedar": needsManager, "approvals.cedar": mayApprove},
				model: inTurn(t, agents.CallRequest{ID: "c0", Tool: "transfer_to_support", Arguments: `{}`}, pay("c1")),
			})
			a, b := w.as(alice), w.as(bob)
			run := &behalfv1.RunAgentRequest{Agent: "triage", Input: "go"}
			_, err := a.agents().RunAgent(a.ctx(t), run)
			wantError(t, err, codes.FailedPrecondition, "APPROVAL_REQUIRED")
			approval, waits := about(err, "approval_id"), about(err, "run_id")

			w.rewrite(as, c.is)
			b.reload(t)
			succeed(t, b.decide(t, approval, true))

			if end := a.finished(t, waits); (paid.Load() == 1) != (c.why == "") || (end.GetRunFinished().GetErrorReason() == behalfv1.ErrorReason_ERROR_REASON_NOT_FOUND) != (c.why == "NOT_FOUND") {
				t.Errorf("paid %d times, and the run that waited ended with %v", paid.Load(), end)
			}
			run.SessionId = a.watch(t, waits, 0)[0].GetSessionId()
			w.set.model.Queue("scripted", modeltest.Reply{Calls: []agents.CallRequest{{ID: "c2", Tool: "get_customer", Arguments: `{"customer_id":"C-1001"}`}}})
			r, err := a.agents().RunAgent(a.ctx(t), run)
			got := reason(err)
			for _, call := range r.GetToolCalls() {
				got = strings.TrimPrefix(call.GetReason().String(), "ERROR_REASON_")
			}
			if c.why == "" {
				c.why = "UNSPECIFIED"
			}
			if got != c.why {
				t.Errorf("the next run: got %q, want %s", got, c.why)
			}
		})
	}
}

// TestAnApprovalDoesNotOutliveWhoGaveIt: an account that was taken over approves before
// anybody knows, and an issuer that is not trusted any more has vouched for an approver.
func TestAnApprovalDoesNotOutliveWhoGaveIt(t *testing.T) {
	t.Parallel()
	var paid atomic.Int64
	w := newWorld(t, setup{
		reread: true, trust: true, spies: []tools.Tool{payer(&paid)},
		policies: map[string]string{"pay.cedar": needsManager, "approvals.cedar": mayApprove},
	})
	a, b := w.as(alice), w.as(bob)
	usual := w.identities(w.idp, w.other)
	second := strings.NewReplacer("tenant: globex, ", `tenant: acme, subject_prefix: "g-", `, // for gina, of a second issuer of the tenant
		fmt.Sprintf("may_present_users_from: [%q] }", acmeIssuer), fmt.Sprintf("may_present_users_from: [%q, %q] }", acmeIssuer, globexIssuer)).Replace(usual)
	w.rewrite(usual, second)
	b.reload(t)
	gina := &client{a.ClientConn, bearer(w.token(w.other, person{"gina", []string{"manager"}, "audit.read ops"}, nil))}
	approved := func(by *client) string {
		id := about(a.pay(t, payArgs, ""), "approval_id")
		succeed(t, by.decide(t, id, true))
		return id
	}
	bobs, ginas, franks := approved(b), approved(gina), approved(w.as(frank))

	succeed(t, w.as(frank).lock(t, lockUser("acme/bob")))
	wantError(t, a.pay(t, payArgs, bobs), codes.FailedPrecondition, "APPROVAL_EXPIRED")
	succeed(t, w.as(frank).unlock(t, lockUser("acme/bob")))
	w.rewrite(second, w.identities(w.idp))
	b.reload(t)
	wantError(t, a.pay(t, payArgs, ginas), codes.FailedPrecondition, "APPROVAL_EXPIRED")
	if paid.Load() != 0 {
		t.Errorf("paid %d times", paid.Load())
	}

	succeed(t, a.pay(t, payArgs, franks))
	succeed(t, a.pay(t, payArgs, bobs)) // he is not locked any more, and it was not used
}
