package policy

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/grpc/codes"
)

func TestNoEffectWithoutADurableDecision(t *testing.T) {
	for name, spoil := range map[string]func(*desk) identity.Principal{
		"failing sink":         func(d *desk) identity.Principal { d.log.err = errors.New("disk"); return person("acme", "alice") },
		"tenant without a key": func(*desk) identity.Principal { return person("keyless", "alice") },
	} {
		d := newDesk(t, permitAll)
		who, n := spoil(d), 0

		err := d.Do(t.Context(), callBy(who, "get_customer", okCall), effects(&n))

		f := wantFault(t, err, codes.Unavailable, fault.AuditUnavailable)
		if n != 0 || len(d.alarms) != 1 || f.Err == nil {
			t.Errorf("%s: got %d effects, alarms %v", name, n, d.alarms)
		}
		d.wantRows(t, "")
	}
}

func TestAHangingSinkCountsAsFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, permitAll)
		d.log.hang = true
		n, start := 0, time.Now()

		err := d.Do(t.Context(), call("get_customer", okCall), effects(&n))

		wantFault(t, err, codes.Unavailable, fault.AuditUnavailable)
		if n != 0 || time.Since(start) != 5*time.Second {
			t.Errorf("got %d effects after %v", n, time.Since(start))
		}
		d.wantRows(t, "decision allow, outcome cancelled AUDIT_UNAVAILABLE")
	})
}

func TestADenialThatCannotBeRecordedIsAuditUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, `@id("f") forbid (principal, action, resource);`)
		d.log.hang = true

		_, err := d.Begin(t.Context(), call("get_customer", okCall))

		wantFault(t, err, codes.Unavailable, fault.AuditUnavailable)
	})
}

func TestASlowSinkDelaysTheEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, permitAll)
		d.log.hang = true
		n := 0
		done := make(chan error)
		go func() { done <- d.Do(t.Context(), call("get_customer", okCall), effects(&n)) }()

		synctest.Wait()
		if n != 0 {
			t.Error("the effect happened before its decision was durable")
		}
		d.log.release()
		if err := <-done; err != nil || n != 1 {
			t.Errorf("got %d effects and %v", n, err)
		}
		d.wantRows(t, "decision allow, outcome succeeded")
	})
}

func TestAWaitThatFailedFailsForEver(t *testing.T) {
	d := newDesk(t, permitAll)
	d.log.hang = true
	p, err := d.Begin(t.Context(), call("get_customer", okCall))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	wantFault(t, p.Wait(ctx), codes.Canceled, fault.Canceled)
	d.log.release()

	if p.Wait(t.Context()) == nil {
		t.Error("got leave to act after a lost wait")
	}
	d.wantRows(t, "decision allow, outcome cancelled CANCELED")
}

func TestALockThatCutsTheWaitIsTheAnswer(t *testing.T) {
	d := newDesk(t, permitAll)
	d.log.hang = true
	p, _ := d.Begin(t.Context(), call("get_customer", okCall))
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(fault.New(codes.PermissionDenied, fault.PrincipalLocked, "locked"))

	wantFault(t, p.Wait(ctx), codes.PermissionDenied, fault.PrincipalLocked)
}

func TestAnExhaustedRateIsTheCallersLimit(t *testing.T) {
	d := newDesk(t, permitAll+`@id("rate") @rate("1/1m") forbid (principal, action == Action::"call_tool", resource);`)
	p, err := d.Begin(t.Context(), call("get_customer", okCall))
	if err != nil {
		t.Fatal(err)
	}
	p.receipt = audit.NewReceipt()
	p.receipt.Settle(&audit.Exhausted{Bucket: "rate", RetryAfter: 40 * time.Second})

	f := wantFault(t, p.Wait(t.Context()), codes.ResourceExhausted, fault.RateLimited)

	if f.RetryAfter() != 40*time.Second || f.Meta("policy_revision") == "" || len(d.alarms) != 0 {
		t.Errorf("got %v, alarms %v", f, d.alarms)
	}
	d.wantRows(t, "decision allow") // the sink writes the denial
}

func TestANewPolicyIsAskedBeforeTheEffect(t *testing.T) {
	const forbid = `@id("f") forbid (principal, action, resource == Tool::"get_customer");`
	const duty = `@id("f") @redact("result:$.x") forbid (principal, action == Action::"call_tool", resource);`
	const other = `@id("f") forbid (principal, action == Action::"run_agent", resource);`
	for name, c := range map[string]struct{ src, rows string }{
		"denies":     {permitAll + forbid, "decision allow, outcome cancelled POLICY_DENIED, decision deny POLICY_DENIED"},
		"has a duty": {permitAll + duty, "decision allow, outcome cancelled POLICY_DENIED, decision deny POLICY_DENIED"},
		"allows":     {permitAll + other, "decision allow, decision allow"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, permitAll)
			p, err := d.Begin(t.Context(), call("get_customer", okCall))
			if err != nil || p.Recheck(t.Context()) != nil {
				t.Fatal(err)
			}
			d.Swap(engineOf(t, c.src))

			err = p.Recheck(t.Context())

			if allowed := name == "allows"; allowed != (err == nil) || allowed != (p.Wait(t.Context()) == nil) {
				t.Errorf("got %v", err)
			}
			d.wantRows(t, c.rows)
			if last := d.log.record(len(d.log.entries) - 1); last.PolicyRevision != d.Revision() || last.CallID != p.Call() {
				t.Errorf("got revision %s, want %s", last.PolicyRevision, d.Revision())
			}
		})
	}
}

func TestACredentialThatEndedMeanwhileIsFoundByRecheck(t *testing.T) {
	d := newDesk(t, permitAll)
	p, _ := d.Begin(t.Context(), call("get_customer", okCall))
	d.now = d.now.Add(2 * time.Hour)

	wantFault(t, p.Recheck(t.Context()), codes.Unauthenticated, fault.CredentialExpired)
}

func TestACallThatWaitedIsDecidedAgainUnderTheSamePolicy(t *testing.T) {
	d := newDesk(t, permitAll+`@id("night") forbid (principal, action, resource) when { context.time > datetime("2026-03-01T12:30:00Z") };`)
	p, _ := d.Begin(t.Context(), call("get_customer", okCall))
	d.now = d.now.Add(40 * time.Minute)

	if err := p.Recheck(t.Context()); err != nil {
		t.Errorf("got %v: neither policy nor credential have changed", err)
	}
	wantFault(t, p.Redecide(t.Context()), codes.PermissionDenied, fault.PolicyDenied)
}

func TestSettledTellsThatTheOutcomeIsNotRecorded(t *testing.T) {
	d := newDesk(t, permitAll)
	p, _ := d.Begin(t.Context(), call("get_customer", okCall))
	wantFault(t, p.Settled(t.Context()), codes.Unavailable, fault.AuditUnavailable)
	d.log.err = errors.New("disk")

	p.Done(t.Context(), Result{Outcome: Succeeded})

	f := wantFault(t, p.Settled(t.Context()), codes.Unavailable, fault.AuditUnavailable)
	if !strings.Contains(f.Message, "was made") {
		t.Errorf("got message %q, which hides that the effect happened", f.Message)
	}
}

func TestSeveralMayWaitForOnePermit(t *testing.T) {
	d := newDesk(t, permitAll)
	d.log.hang = true
	p, err := d.Begin(t.Context(), call("get_customer", okCall))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := p.Wait(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}

	d.log.release()
	wg.Wait()

	d.wantRows(t, "decision allow")
}
