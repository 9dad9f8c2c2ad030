package agentstest

import (
	"cmp"
	"context"
	"encoding/json"
	"iter"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
)

// Tool is one scripted tool.
type Tool struct {
	Name     string
	Result   string        // JSON text; empty: the grant's scopes and chain
	Results  [][2]string   // what arguments may contain, and the result of the first that they do
	Fail     string        // the result of a tool that fails, JSON text
	Scopes   []string      // required
	Approve  bool          // a person must approve each call
	Once     bool          // not idempotent
	Delay    time.Duration // of the effect; zero: 10 ms
	Stubborn bool          // a write: it does not stop when it is cancelled
	Err      error         // ends the run
}

// Toolbox performs calls like the real gate: a decision, the effect, a result;
// or a pause. Calls of one reply begin a microsecond apart, so that under
// synctest the order of their events is the same each time.
//
// What it knows of earlier calls it reads from the transcript, so a new Toolbox
// can continue what another began.
type Toolbox struct {
	tools      []Tool
	transcript *agents.Transcript
}

// NewToolbox makes a toolbox for calls from one transcript.
func NewToolbox(t *agents.Transcript, tools ...Tool) *Toolbox {
	return &Toolbox{tools: tools, transcript: t}
}

// Specs lists the tools.
func (b *Toolbox) Specs(context.Context) iter.Seq2[agents.Spec, error] {
	return func(yield func(agents.Spec, error) bool) {
		for _, t := range b.tools {
			if !yield(agents.Spec{Name: t.Name, Schema: json.RawMessage(`{"type":"object"}`)}, nil) {
				return
			}
		}
	}
}

// Shown shows everything.
func (b *Toolbox) Shown(_ context.Context, c agents.CallRequest) string { return c.Arguments }

// Call performs one call.
func (b *Toolbox) Call(ctx context.Context, c agents.ToolCall) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		p := &performance{call: c, past: b.past(c), emit: func(body agents.Body) bool {
			return yield(agents.Event{Body: body}, nil)
		}}
		if err := pause(ctx, p.offset()); err != nil {
			yield(agents.Event{}, err)
			return
		}
		if err := p.perform(ctx, b.find(c.Name)); err != nil {
			yield(agents.Event{}, err)
		}
	}
}

func (b *Toolbox) find(name string) *Tool {
	for i := range b.tools {
		if b.tools[i].Name == name {
			return &b.tools[i]
		}
	}
	return nil
}

// past is what the transcript says of a call.
type past struct {
	decision agents.Decision
	reason   string
	asked    bool  // for approval
	approved *bool // nil: nobody decided
	sequence uint64
}

func (b *Toolbox) past(c agents.ToolCall) past {
	var p past
	for _, e := range b.transcript.Sub(c.Thread).Since(0) {
		switch body := e.Body.(type) {
		case agents.ToolCallRequested:
			if e.CallID == c.ID {
				p.sequence = e.Sequence
			}
		case agents.ToolCallDecided:
			if e.CallID == c.ID {
				p.decision, p.reason = body.Decision, body.Reason
			}
		case agents.ApprovalRequested:
			p.asked = p.asked || body.ApprovalID == approvalID(c)
		case agents.ApprovalDecided:
			if body.ApprovalID == approvalID(c) {
				p.approved = &body.Approved
			}
		}
	}
	return p
}

func approvalID(c agents.ToolCall) string { return "apr_" + c.ID }

// performance is one call in progress.
type performance struct {
	call agents.ToolCall
	past past
	emit func(agents.Body) bool
}

func (p *performance) offset() time.Duration {
	return time.Duration(p.past.sequence) * time.Microsecond
}

func (p *performance) perform(ctx context.Context, t *Tool) error {
	switch {
	case p.call.Refused != nil:
		p.refuse(p.call.Refused)
	case t == nil:
		p.deny(fault.ToolUnknown)
	case !allowed(ctx, t.Scopes):
		p.deny(fault.ScopeMissing)
	case p.past.approved != nil && !*p.past.approved:
		p.deny(fault.ApprovalDenied)
	case t.Approve && p.past.approved == nil:
		p.wait()
	case t.Once && p.past.decision == agents.Allowed:
		p.fail(fault.OutcomeUnknown)
	case p.past.decision == agents.Allowed || p.emit(agents.ToolCallDecided{Decision: agents.Allowed, PolicyIDs: []string{"test"}}):
		return p.effect(ctx, t)
	}
	return nil
}

func allowed(ctx context.Context, need []string) bool {
	g, _ := identity.FromContext(ctx)
	_, missing := g.Scopes().Missing(need)
	return !missing
}

func (p *performance) deny(reason fault.Reason) {
	if p.past.decision == agents.Denied || p.emit(agents.ToolCallDecided{Decision: agents.Denied, Reason: string(reason)}) {
		p.fail(reason)
	}
}

// refuse puts on record what the core has refused.
func (p *performance) refuse(why *fault.Error) {
	if p.past.decision == agents.Denied || p.emit(agents.ToolCallDecided{Decision: agents.Denied, Reason: string(why.Reason)}) {
		p.emit(agents.FailedCall(why))
	}
}

func (p *performance) fail(reason fault.Reason) {
	text, _ := json.Marshal(map[string]string{"error": string(reason)})
	p.emit(agents.ToolCallFinished{Failed: true, Result: string(text), Reason: string(reason)})
}

func (p *performance) wait() {
	if p.past.asked {
		return
	}
	if p.past.decision == agents.Waiting || p.emit(agents.ToolCallDecided{Decision: agents.Waiting, Reason: string(fault.ApprovalRequired)}) {
		p.emit(agents.ApprovalRequested{ApprovalID: approvalID(p.call), Tool: p.call.Name, Approvers: []string{`Role::"manager"`}})
	}
}

func (p *performance) effect(ctx context.Context, t *Tool) error {
	g, _ := identity.FromContext(ctx)
	if t.Stubborn {
		ctx = context.WithoutCancel(ctx)
	}
	delay := t.Delay
	if delay == 0 {
		delay = 10 * time.Millisecond
	}
	if err := pause(ctx, delay); err != nil {
		return err
	}
	switch {
	case t.Err != nil:
		return t.Err
	case t.Fail != "":
		p.emit(agents.ToolCallFinished{Failed: true, Result: t.Fail})
	default:
		p.emit(agents.ToolCallFinished{Result: cmp.Or(t.resultOf(p.call.Arguments), authority(g))})
	}
	return nil
}

func (t *Tool) resultOf(arguments string) string {
	for _, r := range t.Results {
		if strings.Contains(arguments, r[0]) {
			return r[1]
		}
	}
	return t.Result
}

// authority is the result of a tool that tells what it was called with.
func authority(g identity.Grant) string {
	text, _ := json.Marshal(struct {
		Chain  []string      `json:"chain"`
		Scopes []string      `json:"scopes"`
		Tier   identity.Tier `json:"tier"`
	}{g.Chain(), g.Scopes().Names(), g.Tier()})
	return string(text)
}

// pause waits for d or the end of the context.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
