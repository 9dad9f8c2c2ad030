package agents_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/agentstest"
)

func TestAssistantRefusesOptionsThatCannotBe(t *testing.T) {
	schema := json.RawMessage(`{}`)
	for want, cfg := range map[string]agents.AssistantConfig{
		"max tool rounds must not be negative":           {MaxToolRounds: -1},
		"max turns must be enough for the tool rounds":   {MaxTurns: 2, MaxToolRounds: 2, Reflect: true},
		"at least two turns are needed":                  {MaxTurns: 1, Reflect: true},
		"a buffered window needs at least one message":   {Window: agents.Buffered{}},
		"a window of head and tail needs":                {Window: agents.HeadTail{Head: 1}},
		"a token limit must be positive":                 {Window: agents.TokenLimit{}},
		"a format or a validation needs a schema":        {Output: agents.Output{Format: "{a}"}},
		"the schema is not JSON":                         {Output: agents.Output{Schema: json.RawMessage("x")}},
		"output: the format has a brace":                 {Output: agents.Output{Schema: schema, Format: "{a"}},
		"a brace that is not part of a {field} at \"}\"": {Output: agents.Output{Schema: schema, Format: "a}"}},
		"a brace that is not part of a {field} at \"{a":  {Output: agents.Output{Schema: schema, Format: "{a.b}"}},
		"summary: the format has no field x":             {SummaryFormat: "{tool_name} {x}"},
		"summary: the format has a brace":                {SummaryFormat: "{}"},
		"hand-off names must be unique":                  {Handoffs: []agents.Handoff{{To: "b"}, {To: "c", Tool: "transfer_to_b"}}},
		"a hand-off's tool has a bad name":               {Handoffs: []agents.Handoff{{To: "b", Tool: "go b"}}},
		"does not support structured output":             {Output: agents.Output{Schema: schema}, ModelLacks: agents.Lacks{StructuredOutput: true}},
		"does not support function calling":              {Handoffs: []agents.Handoff{{To: "b"}}, ModelLacks: agents.Lacks{Tools: true}},
	} {
		cfg.Name, cfg.Model = "a", agentstest.NewScript(nil)

		_, err := agents.NewAssistant(cfg)

		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestManyToolRoundsRaiseTheDefaultOfMaxTurns(t *testing.T) {
	cfg := agents.AssistantConfig{Name: "a", Model: agentstest.NewScript(nil), MaxToolRounds: 20, Reflect: true}

	if _, err := agents.NewAssistant(cfg); err != nil {
		t.Errorf("got %v, want an assistant", err)
	}
}

func TestSummaryMayBeAFunction(t *testing.T) {
	tr := opened()
	d := alone(t, agents.AssistantConfig{
		Model:         replies(agentstest.Reply{Calls: []agents.CallRequest{{ID: "c1", Tool: "lookup", Arguments: "{}"}}}),
		Toolbox:       agentstest.NewToolbox(tr, agentstest.Tool{Name: "lookup", Result: `"12"`}),
		MaxToolRounds: 1, SummaryFormat: "{result}",
		Summarize: func(s agents.CallSummary) string { return s.Tool + " gave " + s.Result },
	})

	events, err := agentstest.Run(agentstest.Context(t.Context()), t, d, tr)

	end, _ := events[len(events)-1].Body.(agents.RunFinished)
	if err != nil || end.Output != "lookup gave 12" {
		t.Errorf("got %q, %v; want the function's words", end.Output, err)
	}
}

// amnesia is a memory that fails.
type amnesia struct{ err error }

func (m amnesia) Recall(_ context.Context, query string, t *agents.Transcript) ([]string, error) {
	if query != "Hi" || t.Len() == 0 {
		return nil, errors.New("got another query than the input, " + query)
	}
	return nil, m.err
}

func TestMemoryThatFailsEndsTheRunBeforeTheModelIsAsked(t *testing.T) {
	gone := errors.New("gone")
	script := replies(agentstest.Reply{Text: "Hello"})
	d := alone(t, agents.AssistantConfig{Model: script, Memory: agents.Memories{agents.ListMemory{"a"}, amnesia{gone}}})

	_, err := agentstest.Run(agentstest.Context(t.Context()), t, d, opened())

	if !errors.Is(err, gone) || len(script.Prompts()) != 0 {
		t.Errorf("got %v after %d questions, want the memory's error after none", err, len(script.Prompts()))
	}
}

func TestSocietyAndFilterRefuseConfigsThatCannotBe(t *testing.T) {
	inside := agents.Member{Agent: agentstest.Echo{AgentName: "e"}}
	model := agentstest.NewScript(nil)
	for _, cfg := range []agents.SocietyConfig{
		{Team: inside, Model: model},
		{Name: "user", Team: inside, Model: model},
		{Name: "a/b", Team: inside, Model: model},
		{Name: "s", Model: model},
		{Name: "s", Team: inside},
		{Name: "s", Team: inside, Model: model, Window: agents.Buffered{}},
	} {
		if _, err := agents.NewSociety(cfg); err == nil {
			t.Errorf("got no error for the society %+v", cfg)
		}
	}
	for _, cfg := range []agents.FilterConfig{
		{Agent: inside},
		{Name: "f"},
		{Name: "f", Agent: inside, Rows: []agents.FilterRow{{}}},
		{Name: "f", Agent: inside, Rows: []agents.FilterRow{{Source: "a", First: 1, Last: 1}}},
		{Name: "f", Agent: inside, Rows: []agents.FilterRow{{Source: "a", First: -1}}},
	} {
		if _, err := agents.NewFilter(cfg); err == nil {
			t.Errorf("got no error for the filter %+v", cfg)
		}
	}
}

func TestSocietySharesNoDesk(t *testing.T) {
	inside := agents.Member{Agent: agentstest.Echo{AgentName: "e"}}
	s, err := agents.NewSociety(agents.SocietyConfig{Name: "s", Team: inside, Model: agentstest.NewScript(nil)})
	if err != nil {
		t.Fatal(err)
	}

	_, err = agents.NewDesk(agents.DeskConfig{Entry: "s", Members: []agents.Member{{Agent: s}, inside}})

	if err == nil || !strings.Contains(err.Error(), "must be alone") {
		t.Errorf("got %v, want a refusal", err)
	}
}

func TestFilterTakesFirstLastOrAll(t *testing.T) {
	for want, row := range map[string]agents.FilterRow{
		"1 2 3": {Source: "user"},
		"1 2":   {Source: "user", First: 2},
		"2 3":   {Source: "user", Last: 2},
		"":      {Source: "nobody"},
	} {
		f, err := agents.NewFilter(agents.FilterConfig{
			Name: "f", Agent: agents.Member{Agent: agentstest.Echo{AgentName: "e"}}, Rows: []agents.FilterRow{row},
		})
		if err != nil {
			t.Fatal(err)
		}
		d := newDesk(t, agents.DeskConfig{Entry: "f", Members: []agents.Member{{Agent: f}}})
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
	s, err := agents.NewSociety(agents.SocietyConfig{
		Name: "s", Team: agents.Member{Agent: agentstest.Echo{AgentName: "e", Err: flaky}}, Model: agentstest.NewScript(nil),
	})
	if err != nil {
		t.Fatal(err)
	}
	d := newDesk(t, agents.DeskConfig{Entry: "s", Members: []agents.Member{{Agent: s}}})

	_, err = agentstest.Run(agentstest.Context(t.Context()), t, d, opened())

	if !errors.Is(err, flaky) {
		t.Errorf("got %v, want the agent's error", err)
	}
}
