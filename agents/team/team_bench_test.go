package team_test

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/agentstest"
	"github.com/behalf-dev/behalf/agents/team"
)

// benchTeam is a team of three assistants that answer with one word.
func benchTeam(b *testing.B, kind string, turns int) *team.Team {
	b.Helper()
	cfg := team.Config{
		Name: "desk", MaxTurns: turns,
		Until: team.Any{team.TextMention{Text: "TERMINATE"}, team.MaxMessages{N: 1_000_000, Events: true}},
	}
	for _, name := range []string{"a", "b", "c"} {
		a, err := agents.NewAssistant(agents.AssistantConfig{Name: name, Model: agentstest.Terse{}, Handoffs: []agents.Handoff{{To: "d"}}})
		if err != nil {
			b.Fatal(err)
		}
		cfg.Participants = append(cfg.Participants, team.Member{Agent: a})
	}
	chat, err := team.NewRoundRobin(cfg)
	switch kind {
	case "swarm":
		chat, err = team.NewSwarm(cfg)
	case "selector":
		next := map[string]string{"user": "a", "a": "b", "b": "c", "c": "a"}
		chat, err = team.NewSelector(team.SelectorConfig{Config: cfg, Model: agentstest.Terse{}, Choose: func(_ context.Context, said []agents.Event) (string, error) {
			return next[said[len(said)-1].Source], nil
		}})
	case "graph":
		chat, err = team.NewGraph(team.GraphConfig{Config: cfg, Entry: []string{"a"}, Edges: []team.Edge{
			{From: "a", To: "b"}, {From: "b", To: "a", If: "Yes"}, {From: "b", To: "c", If: "No"},
		}})
	case "magentic":
		chat, err = team.NewMagentic(team.MagenticConfig{Config: cfg, Model: content{}})
	}
	if err != nil {
		b.Fatal(err)
	}
	return chat
}

// content is an orchestrator's model that finds all well and goes on.
type content struct{}

func (content) Generate(_ context.Context, p *agents.Prompt) iter.Seq2[agents.Chunk, error] {
	return func(yield func(agents.Chunk, error) bool) {
		text := "Go on."
		if strings.Contains(p.Messages[len(p.Messages)-1].Text, "is_in_loop") {
			text = `{"is_request_satisfied":{"reason":"no","answer":false},"is_in_loop":{"reason":"no","answer":false},"is_progress_being_made":{"reason":"yes","answer":true},"next_speaker":{"reason":"it is their turn","answer":"a"},"instruction_or_question":{"reason":"it is due","answer":"Is it so?"}}`
		}
		if yield(agents.Chunk{Text: text}, nil) {
			yield(agents.Chunk{Done: &agents.Reply{}}, nil)
		}
	}
}

// BenchmarkTeamTurn is one participant's turn in a chat that stays in memory and
// begins with so many messages. In a magentic team it is three: the ledger, the
// instruction, and what the participant says to it.
func BenchmarkTeamTurn(b *testing.B) {
	const turns = 1000 // in one run, and until the chat starts again
	for _, kind := range []string{"round_robin", "selector", "swarm", "graph", "magentic"} {
		for _, n := range []int{10, 1000, 10_000} {
			b.Run(fmt.Sprintf("%s/messages=%d", kind, n), func(b *testing.B) {
				chat := benchTeam(b, kind, turns)
				ctx := agentstest.Context(b.Context())
				stored := teamHistory(b, ctx, chat, n)
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					t := agents.NewTranscript(stored...)
					playTeam(b, ctx, chat, t, 3) // each participant folds the stored part
					agentstest.Start(t, "run", "desk", "Is it so?", agents.Limits{MaxTurns: turns})
					b.StartTimer()
					drainTeam(b, ctx, chat, t, nil)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*turns), "ns/turn")
			})
		}
	}
}

// BenchmarkTeamTakeOver is the first turn of each participant in a process that found a stored chat.
func BenchmarkTeamTakeOver(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("messages=%d", n), func(b *testing.B) {
			chat := benchTeam(b, "round_robin", 1000)
			ctx := agentstest.Context(b.Context())
			stored := teamHistory(b, ctx, chat, n)
			for b.Loop() {
				playTeam(b, ctx, chat, agents.NewTranscript(stored...), 3)
			}
		})
	}
}

// teamHistory is what was stored of so many turns, a thousand in a run.
func teamHistory(b *testing.B, ctx context.Context, chat *team.Team, turns int) []agents.Event {
	t := agents.NewTranscript()
	var stored []agents.Event
	for ; turns > 0; turns -= 1000 {
		stored = append(stored, playTeam(b, ctx, chat, t, min(turns, 1000))...)
	}
	return stored
}

func playTeam(b *testing.B, ctx context.Context, chat *team.Team, t *agents.Transcript, turns int) []agents.Event {
	before := t.Len()
	agentstest.Start(t, "run", "desk", "Is it so?", agents.Limits{MaxTurns: turns})
	stored := append([]agents.Event(nil), t.Since(before)...)
	drainTeam(b, ctx, chat, t, &stored)
	return stored
}

// drainTeam plays one run, and keeps what it stores if into is set.
func drainTeam(b *testing.B, ctx context.Context, chat *team.Team, t *agents.Transcript, into *[]agents.Event) {
	for ev, err := range chat.Run(ctx, t) {
		if err != nil {
			b.Fatal(err)
		}
		if ev.Live() {
			continue
		}
		t.Stamp(&ev)
		t.Append(ev)
		if into != nil {
			*into = append(*into, ev)
		}
	}
}
