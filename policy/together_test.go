package policy

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
)

// together is alice's call in bob's name too.
func together(tool, args string) *Query {
	q := call(tool, args)
	q.Grant = grantOf(person("acme", "alice")).With(grantOf(person("acme", "bob")))
	return q
}

func TestACallForSeveralTakesFromEverybodyOrNobody(t *testing.T) {
	g, _, _ := counted(t, permitAll+`
		@id("alice-five") @budget("5 calls/1h") forbid (principal == User::"acme/alice", action, resource);
		@id("bob-two") @rate("2/1h") forbid (principal == User::"acme/bob", action, resource);
		@id("bob-no-mail") forbid (principal == User::"acme/bob", action, resource == Tool::"send_mail");`)
	both := func(tool, args string) error { return allowed(t, g, together(tool, args)) }

	if err := both("send_mail", `{"to":["x"]}`); !errors.Is(err, fault.PolicyDenied) { // and nobody is charged
		t.Errorf("got %v, want POLICY_DENIED", err)
	}
	for range 2 {
		if err := both("get_customer", `{"id":"c"}`); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 { // bob's are used up; alice keeps hers
		if err := both("get_customer", `{"id":"c"}`); !errors.Is(err, fault.RateLimited) {
			t.Errorf("got %v, want RATE_LIMITED", err)
		}
	}
	for i := range 4 {
		if err := allowed(t, g, customer()); (err == nil) != (i < 3) {
			t.Errorf("alice's call %d alone: got %v, want three left of her five", i, err)
		}
	}
}

func TestACallForSeveralHasEverybodysDuties(t *testing.T) {
	g, log, _ := counted(t, permitAll+`
		@id("alice-note") @redact("args:$.note") forbid (principal == User::"acme/alice", action == Action::"call_tool", resource == Tool::"get_customer");
		@id("bob-ssn") @redact("result:$.ssn, pii:card") forbid (principal == User::"acme/bob", action == Action::"call_tool", resource == Tool::"get_customer");`)
	q := together("get_customer", `{"id":"c","note":"x"}`)
	q.Call = "run_1/4"

	p, err := g.Begin(t.Context(), q)
	if err == nil {
		err = p.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := string(p.SentArguments()); strings.Contains(got, `"x"`) {
		t.Errorf("got %s to send", got)
	}
	if got, err := p.Redact(json.RawMessage(`{"ssn":"1","card":"4111111111111111","id":"c"}`)); err != nil || strings.Contains(string(got), `"1"`) || strings.Contains(string(got), "4111") || !p.HidesResults() {
		t.Errorf("got %s, %v to show", got, err)
	}
	p.Done(t.Context(), Result{Outcome: Succeeded})
	if err := p.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, r := range log.Records() {
		rows = append(rows, string(r.Phase)+" "+r.User.Subject+" "+r.CallID)
	}
	if want := []string{"decision bob read_1_run_1/4", "decision alice run_1/4", "outcome alice run_1/4"}; !slices.Equal(rows, want) {
		t.Errorf("got rows %q, want %q", rows, want)
	}
}

func TestACallForSeveralWaitsForTheRowsOfAll(t *testing.T) {
	g, log, _ := counted(t, permitAll)
	g.config.Sink = without{log, "bob"}

	if err := allowed(t, g, together("get_customer", `{"id":"c"}`)); !errors.Is(err, fault.AuditUnavailable) {
		t.Errorf("got %v, want AUDIT_UNAVAILABLE", err)
	}
	if err := allowed(t, g, customer()); err != nil {
		t.Errorf("alice alone: %v", err)
	}
}

// without is a log that loses what it is given about somebody.
type without struct {
	audit.Sink
	who string
}

func (l without) Append(e audit.Entry) *audit.Receipt {
	if e.Record.User.Subject != l.who {
		return l.Sink.Append(e)
	}
	lost := audit.NewReceipt()
	lost.Settle(errors.New("the disk is full"))
	return lost
}

func TestWhoOfSeveralRefusedACallIsOnRecord(t *testing.T) {
	g, log, _ := counted(t, permitAll+`@id("no-bob") forbid (principal == User::"acme/bob", action, resource);`)

	if err := allowed(t, g, together("get_customer", `{"id":"c"}`)); !errors.Is(err, fault.PolicyDenied) {
		t.Fatalf("got %v, want POLICY_DENIED", err)
	}

	var who []string
	for _, r := range log.Records() {
		if r.Decision == audit.Deny {
			who = append(who, r.User.Subject)
		}
	}
	if slices.Sort(who); !slices.Equal(who, []string{"alice", "bob"}) {
		t.Errorf("got denials of %q, want bob's own beside that of the call", who)
	}
}

func TestACallForSeveralIsDecidedAgainForAll(t *testing.T) {
	g, _, _ := counted(t, permitAll)
	p, err := g.Begin(t.Context(), together("get_customer", `{"id":"c"}`))
	if err == nil {
		err = p.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	g.Swap(engineOf(t, permitAll+`@id("no-bob") forbid (principal == User::"acme/bob", action, resource);`))

	if err := p.Recheck(t.Context()); !errors.Is(err, fault.PolicyDenied) {
		t.Errorf("got %v, want POLICY_DENIED", err)
	}
}

func TestTheOthersEndsAndLocksCountToo(t *testing.T) {
	g, _, _ := counted(t, permitAll)
	gone := person("acme", "bob")
	gone.User.Expires = noon().Add(-time.Second)
	q := call("get_customer", `{"id":"c"}`)
	q.Grant = grantOf(person("acme", "alice")).With(grantOf(gone))
	if err := allowed(t, g, q); !errors.Is(err, fault.CredentialExpired) {
		t.Errorf("bob's credential has ended: got %v", err)
	}
	fresh := person("acme", "alice")
	if again, err := q.Grant.Refresh(fresh); err != nil || again.Expires().After(noon()) {
		t.Errorf("alice's refresh makes the grant last to %v, %v: longer than bob", again.Expires(), err)
	}

	if _, err := g.Lock(t.Context(), Lock{Target: LockTarget{Kind: LockUser, Tenant: "acme", ID: "bob"}, ByTenant: "acme"}); err != nil {
		t.Fatal(err)
	}
	both := together("get_customer", `{"id":"c"}`)
	if f := g.Locked(both); f == nil || f.Reason != fault.PrincipalLocked {
		t.Errorf("got %v, want PRINCIPAL_LOCKED", f)
	}
	if err := allowed(t, g, both); !errors.Is(err, fault.PrincipalLocked) {
		t.Errorf("bob is locked: got %v", err)
	}
}

// An approval is asked for once, of all that anybody's policies ask for, for
// exactly those people.
func TestAnApprovalOfACallForSeveralIsForExactlyThem(t *testing.T) {
	g, log, now := counted(t, permitAll+`
		@id("for-alice") @approve("Role::\"manager\"") forbid (principal == User::"acme/alice", action == Action::"call_tool", resource);
		@id("for-bob") @approve("Role::\"auditor\"") forbid (principal == User::"acme/bob", action == Action::"call_tool", resource);`)
	q := together("get_customer", `{"id":"c"}`)
	q.Call, q.Run = "run_1/4", "run_1"
	err := allowed(t, g, q)
	asked, ok := errors.AsType[*Awaiting](err)
	if !ok || len(asked.Approval.Approvers) != 2 || len(asked.Approval.Parties) != 1 {
		t.Fatalf("got %v, want one question to both roles", err)
	}
	for name, roles := range map[string][]string{"alice": {"manager", "auditor"}, "bob": {"manager", "auditor"}, "carol": {"manager"}} {
		if f := Approver(grantOf(person("acme", name, roles...)), &asked.Approval); f == nil {
			t.Errorf("%s may decide it", name)
		}
	}
	dora := audit.User{Issuer: "https://idp.example", Subject: "dora"}
	if f := Approver(grantOf(person("acme", "dora", "manager", "auditor")), &asked.Approval); f != nil {
		t.Errorf("dora may not decide it: %v", f)
	}
	if _, why := log.DecideApproval(t.Context(), "acme", asked.Approval.ID, true, audit.Answer{Approver: dora, ApproverName: "Dora"}, *now); why != "" {
		t.Fatal(why)
	}

	*now = now.Add(time.Second)
	more := *q
	more.Grant = grantOf(person("acme", "alice")).With(grantOf(person("acme", "bob")), grantOf(person("acme", "eve")))
	if err := allowed(t, g, &more); !errors.Is(err, fault.ApprovalDigestMismatch) {
		t.Errorf("with one more person: got %v, want APPROVAL_DIGEST_MISMATCH", err)
	}
	if err := allowed(t, g, q); err != nil {
		t.Errorf("for those it was given for: %v", err)
	}
}

func TestWhoseTurnALentGrantServesApprovesNothing(t *testing.T) {
	g, _, _ := counted(t, permitAll+`@id("ask") @approve("Role::\"manager\"") forbid (principal, action == Action::"call_tool", resource);`)
	q := call("get_customer", `{"id":"c"}`)
	q.Grant = grantOf(person("acme", "alice")).LentTo(grantOf(person("acme", "bob")))
	asked, ok := errors.AsType[*Awaiting](allowed(t, g, q))
	if !ok {
		t.Fatal("it does not wait")
	}
	for who, may := range map[string]bool{"alice": false, "bob": false, "carol": true} {
		if f := Approver(grantOf(person("acme", who, "manager")), &asked.Approval); (f == nil) != may {
			t.Errorf("%s: got %v, want allowed: %t", who, f, may)
		}
	}
}

// What models say in a lent turn passes what is taken out for its owner, and for
// who hears it.
func TestSpeechInALentTurnIsFilteredForBoth(t *testing.T) {
	g, _, _ := counted(t, permitAll+`
		@id("owner") @redact("stream:pii:card") forbid (principal == User::"acme/alice", action == Action::"run_agent", resource);
		@id("speaker") @redact("stream:pii:email") forbid (principal == User::"acme/bob", action == Action::"run_agent", resource);`)
	q := Query{Action: "run_agent", Resource: Entity{Type: "Agent", ID: "support"}}
	speech := func(grant identity.Grant) int {
		q.Grant = grant
		set, err := g.Speech(&q)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for s := set; s > 0; s &= s - 1 {
			n++
		}
		return n
	}
	alice, bob := grantOf(person("acme", "alice")), grantOf(person("acme", "bob"))
	if one, lent, both := speech(alice), speech(alice.LentTo(bob)), speech(alice.With(bob)); one == 0 || lent <= one || lent != both {
		t.Errorf("got %d classes for alice, %d in bob's turn, %d for both", one, lent, both)
	}
}

// Who has another's authority lent sees what comes of the calls: not more than they
// may see themselves, whether or not they could make the call.
func TestWhatIsHiddenFromWhoHearsIsTakenOutOfALentCall(t *testing.T) {
	g, _, _ := counted(t, `@id("alice-may") permit (principal == User::"acme/alice", action, resource);
		@id("bob-ssn") @redact("result:$.ssn") forbid (principal == User::"acme/bob", action == Action::"call_tool", resource == Tool::"get_customer");
		@id("bob-rate") @rate("1/1h") forbid (principal == User::"acme/bob", action == Action::"call_tool", resource == Tool::"get_customer");`)
	lent, own := customer(), customer()
	own.Grant = grantOf(person("acme", "alice"))
	lent.Grant = own.Grant.LentTo(grantOf(person("acme", "bob")))
	for name, c := range map[string]struct {
		q    *Query
		want bool
	}{"lent": {lent, false}, "alice's own": {own, true}} {
		for range 2 { // bob's rate is not his to pay here
			p, err := g.Begin(t.Context(), c.q)
			if err == nil {
				err = p.Wait(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := p.Redact(json.RawMessage(`{"ssn":"123"}`))
			if err != nil || strings.Contains(string(got), "123") != c.want {
				t.Errorf("%s: got %s, %v", name, got, err)
			}
			p.Done(t.Context(), Result{Outcome: Succeeded})
		}
	}
}

func TestNothingIsSaidToASpeakerWhoMayNotRunTheAgent(t *testing.T) {
	g, _, _ := counted(t, permitAll+`
		@id("stream") @redact("stream:pii:card") forbid (principal, action == Action::"run_agent", resource);
		@id("not-bob") forbid (principal == User::"acme/bob", action == Action::"run_agent", resource);`)
	alice, bob := grantOf(person("acme", "alice")), grantOf(person("acme", "bob"))
	for want, grant := range map[bool]identity.Grant{true: alice, false: alice.LentTo(bob)} {
		_, err := g.Speech(&Query{Grant: grant, Action: "run_agent", Resource: Entity{Type: "Agent", ID: "support"}})
		if (err == nil) != want {
			t.Errorf("got %v, want allowed: %t", err, want)
		}
	}
}
