package team_test

import (
	"context"
	"iter"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/agentstest"
	"github.com/behalf-dev/behalf/agents/team"
	"github.com/behalf-dev/behalf/identity"
)

// handsOn is an agent that hands on and claims a chain.
type handsOn struct {
	name, to string
	chain    []string
}

func (h handsOn) Name() string { return h.name }

func (h handsOn) Handoffs() []string { return []string{h.to} }

func (h handsOn) Run(_ context.Context, t *agents.Transcript) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		m := agents.Message{Role: agents.RoleAssistant, Kind: agents.KindHandoff, HandoffTo: h.to}
		if yield(agents.Event{Source: h.name, Thread: t.Thread(), Chain: h.chain, Body: m}, nil) {
			yield(agents.Event{Source: h.name, Thread: t.Thread(), Chain: h.chain, Body: agents.RunFinished{StopReason: agents.StopCompleted}}, nil)
		}
	}
}

// TestHandOffFromInsideIsBoundByWhatIsKnownOfItsWay: what is not known of it leaves
// nothing.
func TestHandOffFromInsideIsBoundByWhatIsKnownOfItsWay(t *testing.T) {
	ceiling := identity.NewScopes("a")
	for _, c := range []struct {
		chain   []string
		ceiling *identity.Scopes
		want    int
	}{
		{[]string{"pair", "w"}, nil, 2},
		{[]string{"pair", "w"}, &ceiling, 1},
		{[]string{"pair", "stranger"}, nil, 0},
		{nil, nil, 0},
	} {
		inner, err := team.NewRoundRobin(team.Config{
			Name: "pair", Participants: []team.Member{{Agent: handsOn{"w", "boss", c.chain}, Ceiling: c.ceiling}}, MaxTurns: 1,
		})
		if err != nil {
			t.Fatal(err)
		}
		boss := always("boss", agents.Message{Text: "done"})
		outer, err := team.NewSwarm(team.Config{Name: "desk", Participants: []team.Member{{Agent: inner}, boss}, MaxTurns: 2})
		if err != nil {
			t.Fatal(err)
		}
		tr := task("go")

		if _, err := agentstest.Run(agentstest.Context(t.Context(), "a", "b"), t, outer, tr); err != nil {
			t.Fatal(err)
		}

		started, _ := tr.Sub("/boss").Since(0)[0].Body.(agents.RunStarted)
		if len(started.Scopes) != c.want {
			t.Errorf("%v: boss acts with %v, want %d scopes", c.chain, started.Scopes, c.want)
		}
	}
}
