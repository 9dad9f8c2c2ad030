package team

import (
	"cmp"
	"strconv"

	"github.com/behalf-dev/behalf/agents"
)

// seatThread is the thread of a participant of the team that runs in thread. It
// is the same for all turns: a participant remembers what it did and not only
// what it said, and its fold costs no more the longer the chat gets. Names hold
// no slash and no #, and a call's thread does not begin with a slash.
//
// Each new plan of an orchestrator begins a new generation of participants that
// remember nothing.
func seatThread(thread, participant string, generation int) string {
	if generation > 1 {
		participant += "#" + strconv.Itoa(generation)
	}
	return thread + "/" + participant
}

// seat is what a team, or whoever else runs an agent in a thread of its own,
// knows of that thread. It is a fold over it.
type seat struct {
	agent   string
	started uint64         // sequence of the newest RunStarted
	call    string         // the call that it belongs to
	heard   int            // inputs of all turns
	inputs  int            // of the newest turn
	began   bool           // the newest turn: something came after its inputs
	over    bool           // the newest turn
	said    []agents.Event // to the peers, in the newest turn
	end     agents.RunFinished
	handOff *agents.HandedOff // how the newest turn ended

	reply   agents.Message    // the newest one with calls
	replyID string            // its message id
	results map[string]result // by call id
	order   []string          // call ids in the order of the reply
}

type result struct {
	handOff bool
	decided bool
	agents.ToolCallFinished
}

// seatOf is the fold key: there is one seat per thread.
type seatOf struct{}

// sit reads the seat of an agent in t's thread.
func sit(t *agents.Transcript, agent string) *seat {
	return agents.Fold(t, seatOf{}, func() *seat { return &seat{agent: agent} }, (*seat).apply)
}

func (s *seat) apply(e *agents.Event) {
	if m, ok := e.Body.(agents.Message); !ok || m.Role != agents.RoleUser {
		s.began = true
	}
	switch b := e.Body.(type) {
	case agents.RunStarted:
		*s = seat{agent: s.agent, started: e.Sequence, call: e.CallID, heard: s.heard}
	case agents.Message:
		s.message(e, b)
	case agents.ToolCallRequested:
		if s.results != nil {
			s.order = append(s.order, e.CallID)
			s.results[e.CallID] = result{handOff: b.HandsOff()}
		}
	case agents.ToolCallDecided:
		if r, ok := s.results[e.CallID]; ok {
			r.decided = true
			s.results[e.CallID] = r
		}
	case agents.ToolCallFinished:
		if r, ok := s.results[e.CallID]; ok {
			r.ToolCallFinished = b
			s.results[e.CallID] = r
		}
	case agents.HandedOff:
		s.handedOff(e, b)
	case agents.RunFinished:
		s.finish(e, b)
	}
}

// message collects what the agent says without calling tools: that is what its
// peers hear. The copy carries no usage, so that it counts once.
func (s *seat) message(e *agents.Event, m agents.Message) {
	switch {
	case m.Role == agents.RoleUser:
		if m.Kind != agents.KindStop || !s.began { // else somebody asks a nested team to stop
			s.heard++
			s.inputs++
		}
		return
	case m.Incomplete:
		return
	case len(m.Calls) > 0 && m.Kind != agents.KindHandoff:
		s.reply, s.replyID = m, e.MessageID
		s.results, s.order = make(map[string]result, len(m.Calls)), nil
		return
	}
	m.Usage = agents.Usage{}
	if m.Kind != agents.KindHandoff {
		m.Thought = ""
	}
	s.said = append(s.said, agents.Event{Source: e.Source, Chain: e.Chain, MessageID: e.MessageID, Body: m})
}

// handedOff ends the turn of an agent that handed off itself. A swarm's thread
// also holds those of its participants.
func (s *seat) handedOff(e *agents.Event, h agents.HandedOff) {
	if e.Source != s.agent {
		return
	}
	s.handOff, s.over = &h, true
	if n := len(s.said); n > 0 && s.said[n-1].Body.(agents.Message).Kind == agents.KindHandoff {
		return // a Filter says first what its agent said
	}
	m := agents.Message{
		Role: agents.RoleAssistant, Kind: agents.KindHandoff, Text: h.Text(),
		HandoffTo: h.To, Thought: cmp.Or(s.reply.Text, s.reply.Thought),
	}
	for i, id := range s.order {
		r := s.results[id]
		if r.handOff || !r.decided && !r.Failed {
			continue // one with a name of its own: it succeeded, and no guard was asked
		}
		m.Calls = append(m.Calls, s.reply.Calls[i])
		m.Parts = append(m.Parts, r.part())
	}
	s.said = append(s.said, agents.Event{Source: e.Source, Chain: e.Chain, MessageID: s.replyID, Body: m})
}

// part is a call's result inside a hand-off message.
func (r *result) part() agents.Part {
	if r.Failed {
		return agents.Part{Text: r.Result}
	}
	return agents.Part{JSON: r.Result}
}

// finish ends the turn. An agent that was stopped before it answered is quoted
// with what it said last.
func (s *seat) finish(e *agents.Event, f agents.RunFinished) {
	s.over, s.end = true, f
	if len(s.said) == 0 && f.Output != "" {
		s.said = []agents.Event{{Source: s.agent, Chain: e.Chain, Body: agents.Message{Role: agents.RoleAssistant, Text: f.Output}}}
	}
}
