package agents_test

import (
	"context"
	"fmt"
	"iter"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/agentstest"
	"github.com/behalf-dev/behalf/agents/team"
)

// instant is a toolbox whose calls are allowed and succeed at once.
type instant struct{}

func (instant) Shown(_ context.Context, c agents.CallRequest) string { return c.Arguments }

func (instant) Specs(context.Context) iter.Seq2[agents.Spec, error] {
	return func(yield func(agents.Spec, error) bool) { yield(agents.Spec{Name: "lookup"}, nil) }
}

func (instant) Call(context.Context, agents.ToolCall) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		if yield(agents.Event{Body: agents.ToolCallDecided{Decision: agents.Allowed}}, nil) {
			yield(agents.Event{Body: agents.ToolCallFinished{Result: "1"}}, nil)
		}
	}
}

// history is a session with n messages.
func history(n int) []agents.Event {
	t := agents.NewTranscript()
	for i := range n / 2 {
		agentstest.Start(t, fmt.Sprintf("run%d", i), "support", "Is it so?", agents.Limits{})
		agentstest.Commit(t, agents.Event{Source: "support", Body: agents.TurnStarted{Turn: 1}})
		agentstest.Commit(t, agents.Event{Source: "support", Body: agents.Message{Role: agents.RoleAssistant, Text: "Yes."}})
		agentstest.Commit(t, agents.Event{Source: "support", Body: agents.RunFinished{StopReason: agents.StopCompleted}})
	}
	return t.Since(0)
}

// drain plays one run without looking at it.
func drain(b *testing.B, ctx context.Context, d *team.Desk, t *agents.Transcript) {
	for ev, err := range d.Run(ctx, t) {
		if err != nil {
			b.Fatal(err)
		}
		if !ev.Live() {
			t.Stamp(&ev)
			t.Append(ev)
		}
	}
}

// BenchmarkRun is a run in a session that stays in memory: an answer, or a tool
// call and an answer.
func BenchmarkRun(b *testing.B) {
	for name, model := range map[string]agentstest.Terse{"answer": {}, "tool": {Tool: true}} {
		for _, n := range []int{10, 1000, 10_000} {
			b.Run(fmt.Sprintf("%s/messages=%d", name, n), func(b *testing.B) {
				d := agentstest.Support(b, agents.AssistantConfig{Model: model, Toolbox: instant{}})
				ctx := agentstest.Context(b.Context())
				stored := history(n)
				t := warm(b, ctx, d, stored)
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if i%1000 == 999 { // or the growing session is what is measured
						b.StopTimer()
						t = warm(b, ctx, d, stored)
						b.StartTimer()
					}
					agentstest.Start(t, "run", "support", "Is it so?", agents.Limits{})
					drain(b, ctx, d, t)
				}
			})
		}
	}
}

// warm is a session that was folded once.
func warm(b *testing.B, ctx context.Context, d *team.Desk, stored []agents.Event) *agents.Transcript {
	t := agents.NewTranscript(stored...)
	agentstest.Start(t, "warm", "support", "Is it so?", agents.Limits{})
	drain(b, ctx, d, t)
	return t
}

// BenchmarkTakeOver is the first run of a process that found a stored session.
func BenchmarkTakeOver(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprintf("messages=%d", n), func(b *testing.B) {
			d := agentstest.Support(b, agents.AssistantConfig{Model: agentstest.Terse{}})
			ctx := agentstest.Context(b.Context())
			stored := history(n)
			b.ReportAllocs()
			for b.Loop() {
				t := agents.NewTranscript(stored...)
				agentstest.Start(t, "run", "support", "Is it so?", agents.Limits{})
				drain(b, ctx, d, t)
			}
		})
	}
}

// BenchmarkDelta is one live delta on its way from the model to the consumer.
func BenchmarkDelta(b *testing.B) {
	const deltas = 1000
	d := agentstest.Support(b, agents.AssistantConfig{Model: chatty(deltas)})
	ctx := agentstest.Context(b.Context())
	t := agents.NewTranscript()
	b.ReportAllocs()
	for b.Loop() {
		agentstest.Start(t, "run", "support", "Tell me.", agents.Limits{})
		drain(b, ctx, d, t)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*deltas), "ns/delta")
}

// chatty answers in so many chunks.
type chatty int

func (m chatty) Generate(context.Context, *agents.Prompt) iter.Seq2[agents.Chunk, error] {
	return func(yield func(agents.Chunk, error) bool) {
		for range int(m) {
			if !yield(agents.Chunk{Text: "word "}, nil) {
				return
			}
		}
		yield(agents.Chunk{Done: &agents.Reply{}}, nil)
	}
}
