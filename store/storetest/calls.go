package storetest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/store"
	"github.com/google/go-cmp/cmp"
)

func callDecisionTellsResume(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})
	r := Sample("acme", "run/1")
	waiting := *r
	waiting.Decision = audit.Wait
	for _, step := range []struct {
		append            *audit.Record
		decided, finished bool
	}{{nil, false, false}, {&waiting, false, false}, {r, true, false}, {Outcome(r), true, true}} {
		if step.append != nil {
			must(t, appendOne(t, s, step.append))
		}
		decided, finished, err := s.CallDecision(t.Context(), "acme", "run/1")
		if err != nil || decided != step.decided || finished != step.finished {
			t.Errorf("got %v, %v, %v, want %+v", decided, finished, err, step)
		}
	}
	if decided, _, _ := s.CallDecision(t.Context(), "globex", "run/1"); decided {
		t.Error("another tenant sees the call")
	}
}

func abandonedRecordsOpenCalls(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})
	const calls = 300 // more than one page
	for i := range calls {
		r := Sample("acme", fmt.Sprintf("run/%03d", i))
		end := Outcome(r) // now: from Append on the record is the sink's
		s.Append(audit.Entry{Record: r})
		if i%3 == 0 {
			s.Append(audit.Entry{Record: end})
		}
	}
	denied := Sample("acme", "run/denied")
	denied.Decision = audit.Deny
	must(t, appendOne(t, s, denied))
	for call, action := range map[string]string{"call_1": "run_agent", "call_2": "reload_config", "call_3": "cancel_run"} {
		rpc := Sample("acme", call)
		rpc.Action = action
		end := Outcome(rpc)
		must(t, appendOne(t, s, rpc))
		if action == "cancel_run" {
			must(t, appendOne(t, s, end))
		}
	}
	question := Sample("acme", "read_1")
	question.Action = "query_audit"
	must(t, appendOne(t, s, question))
	nameless := Sample("acme", "")
	must(t, appendOne(t, s, nameless))
	s.Stop()
	s = Start(t, store.Config{DSN: dsn})

	n, err := s.Abandoned(t.Context(), func(r audit.Record) bool { return r.CallID == "run/001" })
	again, err2 := s.Abandoned(t.Context(), nil)
	third, err3 := s.Abandoned(t.Context(), nil)

	if n != calls*2/3-1+2 || again != 1 || third != 0 || errors.Join(err, err2, err3) != nil {
		t.Errorf("got %d, %d, %d, %v", n, again, third, errors.Join(err, err2, err3))
	}
	got := collect(t, s, audit.Filter{Tenant: "acme", Limit: 1})[0]
	if got.Phase != audit.Abandoned || got.Outcome != "unknown" || got.CallID != "run/001" || got.User.Subject != "alice" {
		t.Errorf("got %+v", got)
	}
	Verify(t, s.Reader)
}

func refusalToRepeatEndsTheFirstCall(t *testing.T, dsn string) {
	s := Start(t, store.Config{DSN: dsn})
	for _, call := range []string{"run/unknown", "run/policy", "run/repeated", "run/done"} {
		first := Sample("acme", call)
		end := Outcome(first)
		must(t, appendOne(t, s, first))
		if call == "run/done" {
			must(t, appendOne(t, s, end))
		}
	}
	s.Stop()
	s = Start(t, store.Config{DSN: dsn})
	refuse := func(call, reason string) {
		t.Helper()
		r := Sample("acme", call)
		r.Decision, r.Reason, r.PolicyIDs = audit.Deny, reason, nil
		must(t, appendOne(t, s, r))
	}
	refuse("run/unknown", "OUTCOME_UNKNOWN")
	refuse("run/unknown", "OUTCOME_UNKNOWN") // once is enough
	refuse("run/policy", "POLICY_DENIED")
	refuse("run/done", "OUTCOME_UNKNOWN")
	again := Sample("acme", "run/repeated")
	end := Outcome(again)
	must(t, appendOne(t, s, again))
	must(t, appendOne(t, s, end))
	own := Sample("acme", "run/own")
	must(t, appendOne(t, s, own))
	refuse("run/own", "RATE_LIMITED") // this process goes on with it

	got := map[string]int{}
	for _, r := range collect(t, s, audit.Filter{Tenant: "acme"}) {
		if r.Phase == audit.Abandoned {
			got[r.CallID]++
			if r.Outcome != "unknown" || r.Decision != audit.Allow || r.Tool != "refund_order" {
				t.Errorf("got %+v", r)
			}
		}
	}
	if diff := cmp.Diff(got, map[string]int{"run/unknown": 1, "run/policy": 1}); diff != "" {
		t.Errorf("abandoned: got, want:\n%s", diff)
	}
	if n, err := s.Abandoned(t.Context(), nil); n != 1 || err != nil {
		t.Errorf("got %d open calls, %v, want this process's own", n, err)
	}
	Verify(t, s.Reader)
}
