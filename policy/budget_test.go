package policy

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/grpc/codes"
)

// counted is a guard whose sink keeps account.
func counted(t testing.TB, src string) (*Guard, *audit.Memory, *time.Time) {
	t.Helper()
	now := noon()
	log := audit.NewMemory(func() time.Time { return now })
	g, err := NewGuard(GuardConfig{Sink: log, Buckets: log, Approvals: log, Clock: func() time.Time { return now }, DigestKey: func(string) []byte { return []byte("key") }})
	if err != nil {
		t.Fatal(err)
	}
	g.Swap(engineOf(t, src))
	return g, log, &now
}

func allowed(t testing.TB, g *Guard, q *Query) error {
	t.Helper()
	p, err := g.Begin(t.Context(), q)
	if err == nil {
		err = p.Wait(t.Context())
	}
	return err
}

func customer() *Query { return call("get_customer", `{"id":"c"}`) }

func TestABudgetOfCallsIsExactWithManyCallers(t *testing.T) {
	g, _, now := counted(t, permitAll+`@id("ten") @budget("10 calls/1h") forbid (principal, action, resource);`)
	var made atomic.Int64
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			err := allowed(t, g, customer())
			if err == nil {
				made.Add(1)
				return
			}
			if f := fault.From(err); f.Reason != fault.BudgetExhausted || f.Code != codes.ResourceExhausted || f.RetryAfter() <= 0 {
				t.Errorf("got %v, want BUDGET_EXHAUSTED and when to come back", err)
			}
		})
	}
	group.Wait()
	if made.Load() != 10 {
		t.Errorf("got %d calls, want 10", made.Load())
	}
	if err := allowed(t, g, callBy(person("acme", "bob"), "get_customer", `{"id":"c"}`)); err != nil {
		t.Errorf("another person: %v", err)
	}
	*now = now.Add(62 * time.Minute)
	q := customer()
	q.Grant = grantOf(lasting(*now), "support")
	if err := allowed(t, g, q); err != nil {
		t.Errorf("after the window: %v", err)
	}
}

// runOf is the context of a run of alice.
func runOf(t testing.TB) context.Context {
	t.Helper()
	return WithRun(t.Context(), &Query{Grant: grantOf(person("acme", "alice")), Action: "run_agent", Resource: Entity{Type: "Agent", ID: "support"}})
}

const tokens1000 = permitAll + `@id("tokens") @budget("1000 tokens/24h") forbid (principal, action in [Action::"run_agent", Action::"call_tool"], resource);`

func TestTokensAreReservedAndThenChargedAsUsed(t *testing.T) {
	g, _, _ := counted(t, tokens1000)
	ctx := runOf(t)
	first, err := g.Spend(ctx, 600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = g.Spend(ctx, 401)
	wantFault(t, err, codes.ResourceExhausted, fault.BudgetExhausted)
	first.Settle(ctx, 100)
	second, err := g.Spend(ctx, 900)
	if err != nil {
		t.Fatalf("what was not used did not come back: %v", err)
	}
	if err := allowed(t, g, customer()); fault.From(err).Reason != fault.BudgetExhausted {
		t.Errorf("got %v for a call when nothing is left, want BUDGET_EXHAUSTED", err)
	}
	second.Settle(ctx, 899)
	if err := allowed(t, g, customer()); err != nil {
		t.Errorf("got %v for a call when a token is left, which it takes none of", err)
	}
	third, err := g.Spend(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	third.Settle(ctx, 5000) // used beyond: charged all the same
	_, err = g.Spend(ctx, 1)
	wantFault(t, err, codes.ResourceExhausted, fault.BudgetExhausted)
	if s, err := g.Spend(t.Context(), 1<<40); err != nil {
		t.Errorf("outside of a run: %v, %v", s, err)
	}
}

func TestTokensAreExactWithManyModelCalls(t *testing.T) {
	g, _, _ := counted(t, tokens1000)
	ctx := runOf(t)
	var used atomic.Int64
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			for range 20 {
				s, err := g.Spend(ctx, 30)
				if err != nil {
					continue
				}
				used.Add(7)
				s.Settle(ctx, 7)
			}
		})
	}
	group.Wait()
	// Reservations that were given back make room, so nearly all of it is used, and
	// never more.
	if n := used.Load(); n > 1000 || n < 1000-30-7 {
		t.Errorf("got %d tokens used, want 1000 less what does not hold another reservation", n)
	}
}

func TestABudgetThatNothingKeepsAccountOfDenies(t *testing.T) {
	d := newDesk(t, tokens1000)
	if _, err := d.Begin(t.Context(), customer()); err == nil {
		t.Error("a call was allowed that has a token budget, and nothing keeps account of tokens")
	}
	_, err := d.Spend(runOf(t), 1)
	wantFault(t, err, codes.PermissionDenied, fault.PolicyDenied)
}

func TestAChangedAnswerGivesReservationsBack(t *testing.T) {
	const once = permitAll + `@id("once") @budget("1 calls/1h") forbid (principal, action, resource); @id("rate") @rate("1/1h") forbid (principal, action, resource);`
	g, _, _ := counted(t, once)
	p, err := g.Begin(t.Context(), customer())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.Swap(engineOf(t, once+`@id("no") forbid (principal, action, resource);`))
	wantFault(t, p.Recheck(t.Context()), codes.PermissionDenied, fault.PolicyDenied)
	g.Swap(engineOf(t, once))

	if err := allowed(t, g, customer()); err != nil {
		t.Errorf("got %v, want the call that was taken away to have cost nothing", err)
	}
	if err := allowed(t, g, customer()); err == nil {
		t.Error("a second call was allowed")
	}
}

// lasting is alice with a credential that holds for another hour.
func lasting(now time.Time) identity.Principal {
	p := person("acme", "alice")
	p.User.Expires = now.Add(time.Hour)
	return p
}

// A tier is declared, and has a bucket of its own at each rate. What must hold over
// all tiers is a budget.
func TestEachTierHasItsOwnRateAndNoBudget(t *testing.T) {
	for duty, want := range map[string]fault.Reason{`@rate("1/1h")`: "", `@budget("1 calls/1h")`: fault.BudgetExhausted} {
		g, _, _ := counted(t, permitAll+`@id("one") `+duty+` forbid (principal, action, resource);`)
		of := func(tier identity.Tier) *Query {
			q := customer()
			q.Grant = identity.Root("grt_1", person("acme", "alice"), nil, tier)
			return q
		}
		if err := allowed(t, g, of(identity.Interactive)); err != nil {
			t.Fatal(err)
		}
		if err := allowed(t, g, of(identity.Interactive)); err == nil {
			t.Errorf("%s: the second call of a tier was allowed", duty)
		}

		err := allowed(t, g, of(identity.Background))

		if got := fault.From(err); err == nil && want != "" || err != nil && got.Reason != want {
			t.Errorf("%s in another tier: got %v, want %q", duty, err, want)
		}
	}
}

// A forbid that is hard says no before any duty is looked at, and one of many duties
// that is not met leaves the others as they were: else denials would use up what a
// person has, and anybody who makes them ask could do it.
func TestADeniedCallIsNotCharged(t *testing.T) {
	const tool = `forbid (principal, action == Action::"call_tool", resource == Tool::"get_customer")`
	g, _, _ := counted(t, permitAll+`
		@id("often") @rate("2/1h") `+tool+`;
		@id("much") @budget("2 calls/1h") `+tool+`;
		@id("full") @rate("1/1m") `+tool+` when { context.args.id == "full" };
		@id("not-x") `+tool+` when { context.args.id == "x" };
		@id("strong") @stepup("acr:mfa") `+tool+` when { context.args.id == "strong" };`)
	with := func(id string) error { return allowed(t, g, call("get_customer", `{"id":"`+id+`"}`)) }
	if err := with("full"); err != nil { // one of two
		t.Fatal(err)
	}

	for _, denied := range []struct {
		id   string
		want fault.Reason
	}{{"x", fault.PolicyDenied}, {"strong", fault.StepUpRequired}, {"full", fault.RateLimited}, {"x", fault.PolicyDenied}} {
		if err := with(denied.id); fault.From(err).Reason != denied.want {
			t.Errorf("%s: got %v, want %s", denied.id, err, denied.want)
		}
	}

	if err := with("c"); err != nil {
		t.Errorf("got %v, want the second of two: denials were charged", err)
	}
	if err := with("c"); err == nil {
		t.Error("the third of two was allowed")
	}
}
