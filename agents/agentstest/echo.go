package agentstest

import (
	"context"
	"iter"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/identity"
)

// Echo is an agent without a model: in each turn it repeats the first message that
// came in, or what it said last if none did. From its StopAt-th turn on, if that is
// set, it asks the group chat to stop instead.
type Echo struct {
	AgentName string
	StopAt    int
	Err       error // each turn fails with it
}

// Name is the agent's name.
func (e Echo) Name() string { return e.AgentName }

// Run continues the agent's turn.
func (e Echo) Run(ctx context.Context, t *agents.Transcript) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		s := listen(t)
		switch {
		case s.finished:
			return
		case e.Err != nil:
			yield(agents.Event{}, e.Err)
			return
		}
		g, _ := identity.FromContext(ctx)
		emit := func(b agents.Body) bool {
			return yield(agents.Event{Source: e.AgentName, Chain: g.Chain(), Thread: t.Thread(), Body: b}, nil)
		}
		m := agents.Message{Role: agents.RoleAssistant, Text: s.text}
		if e.StopAt > 0 && s.turn >= e.StopAt {
			m.Kind, m.Text = agents.KindStop, "stop"
		}
		if s.replied || emit(m) {
			emit(agents.RunFinished{StopReason: agents.StopCompleted, Output: m.Text})
		}
	}
}

// echoed is what an Echo knows of its thread.
type echoed struct {
	turn     int
	text     string
	fresh    bool // text came in this turn
	replied  bool
	finished bool
}

func listen(t *agents.Transcript) echoed {
	var s echoed
	for _, e := range t.Since(0) {
		switch b := e.Body.(type) {
		case agents.RunStarted:
			s = echoed{turn: s.turn + 1, text: s.text}
		case agents.RunFinished:
			s.finished = true
		case agents.Message:
			switch {
			case b.Role == agents.RoleAssistant:
				s.replied = true
			case !s.fresh:
				s.text, s.fresh = b.Text, true
			}
		}
	}
	return s
}
