package tools

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/policy"
	"google.golang.org/grpc/codes"
)

// Nested makes a tool of an agent or group chat: its descriptor, with one
// argument, the task. What is behind it comes with each call, through
// Gate.Govern, because only the calling agent's toolbox can open the nested run.
//
// It is a write, because what the agent does may be one. It is idempotent: a call
// that is resumed goes on from the transcript of the nested run, where each tool
// call has its own decision.
func Nested(name, description string) Tool {
	t := Func(name, description, func(context.Context, task) (any, error) { return nil, errNestedOnly }, Idempotent())
	t.nested = true
	return t
}

type task struct {
	Task string `json:"task" jsonschema:"The task, with all that is needed to do it."`
}

var (
	errNestedOnly = fault.New(codes.FailedPrecondition, fault.ToolUnavailable, "an agent can be called by agents only; run it instead")
	errRedacted   = fault.New(codes.PermissionDenied, fault.PolicyError, "a policy takes something out of the task, which an agent's task does not allow")
)

// Govern is agents.Govern: a call of an agent or group chat passes this gate like
// any other. The effect's events are passed on as they come, and its result is
// recorded and redacted. An effect that pauses, or is cut off, is recorded as
// cancelled; the call is then decided again when it is resumed.
func (g *Gate) Govern(ctx context.Context, c agents.ToolCall, effect agents.Stream) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		g.serve(ctx, &attempt{gate: g, call: c, effect: effect}, yield)
	}
}

// actNested lets a nested agent act. It has no deadline of its own: the run has
// one, and each call that the agent makes. It stops with its caller; a write that
// has begun inside it does not.
func (a *attempt) actNested(ctx context.Context) ending {
	if !bytes.Equal(a.permit.SentArguments(), a.args.raw) {
		return failed(errRedacted) // the effect has the arguments as the model wrote them
	}
	cut := ending{recorded: policy.Result{Outcome: policy.Cancelled}}
	var result *agents.ToolCallFinished
	for ev, err := range a.effect(ctx) {
		if err != nil {
			cut.err = err
			return cut
		}
		if fin, ok := ev.Body.(agents.ToolCallFinished); ok && a.own(&ev) {
			result = &fin
			continue // it is the gate that ends the call
		}
		cut.paused = cut.paused || ev.Pause()
		if !a.pass(ev) {
			cut.err = errGone
			return cut
		}
	}
	switch {
	case result != nil && result.Failed:
		return a.failedNested(ctx, result)
	case result != nil:
		return a.succeeded(ctx, json.RawMessage(result.Result))
	case ctx.Err() != nil:
		cut.err = context.Cause(ctx)
	}
	// Neither a result nor an error: it waits for somebody, perhaps since before.
	cut.paused = true
	return cut
}

// own reports whether an event is of the call itself and not of the nested run.
func (a *attempt) own(ev *agents.Event) bool { return ev.Thread == "" || ev.Thread == a.call.Thread }

// failedNested is the failed result of a nested run. Its text is written by
// team.AsTools, but what it quotes may be anything.
func (a *attempt) failedNested(ctx context.Context, fin *agents.ToolCallFinished) ending {
	out := ending{
		finished: agents.ToolCallFinished{Failed: true, Reason: fin.Reason},
		recorded: policy.Result{Outcome: policy.Failed, Reason: fin.Reason},
	}
	result := json.RawMessage(fin.Result)
	if problem := a.gate.unfit(result); problem != "" {
		a.tell(ctx, errors.New(problem))
		result = failure{Message: "the agent failed"}.json()
	}
	out.finished.Result = a.redact(ctx, result)
	return out
}
