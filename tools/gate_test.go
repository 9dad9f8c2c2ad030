package tools_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/tools"
	"github.com/google/go-cmp/cmp"
)

const once = `@id("once") @rate("1/1h") forbid (principal, action == Action::"call_tool", resource == Tool::"refund");`

// Each row of the table repairs one more thing that is wrong with the same call.
// A row that comes out of order would show that a later check was asked first.
func TestChecksComeInTheirOrderAndNoneIsSkipped(t *testing.T) {
	const small = `@id("small") forbid (principal, action == Action::"call_tool", resource == Tool::"refund") when { context.args.amount > 10 };`
	w := newWorld(t, options{
		only: true, refs: []string{"refund"},
		policies: once + small + `@id("all") permit (principal, action == Action::"call_tool", resource);`,
	})
	type state struct {
		name, args string
		expired    bool
		person     []string
		ceiling    *identity.Scopes
	}
	locked := policy.LockTarget{Kind: policy.LockTool, Tenant: "acme", ID: "refund"}
	if _, err := w.guard.Lock(t.Context(), policy.Lock{Target: locked, ByTenant: "acme"}); err != nil {
		t.Fatal(err)
	}
	s := state{"nope", `{"amount":1,"amount":2}`, true, nil, new(identity.NewScopes())}
	for _, step := range []struct {
		repair func()
		want   fault.Reason
	}{
		{func() {}, fault.ToolUnknown},
		{func() { s.name = "post" }, fault.ToolUnknown}, // it exists, but not for this agent
		{func() { s.name = "refund" }, fault.ArgumentInvalid},
		{func() { s.args = `{"owner":"eve","amount":"x"}` }, fault.ArgumentInvalid},
		{func() { s.args = `{"owner":"eve","amount":50}` }, fault.PrincipalLocked},
		{func() {
			if err := w.guard.Unlock(t.Context(), locked, "acme"); err != nil {
				t.Error(err)
			}
		}, fault.CredentialExpired},
		{func() { s.expired = false }, fault.ScopeMissing},
		{func() { s.person = []string{scope} }, fault.DelegationScope},
		{func() { s.ceiling = nil }, fault.OwnerMismatch},
		{func() { s.args = `{"owner":"bob","amount":50}` }, fault.PolicyDenied},
		{func() { s.args = mine }, ""},
		{func() {}, fault.RateLimited},
	} {
		step.repair()
		p := w.person(s.person...)
		if s.expired {
			p.User.Expires = w.now
		}
		rows, effects := len(w.log.Records()), w.effects()

		fin := w.finished(w.as(p, s.ceiling), call(s.name, s.args))

		if fault.Reason(fin.Reason) != step.want || fin.Failed != (step.want != "") {
			t.Fatalf("%+v: got %+v, want reason %q", s, fin, step.want)
		}
		if step.want == "" {
			continue
		}
		if w.effects() != effects {
			t.Errorf("%s: the tool was called", step.want)
		}
		last := w.log.Records()[len(w.log.Records())-1]
		if len(w.log.Records()) == rows || last.Decision != audit.Deny || last.Reason != string(step.want) || last.CallID != "run_1/7" {
			t.Errorf("%s: the last row is %s %s of %s", step.want, last.Decision, last.Reason, last.CallID)
		}
		if r := read(t, fin); r.Error.Reason != step.want || r.Error.Message == "" || r.Error.Next == "" {
			t.Errorf("%s: the model reads %s", step.want, fin.Result)
		}
	}
}

func TestAnAllowedCallHappensInOrder(t *testing.T) {
	w := newWorld(t, options{})

	events, err := w.do(w.bob(), call("refund", mine))

	if err != nil || len(events) != 2 {
		t.Fatalf("got %d events and %v, want 2 and none", len(events), err)
	}
	want := []string{"row decision allow", "decided allow", "effect refund", "row outcome succeeded"}
	if got := w.trace.all(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if diff := cmp.Diff(events[0], agents.Event{
		Source: "support", Chain: []string{"support"}, Thread: "th", CallID: "run_1/7",
		Body: agents.ToolCallDecided{Decision: agents.Allowed, PolicyIDs: []string{"all"}},
	}); diff != "" {
		t.Errorf("decided (-got +want):\n%s", diff)
	}
	rows := w.log.Records()
	if r := rows[0]; r.Tool != "refund" || r.Action != "call_tool" || r.RunID != "run_1" || r.SessionID != "ses_1" || r.DescriptorHash == "" ||
		r.RedactedArguments != mine || r.User.Subject != "bob" || !slices.Equal(r.Chain, []string{"support"}) {
		t.Errorf("decision row: %+v", r)
	}
	fin := events[1].Body.(agents.ToolCallFinished)
	if want := w.guard.Digest("acme", []byte(fin.Result)); rows[1].ResultDigest != want {
		t.Errorf("result digest: got %q, want that of what the model reads", rows[1].ResultDigest)
	}
}

// The decision's row is held back: the tool must not have been called before it
// is let go.
func TestTheDecisionIsDurableBeforeTheEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{})
		w.sink.hold = make(chan struct{})
		over := make(chan struct{})
		go func() {
			defer close(over)
			w.finished(w.bob(), call("refund", mine))
		}()

		synctest.Wait()
		w.trace.add("let go")
		close(w.sink.hold)
		<-over

		want := []string{"decided allow", "let go", "row decision allow", "effect refund"}
		if got := w.trace.all(); !slices.Equal(got[:4], want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestNothingActsWhenNothingCanBeRecorded(t *testing.T) {
	expired := func(w *world) context.Context {
		p := w.person(scope)
		p.User.Expires = w.now
		return w.as(p, nil)
	}
	bob := (*world).bob
	for name, tc := range map[string]struct {
		ctx  func(*world) context.Context
		call agents.ToolCall
	}{
		"allowed":       {bob, call("refund", mine)},
		"read":          {bob, call("look", mine)},
		"unknown":       {bob, call("nope", mine)},
		"bad arguments": {bob, call("refund", `{}`)},
		"expired":       {expired, call("refund", mine)},
		"no scope":      {func(w *world) context.Context { return w.as(w.person(), nil) }, call("refund", mine)},
		"other owner":   {bob, call("refund", theirs)},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, options{})
			w.log.Refuse(errors.New("disk full"))

			events, err := w.do(tc.ctx(w), tc.call)

			if !errors.Is(err, fault.AuditUnavailable) || w.effects() != 0 {
				t.Errorf("got %v and %d effects, want AUDIT_UNAVAILABLE and none", err, w.effects())
			}
			for _, ev := range events {
				if _, ok := ev.Body.(agents.ToolCallFinished); ok {
					t.Errorf("the call finished with %+v", ev.Body)
				}
			}
			if _, err := w.newGate("", w.registry.Names(), tools.Limits{}).Direct(tc.ctx(w), tc.call); !errors.Is(err, fault.AuditUnavailable) || w.effects() != 0 {
				t.Errorf("direct: got %v and %d effects, want AUDIT_UNAVAILABLE and none", err, w.effects())
			}
		})
	}
}

func TestAConsumerThatBreaksAtTheDecisionStopsTheCall(t *testing.T) {
	w := newWorld(t, options{})

	for range w.gate.Call(w.bob(), call("refund", mine)) {
		break
	}

	want := []string{"row decision allow", "row outcome cancelled"}
	if got := w.trace.all(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNothingHappensBeforeTheCallIsRangedOver(t *testing.T) {
	w := newWorld(t, options{})

	_ = w.gate.Call(w.bob(), call("refund", mine))

	if got := w.trace.all(); len(got) != 0 {
		t.Errorf("got %q, want nothing", got)
	}
}

func TestAPolicyThatChangesWhileTheDecisionIsRecordedStillDenies(t *testing.T) {
	w := newWorld(t, options{})
	w.sink.before = func(r *audit.Record) {
		if r.Decision == audit.Allow {
			w.load(permitAll + `@id("stop") forbid (principal, action, resource);`)
		}
	}

	events, err := w.do(w.bob(), call("refund", mine))

	if err != nil || w.effects() != 0 {
		t.Fatalf("got %v and %d effects, want none", err, w.effects())
	}
	fin := events[len(events)-1].Body.(agents.ToolCallFinished)
	again := events[len(events)-2].Body.(agents.ToolCallDecided)
	if fin.Reason != string(fault.PolicyDenied) || again.Decision != agents.Denied || !slices.Equal(again.PolicyIDs, []string{"stop"}) {
		t.Errorf("got %+v and %+v, want a denial by stop", again, fin)
	}
}

func TestADenialNamesItsPolicies(t *testing.T) {
	w := newWorld(t, options{policies: `@id("stop") forbid (principal, action, resource == Tool::"post");`})

	events, err := w.do(w.bob(), call("post", mine))
	if err != nil {
		t.Fatal(err)
	}
	want := agents.ToolCallDecided{Decision: agents.Denied, Reason: "POLICY_DENIED", PolicyIDs: []string{"stop"}}
	if diff := cmp.Diff(events[0].Body, agents.Body(want)); diff != "" {
		t.Errorf("decided (-got +want):\n%s", diff)
	}
}

func TestSpecsAreTheListAndTheScopes(t *testing.T) {
	w := newWorld(t, options{refs: []string{"refund", "look"}})

	var got []string
	for s, err := range w.gate.Specs(w.bob()) {
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(s.Schema) || s.Description == "" {
			t.Errorf("spec %+v", s)
		}
		got = append(got, s.Name)
	}

	if want := []string{"look", "refund"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestDirectRefusesWithAnErrorAndAnswersDurably(t *testing.T) {
	w := newWorld(t, options{})
	ctx := identity.WithGrant(t.Context(), identity.Root("g", w.person(scope), nil, ""))
	door := w.newGate("", w.registry.Names(), tools.Limits{})

	got, err := door.Direct(ctx, call("refund", mine))

	if err != nil || got.Failed || got.Decision != agents.Allowed || !json.Valid(got.Result) || !slices.Equal(got.PolicyIDs, []string{"all"}) {
		t.Errorf("got %+v and %v", got, err)
	}
	if rows := w.log.Records(); len(rows) != 2 || len(rows[0].Chain) != 0 || rows[1].Outcome != policy.Succeeded {
		t.Errorf("rows: %+v", rows)
	}
	_, err = door.Direct(ctx, call("refund", `{"amount":"CANARY"}`))
	if f := fault.From(err); f.Reason != fault.ArgumentInvalid || strings.Contains(fmt.Sprint(f.GRPCStatus().Details()), "CANARY") || len(f.GRPCStatus().Details()) != 2 {
		t.Errorf("got %v with details %v, want the fields without values", err, f.GRPCStatus().Details())
	}
	if _, err := w.newGate("", nil, tools.Limits{}).Direct(ctx, call("refund", mine)); !errors.Is(err, fault.ToolUnknown) {
		t.Errorf("no references: got %v, want that there is nothing", err)
	}
}

// forgetful loses the outcomes.
type forgetful struct{ audit.Sink }

func (s forgetful) Append(e audit.Entry) *audit.Receipt {
	if e.Record.Phase != audit.Outcome {
		return s.Sink.Append(e)
	}
	lost := audit.NewReceipt()
	lost.Settle(errors.New("the disk is full"))
	return lost
}

func TestADirectCallWhoseOutcomeIsLostIsNotReportedAsDone(t *testing.T) {
	w := newWorld(t, options{})
	w.useSink(forgetful{w.log})
	ctx := identity.WithGrant(t.Context(), identity.Root("g", w.person(scope), nil, ""))

	got, err := w.newGate("", w.registry.Names(), tools.Limits{}).Direct(ctx, call("refund", mine))

	if !errors.Is(err, fault.AuditUnavailable) || w.effects() != 1 {
		t.Errorf("got %+v, %v and %d effects, want AUDIT_UNAVAILABLE after one", got, err, w.effects())
	}
}

// On a slow machine the engine may give up on a decision (SECURITY 9), which
// denies. So what is counted is that exactly what was allowed happened.
func TestManyCallsAtOnce(t *testing.T) {
	w := newWorld(t, options{})
	var wg sync.WaitGroup
	var allowed atomic.Int64
	for i := range 64 {
		wg.Go(func() {
			c := call([]string{"refund", "look", "nope", "put"}[i%4], []string{mine, theirs}[i/4%2])
			c.ID = fmt.Sprintf("run_1/%d", i)
			for ev, err := range w.gate.Call(w.bob(), c) {
				fin, over := ev.Body.(agents.ToolCallFinished)
				switch {
				case err != nil, over && !fin.Failed && c.Name == "nope", ev.CallID != c.ID:
					t.Errorf("call %d of %s: %v, %+v", i, c.Name, err, ev)
				case over && !fin.Failed:
					allowed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if got := int64(w.effects()); got != allowed.Load() || got == 0 {
		t.Errorf("got %d effects, want %d, as many as were allowed", got, allowed.Load())
	}
}
