package team_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/agentstest"
	"github.com/behalf-dev/behalf/agents/team"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
)

func member(t *testing.T, name string, script agents.Model, handoffs ...string) team.Member {
	t.Helper()
	cfg := agents.AssistantConfig{Name: name, Model: script}
	for _, to := range handoffs {
		cfg.Handoffs = append(cfg.Handoffs, agents.Handoff{To: to})
	}
	a, err := agents.NewAssistant(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return team.Member{Agent: a}
}

func TestDeskWithoutIdentityIsRefused(t *testing.T) {
	events, err := agentstest.Run(context.Background(), t, agentstest.Support(t, agents.AssistantConfig{Model: agentstest.Replies()}), agentstest.Opened())

	if !errors.Is(err, fault.Internal) || len(events) > 0 {
		t.Errorf("got %d events, %v; want only an error", len(events), err)
	}
}

func TestDeskExtendsTheChainItIsCalledWith(t *testing.T) {
	ctx, err := identity.Child(agentstest.Context(t.Context()), "outer", nil, agents.MaxDepth)
	if err != nil {
		t.Fatal(err)
	}

	events, err := agentstest.Run(ctx, t, agentstest.Support(t, agents.AssistantConfig{Model: agentstest.Replies(agentstest.Reply{Text: "Hi."})}), agentstest.Opened())

	if err != nil || !slices.Equal(events[0].Chain, []string{"outer", "support"}) {
		t.Errorf("got %v, %v; want the chain outer, support", events[0].Chain, err)
	}
}

func TestDeskBelowAChainThatIsFullIsRefused(t *testing.T) {
	ctx := agentstest.Context(t.Context())
	for range agents.MaxDepth {
		var err error
		if ctx, err = identity.Child(ctx, "outer", nil, agents.MaxDepth); err != nil {
			t.Fatal(err)
		}
	}

	_, err := agentstest.Run(ctx, t, agentstest.Support(t, agents.AssistantConfig{Model: agentstest.Replies()}), agentstest.Opened())

	if !errors.Is(err, fault.DelegationScope) {
		t.Errorf("got %v, want DELEGATION_SCOPE", err)
	}
}

// TestDeskRefusesASessionWhoseWayIsNotKnown: the ceiling of an agent that was
// removed from the configuration cannot be applied any more.
func TestDeskRefusesASessionWhoseWayIsNotKnown(t *testing.T) {
	tr := agentstest.Opened()
	agentstest.Commit(tr, agents.Event{Source: "support", Body: agents.HandedOff{To: "gone"}})
	agentstest.Commit(tr, agents.Event{Source: "gone", Body: agents.HandedOff{To: "support"}})

	_, err := agentstest.Run(agentstest.Context(t.Context()), t, agentstest.Support(t, agents.AssistantConfig{Model: agentstest.Replies()}), tr)

	if !errors.Is(err, fault.NotFound) {
		t.Errorf("got %v, want NOT_FOUND", err)
	}
}

// TestDeskHoldsStoredHandOffsAgainstThoseOfNow: what was stored was left by a
// configuration that may not be there any more.
func TestDeskHoldsStoredHandOffsAgainstThoseOfNow(t *testing.T) {
	both, one, none := []string{"crm.read", "orders.read"}, []string{"crm.read"}, []string{}
	for name, c := range map[string]struct {
		then, now *[]string
		gone      bool
		want      int
	}{
		"the same":           {then: &both, now: &both, want: 2},
		"less":               {then: &both, now: &one, want: 1},
		"nothing":            {then: &both, now: &none, want: 0},
		"more":               {then: &one, now: &both, want: 1},
		"narrowed only now":  {now: &one, want: 1},
		"narrowed only then": {then: &one, want: 1},
		"narrowed never":     {want: 3},
		"not made any more":  {then: &both, gone: true},
	} {
		t.Run(name, func(t *testing.T) {
			from := agents.AssistantConfig{Name: "a", Model: agentstest.Replies()}
			if !c.gone {
				from.Handoffs = []agents.Handoff{{To: "b", Scopes: c.now}}
			}
			a, err := agents.NewAssistant(from)
			if err != nil {
				t.Fatal(err)
			}
			to := &grantOf{Agent: member(t, "b", agentstest.NewScript(map[string][]agentstest.Reply{"b": {{Text: "Hi."}}})).Agent}
			desk, err := team.NewDesk(team.DeskConfig{Entry: "a", Members: []team.Member{{Agent: a}, {Agent: to}}})
			if err != nil {
				t.Fatal(err)
			}
			tr := agentstest.Opened()
			agentstest.Commit(tr, agents.Event{Body: agents.HandedOff{To: "b", Scopes: c.then}})

			_, err = agentstest.Run(agentstest.Context(t.Context(), "crm.read", "orders.read", "orders.refund"), t, desk, tr)

			if c.gone {
				if !errors.Is(err, fault.NotFound) || to.ran {
					t.Errorf("got %v, want NOT_FOUND and nobody at work", err)
				}
				return
			}
			if got := to.grant.Scopes().Names(); err != nil || len(got) != c.want {
				t.Errorf("got %v, %v; want %d scopes", got, err, c.want)
			}
			if ways := slices.Collect(to.grant.HandOffs()); !slices.Equal(ways, [][2]string{{"a", "b"}}) {
				t.Errorf("got %v, want the hand-off to be known by the grant", ways)
			}
		})
	}
}

// grantOf notes under which grant an agent ran.
type grantOf struct {
	agents.Agent
	grant identity.Grant
	ran   bool
}

func (g *grantOf) Run(ctx context.Context, t *agents.Transcript) iter.Seq2[agents.Event, error] {
	g.grant, g.ran = identity.FromContext(ctx)
	return g.Agent.Run(ctx, t)
}

func TestNewDeskReportsAllProblems(t *testing.T) {
	_, err := team.NewDesk(team.DeskConfig{Entry: "nobody", Members: []team.Member{
		member(t, "a", agentstest.Replies(), "stranger"), member(t, "a", agentstest.Replies()),
	}})
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{"nobody", "twice", "stranger"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

// TestChainNamesEachAgentOnceInALaterRun keeps who was active last at the end and
// forgets nobody on the way.
func TestChainNamesEachAgentOnceInALaterRun(t *testing.T) {
	script := agentstest.NewScript(map[string][]agentstest.Reply{"b": {{Text: "Hi."}}})
	desk, err := team.NewDesk(team.DeskConfig{Entry: "a", Members: []team.Member{
		member(t, "a", script, "b"), member(t, "b", script, "c"), member(t, "c", script, "a"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	tr := agentstest.Opened()
	for _, to := range []string{"b", "c", "a", "b"} {
		agentstest.Commit(tr, agents.Event{Body: agents.HandedOff{To: to}})
	}
	agentstest.Start(tr, "run2", "a", "Again", agents.Limits{})

	events, err := agentstest.Run(agentstest.Context(t.Context()), t, desk, tr)

	if err != nil || !slices.Equal(events[0].Chain, []string{"a", "c", "b"}) {
		t.Errorf("got %v, %v; want the chain a, c, b", events[0].Chain, err)
	}
}
