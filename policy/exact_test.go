package policy_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/policy/policytest"
	"github.com/behalf-dev/behalf/store"
	"github.com/behalf-dev/behalf/store/storetest"
)

// guards are several over one real store, as replicas are.
func guards(t *testing.T, n int, src string) (all []*policy.Guard, s *storetest.Running) {
	t.Helper()
	s = storetest.Start(t, store.Config{DSN: "sqlite://" + filepath.Join(t.TempDir(), "behalf.db"), Clock: policytest.Noon})
	for range n {
		g, err := policy.NewGuard(policy.GuardConfig{
			Sink: s, Buckets: s, Approvals: s, Clock: policytest.Noon, Timeout: time.Minute, // a busy machine is no broken store
			DigestKey: func(string) []byte { return []byte("key") }, MaxDenials: 100_000, // what is refused is counted elsewhere
		})
		if err != nil {
			t.Fatal(err)
		}
		g.Swap(policytest.Engine(t, src))
		all = append(all, g)
	}
	return all, s
}

// tally counts answers by their reason; allowed is "".
type tally struct{ m sync.Map }

func (c *tally) add(r fault.Reason) {
	n, _ := c.m.LoadOrStore(r, &atomic.Int64{})
	n.(*atomic.Int64).Add(1) //nolint:forcetypeassert // only these are stored
}

func (c *tally) of(r fault.Reason) int64 {
	n, ok := c.m.Load(r)
	if !ok {
		return 0
	}
	return n.(*atomic.Int64).Load() //nolint:forcetypeassert // only these are stored
}

func try(t *testing.T, g *policy.Guard, q *policy.Query) error {
	t.Helper()
	p, err := g.Begin(t.Context(), q)
	if err != nil {
		return err
	}
	if err := p.Wait(t.Context()); err != nil {
		return err
	}
	p.Done(t.Context(), policy.Result{Outcome: policy.Succeeded})
	return p.Settled(t.Context())
}

func reasonOf(err error) fault.Reason {
	if err == nil {
		return ""
	}
	return fault.From(err).Reason
}

// A thousand callers at four guards over one store: as many calls as the limit are
// made, and what policy denies costs nothing.
func TestLimitsAreExactOverGuardsThatShareAStore(t *testing.T) {
	for name, c := range map[string]struct {
		duty   string
		reason fault.Reason
	}{
		"rate":   {`@rate("100/1h")`, fault.RateLimited},
		"budget": {`@budget("100 calls/1h")`, fault.BudgetExhausted},
	} {
		t.Run(name, func(t *testing.T) {
			src := policytest.PermitAll + `@id("limit") ` + c.duty + ` forbid (principal, action == Action::"call_tool", resource);
@id("no-refunds") forbid (principal, action == Action::"call_tool", resource == Tool::"refund_order");`
			all, _ := guards(t, 4, src)
			var got tally
			var group sync.WaitGroup
			for i := range 1_000 {
				group.Go(func() {
					q := policytest.Call("get_customer", `{"id":"c"}`)
					if i%2 == 0 {
						q = policytest.Call("refund_order", `{"order":"o","amount_cents":5}`)
					}
					q.Call = fmt.Sprintf("run_1/%d", i)
					got.add(reasonOf(try(t, all[i%len(all)], q)))
				})
			}
			group.Wait()

			if got.of("") != 100 || got.of(c.reason) != 400 || got.of(fault.PolicyDenied) != 500 {
				t.Errorf("got %d made, %d over the limit, %d denied; want 100, 400, 500", got.of(""), got.of(c.reason), got.of(fault.PolicyDenied))
			}
			other := policytest.CallBy(policytest.Person("acme", "bob"), "get_customer", `{"id":"c"}`)
			if err := try(t, all[0], other); err != nil {
				t.Errorf("another person: %v", err)
			}
			same := policytest.CallBy(policytest.Person("globex", "alice"), "get_customer", `{"id":"c"}`)
			if err := try(t, all[1], same); err != nil {
				t.Errorf("the same name in another tenant: %v", err)
			}
		})
	}
}

// Nobody is asked and nothing is taken for a call that is denied anyway, and what one
// limit gave comes back when another has nothing left.
func TestADeniedCallConsumesNothing(t *testing.T) {
	const src = policytest.PermitAll + `@id("three") @rate("3/1h") forbid (principal, action == Action::"call_tool", resource);
@id("one") @budget("1 calls/1h") forbid (principal, action == Action::"call_tool", resource == Tool::"send_mail");
@id("no-eve") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer") when { context.args.id == "eve" };
@id("strong") @stepup("acr:mfa") forbid (principal, action == Action::"call_tool", resource == Tool::"update_customer");
@id("asks") @approve("Role::\"m\"") forbid (principal, action == Action::"call_tool", resource == Tool::"refund_order");`
	all, _ := guards(t, 1, src)
	g := all[0]
	mail := policytest.Call("send_mail", `{"to":["a"]}`)
	for _, c := range []struct {
		name string
		q    *policy.Query
		want fault.Reason
	}{
		{"policy denies", policytest.Call("get_customer", `{"id":"eve"}`), fault.PolicyDenied},
		{"it cannot be evaluated", policytest.Call("get_customer", `{"id":7}`), fault.PolicyError},
		{"a proof is missing", policytest.Call("update_customer", `{"id":"c"}`), fault.StepUpRequired},
		{"it waits for somebody", policytest.Call("refund_order", `{"order":"o","amount_cents":5}`), fault.ApprovalRequired},
		{"the one mail", mail, ""},
		{"the budget is used up", mail, fault.BudgetExhausted},
		{"the budget is used up still", mail, fault.BudgetExhausted},
		{"the second of three", policytest.Call("get_customer", `{"id":"c"}`), ""},
		{"the third of three", policytest.Call("get_customer", `{"id":"c"}`), ""},
		{"the fourth", policytest.Call("get_customer", `{"id":"c"}`), fault.RateLimited},
	} {
		if got := reasonOf(try(t, g, c.q)); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

const asksManager = policytest.PermitAll + `@id("asks") @approve("Role::\"manager\"") forbid (principal, action == Action::"call_tool", resource is Tool);
@id("note") @redact("args:$.note") forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer");`

// approved asks for a call and has bob say yes.
func approved(t *testing.T, g *policy.Guard, s *storetest.Running, q *policy.Query) string {
	t.Helper()
	err := try(t, g, q)
	if reasonOf(err) != fault.ApprovalRequired {
		t.Fatalf("got %v, want APPROVAL_REQUIRED", err)
	}
	id := fault.From(err).Meta("approval_id")
	if _, err := s.DecideApproval(t.Context(), q.Grant.Tenant(), id, true, audit.Answer{Approver: audit.User{Issuer: "https://idp.example", Subject: "bob"}, ApproverName: "Bob"}); err != nil {
		t.Fatal(err)
	}
	return id
}

// An approval is of one exact call: each thing that it names, changed alone, makes it
// another.
func TestAnApprovalIsBoundToEverythingThatItNames(t *testing.T) {
	ask := func() *policy.Query {
		q := policytest.CallBy(policytest.Person("acme", "alice"), "get_customer", `{"id":"c","note":"secret"}`)
		q.Grant = policytest.Grant(policytest.Person("acme", "alice"), "triage", "billing")
		q.DescriptorHash = "v1"
		return q
	}
	as := func(change func(*policy.Query)) func() *policy.Query {
		return func() *policy.Query {
			q := ask()
			change(q)
			return q
		}
	}
	by := func(issuer, tenant, subject string, chain ...string) func(*policy.Query) {
		return func(q *policy.Query) {
			p := policytest.Person(tenant, subject)
			p.User.Issuer = issuer
			q.Grant = policytest.Grant(p, chain...)
		}
	}
	const idp = "https://idp.example"
	for name, c := range map[string]struct {
		call func() *policy.Query
		want fault.Reason
	}{
		"the call itself":                 {ask, ""},
		"another session, run and trace":  {as(func(q *policy.Query) { q.Session, q.Run, q.Trace = "ses_2", "run_2", "t" }), ""},
		"what is not sent":                {as(func(q *policy.Query) { q.Arguments = []byte(`{"id":"c","note":"another"}`) }), ""},
		"another person":                  {as(by(idp, "acme", "mallory", "triage", "billing")), fault.ApprovalDigestMismatch},
		"the same name at another issuer": {as(by("https://other.example", "acme", "alice", "triage", "billing")), fault.ApprovalDigestMismatch},
		"another tenant":                  {as(by(idp, "globex", "alice", "triage", "billing")), fault.NotFound},
		"no chain":                        {as(by(idp, "acme", "alice")), fault.ApprovalDigestMismatch},
		"a shorter chain":                 {as(by(idp, "acme", "alice", "triage")), fault.ApprovalDigestMismatch},
		"a longer chain":                  {as(by(idp, "acme", "alice", "triage", "billing", "refunds")), fault.ApprovalDigestMismatch},
		"the chain the other way":         {as(by(idp, "acme", "alice", "billing", "triage")), fault.ApprovalDigestMismatch},
		"names joined otherwise":          {as(by(idp, "acme", "alice", "triagebilling")), fault.ApprovalDigestMismatch},
		"another tool": {as(func(q *policy.Query) {
			q.Tool, q.Resource.ID = "update_customer", "update_customer"
			q.Arguments = []byte(`{"id":"c"}`)
		}), fault.ApprovalDigestMismatch},
		"another version of the tool": {as(func(q *policy.Query) { q.DescriptorHash = "v2" }), fault.ApprovalDigestMismatch},
		"no version of the tool":      {as(func(q *policy.Query) { q.DescriptorHash = "" }), fault.ApprovalDigestMismatch},
		"another argument":            {as(func(q *policy.Query) { q.Arguments = []byte(`{"id":"d","note":"secret"}`) }), fault.ApprovalDigestMismatch},
		"one argument less":           {as(func(q *policy.Query) { q.Arguments = []byte(`{"id":"c"}`) }), fault.ApprovalDigestMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			all, s := guards(t, 1, asksManager)
			id := approved(t, all[0], s, ask())
			q := c.call()
			q.Approval, q.Call = id, "call_2"

			if got := reasonOf(try(t, all[0], q)); got != c.want {
				t.Fatalf("got %q, want %q", got, c.want)
			}
			again := ask()
			again.Approval, again.Call = id, "call_3"
			want := fault.Reason("") // an attempt with another call does not use it up
			if c.want == "" {
				want = fault.ApprovalConsumed
			}
			if got := reasonOf(try(t, all[0], again)); got != want {
				t.Errorf("the call itself afterwards: got %q, want %q", got, want)
			}
		})
	}
}

func TestAnApprovalServesOneOfAHundredAtSeveralGuards(t *testing.T) {
	all, s := guards(t, 4, asksManager)
	id := approved(t, all[0], s, policytest.Call("refund_order", `{"order":"o","amount_cents":5}`))
	var got tally
	var group sync.WaitGroup
	for i := range 100 {
		group.Go(func() {
			q := policytest.Call("refund_order", `{"order":"o","amount_cents":5}`)
			q.Approval, q.Call = id, fmt.Sprintf("call_%d", i)
			got.add(reasonOf(try(t, all[i%len(all)], q)))
		})
	}
	group.Wait()
	if got.of("") != 1 || got.of(fault.ApprovalConsumed) != 99 {
		t.Errorf("got %d calls made and %d refused, want 1 and 99", got.of(""), got.of(fault.ApprovalConsumed))
	}
}

// fixed gives one approval, whatever is asked for.
type fixed struct{ approval audit.Approval }

func (f fixed) Approval(context.Context, string, string) (audit.Approval, error) {
	return f.approval, nil
}

func (f fixed) ApprovalOfCall(context.Context, string, string) (audit.Approval, error) {
	return f.approval, nil
}

func TestTheEndOfAnApprovalIsPartOfIt(t *testing.T) {
	all, s := guards(t, 1, asksManager)
	q := policytest.Call("refund_order", `{"order":"o","amount_cents":5}`)
	q.Approval = approved(t, all[0], s, q)
	a, err := s.Approval(t.Context(), "acme", q.Approval)
	if err != nil {
		t.Fatal(err)
	}
	a.Expires++ // somebody has put it off in the store
	g, err := policy.NewGuard(policy.GuardConfig{Sink: s, Buckets: s, Approvals: fixed{a}, MaxDenials: 100_000, Clock: policytest.Noon, DigestKey: func(string) []byte { return []byte("key") }})
	if err != nil {
		t.Fatal(err)
	}
	g.Swap(policytest.Engine(t, asksManager))
	q.Call = "call_2"

	if err := try(t, g, q); !errors.Is(err, fault.ApprovalDigestMismatch) {
		t.Errorf("got %v, want APPROVAL_DIGEST_MISMATCH", err)
	}
}
