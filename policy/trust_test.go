package policy

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
)

// TestWhatCameByADistrustedWorkloadEndsAndBeginsNoMore holds a person who came by
// a workload, the workload alone, and a person without one.
func TestWhatCameByADistrustedWorkloadEndsAndBeginsNoMore(t *testing.T) {
	var gone atomic.Bool
	sink := audit.NewMemory(noon)
	g, err := NewGuard(GuardConfig{Sink: sink, DigestKey: func(string) []byte { return []byte("k") }, Clock: noon, Trusts: func(p identity.Principal) error {
		if gone.Load() && (p.Workload != nil && p.Workload.ID == "spiffe://gone.example/app" || p.User.Issuer == "https://gone.example") {
			return errors.New("the trust domain or the issuer is gone")
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	g.Swap(engineOf(t, permitAll))
	by := func(workload string) *Query {
		p := person("acme", "alice")
		if workload != "" {
			p.Workload = &identity.Workload{ID: workload}
		}
		return heldRun(p, "grt_"+workload)
	}
	carried, free, other := by("spiffe://gone.example/app"), by(""), by("spiffe://kept.example/app")
	theirs := person("acme", "bob")
	theirs.User.Issuer = "https://gone.example"
	vouched := heldRun(theirs, "grt_vouched")
	held := map[*Query]context.Context{}
	for _, q := range []*Query{carried, vouched, free, other} {
		ctx, release := hold(t, g, q)
		defer release()
		held[q] = ctx
	}

	gone.Store(true)
	g.Distrust()
	g.Distrust()

	wantCause(t, held[carried], fault.CredentialInvalid)
	wantCause(t, held[vouched], fault.CredentialInvalid)
	wantCause(t, held[free], "")
	wantCause(t, held[other], "")
	rows := sink.Records()
	if len(rows) != 2 || slices.ContainsFunc(rows, func(r audit.Record) bool { return r.Reason != string(fault.CredentialInvalid) }) {
		t.Errorf("got rows %+v, want one of each that was cut", rows)
	}
	for _, q := range []*Query{carried, vouched} {
		if f := g.Locked(q); f == nil || f.Reason != fault.CredentialInvalid {
			t.Errorf("got %v, want nothing to begin", f)
		}
		if _, err := g.Begin(t.Context(), q); !errors.Is(err, fault.CredentialInvalid) {
			t.Errorf("got %v, want nothing decided", err)
		}
		if _, _, err := g.Hold(t.Context(), q); !errors.Is(err, fault.CredentialInvalid) {
			t.Errorf("got %v, want nothing held", err)
		}
	}
	if g.Locked(free) != nil || g.Locked(other) != nil {
		t.Error("others are stopped too")
	}
}

// A call that is on its way to the log when trust ends is not found by what ends.
func TestACallOfADistrustedWorkloadIsNotMadeAfterItsDecision(t *testing.T) {
	var gone atomic.Bool
	sink := audit.NewMemory(noon)
	g, err := NewGuard(GuardConfig{Sink: sink, DigestKey: func(string) []byte { return []byte("k") }, Clock: noon, Trusts: func(identity.Principal) error {
		if gone.Load() {
			return errors.New("the trust domain is gone")
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	g.Swap(engineOf(t, permitAll))
	p := person("acme", "alice")
	p.Workload = &identity.Workload{ID: "spiffe://gone.example/app"}
	permit, err := g.Begin(t.Context(), heldRun(p, "grt_1"))
	if err != nil || permit.Wait(t.Context()) != nil {
		t.Fatal(err)
	}

	gone.Store(true)
	g.Distrust()

	if err := permit.Recheck(t.Context()); !errors.Is(err, fault.CredentialInvalid) {
		t.Errorf("got %v, want it not to be made", err)
	}
}

func TestACallForSeveralIsNotMadeWhenOneOfThemIsDistrusted(t *testing.T) {
	var gone atomic.Bool
	g, err := NewGuard(GuardConfig{Sink: audit.NewMemory(noon), DigestKey: func(string) []byte { return []byte("k") }, Clock: noon, Trusts: func(p identity.Principal) error {
		if gone.Load() && p.User.Subject == "bob" {
			return errors.New("bob's issuer is gone")
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	g.Swap(engineOf(t, permitAll))
	q := heldRun(person("acme", "alice"), "grt_1")
	q.Grant = q.Grant.With(grantOf(person("acme", "bob")))
	permit, err := g.Begin(t.Context(), q)
	if err != nil || permit.Wait(t.Context()) != nil || permit.Recheck(t.Context()) != nil {
		t.Fatal(err)
	}

	gone.Store(true)

	if err := permit.Recheck(t.Context()); !errors.Is(err, fault.CredentialInvalid) {
		t.Errorf("got %v, want it not to be made", err)
	}
}

func TestALockOnATokenStopsAWorkloadsToo(t *testing.T) {
	for _, id := range []string{"svid-one", "thumb"} {
		g, _ := lockGuard(t, nil)
		w := identity.Principal{Workload: &identity.Workload{ID: "spiffe://x/y", Tenant: "acme", TokenID: "svid-one", TokenThumbprint: "thumb", NotAfter: noon().Add(1)}}
		if _, err := g.Lock(t.Context(), Lock{Target: LockTarget{LockToken, "acme", id}, ByTenant: "acme"}); err != nil {
			t.Fatal(err)
		}

		if f := g.Locked(heldRun(w, "grt_1")); f == nil || f.Reason != fault.PrincipalLocked {
			t.Errorf("got %v, want the lock on %s to stop it", f, id)
		}
	}
}
