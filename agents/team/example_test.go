package team_test

import (
	"context"
	"fmt"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/agentstest"
	"github.com/behalf-dev/behalf/agents/team"
)

// A desk of two runs for a person. The loop body is the commit.
func Example() {
	model := agentstest.NewScript(map[string][]agentstest.Reply{
		"support": {{Calls: []agents.CallRequest{{ID: "c1", Tool: "transfer_to_billing"}}}},
		"billing": {{Text: "Your bill is paid."}},
	})
	support, err := agents.NewAssistant(agents.AssistantConfig{
		Name: "support", Model: model, Handoffs: []agents.Handoff{{To: "billing"}},
	})
	if err != nil {
		panic(err)
	}
	billing, err := agents.NewAssistant(agents.AssistantConfig{Name: "billing", Model: model})
	if err != nil {
		panic(err)
	}
	desk, err := team.NewDesk(team.DeskConfig{
		Entry: "support", Members: []team.Member{{Agent: support}, {Agent: billing}},
	})
	if err != nil {
		panic(err)
	}

	ctx := agentstest.Context(context.Background(), "crm.read") // the person's grant
	session := agents.NewTranscript(
		agents.Event{Sequence: 1, RunID: "run_1", Body: agents.RunStarted{Target: "support"}},
		agents.Event{Sequence: 2, RunID: "run_1", Source: "user", Body: agents.Message{Role: agents.RoleUser, Text: "Is my bill paid?"}},
	)
	for ev, err := range desk.Run(ctx, session) {
		if err != nil {
			panic(err)
		}
		if !ev.Live() {
			session.Stamp(&ev)
			session.Append(ev) // and store it
		}
		switch b := ev.Body.(type) {
		case agents.HandedOff:
			fmt.Println(ev.Source, "hands off to", b.To)
		case agents.TextDelta:
			fmt.Print(b.Text)
		case agents.RunFinished:
			fmt.Println()
			fmt.Println(b.StopReason, ev.Chain)
		}
	}
	// Output:
	// support hands off to billing
	// Your bill is paid.
	// completed [support billing]
}
