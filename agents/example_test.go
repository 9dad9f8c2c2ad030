package agents_test

import (
	"context"
	"fmt"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/agentstest"
	"github.com/behalf-dev/behalf/identity"
)

// An assistant answers a person under a grant of its own. The loop body is the
// commit.
func ExampleAssistant() {
	model := agentstest.NewScript(map[string][]agentstest.Reply{"billing": {{Text: "Your bill is paid."}}})
	billing, err := agents.NewAssistant(agents.AssistantConfig{Name: "billing", Model: model})
	if err != nil {
		panic(err)
	}

	person := agentstest.Context(context.Background(), "crm.read")
	ctx, err := identity.Child(person, billing.Name(), nil, agents.MaxDepth)
	if err != nil {
		panic(err)
	}
	session := agents.NewTranscript(
		agents.Event{Sequence: 1, RunID: "run_1", Body: agents.RunStarted{Target: "billing"}},
		agents.Event{Sequence: 2, RunID: "run_1", Source: "user", Body: agents.Message{Role: agents.RoleUser, Text: "Is my bill paid?"}},
	)
	for ev, err := range billing.Run(ctx, session) {
		if err != nil {
			panic(err)
		}
		if !ev.Live() {
			session.Stamp(&ev)
			session.Append(ev) // and store it
		}
		switch b := ev.Body.(type) {
		case agents.TextDelta:
			fmt.Print(b.Text)
		case agents.RunFinished:
			fmt.Println()
			fmt.Println(b.StopReason, ev.Chain)
		}
	}
	// Output:
	// Your bill is paid.
	// completed [billing]
}
