package team

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// SelectorConfig says how a model chooses who speaks.
type SelectorConfig struct {
	Config
	Model agents.Model // required

	// Prompt is the question. {roles} stands for all participants and what they
	// say of themselves, {participants} for the candidates, {history} for the
	// conversation. Empty: a plain question.
	Prompt       string
	PromptAsUser bool // the question is a user message: for models that want one
	AllowRepeats bool // the same participant may speak twice in a row
	Attempts     int  // of the model to name one candidate: 3
	History      int  // messages in {history}: 0 is all
	Stream       bool // the model's choosing is shown as text deltas of the team, of no message

	// Choose comes before everything else: it names the speaker, or nobody to
	// leave it to the model. It sees the conversation so far.
	Choose func(ctx context.Context, said []agents.Event) (string, error)
	// Candidates says who may be chosen. Nil: everybody but the last speaker.
	Candidates func(ctx context.Context, said []agents.Event) ([]string, error)
}

const selectorPrompt = `You are in a role play game. The following roles are available:
{roles}.
Read the following conversation. Then select the next role from {participants} to play. Only return the role.

{history}

Read the above conversation. Then select the next role from {participants} to play. Only return the role.
`

// NewSelector makes a team in which a model, or a function, chooses who speaks.
func NewSelector(cfg SelectorConfig) (*Team, error) {
	cfg.Prompt = cmp.Or(cfg.Prompt, selectorPrompt)
	cfg.Attempts = cmp.Or(cfg.Attempts, 3)
	s := &selector{cfg: cfg}
	t, err := newTeam(cfg.Config, s)
	if err = errors.Join(
		err,
		require(len(cfg.Participants) >= 2, "at least two participants are needed for a selector"),
		require(cfg.Model != nil, "the model is missing"),
		require(cfg.Attempts > 0 && cfg.History >= 0, "attempts and history must not be negative"),
	); err != nil {
		return nil, fmt.Errorf("selector: %w", err)
	}
	s.roles = roles(cfg.Participants)
	return t, nil
}

// roles is one line for each participant.
func roles(participants []Member) string {
	lines := make([]string, len(participants))
	for i, m := range participants {
		lines[i] = strings.Join(strings.Fields(m.Agent.Name()+": "+describe(m.Agent)), " ")
	}
	return strings.Join(lines, "\n")
}

type selector struct {
	cfg   SelectorConfig
	roles string
}

func (s *selector) next(ctx context.Context, r *round) bool {
	h := agents.Fold(r.t, s, func() *history { return &history{} }, func(*history, *agents.Event) {})
	h.read(r)
	if s.cfg.Choose != nil {
		name, err := s.cfg.Choose(ctx, h.events(r))
		switch {
		case err != nil:
			return r.fail(ctx, err)
		case name != "" && !slices.Contains(r.team.order, name):
			return r.fail(ctx, invalidSpeaker("selector", name))
		case name != "":
			return r.give(agents.SpeakerSelected{Speakers: []string{name}, Reason: "rule"})
		}
	}
	candidates, err := s.candidates(ctx, r, h)
	if err != nil {
		return r.fail(ctx, err)
	}
	if len(candidates) == 1 {
		return r.give(agents.SpeakerSelected{Speakers: candidates, Reason: "only_candidate"})
	}
	return s.ask(ctx, r, candidates, h.text(s.cfg.History))
}

func invalidSpeaker(kind, name string) error {
	return fault.New(codes.FailedPrecondition, fault.ArgumentInvalid,
		"the "+kind+" function returned an invalid speaker name; the team's configuration must be corrected").
		Because(errors.New("the name is " + name))
}

// candidates are those whom the model may choose.
func (s *selector) candidates(ctx context.Context, r *round, h *history) ([]string, error) {
	if s.cfg.Candidates != nil {
		names, err := s.cfg.Candidates(ctx, h.events(r))
		if err != nil {
			return nil, err
		}
		if len(names) == 0 {
			return nil, invalidSpeaker("candidate", "")
		}
		for _, name := range names {
			if !slices.Contains(r.team.order, name) {
				return nil, invalidSpeaker("candidate", name)
			}
		}
		return names, nil
	}
	last := s.last(r)
	return slices.DeleteFunc(slices.Clone(r.team.order), func(name string) bool { return !s.cfg.AllowRepeats && name == last }), nil
}

// last is the participant that spoke last, whoever chose it, empty if none did.
func (s *selector) last(r *round) string {
	if last := r.chat.last; len(last) > 0 && slices.Contains(r.team.order, last[0]) {
		return last[0]
	}
	return ""
}

// ask lets the model choose. What is wrong with an answer is told back; after the
// last attempt the last speaker goes on, else the first candidate.
func (s *selector) ask(ctx context.Context, r *round, candidates []string, history string) bool {
	list := "['" + strings.Join(candidates, "', '") + "']"
	p := s.question(r.team.cfg.Name, list, history)
	var usage agents.Usage
	for range s.cfg.Attempts {
		answer, err := r.consult(ctx, s.cfg.Model, p, s.cfg.Stream)
		usage = usage.Add(answer.Usage)
		if err != nil {
			return r.fail(ctx, err)
		}
		if answer.Gone {
			return false
		}
		name, problem := s.pick(r, answer.Text, list)
		if problem == "" {
			return r.give(agents.SpeakerSelected{Speakers: []string{name}, Reason: "model", Usage: usage})
		}
		dialogue := append(slices.Clip(p.Messages),
			agents.PromptMessage{Role: agents.RoleAssistant, Text: answer.Text}, agents.PromptMessage{Role: agents.RoleUser, Name: string(agents.RoleUser), Text: problem})
		p = &agents.Prompt{Agent: p.Agent, System: p.System, Messages: dialogue, ToolChoice: p.ToolChoice}
	}
	fallback := cmp.Or(s.last(r), candidates[0])
	return r.give(agents.SpeakerSelected{Speakers: []string{fallback}, Reason: "fallback", Usage: usage})
}

// question is the prompt of the first attempt.
func (s *selector) question(asks, candidates, history string) *agents.Prompt {
	text := strings.NewReplacer("{roles}", s.roles, "{participants}", candidates, "{history}", history).Replace(s.cfg.Prompt)
	p := &agents.Prompt{Agent: asks, ToolChoice: agents.ToolNone}
	if s.cfg.PromptAsUser {
		p.Messages = []agents.PromptMessage{{Role: agents.RoleUser, Name: string(agents.RoleUser), Text: text}}
	} else {
		p.System = text
	}
	return p
}

// pick finds the one participant that an answer names, or says what is wrong.
func (s *selector) pick(r *round, answer, list string) (name, problem string) {
	var named []string
	for _, n := range r.team.order {
		if mentions(answer, n) {
			named = append(named, n)
		}
	}
	switch {
	case len(named) == 0:
		return "", "No valid name was mentioned. Please select from: " + list + "."
	case len(named) > 1:
		return "", "Expected exactly one name to be mentioned. Please select only one from: " + list + "."
	case !s.cfg.AllowRepeats && named[0] == s.last(r):
		return "", "Repeated speaker is not allowed, please select a different name from: " + list + "."
	}
	return named[0], ""
}
