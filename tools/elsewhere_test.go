package tools_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/tools"
	"github.com/google/go-cmp/cmp"
)

const hidden = `@id("hide") @redact("result:$.ssn, args:$.note") forbid (principal, action == Action::"call_tool", resource == Tool::"post");`

// outside is a world whose tools run elsewhere.
type outside struct {
	*world
	gate *tools.Gate
	e    *tools.Elsewhere
	n    int
}

func newOutside(t *testing.T, o options, most int) *outside {
	w := newWorld(t, o)
	out := &outside{world: w, gate: w.newGate("", w.registry.Names(), tools.Limits{MaxResult: 100})}
	out.e = out.restarted(most)
	return out
}

// restarted is the process anew: it knows only what is on record.
func (o *outside) restarted(most int) *tools.Elsewhere {
	o.t.Helper()
	e, err := tools.NewElsewhere(tools.ElsewhereConfig{Past: o.log, Most: most, Clock: func() time.Time { return o.now }})
	if err != nil {
		o.t.Fatal(err)
	}
	return e
}

func (o *outside) bob(workload string) context.Context {
	p := o.person(scope)
	p.Workload = &identity.Workload{ID: workload}
	return identity.WithGrant(o.t.Context(), identity.Root("grt_1", p, nil, ""))
}

func (o *outside) check(ctx context.Context, name, args string) (string, tools.Checked, error) {
	o.n++
	run := fmt.Sprintf("run_%d", o.n)
	c, err := o.e.Check(ctx, o.gate, agents.ToolCall{ID: run + "/0", RunID: run, Name: name, Arguments: args})
	return run + "/0", c, err
}

func TestACallMadeElsewhereIsDecidedBeforeAndRedactedAfter(t *testing.T) {
	o := newOutside(t, options{policies: hidden}, 0)
	ctx := o.bob("spiffe://a/b")

	id, c, err := o.check(ctx, "post", `{"owner":"bob","amount":5,"note":"secret"}`)
	if err != nil {
		t.Fatal(err)
	}
	if o.effects() > 0 {
		t.Error("the tool was called here")
	}
	if want := `{"amount":5,"note":"[redacted]","owner":"bob"}`; string(c.Sent) != want {
		t.Errorf("got %s to send, want %s", c.Sent, want)
	}
	shown, err := o.e.Report(ctx, id, false, json.RawMessage(`{"ssn":"123-45-6789","amount":5}`))
	if err != nil {
		t.Fatal(err)
	}

	if strings.Contains(string(shown), "123") || !strings.Contains(string(shown), `"amount":5`) {
		t.Errorf("got %s, want it without the number", shown)
	}
	if diff := cmp.Diff([]string{"row decision allow", "row outcome succeeded"}, o.trace.all()); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if _, err := o.e.Report(ctx, id, false, nil); !errors.Is(err, fault.RunNotActive) {
		t.Errorf("reported again: got %v, want RUN_NOT_ACTIVE", err)
	}
}

func TestAFailureElsewhereDoesNotTellWhatIsHidden(t *testing.T) {
	o := newOutside(t, options{policies: hidden}, 0)
	ctx := o.bob("spiffe://a/b")
	id, _, err := o.check(ctx, "post", mine)
	if err != nil {
		t.Fatal(err)
	}

	shown, err := o.e.Report(ctx, id, true, json.RawMessage(`{"message":"no row for 123-45-6789"}`))

	if err != nil || strings.Contains(string(shown), "123") {
		t.Errorf("got %s, %v, want the tool's words withheld", shown, err)
	}
	if got := o.trace.all(); got[len(got)-1] != "row outcome failed" {
		t.Errorf("got %q, want the failure on record", got)
	}
}

func TestOnlyWhoCheckedACallReportsIt(t *testing.T) {
	o := newOutside(t, options{}, 0)
	mineFrom := o.bob("spiffe://a/b")
	id, _, err := o.check(mineFrom, "post", mine)
	if err != nil {
		t.Fatal(err)
	}
	eve := o.person(scope)
	eve.User.Subject = "eve"
	eve.Workload = &identity.Workload{ID: "spiffe://a/b"}
	for name, ctx := range map[string]context.Context{
		"another workload": o.bob("spiffe://a/c"),
		"another person":   identity.WithGrant(t.Context(), identity.Root("grt_1", eve, nil, "")),
	} {
		if _, err := o.e.Report(ctx, id, false, nil); !errors.Is(err, fault.NotFound) {
			t.Errorf("%s: got %v, want NOT_FOUND", name, err)
		}
	}
	if _, err := o.e.Report(mineFrom, id, false, json.RawMessage(`{"a":1,"a":2}`)); !errors.Is(err, fault.ArgumentInvalid) {
		t.Errorf("a result that is no JSON: got %v, want ARGUMENT_INVALID", err)
	}
	if _, err := o.e.Report(mineFrom, id, false, json.RawMessage(`"`+strings.Repeat("x", 100)+`"`)); !errors.Is(err, fault.ArgumentInvalid) {
		t.Errorf("a result that is too large: got %v, want ARGUMENT_INVALID", err)
	}
	if _, err := o.e.Report(mineFrom, id, false, nil); err != nil {
		t.Errorf("got %v from who checked it", err)
	}
}

func TestADeniedCallIsNotOpenElsewhere(t *testing.T) {
	o := newOutside(t, options{only: true, policies: `@id("calls") permit (principal, action == Action::"call_tool", resource);`}, 1)
	ctx := o.bob("spiffe://a/b")
	for range 2 {
		id, _, err := o.check(ctx, "refund", theirs)
		if !errors.Is(err, fault.OwnerMismatch) {
			t.Errorf("got %v, want OWNER_MISMATCH", err)
		}
		if _, err := o.e.Report(ctx, id, false, nil); !errors.Is(err, fault.NotFound) {
			t.Errorf("reported: got %v, want NOT_FOUND", err)
		}
	}
	if _, _, err := o.check(ctx, "refund", mine); err != nil {
		t.Errorf("got %v, want the denials to take no place", err)
	}
}

func TestUnreportedCallsAreBoundedPerPerson(t *testing.T) {
	o := newOutside(t, options{}, 2)
	ctx := o.bob("spiffe://a/b")
	first, _, err := o.check(ctx, "post", mine)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := o.check(o.bob("spiffe://a/c"), "post", mine); err != nil {
		t.Fatal(err)
	}

	_, _, err = o.check(ctx, "post", mine)
	if f := fault.From(err); f.Reason != fault.RateLimited || f.RetryAfter() != 15*time.Minute {
		t.Errorf("got %v, want RATE_LIMITED until the first is given up", err)
	}
	if got := o.trace.all(); got[len(got)-1] != "row decision deny" {
		t.Errorf("got %q, want the refusal on record", got)
	}
	if _, err := o.e.Report(ctx, first, false, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := o.check(ctx, "post", mine); err != nil {
		t.Errorf("got %v after a report, want a place", err)
	}
}

func TestACallThatIsNeverReportedIsAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutside(t, options{}, 1)
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- o.e.Run(ctx) }() // ends with stop
		id, _, err := o.check(o.bob("spiffe://a/b"), "post", mine)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()

		o.now = o.now.Add(15 * time.Minute)
		if _, err := o.e.Report(o.bob("spiffe://a/b"), id, false, nil); !errors.Is(err, fault.OutcomeUnknown) {
			t.Errorf("too late: got %v, want OUTCOME_UNKNOWN", err)
		}
		<-time.After(time.Minute) // of the bubble: the sweep
		synctest.Wait()

		if diff := cmp.Diff([]string{"row decision allow", "row abandoned allowunknown"}, o.trace.all()); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
		if _, err := o.e.Report(o.bob("spiffe://a/b"), id, false, nil); !errors.Is(err, fault.OutcomeUnknown) {
			t.Errorf("given up: got %v, want OUTCOME_UNKNOWN", err)
		}
		if _, _, err := o.check(o.bob("spiffe://a/b"), "post", mine); err != nil {
			t.Errorf("got %v, want its place free", err)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestAReportAfterARestartIsRefused(t *testing.T) {
	o := newOutside(t, options{policies: hidden}, 0)
	id, _, err := o.check(o.bob("spiffe://a/b"), "post", mine)
	if err != nil {
		t.Fatal(err)
	}
	o.e = o.restarted(0)

	shown, err := o.e.Report(o.bob("spiffe://a/b"), id, false, json.RawMessage(`{"ssn":"1"}`))
	if !errors.Is(err, fault.OutcomeUnknown) || shown != nil {
		t.Errorf("got %s, %v, want OUTCOME_UNKNOWN and nothing to show", shown, err)
	}
	if _, err := o.e.Report(o.bob("spiffe://a/c"), id, false, nil); !errors.Is(err, fault.NotFound) {
		t.Errorf("another workload: got %v, want NOT_FOUND", err)
	}
}

func TestNothingIsAllowedElsewhereThatCannotBeRecorded(t *testing.T) {
	o := newOutside(t, options{}, 1)
	o.useSink(broken{})
	o.gate = o.newGate("", o.registry.Names(), tools.Limits{})

	for range 2 {
		if _, _, err := o.check(o.bob("spiffe://a/b"), "post", mine); !errors.Is(err, fault.AuditUnavailable) {
			t.Errorf("got %v, want AUDIT_UNAVAILABLE", err)
		}
	}
}

func TestACallElsewhereIsDecidedAgainWhenItsDecisionIsDurable(t *testing.T) {
	o := newOutside(t, options{}, 1)
	ctx := o.bob("spiffe://a/b")
	o.sink.before = func(r *audit.Record) {
		if r.Decision == audit.Allow {
			o.load(permitAll + `@id("stop") forbid (principal, action, resource);`)
		}
	}

	for range 2 { // it takes no place either
		o.load(permitAll)
		id, _, err := o.check(ctx, "post", mine)
		if !errors.Is(err, fault.PolicyDenied) {
			t.Errorf("got %v, want POLICY_DENIED", err)
		}
		if _, err := o.e.Report(ctx, id, false, nil); err == nil {
			t.Error("a call that was refused can be reported")
		}
	}
}

func TestAReportWhoseOutcomeIsLostShowsNothing(t *testing.T) {
	o := newOutside(t, options{}, 0)
	o.useSink(forgetful{o.log})
	o.gate = o.newGate("", o.registry.Names(), tools.Limits{})
	id, _, err := o.check(o.bob("spiffe://a/b"), "post", mine)
	if err != nil {
		t.Fatal(err)
	}

	shown, err := o.e.Report(o.bob("spiffe://a/b"), id, false, json.RawMessage(`{"amount":5}`))

	if !errors.Is(err, fault.AuditUnavailable) || shown != nil {
		t.Errorf("got %s, %v, want AUDIT_UNAVAILABLE and nothing to show", shown, err)
	}
}

// broken is a log that takes nothing.
type broken struct{}

func (broken) Append(audit.Entry) *audit.Receipt {
	r := audit.NewReceipt()
	r.Settle(errors.New("the disk is full"))
	return r
}
