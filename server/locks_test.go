package server_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func lockUser(name string) *behalfv1.LockTarget {
	return &behalfv1.LockTarget{Target: &behalfv1.LockTarget_User{User: name}}
}

func lockTool(name string) *behalfv1.LockTarget {
	return &behalfv1.LockTarget{Target: &behalfv1.LockTarget_Tool{Tool: name}}
}

func lockAgent(name string) *behalfv1.LockTarget {
	return &behalfv1.LockTarget{Target: &behalfv1.LockTarget_Agent{Agent: name}}
}

func lockTenant(name string) *behalfv1.LockTarget {
	return &behalfv1.LockTarget{Target: &behalfv1.LockTarget_Tenant{Tenant: name}}
}

func lockWorkload(id string) *behalfv1.LockTarget {
	return &behalfv1.LockTarget{Target: &behalfv1.LockTarget_Workload{Workload: id}}
}

func lockSession(id string) *behalfv1.LockTarget {
	return &behalfv1.LockTarget{Target: &behalfv1.LockTarget_SessionId{SessionId: id}}
}

func lockToken(id string) *behalfv1.LockTarget {
	return &behalfv1.LockTarget{Target: &behalfv1.LockTarget_TokenId{TokenId: id}}
}

func lockEverything() *behalfv1.LockTarget {
	return &behalfv1.LockTarget{Target: &behalfv1.LockTarget_Everything{Everything: true}}
}

func everywhere(t *behalfv1.LockTarget) *behalfv1.LockTarget {
	t.AllTenants = true
	return t
}

func (c *client) lock(t *testing.T, target *behalfv1.LockTarget) error {
	t.Helper()
	_, err := c.admin().Lock(c.ctx(t), &behalfv1.LockRequest{Target: target, Reason: "test"})
	return err
}

func (c *client) unlock(t *testing.T, target *behalfv1.LockTarget) error {
	t.Helper()
	_, err := c.admin().Unlock(c.ctx(t), &behalfv1.UnlockRequest{Target: target})
	return err
}

func (c *client) whoAmI(t *testing.T) error {
	t.Helper()
	_, err := c.admin().WhoAmI(c.ctx(t), &behalfv1.WhoAmIRequest{})
	return err
}

func (c *client) customer(t *testing.T) error {
	t.Helper()
	_, err := c.tools().CallTool(c.ctx(t), &behalfv1.CallToolRequest{Tool: "get_customer", ArgumentsJson: `{"customer_id":"C-1001"}`})
	return err
}

func (c *client) runs1(t *testing.T, agent string) error {
	t.Helper()
	_, err := c.agents().RunAgent(c.ctx(t), &behalfv1.RunAgentRequest{Agent: agent, Input: "hello"})
	return err
}

// TestALockStopsItsTargetAndNobodyElse locks by each kind, as an operator of
// acme, and looks at what still works for whom.
func TestALockStopsItsTargetAndNobodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	operator := w.as(bob)
	session := w.hello(w.as(alice), "").GetSessionId()
	inSession := func(c *client, t *testing.T) error {
		_, err := c.agents().RunAgent(c.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: "hello", SessionId: session})
		return err
	}
	whoAmI := func(c *client, t *testing.T) error { return c.whoAmI(t) }
	customer := func(c *client, t *testing.T) error { return c.customer(t) }
	run := func(agent string) func(*client, *testing.T) error {
		return func(c *client, t *testing.T) error { return c.runs1(t, agent) }
	}
	type try struct {
		name   string
		who    *client
		do     func(*client, *testing.T) error
		locked bool
	}
	a, d, e := w.as(alice), w.as(dave), w.as(erin)
	spare := &client{w.dial(w.workload(w.acme, "/app")), bearer(w.token(w.idp, alice, map[string]any{"jti": "stolen"}))}
	for _, c := range []struct {
		name   string
		target *behalfv1.LockTarget
		tries  []try
	}{
		{"user", lockUser("acme/alice"), []try{{"her list", a, whoAmI, true}, {"her run", a, run("triage"), true}, {"dave", d, whoAmI, false}, {"erin", e, whoAmI, false}}},
		{"user of another tenant", lockUser("globex/alice"), []try{{"alice of acme", a, whoAmI, false}}},
		{"workload", lockWorkload("spiffe://acme.test/batch"), []try{{"alice through app", a, whoAmI, false}}},
		{"agent", lockAgent("triage"), []try{{"its run", a, run("triage"), true}, {"another's", a, run("support"), false}, {"globex", e, run("triage"), false}, {"alice", a, whoAmI, false}}},
		{"agent everywhere", everywhere(lockAgent("triage")), []try{{"acme", a, run("triage"), true}, {"globex", e, run("triage"), true}, {"another", e, run("support"), false}}},
		{"tool", lockTool("get_customer"), []try{{"acme", a, customer, true}, {"globex", e, customer, false}, {"a run", a, run("triage"), false}}},
		{"session", lockSession(session), []try{{"in it", a, inSession, true}, {"beside it", a, run("triage"), false}}},
		{"token by jti", lockToken("stolen"), []try{{"it", spare, whoAmI, true}, {"alice's other", a, whoAmI, false}}},
		{"tenant", lockTenant("globex"), []try{{"erin", e, whoAmI, true}, {"alice", a, whoAmI, false}}},
		{"everything", lockEverything(), []try{{"alice", a, whoAmI, true}, {"erin", e, run("triage"), true}, {"the operator", operator, whoAmI, true}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := operator.lock(t, c.target); err != nil {
				t.Fatalf("Lock: %v", err)
			}
			for _, try := range c.tries {
				err := try.do(try.who, t)
				if try.locked {
					wantError(t, err, codes.PermissionDenied, "PRINCIPAL_LOCKED")
				} else if err != nil {
					t.Errorf("%s: got %v, want it untouched", try.name, err)
				}
			}
			if err := operator.unlock(t, c.target); err != nil {
				t.Fatalf("Unlock: %v", err)
			}
			for _, try := range c.tries {
				if err := try.do(try.who, t); err != nil {
					t.Errorf("%s: got %v after the lock was lifted", try.name, err)
				}
			}
		})
	}
}

func TestALockedWorkloadCarriesNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{optional: true})
	operator := &client{w.dial(nil), bearer(w.token(w.idp, bob, nil))} // without a workload
	succeed(t, operator.lock(t, lockWorkload("spiffe://acme.test/app")))

	wantError(t, w.as(alice).whoAmI(t), codes.PermissionDenied, "PRINCIPAL_LOCKED")
	succeed(t, operator.whoAmI(t))
}

func TestWhoMayLockWhat(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	operator, manager, staff := w.as(bob), w.as(erin), w.as(alice)
	for _, c := range []struct {
		name   string
		who    *client
		target *behalfv1.LockTarget
		why    string
	}{
		{"without a permit", staff, lockUser("acme/dave"), "POLICY_DENIED"},
		{"their own people", manager, lockUser("globex/mallory"), ""},
		{"their own tools", manager, lockTool("refund_order"), ""},
		{"people of another tenant", manager, lockUser("acme/alice"), "POLICY_DENIED"},
		{"all tenants' tools", manager, everywhere(lockTool("refund_order")), "POLICY_DENIED"},
		{"their tenant", manager, lockTenant("globex"), "POLICY_DENIED"},
		{"everything", manager, lockEverything(), "POLICY_DENIED"},
		{"as an operator, people of another tenant", operator, lockUser("globex/zoe"), ""},
		{"as an operator, what names its tenant, everywhere", operator, everywhere(lockUser("globex/zoe")), "ARGUMENT_INVALID"},
		{"nothing", operator, &behalfv1.LockTarget{}, "ARGUMENT_INVALID"},
		{"no person", operator, lockUser("alice"), "ARGUMENT_INVALID"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.who.lock(t, c.target)
			if reason(err) != c.why {
				t.Errorf("got %v, want %q", err, c.why)
			}
		})
	}
	wantError(t, manager.unlock(t, lockUser("globex/zoe")), codes.PermissionDenied, "POLICY_DENIED")
	wantError(t, manager.lock(t, lockUser("globex/zoe")), codes.PermissionDenied, "POLICY_DENIED")
	wantError(t, operator.unlock(t, lockUser("acme/nobody")), codes.NotFound, "NOT_FOUND")
	_, err := operator.admin().Lock(operator.ctx(t), &behalfv1.LockRequest{Target: lockUser("acme/dave"), Reason: "x", ExpiresAt: timestamppb.New(time.Now().Add(-time.Second))})
	wantError(t, err, codes.InvalidArgument, "ARGUMENT_INVALID")
}

func TestLocksAreListedWhereTheyConcernSomebody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	operator, manager := w.as(bob), w.as(erin)
	end := time.Now().Add(time.Hour).Truncate(time.Second)
	_, err := operator.admin().Lock(operator.ctx(t), &behalfv1.LockRequest{Target: lockUser("acme/alice"), Reason: "stolen laptop", ExpiresAt: timestamppb.New(end)})
	succeed(t, err)
	succeed(t, operator.lock(t, everywhere(lockTool("refund_order"))))
	succeed(t, manager.lock(t, lockUser("globex/mallory")))
	list := func(c *client, size int32) (all []*behalfv1.Lock) {
		for token := ""; ; {
			r, err := c.admin().ListLocks(c.ctx(t), &behalfv1.ListLocksRequest{PageSize: size, PageToken: token})
			succeed(t, err)
			all = append(all, r.GetLocks()...)
			if token = r.GetNextPageToken(); token == "" {
				return all
			}
		}
	}

	mine, theirs := list(operator, 1), list(manager, 0)

	if len(mine) != 3 || mine[0].GetTarget().GetUser() != "globex/mallory" || mine[2].GetTarget().GetUser() != "acme/alice" {
		t.Fatalf("got %v, want all three, the newest first", mine)
	}
	first := mine[2]
	if first.GetReason() != "stolen laptop" || !first.GetExpiresAt().AsTime().Equal(end) || first.GetCreatedBy().GetSubject() != "bob" || first.GetCreatedAt() == nil {
		t.Errorf("got %v", first)
	}
	if len(theirs) != 2 || theirs[1].GetTarget().GetTool() != "refund_order" || theirs[1].GetCreatedBy() != nil || !theirs[1].GetTarget().GetAllTenants() {
		t.Errorf("got %v, want what concerns globex, and nobody of acme named", theirs)
	}
}

func TestLocksSurviveARestartAndEndByThemselves(t *testing.T) {
	t.Parallel()
	clock := identitytest.NewClock()
	w := newWorld(t, setup{options: []behalf.Option{behalf.WithClock(clock.Now)}})
	operator := w.as(bob)
	_, err := operator.admin().Lock(operator.ctx(t), &behalfv1.LockRequest{Target: lockUser("acme/alice"), Reason: "x", ExpiresAt: timestamppb.New(clock.Now().Add(10 * time.Minute))})
	succeed(t, err)
	succeed(t, operator.lock(t, lockUser("acme/dave")))

	w.restart()

	wantError(t, w.as(alice).whoAmI(t), codes.PermissionDenied, "PRINCIPAL_LOCKED")
	wantError(t, w.as(dave).whoAmI(t), codes.PermissionDenied, "PRINCIPAL_LOCKED")
	clock.Advance(10 * time.Minute)
	succeed(t, w.as(alice).whoAmI(t))
	wantError(t, w.as(dave).whoAmI(t), codes.PermissionDenied, "PRINCIPAL_LOCKED")
	wantError(t, w.as(bob).unlock(t, lockUser("acme/alice")), codes.NotFound, "NOT_FOUND")
	succeed(t, w.as(bob).unlock(t, lockUser("acme/dave")))
	w.restart()
	succeed(t, w.as(dave).whoAmI(t))
}

func TestALockAndWhatItRefusesAreOnRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	operator, auditor := w.as(bob), w.as(carol)
	_, err := operator.admin().Lock(operator.ctx(t), &behalfv1.LockRequest{Target: lockUser("acme/alice"), Reason: strings.Repeat("long ", 800)})
	succeed(t, err)
	wantError(t, w.as(alice).whoAmI(t), codes.PermissionDenied, "PRINCIPAL_LOCKED")
	succeed(t, operator.unlock(t, lockUser("acme/alice")))

	var got []string
	for _, r := range auditor.records(t, &behalfv1.QueryAuditRequest{}) {
		if r.GetAction() == "lock" && r.GetPhase() == behalfv1.AuditPhase_AUDIT_PHASE_DECISION &&
			(!strings.Contains(r.GetRedactedArgumentsJson(), `"name":"alice"`) || !strings.Contains(r.GetRedactedArgumentsJson(), "long long")) {
			t.Errorf("got %q, want what was locked and why", r.GetRedactedArgumentsJson())
		}
		got = append(got, r.GetUser().GetSubject()+" "+r.GetAction()+" "+strings.TrimPrefix(r.GetReason().String(), "ERROR_REASON_"))
	}
	want := []string{"bob lock UNSPECIFIED", "bob lock UNSPECIFIED", "alice who_am_i PRINCIPAL_LOCKED", "bob unlock UNSPECIFIED", "bob unlock UNSPECIFIED"}
	if all := strings.Join(got, ", "); !strings.HasPrefix(all, strings.Join(want, ", ")) {
		t.Errorf("got rows %s, want %s", all, strings.Join(want, ", "))
	}
}

func TestAnOperatorAlwaysGetsOutOfALockOnEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	operator := w.as(bob)
	succeed(t, operator.lock(t, lockTenant("acme")))
	succeed(t, operator.lock(t, lockEverything()))
	_, err := operator.admin().GetStatus(operator.ctx(t), &behalfv1.GetStatusRequest{})
	wantError(t, err, codes.PermissionDenied, "PRINCIPAL_LOCKED")
	_, err = operator.admin().ListLocks(operator.ctx(t), &behalfv1.ListLocksRequest{})
	succeed(t, err)
	m := w.as(erin)
	wantError(t, m.unlock(t, lockEverything()), codes.PermissionDenied, "PRINCIPAL_LOCKED")

	succeed(t, operator.unlock(t, lockEverything()))
	succeed(t, operator.unlock(t, lockTenant("acme")))

	succeed(t, operator.whoAmI(t))
}

// TestALockedToolIsRefusedToTheModel goes on: the run is not the tool's.
func TestALockedToolIsRefusedToTheModel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	succeed(t, w.as(bob).lock(t, lockTool("get_customer")))
	a := w.as(alice)

	r, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: refundIt})

	succeed(t, err)
	refused := map[string]behalfv1.ErrorReason{}
	for _, call := range r.GetToolCalls() {
		refused[call.GetTool()] = call.GetReason()
	}
	want := map[string]behalfv1.ErrorReason{"transfer_to_billing": 0, "get_customer": behalfv1.ErrorReason_ERROR_REASON_PRINCIPAL_LOCKED, "list_orders": 0}
	if !maps.Equal(refused, want) {
		t.Errorf("got calls %v, want get_customer locked and no other", r.GetToolCalls())
	}
}
