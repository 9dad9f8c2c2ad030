package policy

import (
	"testing"
	"time"

	"github.com/behalf-dev/behalf/fault"
)

// Each decision is a row of its own, so the rows say how often policy was asked.
func TestItIsDecidedAgainOnlyIfSomethingChanged(t *testing.T) {
	const staff = permitAll + `@id("staff") forbid (principal, action, resource) unless { principal in Role::"staff" };`
	renew := func(roles ...string) func(*testing.T, *desk, *Query) {
		return func(t *testing.T, _ *desk, q *Query) {
			t.Helper()
			if _, err := q.Grant.Renew(person("acme", "alice", roles...)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		change func(*testing.T, *desk, *Query)
		rows   string
		reason fault.Reason
	}{
		"nothing":                              {func(*testing.T, *desk, *Query) {}, "decision allow", ""},
		"the time, while the credential holds": {func(_ *testing.T, d *desk, _ *Query) { d.now = d.now.Add(50 * time.Minute) }, "decision allow", ""},
		"the credential ended":                 {func(_ *testing.T, d *desk, _ *Query) { d.now = d.now.Add(2 * time.Hour) }, "decision allow, outcome cancelled CREDENTIAL_EXPIRED, decision deny CREDENTIAL_EXPIRED", fault.CredentialExpired},
		"another credential that may as well":  {renew("staff", "boss"), "decision allow, decision allow", ""},
		"another credential with less":         {renew(), "decision allow, outcome cancelled POLICY_DENIED, decision deny POLICY_DENIED", fault.PolicyDenied},
		"another revision that allows": {func(t *testing.T, d *desk, _ *Query) {
			d.Swap(engineOf(t, staff+"\n"+`@id("x") permit (principal, action, resource);`))
		}, "decision allow, decision allow", ""},
		"another revision that denies": {func(t *testing.T, d *desk, _ *Query) {
			d.Swap(engineOf(t, `@id("x") forbid (principal, action, resource);`))
		}, "decision allow, outcome cancelled POLICY_DENIED, decision deny POLICY_DENIED", fault.PolicyDenied},
		"a lock on somebody else": {func(t *testing.T, d *desk, _ *Query) {
			if _, err := d.Lock(t.Context(), Lock{Target: LockTarget{Kind: LockUser, Tenant: "acme", ID: "bob"}}); err != nil {
				t.Fatal(err)
			}
		}, "decision allow, decision allow", ""},
		"a lock on the person": {func(t *testing.T, d *desk, _ *Query) {
			if _, err := d.Lock(t.Context(), Lock{Target: LockTarget{Kind: LockUser, Tenant: "acme", ID: "alice"}}); err != nil {
				t.Fatal(err)
			}
		}, "decision allow, outcome cancelled PRINCIPAL_LOCKED, decision deny PRINCIPAL_LOCKED", fault.PrincipalLocked},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, staff)
			q := callBy(person("acme", "alice", "staff"), "get_customer", okCall)
			p, err := d.Begin(t.Context(), q)
			if err != nil || p.Wait(t.Context()) != nil {
				t.Fatal(err)
			}
			c.change(t, d, q)

			err = p.Recheck(t.Context())

			if got := fault.From(err); (err == nil) != (c.reason == "") || err != nil && got.Reason != c.reason {
				t.Errorf("got %v, want %q", err, c.reason)
			}
			d.wantRows(t, c.rows)
			if err == nil && p.Recheck(t.Context()) == nil {
				d.wantRows(t, c.rows) // it is settled now
			}
		})
	}
}

func TestADecisionUnderAnotherCredentialRecordsThatCredential(t *testing.T) {
	d := newDesk(t, permitAll)
	q := callBy(person("acme", "alice"), "get_customer", okCall)
	p, err := d.Begin(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	fresh := person("acme", "alice", "boss")
	fresh.User.TokenID = "jti-2"
	if _, err := q.Grant.Renew(fresh); err != nil {
		t.Fatal(err)
	}

	if err := p.Recheck(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.Done(t.Context(), Result{Outcome: Succeeded})

	first, again, outcome := d.log.record(0), d.log.record(1), d.log.record(2)
	if first.TokenID != "jti-1" || again.TokenID != "jti-2" || len(again.Roles) != 1 || outcome.TokenID != "jti-2" {
		t.Errorf("got %s, %s %v, %s; want the credential that each was decided under", first.TokenID, again.TokenID, again.Roles, outcome.TokenID)
	}
	if again.ArgumentsDigest != first.ArgumentsDigest || again.RedactedArguments != first.RedactedArguments || again.CallID != first.CallID {
		t.Errorf("got %+v, want the same call as %+v", again, first)
	}
}
