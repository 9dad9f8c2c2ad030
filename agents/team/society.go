package team

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/behalf-dev/behalf/agents"
)

// Society is a team that speaks with one voice: in each turn the team talks about
// what came in, and then a model makes one answer of what it said. The team begins
// each turn anew, in a thread of its own; of earlier turns it is told the input.
type Society struct{ cfg SocietyConfig }

// SocietyConfig says what a society is.
type SocietyConfig struct {
	Name        string       // required
	Description string       // for other agents
	Team        Member       // required: usually a team, with its ceiling
	Model       agents.Model // required

	// Instruction comes before what the team said, and ResponsePrompt after it.
	// Empty: plain ones.
	Instruction    string
	ResponsePrompt string
	Window         agents.Window // of the earlier inputs that the team is told; nil: all
}

const (
	societyInstruction = "You and your team were asked for something and worked on it. This is what was said:"
	societyResponse    = "Answer the original request now, in one message that stands alone. Do not mention the discussion."
	societySilent      = "No response."
	societyEarlier     = "relevant previous messages"
)

// NewSociety checks the config and makes the society.
func NewSociety(cfg SocietyConfig) (*Society, error) {
	cfg.Instruction = cmp.Or(cfg.Instruction, societyInstruction)
	cfg.ResponsePrompt = cmp.Or(cfg.ResponsePrompt, societyResponse)
	problems := []error{checkGuest(cfg.Name, cfg.Team), require(cfg.Model != nil, "the model is missing")}
	if cfg.Window != nil {
		problems = append(problems, cfg.Window.Check())
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("society %q: %w", cfg.Name, err)
	}
	return &Society{cfg}, nil
}

// Name is the society's name.
func (s *Society) Name() string { return s.cfg.Name }

// Description says to other agents what the society is good for.
func (s *Society) Description() string { return s.cfg.Description }

// Run continues the society's turn. See [agents.Agent].
func (s *Society) Run(ctx context.Context, t *agents.Transcript) iter.Seq2[agents.Event, error] {
	return host{name: s.cfg.Name, guest: s.cfg.Team, kind: s}.run(ctx, t)
}

func (s *Society) generation(v *visit) int { return v.runs }

// input is what came in, after one message that holds what came in before.
func (s *Society) input(h *host) []agents.Event {
	v := h.visit
	fresh := h.inputs(v.heard[v.earlier:])
	if v.earlier == 0 {
		return fresh
	}
	told := make([]agents.PromptMessage, v.earlier)
	for i, e := range h.inputs(v.heard[:v.earlier]) {
		m := e.Body.(agents.Message)
		told[i] = agents.PromptMessage{Role: agents.RoleUser, Name: e.Source, Text: cmp.Or(m.Structured, m.Text)}
	}
	if s.cfg.Window != nil {
		told = s.cfg.Window.Show(told)
	}
	earlier := agents.Message{Role: agents.RoleUser, Kind: agents.KindHandoff, Text: societyEarlier, Parts: make([]agents.Part, len(told))}
	for i, m := range told {
		earlier.Parts[i] = agents.Earlier(m.Name, m.Text)
	}
	return append([]agents.Event{{Source: s.cfg.Name, Chain: h.chain, Body: earlier}}, fresh...)
}

// reply makes one answer of what the team said, and ends the turn.
func (s *Society) reply(ctx context.Context, h *host, team *seat) bool {
	v := h.visit
	id := agents.MessageID(v.runID, v.invited)
	switch {
	case v.said > 0:
		h.emit(agents.Event{Body: agents.RunFinished{
			StopReason: agents.StopCompleted, Output: v.answer.Text, Usage: team.end.Usage.Add(v.answer.Usage),
		}})
		return false
	case len(team.said) == 0:
		return h.emit(agents.Event{MessageID: id, Body: agents.Message{Role: agents.RoleAssistant, Text: societySilent}})
	}
	answer, err := agents.Consult(ctx, s.cfg.Model, s.question(team), func(text string) bool {
		return h.emit(agents.Event{MessageID: id, Body: agents.TextDelta{Text: text}})
	})
	if answer.Gone {
		return false
	}
	m := agents.Message{Role: agents.RoleAssistant, Text: answer.Text, Usage: answer.Usage, Incomplete: err != nil}
	if err == nil {
		return h.emit(agents.Event{MessageID: id, Body: m})
	}
	if m.Text != "" && !h.emit(agents.Event{MessageID: id, Body: m}) {
		return false
	}
	return h.fail(ctx, err)
}

// question shows a model what the team said. All of it is input, also the frame:
// not every model takes several instructions.
func (s *Society) question(team *seat) *agents.Prompt {
	p := &agents.Prompt{Agent: s.cfg.Name, ToolChoice: agents.ToolNone}
	say := func(name, text string) {
		if text != "" {
			p.Messages = append(p.Messages, agents.PromptMessage{Role: agents.RoleUser, Name: name, Text: text})
		}
	}
	say(string(agents.RoleUser), s.cfg.Instruction)
	for _, e := range team.said {
		m := e.Body.(agents.Message)
		say(e.Source, cmp.Or(m.Structured, m.Text))
	}
	say(string(agents.RoleUser), s.cfg.ResponsePrompt)
	return p
}
