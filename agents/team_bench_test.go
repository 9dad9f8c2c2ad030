package agents_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/agentstest"
)

// benchTeam is a team of three assistants that answer with one word.
func benchTeam(b *testing.B, kind string, turns int) *agents.Team {
	b.Helper()
	cfg := agents.TeamConfig{
		Name: "desk", MaxTurns: turns,
		Until: agents.Any{agents.TextMention{Text: "TERMINATE"}, agents.MaxMessages{N: 1_000_000, Events: true}},
	}
	for _, name := range []string{"a", "b", "c"} {
		a, err := agents.NewAssistant(agents.AssistantConfig{Name: name, Model: terse{}, Handoffs: []agents.Handoff{{To: "d"}}})
		if err != nil {
			b.Fatal(err)
		}
		cfg.Participants = append(cfg.Participants, agents.Member{Agent: a})
	}
	team, err := agents.NewRoundRobin(cfg)
	switch kind {
	case "swarm":
		team, err = agents.NewSwarm(cfg)
	case "selector":
		next := map[string]string{"user": "a", "a": "b", "b": "c", "c": "a"}
		team, err = agents.NewSelector(agents.SelectorConfig{TeamConfig: cfg, Model: terse{}, Choose: func(_ context.Context, said []agents.Event) (string, error) {
			return next[said[len(said)-1].Source], nil
		}})
	}
	if err != nil {
		b.Fatal(err)
	}
	return team
}

// BenchmarkTeamTurn is one participant's turn in a chat that stays in memory and
// begins with so many messages.
func BenchmarkTeamTurn(b *testing.B) {
	const turns = 1000 // in one run, and until the chat starts again
	for _, kind := range []string{"round_robin", "selector", "swarm"} {
		for _, n := range []int{0, 1000, 10_000} {
			b.Run(fmt.Sprintf("%s/messages=%d", kind, n), func(b *testing.B) {
				team := benchTeam(b, kind, turns)
				ctx := agentstest.Context(b.Context())
				stored := teamHistory(b, ctx, team, n/turns)
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					t := agents.NewTranscript(stored...)
					playTeam(b, ctx, team, t, 3) // each participant folds the stored part
					agentstest.Start(t, "run", "desk", "Is it so?", agents.Limits{MaxTurns: turns})
					b.StartTimer()
					drainTeam(b, ctx, team, t, nil)
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
			team := benchTeam(b, "round_robin", 1000)
			ctx := agentstest.Context(b.Context())
			stored := teamHistory(b, ctx, team, n/1000)
			for b.Loop() {
				playTeam(b, ctx, team, agents.NewTranscript(stored...), 3)
			}
		})
	}
}

// teamHistory is what so many runs stored.
func teamHistory(b *testing.B, ctx context.Context, team *agents.Team, runs int) []agents.Event {
	t := agents.NewTranscript()
	var stored []agents.Event
	for range runs {
		stored = append(stored, playTeam(b, ctx, team, t, 1000)...)
	}
	return stored
}

func playTeam(b *testing.B, ctx context.Context, team *agents.Team, t *agents.Transcript, turns int) []agents.Event {
	before := t.Len()
	agentstest.Start(t, "run", "desk", "Is it so?", agents.Limits{MaxTurns: turns})
	stored := append([]agents.Event(nil), t.Since(before)...)
	drainTeam(b, ctx, team, t, &stored)
	return stored
}

// drainTeam plays one run, and keeps what it stores if into is set.
func drainTeam(b *testing.B, ctx context.Context, team *agents.Team, t *agents.Transcript, into *[]agents.Event) {
	for ev, err := range team.Run(ctx, t) {
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
