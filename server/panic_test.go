package server_test

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/agents"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const canary = "canary-7f3a"

// panicking is a model that panics after its first word.
type panicking struct{}

func (panicking) Generate(context.Context, *agents.Prompt) iter.Seq2[agents.Chunk, error] {
	return func(yield func(agents.Chunk, error) bool) {
		if yield(agents.Chunk{Text: "so "}, nil) {
			panic(canary)
		}
	}
}

func TestAPanicShowsNothingAndStopsNobodyElse(t *testing.T) {
	t.Parallel()
	boom := tools.Func("boom", "Panics.", func(context.Context, none) (none, error) { panic(canary) }, tools.ReadOnly())
	w := newWorld(t, setup{spies: []tools.Tool{boom}, options: []behalf.Option{behalf.WithModel("default", panicking{})}})
	a := w.as(alice)

	r, err := a.tools().CallTool(a.ctx(t), &behalfv1.CallToolRequest{Tool: "boom", ArgumentsJson: "{}"})
	if err != nil || !r.GetFailed() || strings.Contains(r.String(), canary) {
		t.Errorf("got %v, %v of a tool that panics, want a failed result that says nothing", r, err)
	}
	events, err := a.stream(t, &behalfv1.StreamAgentRequest{Agent: "support", Input: "hello"})
	wantError(t, err, codes.Internal, "INTERNAL")
	if strings.Contains(status.Convert(err).String(), canary) || strings.Contains(fmt.Sprint(events), canary) {
		t.Errorf("got %v and %v, want nothing of the panic", err, events)
	}
	if f := events[len(events)-1].GetRunFinished(); f.GetErrorReason() != behalfv1.ErrorReason_ERROR_REASON_INTERNAL {
		t.Errorf("got %v as the run's end, want it failed", events[len(events)-1])
	}
	if _, err := a.admin().WhoAmI(a.ctx(t), &behalfv1.WhoAmIRequest{}); err != nil {
		t.Errorf("got %v after the panics, want the server to go on", err)
	}
}
