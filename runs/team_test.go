package runs_test

import (
	"context"
	"iter"
	"slices"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/team"
	"github.com/behalf-dev/behalf/runs"
	"github.com/google/go-cmp/cmp"
)

// member is a participant that says its name. One that hangs begins, and does not
// come to an end before it is cut.
type member struct {
	name  string
	hangs func() bool
}

func (m member) Name() string { return m.name }

func (m member) Run(ctx context.Context, _ *agents.Transcript) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		if m.hangs != nil && m.hangs() {
			if yield(agents.Event{MessageID: "m-" + m.name, Body: agents.TextDelta{Text: "hm"}}, nil) {
				<-ctx.Done()
				yield(agents.Event{}, context.Cause(ctx))
			}
			return
		}
		say(yield, agents.Event{MessageID: "m-" + m.name, Body: agents.Message{Role: agents.RoleAssistant, Text: m.name}},
			agents.Event{Body: agents.RunFinished{StopReason: agents.StopCompleted, Output: m.name}})
	}
}

// TestAGraphThatWasCancelledInATurnTakesItUpAgain holds a team to what the engine
// writes when it ends a run: not the team has ended it, and who was cut off has
// still to speak.
func TestAGraphThatWasCancelledInATurnTakesItUpAgain(t *testing.T) {
	eachLog(t, func(t *testing.T, log runs.Log) {
		first := true
		hangs := func() bool { defer func() { first = false }(); return first }
		chat, err := team.NewGraph(team.GraphConfig{
			Config: team.Config{Name: "support", Participants: []team.Member{{Agent: member{name: "a"}}, {Agent: member{"b", hangs}}, {Agent: member{name: "c"}}}},
			Edges:  []team.Edge{{From: "a", To: "b"}, {From: "b", To: "c"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		d := newDesk(t, log, chat)
		run := d.start(t, ana(t), "")
		for e := range run.Events(t.Context()) {
			if e.Live() {
				break
			}
		}
		again := d.start(t, ana(t), run.SessionID)

		events, err := collect(again.Events(t.Context()))
		if err != nil {
			t.Fatal(err)
		}

		var spoke [][]string
		for _, e := range events {
			if s, ok := e.Body.(agents.SpeakerSelected); ok && e.Thread == "" {
				spoke = append(spoke, s.Speakers)
			}
		}
		if diff := cmp.Diff([][]string{{"b"}, {"c"}}, spoke); diff != "" {
			t.Errorf("speakers after the cancel (-want +got):\n%s", diff)
		}
	})
}

func TestTheEndSaysWhatAllThreadsUsed(t *testing.T) {
	one := agents.Usage{PromptTokens: 1, CompletionTokens: 10, ModelCalls: 1}
	used := func(thread string, body agents.Body) agents.Event {
		return agents.Event{Source: "support", Thread: thread, Body: body}
	}
	inside := []agents.Event{
		used("", agents.PlanUpdated{Plan: "ask", Usage: one}),
		used("", agents.SpeakerSelected{Speakers: []string{"a"}, Usage: one}),
		used("/a", agents.Message{Role: agents.RoleAssistant, Text: "yes", Usage: one}),
		used("/a/+t", agents.Message{Role: agents.RoleAssistant, Text: "so", Usage: one}),
		used("/a", agents.RunFinished{StopReason: agents.StopCompleted, Usage: one}),
	}
	want := agents.Usage{PromptTokens: 4, CompletionTokens: 40, ModelCalls: 4}
	for how, last := range map[string][]agents.Event{
		"by the agent":  {used("", agents.RunFinished{StopReason: agents.StopCompleted, Usage: one})},
		"by the engine": nil,
	} {
		d := newDesk(t, runs.NewMemory(), script(func(_ context.Context, _ *agents.Transcript, yield func(agents.Event, error) bool) {
			say(yield, slices.Concat(inside, last)...)
		}))

		events, _ := collect(d.start(t, ana(t), "").Events(t.Context())) // the engine ends what does not end

		if got := end(t, events).Usage; got != want {
			t.Errorf("ended %s: got %+v, want %+v", how, got, want)
		}
	}
}
