package agentstest

import (
	"context"
	"encoding/json"
	"iter"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/team"
)

// nestingBox is a toolbox in which some tools are desks: each call is a nested
// run in a thread of its own, named by the call.
type nestingBox struct {
	*Toolbox
	transcript *agents.Transcript
	desks      map[string]*team.Desk
}

func (b *nestingBox) Call(ctx context.Context, c agents.ToolCall) iter.Seq2[agents.Event, error] {
	desk := b.desks[c.Name]
	if desk == nil || c.Refused != nil {
		return b.Toolbox.Call(ctx, c)
	}
	return func(yield func(agents.Event, error) bool) {
		if !c.Resumed && !yield(agents.Event{Body: agents.ToolCallDecided{Decision: agents.Allowed}}, nil) {
			return
		}
		inner := b.transcript.Sub(c.ID)
		if !start(inner, c, desk.Name(), yield) {
			return
		}
		for ev, err := range desk.Run(ctx, inner) {
			if !yield(ev, err) || err != nil {
				return
			}
		}
		if output, ok := outputOf(inner); ok {
			text, _ := json.Marshal(output)
			yield(agents.Event{Body: agents.ToolCallFinished{Result: string(text)}}, nil)
		}
	}
}

// start opens the nested run, as far as it is not open yet.
func start(inner *agents.Transcript, c agents.ToolCall, target string, yield func(agents.Event, error) bool) bool {
	opening := []agents.Event{
		{Thread: c.ID, Body: agents.RunStarted{Target: target}},
		{Thread: c.ID, Source: "user", Body: agents.Message{Role: agents.RoleUser, Text: c.Arguments}},
	}
	for _, ev := range opening[min(inner.Len(), len(opening)):] {
		if !yield(ev, nil) {
			return false
		}
	}
	return true
}

func outputOf(t *agents.Transcript) (string, bool) {
	for _, ev := range t.Since(0) {
		if f, ok := ev.Body.(agents.RunFinished); ok {
			return f.Output, true
		}
	}
	return "", false
}
