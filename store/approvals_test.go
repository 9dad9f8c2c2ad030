package store_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/store"
	"github.com/behalf-dev/behalf/store/storetest"
)

// watch is a clock of this century.
type watch struct{ ahead atomic.Int64 }

func (w *watch) Now() time.Time {
	return time.Unix(1_800_000_000, 0).Add(time.Duration(w.ahead.Load()))
}
func (w *watch) Add(d time.Duration) { w.ahead.Add(int64(d)) }

func question(id, call string, now time.Time) audit.Approval {
	return audit.Approval{
		ID: id, Tenant: "acme", Requester: audit.User{Issuer: "idp", Subject: "alice"}, Tool: "pay", Arguments: "{}", Digest: "d-" + id,
		RunID: "run_1", CallID: call, Created: now.UnixNano(), Expires: now.Add(time.Hour).UnixNano(), State: audit.Pending,
	}
}

func ask(t *testing.T, s *storetest.Running, a audit.Approval) error {
	t.Helper()
	return s.Append(audit.Entry{Record: storetest.Sample("acme", a.CallID), Ask: &audit.Ask{Approval: a, Limit: 20}}).Wait(t.Context())
}

func take(t *testing.T, s *storetest.Running, id, digest string, rs ...audit.Reservation) fault.Reason {
	t.Helper()
	err := s.Append(audit.Entry{Record: storetest.Sample("acme", "run_1/9"), Reserve: rs, Take: &audit.Take{ID: id, Digest: digest, Call: "run_1/9"}}).Wait(t.Context())
	if full, ok := errors.AsType[*audit.Exhausted](err); ok {
		return fault.Reason(full.Reason)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ""
}

func TestAnApprovalIsTakenOnceAndSurvivesARestart(t *testing.T) {
	dsn, clock := tempDSN(t), &watch{}
	s := storetest.Start(t, store.Config{DSN: dsn, Clock: clock.Now})
	for _, id := range []string{"apr_1", "apr_2"} {
		if err := ask(t, s, question(id, "run_1/"+id, clock.Now())); err != nil {
			t.Fatal(err)
		}
	}
	if got := take(t, s, "apr_1", "d-apr_1"); got != fault.ApprovalRequired {
		t.Errorf("nobody decided: got %q", got)
	}
	by := audit.User{Issuer: "idp", Subject: "bob"}
	if _, err := s.DecideApproval(t.Context(), "globex", "apr_1", true, audit.Answer{Approver: by, ApproverName: "Bob", Comment: ""}); !errors.Is(err, fault.NotFound) {
		t.Errorf("another tenant: got %v", err)
	}
	if a, err := s.DecideApproval(t.Context(), "acme", "apr_1", true, audit.Answer{Approver: by, ApproverName: "Bob", Comment: "fine"}); err != nil || a.State != audit.Approved {
		t.Fatalf("got %+v, %v", a, err)
	}
	if _, err := s.DecideApproval(t.Context(), "acme", "apr_1", false, audit.Answer{Approver: by, ApproverName: "Bob", Comment: ""}); !errors.Is(err, fault.ApprovalConsumed) {
		t.Errorf("decided twice: got %v", err)
	}
	if got := take(t, s, "apr_1", "d-other"); got != fault.ApprovalDigestMismatch {
		t.Errorf("another call: got %q", got)
	}
	full := audit.Reservation{Bucket: "b", Cost: 2, Limit: 1, Window: time.Minute, Reason: string(fault.BudgetExhausted)}
	if got := take(t, s, "apr_1", "d-apr_1", full); got != fault.BudgetExhausted {
		t.Errorf("no budget: got %q", got)
	}

	s.Stop()
	s = storetest.Start(t, store.Config{DSN: dsn, Clock: clock.Now})

	one := audit.Reservation{Bucket: "c", Cost: 1, Limit: 100, Window: time.Minute}
	var won, lost atomic.Int64
	var group sync.WaitGroup
	for range 100 { // the approval was not used up by those who did not get it
		group.Go(func() {
			switch got := take(t, s, "apr_1", "d-apr_1", one); got {
			case "":
				won.Add(1)
			case fault.ApprovalConsumed:
				lost.Add(1)
			default:
				t.Errorf("got %q", got)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 || lost.Load() != 99 {
		t.Errorf("got %d who took it and %d who did not, want 1 and 99", won.Load(), lost.Load())
	}
	rest := audit.Reservation{Bucket: "c", Cost: 99, Limit: 100, Window: time.Minute}
	if err := s.Reserve(t.Context(), []audit.Reservation{rest}); err != nil {
		t.Errorf("got %v, want that those who got no approval reserved nothing", err)
	}
	if err := s.Reserve(t.Context(), []audit.Reservation{one}); err == nil {
		t.Error("a full bucket gave more")
	}

	clock.Add(2 * time.Hour)
	if got := take(t, s, "apr_2", "d-apr_2"); got != fault.ApprovalExpired {
		t.Errorf("too late: got %q", got)
	}
	untold, err := s.UntoldApprovals(t.Context(), clock.Now(), 9)
	if err != nil || len(untold) != 2 || untold[0].UsedBy+untold[1].UsedBy != "run_1/9" {
		t.Errorf("got %+v, %v, want both ends to be told", untold, err)
	}
}

func TestOldApprovalsAreForgotten(t *testing.T) {
	clock := &watch{}
	s := storetest.Start(t, store.Config{DSN: tempDSN(t), Clock: clock.Now})
	for _, id := range []string{"apr_1", "apr_2"} {
		if err := ask(t, s, question(id, "run_1/"+id, clock.Now())); err != nil {
			t.Fatal(err)
		}
	}
	clock.Add(60 * 24 * time.Hour)
	if err := errors.Join(s.ApprovalTold(t.Context(), "acme", "apr_1"), s.ForgetApprovals(t.Context(), clock.Now())); err != nil {
		t.Fatal(err)
	}

	list, err := s.Approvals(t.Context(), "acme", "", 9)

	if err != nil || len(list) != 1 || list[0].ID != "apr_2" {
		t.Errorf("got %+v, %v, want the one that its run was not told of", list, err)
	}
}

func TestACallAsksOnce(t *testing.T) {
	clock := &watch{}
	s := storetest.Start(t, store.Config{DSN: tempDSN(t), Clock: clock.Now})
	if err := ask(t, s, question("apr_1", "run_1/1", clock.Now())); err != nil {
		t.Fatal(err)
	}
	if full, ok := errors.AsType[*audit.Exhausted](ask(t, s, question("apr_2", "run_1/1", clock.Now()))); !ok || full.Reason != string(fault.SessionBusy) {
		t.Errorf("got %v, want the second refused", full)
	}
}

// Whoever is asked may say no, and may take a day: until the call is made it costs
// nothing.
func TestACallThatWaitsIsNotCharged(t *testing.T) {
	clock := &watch{}
	s := storetest.Start(t, store.Config{DSN: tempDSN(t), Clock: clock.Now})
	one := audit.Reservation{Bucket: "b", Cost: 1, Limit: 1, Window: time.Minute, Reason: string(fault.BudgetExhausted)}
	wait := func(id string) error {
		a := question(id, "run_1/"+id, clock.Now())
		return s.Append(audit.Entry{Record: storetest.Sample("acme", a.CallID), Reserve: []audit.Reservation{one}, Ask: &audit.Ask{Approval: a, Limit: 20}}).Wait(t.Context())
	}
	for _, id := range []string{"apr_1", "apr_2"} {
		if err := wait(id); err != nil {
			t.Errorf("%s: got %v, want it to wait", id, err)
		}
	}

	if err := s.Reserve(t.Context(), []audit.Reservation{one}); err != nil {
		t.Errorf("got %v, want the bucket as it was", err)
	}
	if full, ok := errors.AsType[*audit.Exhausted](wait("apr_3")); !ok || full.Reason != string(fault.BudgetExhausted) {
		t.Errorf("got %v, want nobody bothered for a call that could not be made", full)
	}
}
