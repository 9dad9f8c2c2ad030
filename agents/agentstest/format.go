package agentstest

import (
	"fmt"
	"strings"

	"github.com/behalf-dev/behalf/agents"
)

// Format renders events, one per line. Who speaks is the chain.
func Format(events []agents.Event) string {
	var b strings.Builder
	for i := range events {
		b.WriteString(Line(&events[i]))
		b.WriteByte('\n')
	}
	return b.String()
}

// Line renders one event.
func Line(e *agents.Event) string {
	who := strings.Join(e.Chain, ">")
	if who == "" {
		who = e.Source
	}
	if who == "" {
		who = "run"
	}
	parts := []string{who}
	if e.Thread != "" {
		parts = append(parts, "("+e.Thread+")")
	}
	if e.CallID != "" {
		parts = append(parts, "["+e.CallID+"]")
	}
	return strings.TrimRight(strings.Join(append(parts, text(e)), " "), " ")
}

func text(e *agents.Event) string {
	switch b := e.Body.(type) {
	case agents.RunStarted:
		return fmt.Sprintf("started %s %s%s", e.RunID, b.Target, limits(b.Limits))
	case agents.TurnStarted:
		return fmt.Sprintf("turn %d", b.Turn)
	case agents.TextDelta:
		return fmt.Sprintf("delta %q", b.Text)
	case agents.ThoughtDelta:
		return fmt.Sprintf("thinks %q", b.Text)
	case agents.Message:
		return message(e.MessageID, b)
	case agents.HandedOff:
		return handedOff(b)
	case agents.RunFinished:
		return strings.TrimRight(fmt.Sprintf("finished %s %s %s: %s", b.StopReason, b.Reason, usage(b.Usage), b.Output), " ")
	}
	return waits(e.Body)
}

func waits(body agents.Body) string {
	switch b := body.(type) {
	case agents.ToolCallRequested:
		return fmt.Sprintf("calls %s(%s) as %q", short(b.Tool), short(b.Arguments), short(b.ModelCallID))
	case agents.ToolCallDecided:
		return strings.TrimSpace(fmt.Sprintf("decided %s %s", b.Decision, b.Reason))
	case agents.ToolCallProgress:
		return fmt.Sprintf("is at %v of %v %s", b.Done, b.Total, b.Message)
	case agents.ToolCallFinished:
		if b.Failed {
			return strings.TrimSpace(fmt.Sprintf("failed %s %s", b.Result, b.Reason))
		}
		return "result " + b.Result
	case agents.ApprovalRequested:
		return fmt.Sprintf("waits for approval %s of %s by %s", b.ApprovalID, b.Tool, strings.Join(b.Approvers, ", "))
	case agents.InputRequested:
		return strings.TrimSpace(fmt.Sprintf("waits for input %s %s", b.InputRequestID, b.Prompt))
	case agents.InputReceived:
		return fmt.Sprintf("input %s: %s", b.InputRequestID, b.Text)
	case agents.SpeakerSelected:
		return fmt.Sprintf("selects %s (%s) %s", strings.Join(b.Speakers, ", "), b.Reason, usage(b.Usage))
	case agents.ApprovalDecided:
		return fmt.Sprintf("approval %s: %t", b.ApprovalID, b.Approved)
	case agents.PlanUpdated:
		return plan(b)
	case agents.MemoryRecalled:
		return "remembers " + strings.Join(b.Items, " | ")
	}
	return fmt.Sprintf("%T%+v", body, body)
}

// plan renders a plan, facts, a ledger, or that there is none.
func plan(p agents.PlanUpdated) string {
	what := "got nothing"
	switch {
	case p.Plan != "":
		what = fmt.Sprintf("plans %q knowing %q", p.Plan, p.Facts)
	case p.Facts != "":
		what = fmt.Sprintf("knows %q", p.Facts)
	case p.Ledger != "":
		what = "judges " + p.Ledger
	}
	return fmt.Sprintf("%s (stalls: %d) %s", what, p.Stalls, usage(p.Usage))
}

func limits(l agents.Limits) string {
	if l == (agents.Limits{}) {
		return ""
	}
	return fmt.Sprintf(" %+v", l)
}

func message(id string, m agents.Message) string {
	var b strings.Builder
	b.WriteString("says")
	if m.Kind != agents.KindText && m.Kind != agents.KindToolCalls {
		fmt.Fprintf(&b, " (%s)", strings.TrimSpace(string(m.Kind)+" "+m.HandoffTo))
	}
	if m.Incomplete {
		b.WriteString(" (incomplete)")
	}
	if id != "" {
		fmt.Fprintf(&b, " %s %s", id, usage(m.Usage))
	}
	fmt.Fprintf(&b, ": %s", short(m.Text))
	if m.Structured != "" {
		fmt.Fprintf(&b, " = %s", m.Structured)
	}
	if m.Kind == agents.KindStructured && m.Incomplete {
		fmt.Fprintf(&b, " (rejected: %s)", m.Parts[0].Text)
	}
	if m.Thought != "" {
		fmt.Fprintf(&b, " (thought: %s)", m.Thought)
	}
	for _, c := range m.Calls {
		fmt.Fprintf(&b, " +%s", short(c.Tool))
	}
	return b.String()
}

func usage(u agents.Usage) string {
	return fmt.Sprintf("{%d+%d in %d}", u.PromptTokens, u.CompletionTokens, u.ModelCalls)
}

func handedOff(h agents.HandedOff) string {
	if h.Scopes == nil {
		return "hands off to " + h.To
	}
	return fmt.Sprintf("hands off to %s with %v", h.To, *h.Scopes)
}

// short keeps hostile lengths out of golden files.
func short(s string) string {
	if len(s) <= 200 {
		return s
	}
	return fmt.Sprintf("%s… (%d bytes)", s[:20], len(s))
}

// FormatPrompt renders what a model was asked.
func FormatPrompt(p *agents.Prompt) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is asked", p.Agent)
	for _, t := range p.Tools {
		fmt.Fprintf(&b, " +%s", t.Name)
	}
	if p.Schema != nil {
		fmt.Fprintf(&b, " for %s", short(string(p.Schema)))
	}
	b.WriteByte('\n')
	if p.System != "" {
		fmt.Fprintf(&b, "  system: %s\n", p.System)
	}
	for i := range p.Messages {
		fmt.Fprintf(&b, "  %s\n", promptLine(&p.Messages[i]))
	}
	return b.String()
}

func promptLine(m *agents.PromptMessage) string {
	switch m.Role {
	case agents.RoleSystem:
		return "system: " + m.Text
	case agents.RoleUser:
		return fmt.Sprintf("user[%s]: %s", m.Name, m.Text)
	case agents.RoleTool:
		mark := ""
		if m.Failed {
			mark = "!"
		}
		return fmt.Sprintf("tool[%s] %s=%s%s", short(m.CallID), m.Tool, mark, m.Text)
	}
	line := strings.TrimRight("assistant: "+m.Text, " ")
	for _, c := range m.Calls {
		line += fmt.Sprintf(" +%s(%s) as %q", c.Tool, short(c.Arguments), short(c.ID))
	}
	return line
}
