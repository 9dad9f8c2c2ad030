package agents

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
)

// Society is a team that speaks with one voice: in each turn the team talks about
// what came in, and then a model makes one answer of what it said. The team begins
// each turn anew, in a thread of its own; of earlier turns it is told the input.
type Society struct{ cfg SocietyConfig }

// SocietyConfig says what a society is.
type SocietyConfig struct {
	Name        string // required
	Description string // for other agents
	Team        Member // required: usually a team, with its ceiling
	Model       Model  // required

	// Instruction comes before what the team said, and ResponsePrompt after it.
	// Empty: plain ones.
	Instruction    string
	ResponsePrompt string
	Window         Window // of the earlier inputs that the team is told; nil: all
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
		problems = append(problems, cfg.Window.check())
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

// Run continues the society's turn. See [Agent].
func (s *Society) Run(ctx context.Context, t *Transcript) iter.Seq2[Event, error] {
	return host{name: s.cfg.Name, guest: s.cfg.Team, kind: s}.run(ctx, t)
}

func (s *Society) generation(v *visit) int { return v.runs }

// input is what came in, after one message that holds what came in before.
func (s *Society) input(h *host) []Event {
	v := h.visit
	fresh := h.inputs(v.heard[v.earlier:])
	if v.earlier == 0 {
		return fresh
	}
	told := make([]PromptMessage, v.earlier)
	for i, e := range h.inputs(v.heard[:v.earlier]) {
		m := e.Body.(Message)
		told[i] = PromptMessage{Role: RoleUser, Name: e.Source, Text: cmp.Or(m.Structured, m.Text)}
	}
	if s.cfg.Window != nil {
		told = see(s.cfg.Window, told)
	}
	earlier := Message{Role: RoleUser, Kind: KindHandoff, Text: societyEarlier, Parts: recollection(told)}
	return append([]Event{{Source: s.cfg.Name, Chain: h.chain, Body: earlier}}, fresh...)
}

// reply makes one answer of what the team said, and ends the turn.
func (s *Society) reply(ctx context.Context, h *host, team *seat) bool {
	v := h.visit
	id := messageID(v.runID, v.invited)
	switch {
	case v.said > 0:
		h.emit(Event{Body: RunFinished{
			StopReason: StopCompleted, Output: v.answer.Text, Usage: team.end.Usage.Add(v.answer.Usage),
		}})
		return false
	case len(team.said) == 0:
		return h.emit(Event{MessageID: id, Body: Message{Role: RoleAssistant, Text: societySilent}})
	}
	answer, err := consult(ctx, s.cfg.Model, s.question(team), func(text string) bool {
		return h.emit(Event{MessageID: id, Body: TextDelta{text}})
	})
	if answer.gone {
		return false
	}
	m := Message{Role: RoleAssistant, Text: answer.text, Usage: answer.usage, Incomplete: err != nil}
	if err == nil {
		return h.emit(Event{MessageID: id, Body: m})
	}
	if m.Text != "" && !h.emit(Event{MessageID: id, Body: m}) {
		return false
	}
	return h.fail(ctx, err)
}

// question shows a model what the team said. All of it is input, also the frame:
// not every model takes several instructions.
func (s *Society) question(team *seat) *Prompt {
	p := &Prompt{Agent: s.cfg.Name, ToolChoice: ToolNone}
	say := func(name, text string) {
		p.Messages = append(p.Messages, spoken(PromptMessage{Role: RoleUser, Name: name, Text: text})...)
	}
	say(string(RoleUser), s.cfg.Instruction)
	for _, e := range team.said {
		m := e.Body.(Message)
		say(e.Source, cmp.Or(m.Structured, m.Text))
	}
	say(string(RoleUser), s.cfg.ResponsePrompt)
	return p
}

// recollected is an earlier message inside a message.
type recollected struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// recollection packs earlier messages into the parts of one.
func recollection(messages []PromptMessage) []Part {
	parts := make([]Part, len(messages))
	for i, m := range messages {
		text, err := json.Marshal(recollected{m.Name, m.Text})
		if err != nil {
			panic("agents: two texts cannot be encoded: " + err.Error())
		}
		parts[i].JSON = string(text)
	}
	return parts
}

// recollect unpacks them again. Other parts stay what they are.
func recollect(parts []Part) (earlier []PromptMessage, rest []Part) {
	for _, p := range parts {
		var m recollected
		if p.JSON == "" || json.Unmarshal([]byte(p.JSON), &m) != nil || m.Name == "" {
			rest = append(rest, p)
			continue
		}
		earlier = append(earlier, spoken(PromptMessage{Role: RoleUser, Name: m.Name, Text: m.Text})...)
	}
	return earlier, rest
}
