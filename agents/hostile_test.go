package agents_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/agentstest"
	"github.com/behalf-dev/behalf/fault"
)

func TestOversizedArgumentsAreCutAndRefused(t *testing.T) {
	huge := strings.Repeat("ä", 1<<20)
	script := agentstest.Replies(
		agentstest.Reply{Calls: []agents.CallRequest{{ID: huge, Tool: huge, Arguments: huge}, {ID: "c2", Tool: "lookup", Arguments: huge}}},
		agentstest.Reply{Text: "Sorry."})
	tr := agentstest.Opened()
	desk := agentstest.Support(t, agents.AssistantConfig{Model: script, Toolbox: agentstest.NewToolbox(tr, agentstest.Tool{Name: "lookup", Result: "1"})})

	events, err := agentstest.Run(agentstest.Context(t.Context()), t, desk, tr)

	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for _, e := range events {
		if f, ok := e.Body.(agents.ToolCallFinished); ok && f.Failed && f.Reason == string(fault.ArgumentInvalid) {
			failed++
		}
		if r, ok := e.Body.(agents.ToolCallRequested); ok && len(r.Arguments) > 70<<10 {
			t.Errorf("got %d stored bytes, want about 64 KiB", len(r.Arguments))
		}
	}
	if failed != 2 {
		t.Errorf("got %d refused calls, want 2", failed)
	}
	if got := script.Prompts()[1].Messages[1].Calls[1].Arguments; got != "{}" {
		t.Errorf("got %d bytes in the next prompt, want {}", len(got))
	}
}

func TestEndlessReplyIsCut(t *testing.T) {
	for name, cfg := range map[string]agents.AssistantConfig{
		"bytes":  {MaxReplyBytes: 10},
		"chunks": {MaxReplyChunks: 2},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Model = agentstest.Replies(agentstest.Reply{Text: "one two three four"})
			tr := agentstest.Opened()

			events, err := agentstest.Run(agentstest.Context(t.Context()), t, agentstest.Support(t, cfg), tr)

			if !errors.Is(err, fault.ModelUnavailable) {
				t.Errorf("got %v, want MODEL_UNAVAILABLE", err)
			}
			m, ok := events[len(events)-1].Body.(agents.Message)
			if !ok || !m.Incomplete || m.Text != "one two " {
				t.Errorf("got %+v, want the incomplete beginning", events[len(events)-1].Body)
			}
		})
	}
}

func TestAssistantRefusesToRunUnderAnotherIdentity(t *testing.T) {
	a, err := agents.NewAssistant(agents.AssistantConfig{Name: "support", Model: agentstest.Replies()})
	if err != nil {
		t.Fatal(err)
	}
	for name, ctx := range map[string]context.Context{
		"none":         t.Context(),
		"the person's": agentstest.Context(t.Context(), "a"),
	} {
		t.Run(name, func(t *testing.T) {
			events, err := agentstest.Run(ctx, t, a, agentstest.Opened())

			if err == nil || len(events) > 0 {
				t.Errorf("got %d events, %v; want only an error", len(events), err)
			}
		})
	}
}

func TestConsumerThatDoesNotCommitGetsAnError(t *testing.T) {
	tr := agentstest.Opened()
	var last error
	n := 0
	for _, err := range agentstest.Support(t, agents.AssistantConfig{Model: agentstest.Replies()}).Run(agentstest.Context(t.Context()), tr) {
		last = err
		n++
	}
	if n != 2 || last == nil {
		t.Errorf("got %d items, last error %v; want an event and an error", n, last)
	}
}

// mute is a toolbox that says nothing of its calls.
type mute struct{}

func (mute) Shown(_ context.Context, c agents.CallRequest) string { return c.Arguments }

func (mute) Specs(context.Context) iter.Seq2[agents.Spec, error] {
	return func(func(agents.Spec, error) bool) {}
}

func (mute) Call(context.Context, agents.ToolCall) iter.Seq2[agents.Event, error] {
	return func(func(agents.Event, error) bool) {}
}

func TestCallWithoutResultIsAnError(t *testing.T) {
	script := agentstest.Replies(agentstest.Reply{Calls: []agents.CallRequest{{ID: "c1", Tool: "x"}}})
	desk := agentstest.Support(t, agents.AssistantConfig{Model: script, Toolbox: mute{}})

	_, err := agentstest.Run(agentstest.Context(t.Context()), t, desk, agentstest.Opened())

	if !errors.Is(err, fault.Internal) {
		t.Errorf("got %v, want INTERNAL", err)
	}
}

func TestAssistantWithoutToolboxRefusesCalls(t *testing.T) {
	script := agentstest.Replies(agentstest.Reply{Calls: []agents.CallRequest{{ID: "c1", Tool: "x"}}}, agentstest.Reply{Text: "No."})
	tr := agentstest.Opened()

	if _, err := agentstest.Run(agentstest.Context(t.Context()), t, agentstest.Support(t, agents.AssistantConfig{Model: script}), tr); err != nil {
		t.Fatal(err)
	}

	got := agentstest.Format(tr.Since(0))
	if !strings.Contains(got, "TOOL_UNKNOWN") || !strings.Contains(got, "finished completed") {
		t.Errorf("got\n%s", got)
	}
}

func TestBrokenToolEndsTheRunAfterTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := agentstest.Opened()
		box := agentstest.NewToolbox(tr,
			agentstest.Tool{Name: "broken", Err: errors.New("audit is gone")},
			agentstest.Tool{Name: "write", Result: "1", Delay: time.Second, Stubborn: true})
		script := agentstest.Replies(agentstest.Reply{Calls: []agents.CallRequest{{ID: "c1", Tool: "broken"}, {ID: "c2", Tool: "write"}}})

		_, err := agentstest.Run(agentstest.Context(t.Context()), t, agentstest.Support(t, agents.AssistantConfig{Model: script, Toolbox: box}), tr)

		if err == nil || !strings.Contains(err.Error(), "audit is gone") {
			t.Errorf("got %v, want the tool's error", err)
		}
		if last := tr.Since(0)[tr.Len()-1]; last.Body != (agents.ToolCallFinished{Result: "1"}) {
			t.Errorf("got %+v last, want the result of the write", last.Body)
		}
	})
}

func TestCancelReturnsAtOnceWithItsCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		locked := errors.New("locked")
		ctx, cancel := context.WithCancelCause(agentstest.Context(t.Context()))
		time.AfterFunc(time.Minute, func() { cancel(locked) })
		began := time.Now()

		_, err := agentstest.Run(ctx, t, agentstest.Support(t, agents.AssistantConfig{Model: agentstest.Replies(agentstest.Reply{Hang: true})}), agentstest.Opened())

		if !errors.Is(err, locked) || time.Since(began) != time.Minute {
			t.Errorf("got %v after %v, want the cause after a minute", err, time.Since(began))
		}
	})
}

func TestNewAssistantReportsAllProblems(t *testing.T) {
	_, err := agents.NewAssistant(agents.AssistantConfig{
		Name: "user", MaxTurns: 1001, ParallelCalls: -1,
		Handoffs: []agents.Handoff{{To: "b"}, {To: "B"}, {}},
	})
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{"name", "model", "max turns", "positive", "transfer_to_b", "another agent"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

// TestARunMakes128CallsAndNoMore asks for more in one reply.
func TestARunMakes128CallsAndNoMore(t *testing.T) {
	var calls []agents.CallRequest
	for i := range 200 {
		calls = append(calls, agents.CallRequest{ID: fmt.Sprint("c", i), Tool: "lookup", Arguments: "{}"})
	}
	tr := agentstest.Opened()
	desk := agentstest.Support(t, agents.AssistantConfig{
		Model: agentstest.Replies(agentstest.Reply{Calls: calls}, agentstest.Reply{Text: "Enough."}), Toolbox: agentstest.NewToolbox(tr, agentstest.Tool{Name: "lookup", Result: "1"}),
	})

	events, err := agentstest.Run(agentstest.Context(t.Context()), t, desk, tr)

	if err != nil {
		t.Fatal(err)
	}
	made, refused := 0, 0
	for _, e := range events {
		if f, ok := e.Body.(agents.ToolCallFinished); ok && !f.Failed {
			made++
		} else if ok && f.Reason == string(fault.BudgetExhausted) {
			refused++
		}
	}
	if made != 128 || refused == 0 {
		t.Errorf("got %d calls and %d refused, want 128 and the rest refused", made, refused)
	}
}
