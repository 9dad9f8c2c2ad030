package tools_test

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc/codes"
)

// raw is a tool that returns what it is told to.
func raw(name string, effect tools.Effect, fn func(context.Context, json.RawMessage) (json.RawMessage, error)) tools.Tool {
	return tools.Tool{
		Descriptor: tools.Descriptor{Name: name, Effect: effect, Schema: json.RawMessage(`{"type":"object"}`)},
		Call:       fn,
	}
}

func says(result string) func(context.Context, json.RawMessage) (json.RawMessage, error) {
	return func(context.Context, json.RawMessage) (json.RawMessage, error) { return json.RawMessage(result), nil }
}

func failsWith(err error) func(context.Context, json.RawMessage) (json.RawMessage, error) {
	return func(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, err }
}

func (w *world) outcome() audit.Record {
	w.t.Helper()
	rows := w.log.Records()
	last := rows[len(rows)-1]
	if last.Phase != audit.Outcome {
		w.t.Fatalf("the last row is %s %s %s, not an outcome", last.Phase, last.Decision, last.Reason)
	}
	return last
}

func TestResultsAreHostileText(t *testing.T) {
	for name, tc := range map[string]struct {
		result string
		ok     bool
	}{
		"nothing":         {"", true},
		"any JSON":        {`[1e400,-0,"\u001b[31m",{"a":null}]`, true},
		"too large":       {`"` + strings.Repeat("x", 256<<10) + `"`, false},
		"not JSON":        {`<html>`, false},
		"two values":      {`{} {}`, false},
		"invalid UTF-8":   {"\"\xff\"", false},
		"lone surrogate":  {`"\ud800"`, false},
		"too deep":        {strings.Repeat("[", 33) + strings.Repeat("]", 33), false},
		"duplicate names": {`{"ssn":"1","ssn":"2"}`, false},
	} {
		for _, effect := range []tools.Effect{tools.Read, tools.Write} {
			w := newWorld(t, options{tools: []tools.Tool{raw("t", effect, says(tc.result))}})

			fin := w.finished(w.bob(), call("t", "{}"))

			if fin.Failed == tc.ok || !json.Valid([]byte(fin.Result)) || len(fin.Result) > 300<<10 {
				t.Errorf("%s: got %+.80v", name, fin)
			}
			want := policy.Succeeded // of a write it is only the answer that is lost
			if !tc.ok && effect == tools.Read {
				want = policy.Failed
			}
			if got := w.outcome().Outcome; got != want {
				t.Errorf("%s, %s: got outcome %s, want %s", name, effect, got, want)
			}
			if !tc.ok && effect == tools.Write && !strings.Contains(fin.Result, "do not repeat") {
				t.Errorf("%s: the model may repeat a write: %s", name, fin.Result)
			}
		}
	}
}

func TestErrorTextIsHostileAndBounded(t *testing.T) {
	w := newWorld(t, options{tools: []tools.Tool{raw("t", tools.Read, failsWith(errors.New("no \x1b[31m\u202e\xff"+strings.Repeat("ä", 9000))))}})

	fin := w.finished(w.bob(), call("t", "{}"))

	msg := read(t, fin).Error.Message
	if !fin.Failed || fin.Reason != "" || len(msg) > 4<<10 || !utf8.ValidString(msg) || strings.ContainsAny(msg, "\x1b\u202e\ufffd") || !strings.HasPrefix(msg, "no [31mä") {
		t.Errorf("got %.100q of %d bytes", msg, len(msg))
	}
	if got := w.outcome().Outcome; got != policy.Failed {
		t.Errorf("got outcome %s, want failed", got)
	}
}

// A path says where in a result something stands. In the text of an error it may
// stand anywhere.
func TestErrorTextIsWithheldWhereResultsHideSomething(t *testing.T) {
	w := newWorld(t, options{
		tools:    []tools.Tool{raw("t", tools.Read, failsWith(errors.New("no order of 123-45-6789")))},
		policies: `@id("less") @redact("result:$.ssn") forbid (principal, action == Action::"call_tool", resource == Tool::"t");`,
	})

	fin := w.finished(w.bob(), call("t", "{}"))

	if msg := read(t, fin).Error.Message; !fin.Failed || strings.Contains(fin.Result, "123-45-6789") || !strings.Contains(msg, "withheld") {
		t.Errorf("got %s, want a text that says that it is withheld", fin.Result)
	}
}

func TestAFaultShowsItsMessageAndNotItsCause(t *testing.T) {
	f := fault.New(codes.Unavailable, fault.ToolUnavailable, "the backend is down").RetryIn(time.Minute).Because(errors.New("CANARY"))
	w := newWorld(t, options{tools: []tools.Tool{raw("t", tools.Read, failsWith(f))}})

	fin := w.finished(w.bob(), call("t", "{}"))

	r := read(t, fin)
	if fin.Reason != "TOOL_UNAVAILABLE" || r.Error.Message != "the backend is down" || r.Error.Retry != "1m0s" || strings.Contains(fin.Result, "CANARY") {
		t.Errorf("got %+v", fin)
	}
	if len(w.reports) != 1 || !strings.Contains(w.reports[0].Error(), "CANARY") {
		t.Errorf("the operator reads %v", w.reports)
	}
}

func TestAPanicIsAFailedResultWithoutDetails(t *testing.T) {
	for name, fn := range map[string]func(){
		"panic":         func() { panic("CANARY") },
		"panic, inline": func() { panic("CANARY") },
		"nil map":       func() { map[string]int(nil)["CANARY"] = 1 },
		"goroutine":     runtime.Goexit,
	} {
		tool := raw("t", tools.Write, func(context.Context, json.RawMessage) (json.RawMessage, error) {
			fn()
			return nil, nil
		})
		tool.Inline = strings.HasSuffix(name, "inline")
		w := newWorld(t, options{tools: []tools.Tool{tool}})

		fin := w.finished(w.bob(), call("t", "{}"))

		if !fin.Failed || strings.Contains(fin.Result, "CANARY") || strings.Contains(fin.Result, "goroutine") {
			t.Errorf("%s: got %s", name, fin.Result)
		}
		if got := w.outcome().Outcome; got != policy.Failed || len(w.reports) != 1 {
			t.Errorf("%s: got outcome %s and %d reports, want failed and 1", name, got, len(w.reports))
		}
	}
}

// until is a tool that works for a time, or until its context ends.
func until(d time.Duration) func(context.Context, json.RawMessage) (json.RawMessage, error) {
	return func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		select {
		case <-time.After(d):
			return json.RawMessage(`"done"`), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// deaf is a tool that does not look at its context.
func deaf(d time.Duration) func(context.Context, json.RawMessage) (json.RawMessage, error) {
	return func(context.Context, json.RawMessage) (json.RawMessage, error) {
		<-time.After(d)
		return json.RawMessage(`"done"`), nil
	}
}

func TestCancellation(t *testing.T) {
	cause := errors.New("the person left")
	for name, tc := range map[string]struct {
		effect  tools.Effect
		fn      func(context.Context, json.RawMessage) (json.RawMessage, error)
		inline  bool // it need not be given up
		cancel  bool // after one second
		err     bool // the run ends with the cause
		reason  fault.Reason
		outcome string
		took    time.Duration
	}{
		"a read is cancelled":                        {tools.Read, until(20 * time.Second), false, true, true, "", policy.Cancelled, time.Second},
		"a read is cancelled, inline":                {tools.Read, until(20 * time.Second), true, true, true, "", policy.Cancelled, time.Second},
		"a deaf read is given up":                    {tools.Read, deaf(20 * time.Second), false, true, true, "", policy.Cancelled, 1250 * time.Millisecond},
		"a write goes on":                            {tools.Write, until(20 * time.Second), false, true, false, "", policy.Succeeded, 20 * time.Second},
		"a write goes on, inline":                    {tools.Write, until(20 * time.Second), true, true, false, "", policy.Succeeded, 20 * time.Second},
		"a deaf write goes on":                       {tools.Write, deaf(20 * time.Second), false, true, false, "", policy.Succeeded, 20 * time.Second},
		"a write has its deadline":                   {tools.Write, until(time.Hour), false, false, false, fault.OutcomeUnknown, policy.Unknown, 30 * time.Second},
		"a write has its deadline, inline":           {tools.Write, until(time.Hour), true, false, false, fault.OutcomeUnknown, policy.Unknown, 30 * time.Second},
		"a cancelled write has its deadline":         {tools.Write, until(time.Hour), false, true, false, fault.OutcomeUnknown, policy.Unknown, 30 * time.Second},
		"a cancelled write has its deadline, inline": {tools.Write, until(time.Hour), true, true, false, fault.OutcomeUnknown, policy.Unknown, 30 * time.Second},
		"a deaf write is given up":                   {tools.Write, deaf(time.Hour), false, false, false, fault.OutcomeUnknown, policy.Unknown, 30250 * time.Millisecond},
		"a read has its deadline":                    {tools.Read, until(time.Hour), false, false, false, fault.DeadlineExceeded, policy.Failed, time.Minute},
		"a read has its deadline, inline":            {tools.Read, until(time.Hour), true, false, false, fault.DeadlineExceeded, policy.Failed, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tool := raw("t", tc.effect, tc.fn)
				tool.Inline = tc.inline
				w := newWorld(t, options{tools: []tools.Tool{tool}})
				ctx, cancel := context.WithCancelCause(w.bob())
				defer cancel(nil)
				if tc.cancel {
					time.AfterFunc(time.Second, func() { cancel(cause) })
				}
				start := time.Now()

				events, err := w.do(ctx, call("t", "{}"))

				if took := time.Since(start); took != tc.took {
					t.Errorf("took %v, want %v", took, tc.took)
				}
				if tc.err != errors.Is(err, cause) || err != nil && !tc.err {
					t.Fatalf("got %v, want the cause: %v", err, tc.err)
				}
				if got := w.outcome().Outcome; got != tc.outcome {
					t.Errorf("got outcome %s, want %s", got, tc.outcome)
				}
				if !tc.err {
					fin := events[len(events)-1].Body.(agents.ToolCallFinished)
					if fin.Reason != string(tc.reason) || fin.Failed != (tc.reason != "") {
						t.Errorf("got %+v, want reason %q", fin, tc.reason)
					}
				}
				<-time.After(2 * time.Hour) // the deaf come home
			})
		})
	}
}

func TestAToolMayHaveATimeoutOfItsOwn(t *testing.T) {
	for _, c := range []struct {
		effect        tools.Effect
		timeout, took time.Duration
		reason        fault.Reason
	}{
		{tools.Read, time.Second, time.Second, fault.DeadlineExceeded},
		{tools.Read, time.Hour, 30 * time.Minute, ""},
		{tools.Write, time.Second, time.Second, fault.OutcomeUnknown},
		{tools.Write, time.Hour, 30 * time.Second, fault.OutcomeUnknown}, // nothing else ends it
	} {
		synctest.Test(t, func(t *testing.T) {
			tool := raw("t", c.effect, until(30*time.Minute))
			tool.Timeout = c.timeout
			w := newWorld(t, options{tools: []tools.Tool{tool}})
			start := time.Now()

			fin := w.finished(w.bob(), call("t", "{}"))

			if took := time.Since(start); fin.Reason != string(c.reason) || took != c.took {
				t.Errorf("a %s of %v: got reason %q after %v, want %q after %v", c.effect, c.timeout, fin.Reason, took, c.reason, c.took)
			}
		})
	}
}

func TestAWriteIsRecordedEvenIfTheConsumerIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{tools: []tools.Tool{raw("t", tools.Write, until(5*time.Second))}})
		ctx, cancel := context.WithCancel(w.bob())
		time.AfterFunc(time.Second, cancel)

		for ev, err := range w.gate.Call(ctx, call("t", "{}")) {
			if _, ok := ev.Body.(agents.ToolCallFinished); ok || err != nil {
				break
			}
		}

		if got := w.outcome().Outcome; got != policy.Succeeded {
			t.Errorf("got outcome %s, want succeeded", got)
		}
	})
}

func TestACancelledContextCallsNothing(t *testing.T) {
	w := newWorld(t, options{})
	ctx, cancel := context.WithCancel(w.bob())
	cancel()

	_, err := w.do(ctx, call("post", mine))

	if !errors.Is(err, context.Canceled) || w.effects() != 0 {
		t.Errorf("got %v and %d effects", err, w.effects())
	}

	w = newWorld(t, options{})
	ctx, cancel = context.WithCancel(w.bob())
	w.sink.before = func(*audit.Record) { cancel() } // while the decision is recorded

	_, err = w.do(ctx, call("post", mine))

	if !errors.Is(err, context.Canceled) || w.effects() != 0 || w.outcome().Outcome != policy.Cancelled {
		t.Errorf("got %v, %d effects and outcome %s", err, w.effects(), w.outcome().Outcome)
	}
}

func TestResume(t *testing.T) {
	for name, tc := range map[string]struct {
		tool     string
		crashed  string // where the first process died: "", decided, effect
		policies string // of the second process
		want     fault.Reason
		effects  int
		events   []string
	}{
		"a read is repeated":                     {"look", "effect", "", "", 2, []string{"finished"}},
		"an idempotent write is repeated":        {"put", "effect", "", "", 2, []string{"finished"}},
		"any other write is not":                 {"post", "effect", "", fault.OutcomeUnknown, 1, []string{"finished"}},
		"nor if it was only decided":             {"post", "decided", "", fault.OutcomeUnknown, 0, []string{"finished"}},
		"what was not decided is made":           {"post", "", "", "", 1, []string{"finished"}},
		"a repeated write that is denied now":    {"put", "effect", `@id("no") forbid (principal, action, resource);`, fault.OutcomeUnknown, 1, []string{"deny", "finished"}},
		"a repeated read that is denied now":     {"look", "effect", `@id("no") forbid (principal, action, resource);`, fault.PolicyDenied, 1, []string{"deny", "finished"}},
		"what was denied is denied without echo": {"post", "", `@id("no") forbid (principal, action, resource);`, fault.PolicyDenied, 0, []string{"finished"}},
		"a tool that is gone":                    {"gone", "effect", "", fault.OutcomeUnknown, 0, []string{"finished"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, options{})
			w.crash(tc.tool, tc.crashed)
			w.load(permitAll + tc.policies)
			c := call(tc.tool, mine)
			c.Resumed = true

			events, err := w.do(w.bob(), c)
			if err != nil {
				t.Fatal(err)
			}
			var kinds []string
			for _, ev := range events {
				switch b := ev.Body.(type) {
				case agents.ToolCallDecided:
					kinds = append(kinds, string(b.Decision))
				case agents.ToolCallFinished:
					kinds = append(kinds, "finished")
				}
			}
			fin := events[len(events)-1].Body.(agents.ToolCallFinished)
			if fault.Reason(fin.Reason) != tc.want || w.effects() != tc.effects || !slices.Equal(kinds, tc.events) {
				t.Errorf("got %q, %d effects, %q; want %q, %d, %q", fin.Reason, w.effects(), kinds, tc.want, tc.effects, tc.events)
			}
			last := w.log.Records()[len(w.log.Records())-1]
			if tc.want == fault.OutcomeUnknown && tc.policies == "" && (last.Decision != audit.Deny || last.Reason != "OUTCOME_UNKNOWN") {
				t.Errorf("the last row is %+v, want that the repetition was refused", last)
			}
		})
	}
}

// crash leaves behind what a process leaves that dies in the middle of a call.
func (w *world) crash(tool, at string) {
	if at == "" {
		return
	}
	err := w.log.Append(audit.Entry{Record: &audit.Record{
		Tenant: "acme", CallID: "run_1/7", Phase: audit.Decision, Decision: audit.Allow, Action: "call_tool", Tool: tool, Time: 1,
	}}).Wait(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	if at == "effect" && tool != "gone" {
		w.trace.add("effect of the first process")
	}
}

func TestResumeStopsWhenTheJournalCannotAnswer(t *testing.T) {
	w := newWorld(t, options{})
	g, err := tools.NewGate(tools.GateConfig{Registry: w.registry, Guard: w.guard, Journal: mute{}, Agent: "support", Tools: []string{"put"}, Clock: func() time.Time { return w.now }})
	if err != nil {
		t.Fatal(err)
	}
	c := call("put", mine)
	c.Resumed = true

	for _, err := range g.Call(w.bob(), c) {
		if !errors.Is(err, fault.AuditUnavailable) {
			t.Errorf("got %v, want AUDIT_UNAVAILABLE", err)
		}
	}
	if w.effects() != 0 {
		t.Error("the tool was called")
	}
}

type mute struct{}

func (mute) CallDecision(context.Context, string, string) (decided, finished bool, err error) {
	return false, false, errors.New("no answer")
}
