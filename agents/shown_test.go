package agents_test

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/agentstest"
)

// veiling hides one word of arguments and notes what its tool is called with.
type veiling struct {
	*agentstest.Toolbox
	called *[]string
}

func (v veiling) Shown(_ context.Context, c agents.CallRequest) string {
	return strings.ReplaceAll(c.Arguments, "canary", "[redacted]")
}

func (v veiling) Call(ctx context.Context, c agents.ToolCall) iter.Seq2[agents.Event, error] {
	*v.called = append(*v.called, c.Arguments)
	return v.Toolbox.Call(ctx, c)
}

func TestOnlyTheToolGetsWhatMayNotBeShown(t *testing.T) {
	script := agentstest.Replies(agentstest.Reply{Calls: []agents.CallRequest{{ID: "c1", Tool: "lookup", Arguments: `{"q":"canary"}`}}}, agentstest.Reply{Text: "Done."})
	tr := agentstest.Opened()
	var called []string
	box := veiling{agentstest.NewToolbox(tr, agentstest.Tool{Name: "lookup", Result: "1"}), &called}

	events, err := agentstest.Run(agentstest.Context(t.Context()), t, agentstest.Support(t, agents.AssistantConfig{Model: script, Toolbox: box}), tr)

	if err != nil || len(called) != 1 || called[0] != `{"q":"canary"}` {
		t.Errorf("got %v, the tool was called with %q", err, called)
	}
	for _, e := range events {
		switch b := e.Body.(type) {
		case agents.ToolCallRequested:
			if b.Arguments != `{"q":"[redacted]"}` {
				t.Errorf("the request shows %s", b.Arguments)
			}
		case agents.Message:
			if len(b.Calls) > 0 && b.Calls[0].Arguments != `{"q":"[redacted]"}` {
				t.Errorf("the message shows %s", b.Calls[0].Arguments)
			}
		}
	}
	if got := fmt.Sprintf("%+v", script.Prompts()[1]); strings.Contains(got, "canary") {
		t.Errorf("the next prompt has it: %s", got)
	}
}
