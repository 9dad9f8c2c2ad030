package team

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/grpc/codes"
)

// AgentTool is an agent, also a team, as a tool with one argument: its task.
//
// Calls of one agent after another share a thread, so that it remembers: the
// calling thread, "/+" and the tool's name. Further calls of the same tool in the
// same reply run at the same time, each in a thread named by the call, with
// nothing to remember.
type AgentTool struct {
	Agent       agents.Agent     // required
	Ceiling     *identity.Scopes // nil: none
	Name        string           // empty: the agent's
	Description string           // empty: the agent's
	LastOnly    bool             // the result is the last message; else all, with their sources
}

// Govern is the guard's part of a call to an agent: it yields the decision and,
// if that is to allow, the effect's events, which end with a ToolCallFinished or a
// pause. It is called again for a call that is
// resumed, and must then reach the effect again: a nested run goes on from its
// transcript. It may be called by many goroutines.
type Govern func(ctx context.Context, c agents.ToolCall, effect agents.Stream) iter.Seq2[agents.Event, error]

// AgentTools is a Toolbox with agents among its tools. Like every Toolbox it may
// be used by many goroutines.
type AgentTools struct {
	box    agents.Toolbox
	govern Govern
	tools  []AgentTool
	byName map[string]*AgentTool
}

// AsTools adds agents to a toolbox, which may be nil. Each call of one passes
// govern first.
func AsTools(box agents.Toolbox, govern Govern, tools ...AgentTool) (*AgentTools, error) {
	if govern == nil {
		return nil, errors.New("agents as tools: nothing would govern the calls")
	}
	b := &AgentTools{box: box, govern: govern, byName: make(map[string]*AgentTool, len(tools))}
	for _, t := range tools {
		if t.Agent == nil {
			return nil, errors.New("agents as tools: an agent is missing")
		}
		if t.Name == "" {
			t.Name = t.Agent.Name()
		}
		if t.Description == "" {
			t.Description = describe(t.Agent)
		}
		if err := errors.Join(agents.CheckName(t.Name), require(b.byName[t.Name] == nil, fmt.Sprintf("two tools are named %q", t.Name))); err != nil {
			return nil, fmt.Errorf("agents as tools: %w", err)
		}
		b.byName[t.Name] = &t
		b.tools = append(b.tools, t)
	}
	return b, nil
}

const taskSchema = `{"type":"object","properties":{"task":{"type":"string","description":"The task, with all that is needed to do it."}},"required":["task"],"additionalProperties":false}`

// Specs lists the tools of the box that no agent hides, then the agents.
func (b *AgentTools) Specs(ctx context.Context) iter.Seq2[agents.Spec, error] {
	return func(yield func(agents.Spec, error) bool) {
		if b.box != nil {
			for spec, err := range b.box.Specs(ctx) {
				if err == nil && b.byName[spec.Name] != nil {
					continue
				}
				if !yield(spec, err) || err != nil {
					return
				}
			}
		}
		for _, t := range b.tools {
			if !yield(agents.Spec{Name: t.Name, Description: t.Description, Schema: json.RawMessage(taskSchema)}, nil) {
				return
			}
		}
	}
}

// Shown is the box's answer. An agent's task is shown as it is, unless the box
// knows the agent as a tool of its own.
func (b *AgentTools) Shown(ctx context.Context, c agents.CallRequest) string {
	if b.box == nil {
		return c.Arguments
	}
	return b.box.Shown(ctx, c)
}

// Call performs one call: of an agent, or of the box's tools.
func (b *AgentTools) Call(ctx context.Context, c agents.ToolCall) iter.Seq2[agents.Event, error] {
	t := b.byName[c.Name]
	switch {
	case t != nil:
		return b.govern(ctx, c, func(ctx context.Context) iter.Seq2[agents.Event, error] {
			return func(yield func(agents.Event, error) bool) { (&toolRun{AgentTool: t, call: c, yield: yield}).run(ctx) }
		})
	case b.box != nil:
		return b.box.Call(ctx, c)
	}
	return func(yield func(agents.Event, error) bool) {
		yield(agents.Event{Body: agents.FailedCall(fault.New(codes.NotFound, fault.ToolUnknown, "there is no tool with that name"))}, nil)
	}
}

// toolRun is one call of an agent. It lives on the goroutine of the call.
type toolRun struct {
	*AgentTool
	call  agents.ToolCall
	yield func(agents.Event, error) bool
	t     *agents.Transcript // of the nested run
}

func (r *toolRun) run(ctx context.Context) {
	task, err := r.task()
	if err != nil {
		r.yield(agents.Event{Body: agents.FailedCall(fault.From(err))}, nil)
		return
	}
	if r.call.Transcript == nil {
		r.yield(agents.Event{}, fault.New(codes.Internal, fault.Internal, "the call has no transcript").Because(errors.New("the toolbox around dropped it")))
		return
	}
	child, err := identity.Child(ctx, r.Agent.Name(), r.Ceiling, agents.MaxDepth)
	if err != nil {
		r.yield(agents.Event{Body: agents.FailedCall(fault.From(err))}, nil)
		return
	}
	r.t = r.call.Transcript.Sub(r.thread())
	if r.open(child, task) && r.perform(child) {
		r.answer()
	}
}

// task reads the only argument, strictly.
func (r *toolRun) task() (string, error) {
	var arguments struct {
		Task *string `json:"task"`
	}
	dec := json.NewDecoder(bytes.NewReader([]byte(r.call.Arguments)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&arguments); err != nil || arguments.Task == nil || dec.More() {
		return "", fault.New(codes.InvalidArgument, fault.ArgumentInvalid, `the arguments must be an object with the text "task" and nothing else`).Because(err)
	}
	return *arguments.Task, nil
}

func (r *toolRun) thread() string {
	if r.call.Ordinal > 0 {
		return r.call.ID
	}
	return toolThread(r.call.Thread, r.Name)
}

// toolThread is the thread of an agent that is a tool. A participant's name does
// not begin with a plus.
func toolThread(thread, tool string) string { return thread + "/+" + tool }

// open opens the nested run, as far as it is not.
func (r *toolRun) open(ctx context.Context, task string) bool {
	s := sit(r.t, r.Agent.Name())
	if s.call != r.call.ID {
		started := nested(ctx, r.Agent, agents.Limits{})
		started.CallID = r.call.ID
		if !agents.Commit(r.t, started, r.yield) {
			return false
		}
		s = sit(r.t, r.Agent.Name())
	}
	if s.began || s.inputs > 0 {
		return true
	}
	return agents.Commit(r.t, agents.Event{Source: string(agents.RoleUser), Body: agents.Message{Role: agents.RoleUser, Text: task}}, r.yield)
}

// perform lets the agent run, true if it came to its end. An agent that fails is
// a tool that fails, and its run ends here, because nobody else ends it.
func (r *toolRun) perform(ctx context.Context) bool {
	if sit(r.t, r.Agent.Name()).over {
		return true
	}
	for ev, err := range r.Agent.Run(ctx, r.t) {
		if err != nil && ctx.Err() != nil {
			r.yield(agents.Event{}, err)
			return false
		}
		if err != nil {
			why := fault.From(err)
			end := agents.RunFinished{StopReason: agents.StopFailed, Reason: string(why.Reason), ErrorMessage: why.Message}
			return agents.Commit(r.t, agents.Event{Body: end}, r.yield)
		}
		fill(ctx, &ev, r.t, r.Agent.Name())
		if !r.yield(ev, nil) {
			return false
		}
	}
	return sit(r.t, r.Agent.Name()).over
}

// answer is the call's result: what the agent said.
func (r *toolRun) answer() {
	s := sit(r.t, r.Agent.Name())
	if s.end.StopReason == agents.StopFailed {
		r.yield(agents.Event{Body: agents.FailedCall(fault.New(codes.Aborted, fault.Reason(s.end.Reason), s.end.ErrorMessage))}, nil)
		return
	}
	text, err := json.Marshal(r.result(s))
	if err != nil {
		r.yield(agents.Event{}, err)
		return
	}
	r.yield(agents.Event{Body: agents.ToolCallFinished{Result: string(text)}}, nil)
}

func (r *toolRun) result(s *seat) string {
	lines := make([]string, len(s.said))
	for i, e := range s.said {
		lines[i] = e.Body.(agents.Message).Text
		if !r.LastOnly {
			lines[i] = e.Source + ": " + lines[i]
		}
	}
	if r.LastOnly && len(lines) > 0 {
		return lines[len(lines)-1]
	}
	return strings.Join(lines, "\n\n")
}
