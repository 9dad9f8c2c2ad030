package team_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/agentstest"
	"github.com/behalf-dev/behalf/agents/team"
)

func TestSocietyAndFilterRefuseConfigsThatCannotBe(t *testing.T) {
	inside := team.Member{Agent: agentstest.Echo{AgentName: "e"}}
	model := agentstest.NewScript(nil)
	for _, cfg := range []team.SocietyConfig{
		{Team: inside, Model: model},
		{Name: "user", Team: inside, Model: model},
		{Name: "a/b", Team: inside, Model: model},
		{Name: "s", Model: model},
		{Name: "s", Team: inside},
		{Name: "s", Team: inside, Model: model, Window: agents.Buffered{}},
	} {
		if _, err := team.NewSociety(cfg); err == nil {
			t.Errorf("got no error for the society %+v", cfg)
		}
	}
	for _, cfg := range []team.FilterConfig{
		{Agent: inside},
		{Name: "f"},
		{Name: "f", Agent: inside, Rows: []team.FilterRow{{}}},
		{Name: "f", Agent: inside, Rows: []team.FilterRow{{Source: "a", First: 1, Last: 1}}},
		{Name: "f", Agent: inside, Rows: []team.FilterRow{{Source: "a", First: -1}}},
	} {
		if _, err := team.NewFilter(cfg); err == nil {
			t.Errorf("got no error for the filter %+v", cfg)
		}
	}
}

func TestSocietySharesNoDesk(t *testing.T) {
	inside := team.Member{Agent: agentstest.Echo{AgentName: "e"}}
	s, err := team.NewSociety(team.SocietyConfig{Name: "s", Team: inside, Model: agentstest.NewScript(nil)})
	if err != nil {
		t.Fatal(err)
	}

	_, err = team.NewDesk(team.DeskConfig{Entry: "s", Members: []team.Member{{Agent: s}, inside}})

	if err == nil || !strings.Contains(err.Error(), "must be alone") {
		t.Errorf("got %v, want a refusal", err)
	}
}

func TestFilterTakesFirstLastOrAll(t *testing.T) {
	for want, row := range map[string]team.FilterRow{
		"1 2 3": {Source: "user"},
		"1 2":   {Source: "user", First: 2},
		"2 3":   {Source: "user", Last: 2},
		"":      {Source: "nobody"},
	} {
		f, err := team.NewFilter(team.FilterConfig{
			Name: "f", Agent: team.Member{Agent: agentstest.Echo{AgentName: "e"}}, Rows: []team.FilterRow{row},
		})
		if err != nil {
			t.Fatal(err)
		}
		d := agentstest.Alone(t, f)
		tr := agents.NewTranscript()
		agentstest.Start(tr, "run1", "f", "1", agents.Limits{})
		for _, text := range []string{"2", "3"} {
			agentstest.Commit(tr, agents.Event{Source: "user", Body: agents.Message{Role: agents.RoleUser, Text: text}})
		}

		_, err = agentstest.Run(agentstest.Context(t.Context()), t, d, tr)

		var heard []string
		for _, e := range tr.Sub("/e").Since(0) {
			if m, ok := e.Body.(agents.Message); ok && m.Role == agents.RoleUser {
				heard = append(heard, m.Text)
			}
		}
		if got := strings.Join(heard, " "); err != nil || got != want {
			t.Errorf("%+v: got %q, %v; want %q", row, got, err, want)
		}
	}
}

func TestAgentThatFailsInsideASocietyEndsTheRun(t *testing.T) {
	flaky := errors.New("I am flaky")
	s, err := team.NewSociety(team.SocietyConfig{
		Name: "s", Team: team.Member{Agent: agentstest.Echo{AgentName: "e", Err: flaky}}, Model: agentstest.NewScript(nil),
	})
	if err != nil {
		t.Fatal(err)
	}
	d := agentstest.Alone(t, s)

	_, err = agentstest.Run(agentstest.Context(t.Context()), t, d, agentstest.Opened())

	if !errors.Is(err, flaky) {
		t.Errorf("got %v, want the agent's error", err)
	}
}
