package tools_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/team"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/tools"
)

// script is what a scripted agent does.
type script = func(ctx context.Context, t *agents.Transcript, yield func(agents.Event, error) bool)

// scripted is an agent that yields what its script says for the transcript.
type scripted struct {
	name   string
	script script
}

func (s *scripted) Name() string { return s.name }

func (s *scripted) Run(ctx context.Context, t *agents.Transcript) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) { s.script(ctx, t, yield) }
}

// answers is a script that answers, after what comes before.
func answers(w *world, text string) script {
	return func(ctx context.Context, _ *agents.Transcript, yield func(agents.Event, error) bool) {
		g, _ := identity.FromContext(ctx)
		w.trace.add("effect researcher as " + strings.Join(g.Chain(), ">"))
		m := agents.Message{Role: agents.RoleAssistant, Text: text}
		if yield(agents.Event{Body: m}, nil) {
			yield(agents.Event{Body: agents.RunFinished{StopReason: agents.StopCompleted, Output: text}}, nil)
		}
	}
}

// crew is a world with an agent behind the tool ask_researcher, and a transcript
// that what the consumer sees is appended to.
type crew struct {
	*world
	box *team.AgentTools
	t   *agents.Transcript
}

func newCrew(t *testing.T, o options, does func(w *world) script) *crew {
	t.Helper()
	o.tools = append(o.tools, tools.Nested("ask_researcher", "Finds things out."))
	c := &crew{world: newWorld(t, o), t: agents.NewTranscript()}
	c.commit(agents.Event{RunID: "run_1", Body: agents.RunStarted{Target: "support"}})
	box, err := team.AsTools(c.gate, c.gate.Govern, team.AgentTool{
		Name: "ask_researcher", LastOnly: true, Agent: &scripted{"researcher", does(c.world)},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.box = box
	return c
}

func (c *crew) commit(ev agents.Event) {
	c.t.Stamp(&ev)
	c.t.Append(ev)
}

func (c *crew) asks(args string) agents.ToolCall {
	out := call("ask_researcher", args)
	out.Thread, out.Transcript = "", c.t
	return out
}

// makes ranges over a call and commits what it yields; until says where to break.
func (c *crew) makes(ctx context.Context, tc agents.ToolCall, until func(agents.Event) bool) (last agents.Event, err error) {
	for ev, err := range c.box.Call(ctx, tc) {
		if err != nil {
			return last, err
		}
		if d, ok := ev.Body.(agents.ToolCallDecided); ok {
			c.trace.add("decided " + string(d.Decision))
		}
		c.commit(ev)
		if last = ev; until != nil && until(ev) {
			break
		}
	}
	return last, nil
}

const findOut = `{"task":"find out"}`

func TestAnAgentIsATool(t *testing.T) {
	c := newCrew(t, options{}, func(w *world) script {
		return answers(w, "42")
	})

	last, err := c.makes(c.bob(), c.asks(findOut), nil)
	if err != nil {
		t.Fatal(err)
	}
	fin, ok := last.Body.(agents.ToolCallFinished)
	if !ok || fin.Failed || fin.Result != `"42"` || last.CallID != "run_1/7" || last.Source != "support" {
		t.Errorf("got %+v, want the agent's answer as the call's result", last)
	}
	want := []string{"row decision allow", "decided allow", "effect researcher as support>researcher", "row outcome succeeded"}
	if got := c.trace.all(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	rows := c.log.Records()
	if r := rows[0]; r.Tool != "ask_researcher" || r.Action != "call_tool" || r.RedactedArguments != findOut {
		t.Errorf("decision row: %+v", r)
	}
	if want := c.guard.Digest("acme", []byte(fin.Result)); rows[1].ResultDigest != want {
		t.Errorf("result digest: got %q, want %q", rows[1].ResultDigest, want)
	}
	if n := c.t.Sub("/+ask_researcher").Len(); n != 4 {
		t.Errorf("got %d events in the nested thread, want 4: started, task, answer, finished", n)
	}
}

func TestASecondCallOfTheSameReplyHasAThreadOfItsOwn(t *testing.T) {
	c := newCrew(t, options{}, func(w *world) script {
		return answers(w, "42")
	})
	second := c.asks(findOut)
	second.Ordinal = 1

	if _, err := c.makes(c.bob(), second, nil); err != nil {
		t.Fatal(err)
	}

	if n := c.t.Sub("run_1/7").Len(); n != 4 {
		t.Errorf("got %d events in the call's own thread, want 4: the ordinal did not arrive", n)
	}
}

func TestAnAgentThatMayNotBeCalledDoesNotAct(t *testing.T) {
	for name, tc := range map[string]struct {
		policies, args string
		refs           []string
		want           fault.Reason
	}{
		"policy":        {`@id("no") forbid (principal, action == Action::"call_tool", resource == Tool::"ask_researcher");`, findOut, nil, fault.PolicyDenied},
		"by argument":   {`@id("no") forbid (principal, action == Action::"call_tool", resource == Tool::"ask_researcher") when { context.args.task like "find*" };`, findOut, nil, fault.PolicyDenied},
		"not its tool":  {"", findOut, []string{"look"}, fault.ToolUnknown},
		"no task":       {"", `{}`, nil, fault.ArgumentInvalid},
		"too much":      {"", `{"task":"x","as":"root"}`, nil, fault.ArgumentInvalid},
		"redacted task": {`@id("r") @redact("args:$.task") forbid (principal, action == Action::"call_tool", resource == Tool::"ask_researcher");`, findOut, nil, fault.PolicyError},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCrew(t, options{policies: tc.policies, refs: tc.refs}, func(w *world) script {
				return answers(w, "42")
			})

			last, err := c.makes(c.bob(), c.asks(tc.args), nil)

			fin, ok := last.Body.(agents.ToolCallFinished)
			if err != nil || !ok || !fin.Failed || fault.Reason(fin.Reason) != tc.want || c.effects() != 0 {
				t.Errorf("got %+v, %v and %d effects, want %s and none", last.Body, err, c.effects(), tc.want)
			}
		})
	}
}

// pauses asks a person first, and answers once they did.
func pauses(w *world) script {
	return func(ctx context.Context, t *agents.Transcript, yield func(agents.Event, error) bool) {
		asked, answered := false, false
		for _, ev := range t.Since(0) {
			switch ev.Body.(type) {
			case agents.InputRequested:
				asked = true
			case agents.InputReceived:
				answered = true
			}
		}
		switch {
		case answered:
			answers(w, "yes")(ctx, t, yield)
		case !asked:
			yield(agents.Event{Body: agents.InputRequested{InputRequestID: "i1"}}, nil)
		}
	}
}

func TestACallThatWaitedReachesTheAgentAgain(t *testing.T) {
	c := newCrew(t, options{}, pauses)

	last, err := c.makes(c.bob(), c.asks(findOut), nil)
	if _, waits := last.Body.(agents.InputRequested); !waits || err != nil {
		t.Fatalf("got %+v, %v, want the pause and nothing after it", last.Body, err)
	}
	again := c.asks(findOut)
	again.Resumed = true
	if last, err := c.makes(c.bob(), again, nil); last.Body != nil || err != nil {
		t.Fatalf("got %+v, %v, want nothing: it still waits", last.Body, err)
	}
	c.commit(agents.Event{Thread: "/+ask_researcher", Body: agents.InputReceived{InputRequestID: "i1", Text: "go on"}})
	last, err = c.makes(c.bob(), again, nil)

	if fin, ok := last.Body.(agents.ToolCallFinished); !ok || fin.Failed || err != nil {
		t.Errorf("got %+v, %v, want the answer", last.Body, err)
	}
	want := []string{
		"row decision allow", "decided allow", "row outcome cancelled",
		"row decision allow", "row outcome cancelled",
		"row decision allow", "effect researcher as support>researcher", "row outcome succeeded",
	}
	if got := c.trace.all(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPolicyIsAskedAgainWhenACallIsResumed(t *testing.T) {
	c := newCrew(t, options{}, pauses)
	if _, err := c.makes(c.bob(), c.asks(findOut), nil); err != nil {
		t.Fatal(err)
	}
	c.commit(agents.Event{Thread: "/+ask_researcher", Body: agents.InputReceived{InputRequestID: "i1", Text: "go on"}})
	c.load(permitAll + `@id("no") forbid (principal, action, resource == Tool::"ask_researcher");`)
	again := c.asks(findOut)
	again.Resumed = true

	last, err := c.makes(c.bob(), again, nil)

	fin, ok := last.Body.(agents.ToolCallFinished)
	if err != nil || !ok || fin.Reason != string(fault.PolicyDenied) || c.effects() != 0 {
		t.Errorf("got %+v, %v and %d effects, want POLICY_DENIED and none", last.Body, err, c.effects())
	}
}

func TestHowAnAgentEndsIsOnRecord(t *testing.T) {
	for name, tc := range map[string]struct {
		script script
		until  func(agents.Event) bool
		want   string
		err    bool
	}{
		"fails": {script: func(_ context.Context, _ *agents.Transcript, yield func(agents.Event, error) bool) {
			yield(agents.Event{}, errors.New("no model"))
		}, want: "row outcome failed"},
		"consumer gone": {
			script: func(_ context.Context, _ *agents.Transcript, yield func(agents.Event, error) bool) {
				yield(agents.Event{Body: agents.TurnStarted{Turn: 1}}, nil)
			},
			until: func(ev agents.Event) bool { _, ok := ev.Body.(agents.TurnStarted); return ok }, want: "row outcome cancelled",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCrew(t, options{}, func(*world) script { return tc.script })

			_, err := c.makes(c.bob(), c.asks(findOut), tc.until)

			got := c.trace.all()
			if last := got[len(got)-1]; last != tc.want || (err != nil) != tc.err {
				t.Errorf("got %q and %v, want %q last", got, err, tc.want)
			}
		})
	}
}

func TestACancelledContextEndsTheRun(t *testing.T) {
	cause := errors.New("the person left")
	var cancel context.CancelCauseFunc
	c := newCrew(t, options{}, func(*world) script {
		return func(ctx context.Context, _ *agents.Transcript, yield func(agents.Event, error) bool) {
			cancel(cause)
			yield(agents.Event{}, context.Cause(ctx))
		}
	})
	ctx, stop := context.WithCancelCause(c.bob())
	cancel = stop

	_, err := c.makes(ctx, c.asks(findOut), nil)

	if got := c.trace.all(); !errors.Is(err, cause) || got[len(got)-1] != "row outcome cancelled" {
		t.Errorf("got %v after %q, want the cause and a recorded outcome", err, got)
	}
}

func TestAnAgentsAnswerIsRedacted(t *testing.T) {
	c := newCrew(t, options{policies: `@id("r") @redact("result:$.note") forbid (principal, action == Action::"call_tool", resource == Tool::"ask_researcher");`},
		func(w *world) script {
			return answers(w, "the secret")
		})

	last, err := c.makes(c.bob(), c.asks(findOut), nil)

	if fin, ok := last.Body.(agents.ToolCallFinished); err != nil || !ok || strings.Contains(fin.Result, "secret") {
		t.Errorf("got %+v, %v, want no secret", last.Body, err)
	}
}

func TestAnAgentIsNoToolWithoutAnAgent(t *testing.T) {
	c := newCrew(t, options{}, func(w *world) script {
		return answers(w, "42")
	})
	direct := c.newGate("", c.registry.Names(), tools.Limits{})

	for spec, err := range direct.Specs(c.bob()) {
		if err != nil || spec.Name == "ask_researcher" {
			t.Errorf("got %v, %v: the tool is offered for direct calls", spec.Name, err)
		}
	}
	if _, err := direct.Direct(c.bob(), call("ask_researcher", findOut)); !errors.Is(err, fault.ToolUnknown) {
		t.Errorf("direct: got %v, want TOOL_UNKNOWN", err)
	}
	if fin := c.finished(c.bob(), call("ask_researcher", findOut)); fin.Reason != string(fault.ToolUnknown) {
		t.Errorf("without Govern: got %+v, want TOOL_UNKNOWN", fin)
	}
}
