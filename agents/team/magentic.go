package team

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// MagenticConfig says how an orchestrator leads a team.
type MagenticConfig struct {
	Config                  // MaxTurns: 20
	Model      agents.Model // required: the orchestrator's
	ModelLacks agents.Lacks // without structured output a ledger is asked for in words alone

	MaxStalls   int    // turns without progress until there is a new plan: 3
	MaxReplans  int    // new plans in one run until there must be an answer: 3
	Attempts    int    // of the model to write a ledger: 10
	FinalPrompt string // what the final answer is asked with, as it is. Empty: a plain question
}

// NewMagentic makes a team that is led by an orchestrator. It gathers facts and
// makes a plan, which is all that participants learn of the task. Then after each
// turn it writes a ledger: is the work done, does it get on, who shall do what
// next. Without progress it plans anew, and participants forget what was before.
// At the end, also at the limit of turns, it answers itself.
//
// A condition sees the participants' turns and neither the task nor the
// orchestrator; if it stops the run there is no final answer. A run without a new
// task goes on with the last one.
func NewMagentic(cfg MagenticConfig) (*Team, error) {
	cfg.MaxTurns = cmp.Or(cfg.MaxTurns, 20)
	cfg.MaxStalls = cmp.Or(cfg.MaxStalls, 3)
	cfg.MaxReplans = cmp.Or(cfg.MaxReplans, 3)
	cfg.Attempts = cmp.Or(cfg.Attempts, 10)
	m := &magentic{cfg: cfg}
	t, err := newTeam(cfg.Config, m)
	if err = errors.Join(
		err,
		require(cfg.Model != nil, "the model is missing"),
		require(min(cfg.MaxStalls, cfg.MaxReplans, cfg.Attempts) > 0, "stalls, replans and attempts must not be negative"),
	); err != nil {
		return nil, fmt.Errorf("magentic: %w", err)
	}
	t.leads = true
	m.names, m.roles = t.order, roles(cfg.Participants)
	if !cfg.ModelLacks.StructuredOutput {
		m.schema = ledgerSchema(t.order)
	}
	return t, nil
}

// magentic is the kind of team.
type magentic struct {
	cfg    MagenticConfig
	names  []string
	roles  string // one line for each participant
	schema []byte // of a ledger; nil: the model follows none
}

var (
	errNoTask   = fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "the team has no task yet; give it one")
	errNoLedger = fault.New(codes.Unavailable, fault.ModelUnavailable,
		"the orchestrator's model wrote no usable ledger in all its attempts; try again or use another model")
)

func (m *magentic) next(ctx context.Context, r *round) bool {
	s := m.course(r)
	switch s.step {
	case gathering:
		return m.gather(ctx, r, s)
	case planning:
		return m.plan(ctx, r, s)
	case briefing:
		return r.say(agents.Message{Text: s.fill(briefingText, s.facts)})
	case judging:
		return m.judge(ctx, r, s)
	case instructing:
		return r.say(agents.Message{Text: s.ledger.instruction})
	case choosing:
		return r.give(agents.SpeakerSelected{Speakers: []string{s.ledger.speaker}, Reason: "ledger"})
	case concluding:
		return m.conclude(ctx, r)
	case givingUp:
		return r.fail(ctx, errNoLedger)
	}
	return r.fail(ctx, errNoTask)
}

func (m *magentic) completed(r *round) string {
	if s := m.course(r); s.step == concluded {
		return s.reason
	}
	return ""
}

func (m *magentic) course(r *round) *course {
	return agents.Fold(r.t, m, func() *course { return &course{magentic: m, self: r.team.cfg.Name} }, (*course).apply)
}

// gather asks for the facts: at first those of the task, later what has changed.
func (m *magentic) gather(ctx context.Context, r *round, s *course) bool {
	answer, ok := m.ask(ctx, r, s, m.factsDialogue(s, s.facts))
	return ok && r.emit(agents.Event{Body: agents.PlanUpdated{Facts: written(answer.Text), Stalls: s.stalls, Usage: answer.Usage}})
}

// plan asks for the plan. With it the stalls are forgiven.
func (m *magentic) plan(ctx context.Context, r *round, s *course) bool {
	text := planText
	if s.plan != "" {
		text = replanText
	}
	dialogue := append(m.factsDialogue(s, s.known),
		agents.PromptMessage{Role: agents.RoleAssistant, Text: s.facts}, m.question(s.fill(text, s.facts)))
	answer, ok := m.ask(ctx, r, s, dialogue)
	return ok && r.emit(agents.Event{Body: agents.PlanUpdated{Plan: written(answer.Text), Facts: s.facts, Usage: answer.Usage}})
}

// factsDialogue ends with the question for facts. A new plan is made by what was
// said since the last one.
func (m *magentic) factsDialogue(s *course, known string) []agents.PromptMessage {
	if s.plan == "" {
		return []agents.PromptMessage{m.question(s.fill(factsText, known))}
	}
	return append(s.dialogue(), m.question(s.fill(newFactsText, known)))
}

// judge asks for the ledger until there is nothing wrong with it, or too often.
// It is shown its last answer with all that is wrong with that.
func (m *magentic) judge(ctx context.Context, r *round, s *course) bool {
	dialogue := append(s.dialogue(), m.question(s.fill(ledgerText, s.facts)))
	p := &agents.Prompt{Agent: m.cfg.Name, Messages: dialogue, ToolChoice: agents.ToolNone, Schema: m.schema}
	var usage agents.Usage
	for range m.cfg.Attempts {
		answer, err := r.consult(ctx, m.cfg.Model, p, false)
		usage = usage.Add(answer.Usage)
		if errors.Is(err, agents.ErrTooLong) { // also only a bad ledger
			answer.Text, err = "(too long)", nil
		}
		if err != nil {
			return m.record(r, s, usage) && r.fail(ctx, err)
		}
		l, problem := readLedger(answer.Object(), m.names)
		if problem == "" {
			return r.emit(agents.Event{Body: agents.PlanUpdated{Ledger: l.text, Stalls: l.stalls(s.stalls), Usage: usage}})
		}
		again := append(dialogue[:len(dialogue):len(dialogue)],
			agents.PromptMessage{Role: agents.RoleAssistant, Text: shorten(answer.Text, maxQuotedLedger)},
			m.question("This ledger cannot be used:\n"+problem+"Write it again, as one JSON object and nothing else."))
		p = &agents.Prompt{Agent: p.Agent, Messages: again, ToolChoice: p.ToolChoice, Schema: p.Schema}
	}
	return m.record(r, s, usage)
}

// record stores what calls used that led to nothing.
func (m *magentic) record(r *round, s *course, usage agents.Usage) bool {
	return r.emit(agents.Event{Body: agents.PlanUpdated{Stalls: s.stalls, Usage: usage}})
}

// conclude asks for the answer to the task and says it.
func (m *magentic) conclude(ctx context.Context, r *round) bool {
	s := m.course(r)
	text := m.cfg.FinalPrompt
	if text == "" {
		text = s.fill(finalText, s.facts)
	}
	answer, ok := m.ask(ctx, r, s, append(s.dialogue(), m.question(text)))
	return ok && r.say(agents.Message{Text: answer.Text, Usage: answer.Usage})
}

// ask puts one question to the model, false if the run is over.
func (m *magentic) ask(ctx context.Context, r *round, s *course, dialogue []agents.PromptMessage) (agents.Answer, bool) {
	answer, err := r.consult(ctx, m.cfg.Model, &agents.Prompt{Agent: m.cfg.Name, Messages: dialogue, ToolChoice: agents.ToolNone}, false)
	if err != nil {
		return answer, m.record(r, s, answer.Usage) && r.fail(ctx, err)
	}
	return answer, true
}

// question is what the orchestrator asks itself.
func (m *magentic) question(text string) agents.PromptMessage {
	return agents.PromptMessage{Role: agents.RoleUser, Name: m.cfg.Name, Text: text}
}

// written is never empty: an empty text in a PlanUpdated says something else.
func written(text string) string { return cmp.Or(strings.TrimSpace(text), "(nothing)") }
