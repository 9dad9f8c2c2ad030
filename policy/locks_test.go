package policy

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
)

// lockGuard is a guard that allows everything, and its log.
func lockGuard(t testing.TB, locks LockStore) (*Guard, *audit.Memory) {
	t.Helper()
	sink := audit.NewMemory(noon)
	g, err := NewGuard(GuardConfig{Sink: sink, DigestKey: func(string) []byte { return []byte("k") }, Clock: noon, Locks: locks, Operators: "ops"})
	if err != nil {
		t.Fatal(err)
	}
	g.Swap(engineOf(t, permitAll))
	return g, sink
}

// brokenLocks fails every call.
type brokenLocks struct{}

var errBroken = errors.New("broken")

func (brokenLocks) PutLock(context.Context, Lock) error          { return errBroken }
func (brokenLocks) DeleteLock(context.Context, LockTarget) error { return errBroken }
func (brokenLocks) Locks(context.Context) ([]Lock, error)        { return nil, errBroken }

func TestALockThatCannotBeStoredChangesNothing(t *testing.T) {
	g, _ := lockGuard(t, brokenLocks{})
	if err := g.LoadLocks(t.Context()); !errors.Is(err, errBroken) {
		t.Errorf("got %v, want a start without locks to fail", err)
	}

	_, err := g.Lock(t.Context(), Lock{Target: LockTarget{Kind: LockEverything}, ByTenant: "ops"})

	if fault.From(err).Reason != fault.AuditUnavailable || len(g.Locks()) != 0 || g.Locked(call("get_customer", "{}")) != nil {
		t.Errorf("got %v and %v, want an error and no lock", err, g.Locks())
	}
}

func TestALockSetBetweenDecisionAndEffectPreventsTheEffect(t *testing.T) {
	g, sink := lockGuard(t, nil)
	p, err := g.Begin(t.Context(), call("get_customer", `{"id":"1"}`))
	if err != nil || p.Wait(t.Context()) != nil {
		t.Fatal(err)
	}

	if _, err := g.Lock(t.Context(), Lock{Target: LockTarget{LockUser, "acme", "alice"}, ByTenant: "acme"}); err != nil {
		t.Fatal(err)
	}

	if err := p.Recheck(t.Context()); fault.From(err).Reason != fault.PrincipalLocked {
		t.Errorf("got %v, want PRINCIPAL_LOCKED", err)
	}
	rows := sink.Records()
	if last := rows[len(rows)-1]; last.Decision != audit.Deny || last.Reason != string(fault.PrincipalLocked) {
		t.Errorf("got %+v, want the denial on record", last)
	}
}

func TestALockOfSomebodyElseCostsNothingButALook(t *testing.T) {
	g, sink := lockGuard(t, nil)
	p, err := g.Begin(t.Context(), call("get_customer", `{"id":"1"}`))
	if err != nil || p.Wait(t.Context()) != nil {
		t.Fatal(err)
	}
	if _, err := g.Lock(t.Context(), Lock{Target: LockTarget{LockUser, "acme", "bob"}, ByTenant: "acme"}); err != nil {
		t.Fatal(err)
	}
	if err := p.Recheck(t.Context()); err != nil {
		t.Errorf("got %v, want it to go on", err)
	}
	if rows := sink.Records(); rows[len(rows)-1].Decision != audit.Allow {
		t.Errorf("got %+v", rows)
	}
}

func TestLocksAreBounded(t *testing.T) {
	g, _ := lockGuard(t, nil)
	set := lockSet{}
	for i := range maxLocks {
		target := LockTarget{LockTool, "acme", fmt.Sprint("t", i)}
		set[target] = &Lock{Target: target, ByTenant: "acme", Expires: noon().Add(time.Hour)}
	}
	g.locks.Store(&set)
	if _, err := g.Lock(t.Context(), Lock{Target: LockTarget{Kind: LockEverything}, ByTenant: "ops"}); err != nil {
		t.Errorf("got %v, want the operators to lock whatever others did", err)
	}

	_, err := g.Lock(t.Context(), Lock{Target: LockTarget{LockTool, "acme", "one more"}, ByTenant: "acme"})

	if fault.From(err).Reason != fault.RateLimited {
		t.Errorf("got %v, want a limit", err)
	}
	if _, err := g.Lock(t.Context(), Lock{Target: LockTarget{LockTool, "acme", "t1"}, ByTenant: "acme"}); err != nil {
		t.Errorf("got %v, want a lock that is there replaced", err)
	}
}

func TestATenantsLocksDoNotKeepOthersFromLocking(t *testing.T) {
	g, _ := lockGuard(t, nil)
	set := lockSet{}
	for i := range maxOwnLocks {
		target := LockTarget{LockTool, "acme", fmt.Sprint("t", i)}
		set[target] = &Lock{Target: target, ByTenant: "acme"}
	}
	g.locks.Store(&set)

	for tenant, want := range map[string]fault.Reason{"acme": fault.RateLimited, "globex": "", "ops": ""} {
		_, err := g.Lock(t.Context(), Lock{Target: LockTarget{LockTool, tenant, "one more"}, ByTenant: tenant})
		if err == nil && want != "" || err != nil && fault.From(err).Reason != want {
			t.Errorf("%s: got %v, want %q", tenant, err, want)
		}
	}
}

func TestTheLocksOfAllTenantsAreBounded(t *testing.T) {
	g, _ := lockGuard(t, nil)
	set := lockSet{}
	for i := range maxLocks {
		target := LockTarget{LockTool, fmt.Sprint("tenant", i), "t"}
		set[target] = &Lock{Target: target, ByTenant: target.Tenant}
	}
	g.locks.Store(&set)

	_, err := g.Lock(t.Context(), Lock{Target: LockTarget{LockTool, "acme", "one more"}, ByTenant: "acme"})

	if fault.From(err).Reason != fault.RateLimited {
		t.Errorf("got %v, want RATE_LIMITED", err)
	}
}

func BenchmarkLocked(b *testing.B) {
	g, _ := lockGuard(b, nil)
	q := call("get_customer", "{}")
	for _, n := range []int{0, 1_000} {
		set := lockSet{}
		for i := range n {
			target := LockTarget{LockUser, "acme", fmt.Sprint("u", i)}
			set[target] = &Lock{Target: target}
		}
		g.locks.Store(&set)
		b.Run(fmt.Sprintf("locks=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if g.Locked(q) != nil {
					b.Fatal("locked")
				}
			}
		})
	}
}

// A token without a jti still has a name.
func TestATokenIsLockedByItsIDOrItsThumbprint(t *testing.T) {
	for _, name := range []string{"jti-1", "thumb-1"} {
		d := newDesk(t, permitAll)
		if _, err := d.Lock(t.Context(), Lock{Target: LockTarget{Kind: LockToken, Tenant: "acme", ID: name}, ByTenant: "acme"}); err != nil {
			t.Fatal(err)
		}
		p, other := person("acme", "alice"), person("acme", "alice")
		p.User.Thumbprint, other.User.TokenID, other.User.Thumbprint = "thumb-1", "jti-2", "thumb-2"

		if _, err := d.Begin(t.Context(), callBy(p, "get_customer", okCall)); fault.From(err).Reason != fault.PrincipalLocked {
			t.Errorf("%s: got %v, want PRINCIPAL_LOCKED", name, err)
		}
		if _, err := d.Begin(t.Context(), callBy(other, "get_customer", okCall)); err != nil {
			t.Errorf("%s: got %v for another token", name, err)
		}
	}
}
