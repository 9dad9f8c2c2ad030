package team

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/behalf-dev/behalf/agents"
)

// step says what an orchestrator does next.
type step int

const (
	noTask      step = iota
	gathering        // ask for facts
	planning         // ask for a plan
	briefing         // tell the participants
	judging          // ask for a ledger
	instructing      // tell a participant what to do
	choosing         // let it speak
	concluding       // ask for the final answer
	concluded        // finish
	givingUp         // fail: the model writes no ledger
)

// course is how far an orchestrator has come: a fold over the team's thread.
type course struct {
	magentic *magentic
	self     string

	step  step
	task  string
	facts string
	known string // the facts before the newest ones
	plan  string

	ledger  *ledger
	tries   int64 // of the ledger that is asked for, so far in vain
	stalls  int
	replans int    // in this run
	reason  string // why it is concluded

	said  []agents.PromptMessage // since the plan, as the orchestrator's model sees it
	open  bool                   // the run's task may still grow
	fresh bool                   // the run has no task yet
}

func (s *course) apply(e *agents.Event) {
	switch b := e.Body.(type) {
	case agents.RunStarted:
		s.start()
		return
	case agents.Message:
		if b.Role == agents.RoleUser {
			s.input(e, b)
			return
		}
		s.message(e, b)
	case agents.PlanUpdated:
		s.thought(b)
	case agents.SpeakerSelected:
		s.step = judging
	}
	s.open = false
}

// start begins a run. What has not been told to anybody yet is still to be done;
// else the work goes on where it is.
func (s *course) start() {
	s.open, s.fresh = true, true
	s.tries, s.stalls, s.replans, s.reason = 0, 0, 0, ""
	if s.step > judging {
		s.step = judging
	}
}

// input is a part of the task, or what a person says while the team works.
func (s *course) input(e *agents.Event, m agents.Message) {
	text := cmp.Or(m.Structured, m.Text)
	if e.Source != string(agents.RoleUser) {
		text = e.Source + ": " + text
	}
	switch {
	case s.open && s.fresh:
		s.task, s.facts, s.known, s.plan = text, "", "", ""
		s.step, s.fresh = gathering, false
	case s.open:
		s.task += "\n" + text
	case m.Kind != agents.KindStop:
		s.hear(e, m)
	}
}

func (s *course) thought(p agents.PlanUpdated) {
	s.stalls = p.Stalls
	switch {
	case p.Plan != "":
		s.plan, s.step = p.Plan, briefing
	case p.Facts != "":
		s.known, s.facts, s.step = s.facts, p.Facts, planning
	case p.Ledger != "":
		s.tries = 0
		s.judged(p.Ledger)
	case s.step == judging:
		if s.tries += p.Usage.ModelCalls; s.tries >= int64(s.magentic.cfg.Attempts) {
			s.step = givingUp
		}
	}
}

// judged decides what follows from a ledger. One that makes no sense any more,
// because the configuration has changed, is asked for again.
func (s *course) judged(text string) {
	l, problem := readLedger(text, s.magentic.names)
	if problem != "" {
		s.step = judging
		return
	}
	s.ledger = l
	switch {
	case l.satisfied:
		s.step, s.reason = concluding, cmp.Or(shorten(l.reason, maxReason), agents.StopCompleted)
	case s.stalls < s.magentic.cfg.MaxStalls:
		s.step = instructing
	case s.replans < s.magentic.cfg.MaxReplans:
		s.step = gathering
		s.replans++
	default:
		s.step, s.reason = concluding, fmt.Sprintf("No progress after %d new plans", s.replans)
	}
}

// maxReason bounds a stop reason that a model wrote.
const maxReason = 500

// shorten cuts a text between runes, near the limit.
func shorten(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "")
}

// message is what the orchestrator or a participant says. The orchestrator's own
// comes where it is due, or it is the last word at the limit of turns.
func (s *course) message(e *agents.Event, m agents.Message) {
	if e.Source != s.self {
		s.hear(e, m)
		return
	}
	own := agents.PromptMessage{Role: agents.RoleAssistant, Text: m.Text}
	switch s.step {
	case briefing:
		s.said, s.step = nil, judging
	case instructing:
		s.step = choosing
	default:
		s.step, s.reason = concluded, cmp.Or(s.reason, agents.StopMaxTurns)
	}
	s.said = append(s.said, own)
}

func (s *course) hear(e *agents.Event, m agents.Message) {
	said := agents.PromptMessage{Role: agents.RoleUser, Name: e.Source, Text: cmp.Or(m.Structured, m.Text), Parts: m.Parts}
	if m.Kind == agents.KindHandoff {
		said.Parts = nil // they are results of calls
	}
	s.said = append(s.said, said)
}

// dialogue is what was said, for a prompt that one question is added to. The
// question may come to lie in the room behind it, where what is said next will:
// a prompt is used only until its call returns.
func (s *course) dialogue() []agents.PromptMessage { return s.said }
