package policy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
)

// heldRun is alice's run of support under a grant of its own, or whoever's.
func heldRun(p identity.Principal, id string, chain ...string) *Query {
	g := identity.Root(id, p, nil, "")
	for _, agent := range chain {
		g, _ = g.Child(agent, nil, identity.MaxChain)
	}
	return &Query{Grant: g, Action: "run_agent", Resource: Entity{Type: "Agent", ID: "support"}}
}

func hold(t testing.TB, g *Guard, q *Query) (context.Context, func()) {
	t.Helper()
	ctx, release, err := g.Hold(identity.WithGrant(context.Background(), q.Grant), q)
	if err != nil {
		t.Fatal(err)
	}
	return ctx, release
}

func wantCause(t *testing.T, ctx context.Context, reason fault.Reason) {
	t.Helper()
	if reason == "" && ctx.Err() != nil || reason != "" && !errors.Is(context.Cause(ctx), reason) {
		t.Errorf("got %v, want %q", context.Cause(ctx), reason)
	}
}

// TestAHeldRunEndsOnceAndOnRecord locks twice what is a run inside a stream.
func TestAHeldRunEndsOnceAndOnRecord(t *testing.T) {
	g, sink := lockGuard(t, nil)
	q := heldRun(person("acme", "alice"), "grt_1")
	stream, release := hold(t, g, q)
	inner := *q
	inner.Session, inner.Run = "ses_9", "run_9"
	run, end, err := g.Hold(stream, &inner)
	if err != nil {
		t.Fatal(err)
	}

	for _, target := range []LockTarget{{LockSession, "acme", "ses_9"}, {LockUser, "acme", "alice"}} {
		if _, err := g.Lock(t.Context(), Lock{Target: target, ByTenant: "acme"}); err != nil {
			t.Fatal(err)
		}
	}

	wantCause(t, run, fault.PrincipalLocked)
	wantCause(t, stream, fault.PrincipalLocked)
	end()
	release()
	release()
	rows := sink.Records()
	if len(rows) != 1 || rows[0].Decision != audit.Deny || rows[0].RunID != "run_9" || rows[0].SessionID != "ses_9" || rows[0].Reason != string(fault.PrincipalLocked) {
		t.Errorf("got %+v, want one row that names the run", rows)
	}
	if len(g.open.all) != 0 {
		t.Error("something is still held")
	}
	if _, _, err := g.Hold(t.Context(), heldRun(person("acme", "alice"), "grt_2")); !errors.Is(err, fault.PrincipalLocked) {
		t.Errorf("got %v, want nothing held that is locked", err)
	}
}

// TestWhatALockHasNotReachedYetIsCutByALook puts a lock in force as Lock does before
// it cuts anything.
func TestWhatALockHasNotReachedYetIsCutByALook(t *testing.T) {
	g, sink := lockGuard(t, nil)
	hers, endHers := hold(t, g, heldRun(person("acme", "alice"), "grt_1"))
	other, endOther := hold(t, g, heldRun(person("acme", "bob"), "grt_2"))
	target := LockTarget{LockUser, "acme", "alice"}
	g.locks.Store(&lockSet{target: {Target: target, ByTenant: "acme"}})

	for range 2 {
		Look(hers)
		Look(other)
	}
	Look(t.Context())

	wantCause(t, hers, fault.PrincipalLocked)
	wantCause(t, other, "")
	endHers()
	endOther()
	if rows := sink.Records(); len(rows) != 1 || rows[0].User.Subject != "alice" {
		t.Errorf("got %+v, want one row, of hers", rows)
	}
}

// TestALockOnAnAgentCutsWhereItIsAtWork and only while it is.
func TestALockOnAnAgentCutsWhereItIsAtWork(t *testing.T) {
	g, _ := lockGuard(t, nil)
	busy, endBusy := hold(t, g, heldRun(person("acme", "alice"), "grt_1"))
	idle, endIdle := hold(t, g, heldRun(person("acme", "bob"), "grt_2"))
	defer endBusy()
	defer endIdle()
	think := func(ctx context.Context) (leave func(), err error) {
		grant, _ := identity.FromContext(ctx)
		child, err := grant.Child("billing", nil, identity.MaxChain)
		if err != nil {
			t.Fatal(err)
		}
		return g.Think(identity.WithGrant(ctx, child))
	}
	for _, ctx := range []context.Context{busy, idle} {
		leave, err := think(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if ctx == idle {
			leave()
		}
	}

	if _, err := g.Lock(t.Context(), Lock{Target: LockTarget{LockAgent, "", "billing"}, ByTenant: "ops"}); err != nil {
		t.Fatal(err)
	}

	wantCause(t, busy, fault.PrincipalLocked)
	wantCause(t, idle, "")
	if _, err := think(idle); !errors.Is(err, fault.PrincipalLocked) {
		t.Errorf("got %v, want the agent not to think", err)
	}
}

func TestACredentialEndsWhatItHoldsUnlessItIsRefreshed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := audit.NewMemory(time.Now)
		g, err := NewGuard(GuardConfig{Sink: sink, DigestKey: func(string) []byte { return []byte("k") }})
		if err != nil {
			t.Fatal(err)
		}
		g.Swap(engineOf(t, permitAll))
		until := func(d time.Duration) identity.Principal {
			p := person("acme", "alice")
			p.User.Expires = time.Now().Add(d)
			return p
		}
		carried := until(time.Hour)
		carried.Workload = &identity.Workload{ID: "spiffe://x/y", NotAfter: time.Now().Add(time.Minute)}
		lost, endLost := hold(t, g, heldRun(until(time.Minute), "grt_1"))
		kept, endKept := hold(t, g, heldRun(until(time.Minute), "grt_2"))
		svid, endSVID := hold(t, g, heldRun(carried, "grt_3"))
		defer endLost()
		defer endKept()
		defer endSVID()
		if _, err := g.Refresh(kept, until(time.Hour)); err != nil {
			t.Fatal(err)
		}
		other := until(time.Hour)
		other.User.Subject = "mallory"
		if _, err := g.Refresh(kept, other); !errors.Is(err, fault.OwnerMismatch) {
			t.Errorf("got %v, want another person refused", err)
		}

		<-time.After(time.Minute)
		synctest.Wait()

		wantCause(t, lost, fault.CredentialExpired)
		wantCause(t, svid, fault.CredentialExpired)
		wantCause(t, kept, "")
		if grant, _ := identity.FromContext(kept); !grant.Expires().After(time.Now().Add(time.Minute)) {
			t.Errorf("got a grant until %v, want the fresh one bound", grant.Expires())
		}
		<-time.After(time.Hour)
		synctest.Wait()
		wantCause(t, kept, fault.CredentialExpired)
	})
}

func TestACredentialThatIsLockedRefreshesNothing(t *testing.T) {
	g, _ := lockGuard(t, nil)
	held, end := hold(t, g, heldRun(person("acme", "alice"), "grt_1"))
	defer end()
	if _, err := g.Lock(t.Context(), Lock{Target: LockTarget{Kind: LockToken, Tenant: "acme", ID: "jti-2"}, ByTenant: "acme"}); err != nil {
		t.Fatal(err)
	}
	fresh := person("acme", "alice")
	fresh.User.TokenID = "jti-2"

	_, err := g.Refresh(held, fresh)

	if !errors.Is(err, fault.PrincipalLocked) {
		t.Errorf("got %v, want PRINCIPAL_LOCKED", err)
	}
	wantCause(t, held, "") // the old one stays
}

func TestANewEngineDecidesWhatIsHeldOnce(t *testing.T) {
	g, sink := lockGuard(t, nil)
	a, endA := hold(t, g, heldRun(person("acme", "alice"), "grt_1"))
	b, endB := hold(t, g, heldRun(person("acme", "bob"), "grt_2"))
	defer endB()

	g.Swap(engineOf(t, permitAll+`@id("no") forbid (principal == User::"acme/alice", action == Action::"run_agent", resource);`))

	wantCause(t, a, fault.PolicyDenied)
	wantCause(t, b, "")
	endA()
	if rows := sink.Records(); len(rows) != 1 || len(rows[0].PolicyIDs) != 1 || rows[0].PolicyIDs[0] != "no" {
		t.Errorf("got %+v, want the denial and its policy", rows)
	}
}

// TestHoldAndLockRace begins and locks at the same time: whoever is held after
// the lock is cut.
func TestHoldAndLockRace(t *testing.T) {
	g, _ := lockGuard(t, nil)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			who := fmt.Sprint("u", i)
			var locked sync.WaitGroup
			locked.Go(func() {
				if _, err := g.Lock(context.Background(), Lock{Target: LockTarget{LockUser, "acme", who}, ByTenant: "acme"}); err != nil {
					t.Error(err)
				}
			})
			ctx, release, err := g.Hold(context.Background(), heldRun(person("acme", who), "grt_"+who))
			locked.Wait()
			if err == nil && ctx.Err() == nil {
				t.Errorf("%s goes on", who)
			}
			release()
		})
	}
	wg.Wait()
	if len(g.open.all) != 0 {
		t.Errorf("%d are still held", len(g.open.all))
	}
}

func holdMany(b *testing.B, g *Guard, n int) (contexts []context.Context) {
	for i := range n {
		who := fmt.Sprint("u", i)
		ctx, release := hold(b, g, heldRun(person("acme", who), "grt_"+who))
		b.Cleanup(release)
		contexts = append(contexts, ctx)
	}
	return contexts
}

// BenchmarkHold holds and releases beside 1,000 others.
func BenchmarkHold(b *testing.B) {
	g, _ := lockGuard(b, nil)
	holdMany(b, g, 1_000)
	q := heldRun(person("acme", "alice"), "grt_1")
	b.ReportAllocs()
	for b.Loop() {
		_, release := hold(b, g, q)
		release()
	}
}

// BenchmarkThink is what a model call costs inside what is held.
func BenchmarkThink(b *testing.B) {
	g, _ := lockGuard(b, nil)
	ctx := holdMany(b, g, 1_000)[0]
	b.ReportAllocs()
	for b.Loop() {
		leave, err := g.Think(ctx)
		if err != nil {
			b.Fatal(err)
		}
		leave()
	}
}

// BenchmarkHeldDelta is the check of a delta.
func BenchmarkHeldDelta(b *testing.B) {
	g, _ := lockGuard(b, nil)
	ctx := holdMany(b, g, 1)[0]
	b.ReportAllocs()
	for b.Loop() {
		if ctx.Err() != nil {
			b.Fatal("cut")
		}
	}
}

// BenchmarkLockAThousand cuts one of 1,000 open runs by a lock.
func BenchmarkLockAThousand(b *testing.B) {
	g, _ := lockGuard(b, nil)
	holdMany(b, g, 1_000)
	target := LockTarget{LockUser, "acme", "nobody"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Lock(b.Context(), Lock{Target: target, ByTenant: "acme"}); err != nil {
			b.Fatal(err)
		}
	}
}
