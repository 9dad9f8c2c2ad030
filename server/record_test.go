package server_test

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/model/modeltest"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// refund is a write whose effect the test sees.
func refund(effects *atomic.Int64) tools.Tool {
	return tools.Func("pay", "Pays.", func(context.Context, none) (none, error) {
		effects.Add(1)
		return none{}, nil
	})
}

// breakAudit takes the database's file away, which the writer notices before it
// writes; mend puts it back. A server that begins reads it, and ends without it.
func (w *world) breakAudit() (mend func()) {
	w.t.Helper()
	w.eventually(func() bool { return strings.Contains(w.log.String(), "runs of before are settled") })
	away := w.db() + ".away"
	if err := os.Rename(w.db(), away); err != nil {
		w.t.Fatal(err)
	}
	return func() {
		w.t.Helper()
		if err := os.Rename(away, w.db()); err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestNothingHappensThatCannotBeRecorded(t *testing.T) {
	t.Parallel()
	var effects atomic.Int64
	m := modeltest.NewServer(t)
	m.Always("scripted", modeltest.Reply{Calls: []agents.CallRequest{{ID: "c1", Tool: "pay", Arguments: "{}"}}})
	w := newWorld(t, setup{model: m, spies: []tools.Tool{refund(&effects)}})
	b := w.as(bob)
	w.hello(&client{b.ClientConn, b.md}, "")
	mend := w.breakAudit()

	_, err := b.tools().CallTool(b.ctx(t), &behalfv1.CallToolRequest{Tool: "pay", ArgumentsJson: "{}"})
	wantError(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	_, err = b.agents().RunAgent(b.ctx(t), &behalfv1.RunAgentRequest{Agent: "support", Input: "pay"})
	wantError(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	events, err := b.stream(t, &behalfv1.StreamAgentRequest{Agent: "support", Input: "pay"})
	wantError(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	if len(events) > 0 {
		t.Errorf("got %v before the decision was durable, want nothing", events)
	}
	_, err = b.runs().CreateRun(b.ctx(t), &behalfv1.CreateRunRequest{Target: &behalfv1.CreateRunRequest_Agent{Agent: "support"}, Input: "pay"})
	wantError(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	_, err = b.admin().ReloadConfig(b.ctx(t), &behalfv1.ReloadConfigRequest{})
	wantError(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	_, err = w.as(carol).agents().RunAgent(w.as(carol).ctx(t), &behalfv1.RunAgentRequest{Agent: "support", Input: "pay"})
	if status.Code(err) == codes.OK {
		t.Error("a denial that could not be recorded became an answer")
	}
	if effects.Load() > 0 {
		t.Errorf("the tool acted %d times without a record", effects.Load())
	}

	mend()
	if _, err := b.tools().CallTool(b.ctx(t), &behalfv1.CallToolRequest{Tool: "pay", ArgumentsJson: "{}"}); err != nil || effects.Load() != 1 {
		t.Errorf("got %v and %d effects once the log is back, want one", err, effects.Load())
	}
	if v, err := b.audit().VerifyAudit(b.ctx(t), &behalfv1.VerifyAuditRequest{}); err != nil || !v.GetIntact() {
		t.Errorf("got %v, %v, want the log intact", v, err)
	}
}

func TestAToolCallOfARunThatCannotBeRecordedEndsTheRun(t *testing.T) {
	t.Parallel()
	var effects atomic.Int64
	m := modeltest.NewServer(t)
	w := newWorld(t, setup{model: m, spies: []tools.Tool{refund(&effects)}})
	b := w.as(bob)
	m.Handle("scripted", func(modeltest.Request) modeltest.Reply {
		w.breakAudit() // the run is on record already; the call will not be
		return modeltest.Reply{Text: "paying", Calls: []agents.CallRequest{{ID: "c1", Tool: "pay", Arguments: "{}"}}}
	})

	events, err := b.stream(t, &behalfv1.StreamAgentRequest{Agent: "support", Input: "pay"})

	wantError(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	if effects.Load() > 0 {
		t.Error("the tool acted without a record")
	}
	if f := events[len(events)-1].GetRunFinished(); f.GetErrorReason() != behalfv1.ErrorReason_ERROR_REASON_AUDIT_UNAVAILABLE {
		t.Errorf("got %v as the run's end, want AUDIT_UNAVAILABLE", events[len(events)-1])
	}
	if slices.ContainsFunc(events, func(e *behalfv1.Event) bool {
		return e.GetToolCallFinished() != nil && !e.GetToolCallFinished().GetFailed()
	}) {
		t.Error("a result was shown")
	}
}

// A limit on runs denies; what was denied must not have happened (DESIGN 8: the
// run_agent decision is durable before the first tool effect).
func TestARunThatIsOverItsRateHasNoEffect(t *testing.T) {
	t.Parallel()
	var effects atomic.Int64
	m := modeltest.NewServer(t)
	m.Handle("scripted", func(r modeltest.Request) modeltest.Reply {
		if bytes.Contains(r.Body, []byte(`"role":"tool"`)) {
			return modeltest.Reply{Text: "done"}
		}
		return modeltest.Reply{Calls: []agents.CallRequest{{ID: "c1", Tool: "pay", Arguments: "{}"}}}
	})
	w := newWorld(t, setup{model: m, spies: []tools.Tool{refund(&effects)}, policies: map[string]string{
		"rate.cedar": `@id("two-runs") @rate("2/1h") forbid (principal, action == Action::"run_agent", resource);`,
	}})
	b := w.as(bob)
	run := func() error {
		_, err := b.agents().RunAgent(b.ctx(t), &behalfv1.RunAgentRequest{Agent: "support", Input: "pay"})
		return err
	}
	for range 2 {
		if err := run(); err != nil {
			t.Fatal(err)
		}
	}

	wantError(t, run(), codes.ResourceExhausted, "RATE_LIMITED")

	if effects.Load() != 2 {
		t.Errorf("the tool acted %d times, want 2: the third run was refused", effects.Load())
	}
	if n := len(m.Requests()); n != 4 {
		t.Errorf("the model was asked %d times, want 4: the third run was refused", n)
	}
	if l, err := b.sessions().ListSessions(b.ctx(t), &behalfv1.ListSessionsRequest{}); err != nil || len(l.GetSessions()) != 2 {
		t.Errorf("got %v, %v, want no session of the run that was refused", l, err)
	}
	denied := slices.DeleteFunc(b.records(t, &behalfv1.QueryAuditRequest{User: "bob"}), func(r *behalfv1.AuditRecord) bool {
		return r.GetReason() != behalfv1.ErrorReason_ERROR_REASON_RATE_LIMITED
	})
	if len(denied) != 1 || denied[0].GetPhase() != behalfv1.AuditPhase_AUDIT_PHASE_DECISION {
		t.Errorf("got %v, want the one denial and no outcome of it", denied)
	}
}

// The caller of a refused call learns no policies; the operator's log does, and
// what the call was about.
func TestTheLogNamesWhatWasRefusedAndByWhichPolicies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{policies: map[string]string{
		"no.cedar": `@id("not-the-desk") forbid (principal, action == Action::"run_agent", resource);
@id("no-customers") forbid (principal, action == Action::"call_tool", resource);`,
	}})
	a := w.as(alice)

	_, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "support", Input: "hello"})
	wantError(t, err, codes.PermissionDenied, "POLICY_DENIED")
	_, err = a.tools().CallTool(a.ctx(t), &behalfv1.CallToolRequest{Tool: "get_customer", ArgumentsJson: `{"customer_id":"C-1001"}`})
	wantError(t, err, codes.PermissionDenied, "POLICY_DENIED")

	for _, want := range []string{
		`action=run_agent resource="Agent::\"support\"" policies=not-the-desk`,
		`action=call_tool resource="Tool::\"get_customer\"" policies=no-customers`,
	} {
		if got := w.log.String(); strings.Count(got, want) != 1 {
			t.Errorf("the log has not one line with %s:\n%s", want, got)
		}
	}
}

func TestATooFrequentToolCallNamesThePolicy(t *testing.T) {
	t.Parallel()
	var effects atomic.Int64
	m := modeltest.NewServer(t)
	m.Handle("scripted", func(r modeltest.Request) modeltest.Reply {
		if bytes.Contains(r.Body, []byte(`"role":"tool"`)) {
			return modeltest.Reply{Text: "done"}
		}
		return modeltest.Reply{Calls: []agents.CallRequest{{ID: "c1", Tool: "pay", Arguments: "{}"}}}
	})
	w := newWorld(t, setup{model: m, spies: []tools.Tool{refund(&effects)}, policies: map[string]string{
		"rate.cedar": `@id("once") @rate("1/1h") forbid (principal, action == Action::"call_tool", resource);`,
	}})
	b := w.as(bob)

	var got []string
	for range 2 {
		all, err := b.stream(t, &behalfv1.StreamAgentRequest{Agent: "support", Input: "pay"})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			if d := e.GetToolCallDecided(); d.GetReason() == behalfv1.ErrorReason_ERROR_REASON_RATE_LIMITED {
				got = append(got, d.GetPolicyIds()...)
			}
		}
	}

	if !slices.Equal(got, []string{"once"}) {
		t.Errorf("got %q, want the one policy of the one denial", got)
	}
}
