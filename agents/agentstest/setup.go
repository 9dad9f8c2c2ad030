package agentstest

import (
	"context"
	"iter"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/team"
)

// Desk makes a desk.
func Desk(tb testing.TB, cfg team.DeskConfig) *team.Desk {
	tb.Helper()
	d, err := team.NewDesk(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// Alone makes a desk of one agent.
func Alone(tb testing.TB, a agents.Agent) *team.Desk {
	tb.Helper()
	return Desk(tb, team.DeskConfig{Entry: a.Name(), Members: []team.Member{{Agent: a}}})
}

// Support makes a desk of one assistant named support.
func Support(tb testing.TB, cfg agents.AssistantConfig) *team.Desk {
	tb.Helper()
	cfg.Name = "support"
	a, err := agents.NewAssistant(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return Alone(tb, a)
}

// Replies is a model that answers support so.
func Replies(list ...Reply) *Script {
	return NewScript(map[string][]Reply{"support": list})
}

// Opened is a transcript on which support was greeted.
func Opened() *agents.Transcript {
	tr := agents.NewTranscript()
	Start(tr, "run1", "support", "Hi", agents.Limits{})
	return tr
}

// Terse answers every question with one word, and first calls a tool if it may.
type Terse struct{ Tool bool }

// Generate answers.
func (m Terse) Generate(_ context.Context, p *agents.Prompt) iter.Seq2[agents.Chunk, error] {
	return func(yield func(agents.Chunk, error) bool) {
		last := p.Messages[len(p.Messages)-1]
		if m.Tool && last.Role != agents.RoleTool {
			yield(agents.Chunk{Done: &agents.Reply{Calls: []agents.CallRequest{{ID: "c1", Tool: "lookup", Arguments: "{}"}}}}, nil)
			return
		}
		if yield(agents.Chunk{Text: "Yes."}, nil) {
			yield(agents.Chunk{Done: &agents.Reply{}}, nil)
		}
	}
}
