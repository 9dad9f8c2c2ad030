package agents

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// settle does the next thing about the calls of a reply: request them all, refuse
// what makes no sense, perform the others together, and hand off last.
func (r *run) settle(ctx context.Context, b *batch) bool {
	if c := b.first(func(c *call) bool { return !c.requested() }); c != nil {
		return r.emit(Event{Body: ToolCallRequested{
			Tool: c.Tool, Arguments: c.Arguments, ModelCallID: c.ID, MessageID: b.messageID,
		}})
	}
	if c := b.first(func(c *call) bool { return c.open() && r.a.refusal(c) != nil }); c != nil {
		return r.refuse(ctx, c, r.a.refusal(c))
	}
	if ready := b.all(func(c *call) bool { return c.open() && !c.handOff && c.waits == "" }); len(ready) > 0 {
		return r.perform(ctx, ready)
	}
	if b.first(func(c *call) bool { return c.open() && c.waits != "" }) != nil {
		return false
	}
	return r.transfer(ctx, b)
}

// refusal says why a call cannot be made whatever its toolbox says, nil if it can.
func (a *Assistant) refusal(c *call) *fault.Error {
	switch {
	case c.ordinal > a.cfg.MaxToolsPerRun:
		return fault.New(codes.ResourceExhausted, fault.BudgetExhausted, "too many tool calls in one run; answer with what you have")
	case c.duplicate:
		return fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "another call of the same reply has this id; give each call its own")
	case len(c.ID) > maxCallID:
		return fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "the call's id is too long")
	case c.Tool == "", len(c.Tool) > maxToolName:
		return fault.New(codes.NotFound, fault.ToolUnknown, "there is no tool with that name")
	case len(c.exact()) > a.cfg.MaxArgumentBytes:
		return fault.New(codes.InvalidArgument, fault.ArgumentInvalid, fmt.Sprintf("the arguments are longer than %d bytes", a.cfg.MaxArgumentBytes))
	case c.handOff:
		return nil
	case a.cfg.Toolbox == nil:
		return fault.New(codes.NotFound, fault.ToolUnknown, "there is no tool with that name")
	}
	return nil
}

// refuse gives a call a failed result that the model can read. The toolbox gives
// it, because nothing passes unrecorded and only the toolbox keeps records.
func (r *run) refuse(ctx context.Context, c *call, why *fault.Error) bool {
	if r.a.cfg.Toolbox == nil {
		return r.emit(Event{CallID: c.request.CallID, Body: FailedCall(why)})
	}
	for ev, err := range r.a.stream(c, r.t, why)(ctx) {
		if err != nil {
			return r.fail(ctx, err)
		}
		if !r.emit(ev) {
			return false
		}
	}
	return true
}

// FailedCall is the result of a call that was not made, as its model can read it.
func FailedCall(why *fault.Error) ToolCallFinished {
	return ToolCallFinished{Failed: true, Result: encoded(map[string]string{"error": why.Message}), Reason: string(why.Reason)}
}

// encoded is a value of our own as JSON: texts, truth values and numbers in maps,
// lists and structs, which can always be encoded, whatever is in them.
func encoded(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic("agents: " + err.Error())
	}
	return string(text)
}

// perform makes the calls at the same time. If one of them is still without a
// result at the end it waits for somebody, and so does the run.
func (r *run) perform(ctx context.Context, calls []*call) bool {
	streams := make([]Stream, len(calls))
	for i, c := range calls {
		streams[i] = r.a.stream(c, r.t, nil)
	}
	for ev, err := range Merge(ctx, r.a.cfg.ParallelCalls, streams) {
		if err != nil {
			return r.fail(ctx, err)
		}
		if !r.emit(ev) {
			return false
		}
	}
	r.state()
	for _, c := range calls {
		if c.result == nil {
			return false
		}
	}
	return true
}

// stream is the toolbox's part of one call, which may be refused. It touches c
// only before it starts.
func (a *Assistant) stream(c *call, t *Transcript, refused *fault.Error) Stream {
	thread := t.Thread()
	tool := ToolCall{
		ID: c.request.CallID, SessionID: c.request.SessionID, RunID: c.request.RunID, Thread: thread,
		Name: c.Tool, Arguments: c.exact(), Resumed: c.begun, Refused: refused, Transcript: t, Ordinal: c.sameBefore,
	}
	return func(ctx context.Context) iter.Seq2[Event, error] {
		return func(yield func(Event, error) bool) {
			over := tool.Resumed // a resumed call may still wait in silence
			for ev, err := range a.cfg.Toolbox.Call(ctx, tool) {
				if ev.Thread == "" || ev.Thread == thread {
					ev.CallID = tool.ID
				}
				_, done := ev.Body.(ToolCallFinished)
				over = over || done || ev.Pause() || err != nil
				if !yield(ev, err) {
					return
				}
			}
			if !over {
				yield(Event{}, errNoResult)
			}
		}
	}
}

// errNoResult is a toolbox that breaks its contract.
var errNoResult = fault.New(codes.Internal, fault.Internal, "a tool call ended without a result").
	Because(errors.New("the toolbox's events held neither a ToolCallFinished nor a pause"))
