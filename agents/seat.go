package agents

import (
	"cmp"
	"strconv"
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
	started uint64  // sequence of the newest RunStarted
	call    string  // the call that it belongs to
	heard   int     // inputs of all turns
	inputs  int     // of the newest turn
	began   bool    // the newest turn: something came after its inputs
	over    bool    // the newest turn
	said    []Event // to the peers, in the newest turn
	end     RunFinished
	handOff *HandedOff // how the newest turn ended

	reply   Message           // the newest one with calls
	replyID string            // its message id
	results map[string]result // by call id
	order   []string          // call ids in the order of the reply
}

type result struct {
	tool    string
	decided bool
	ToolCallFinished
}

// seatOf is the fold key: there is one seat per thread.
type seatOf struct{}

// sit reads the seat of an agent in t's thread.
func sit(t *Transcript, agent string) *seat {
	return fold(t, seatOf{}, func() *seat { return &seat{agent: agent} }, (*seat).apply)
}

func (s *seat) apply(e *Event) {
	if m, ok := e.Body.(Message); !ok || m.Role != RoleUser {
		s.began = true
	}
	switch b := e.Body.(type) {
	case RunStarted:
		*s = seat{agent: s.agent, started: e.Sequence, call: e.CallID, heard: s.heard}
	case Message:
		s.message(e, b)
	case ToolCallRequested:
		if s.results != nil {
			s.order = append(s.order, e.CallID)
			s.results[e.CallID] = result{tool: b.Tool}
		}
	case ToolCallDecided:
		if r, ok := s.results[e.CallID]; ok {
			r.decided = true
			s.results[e.CallID] = r
		}
	case ToolCallFinished:
		if r, ok := s.results[e.CallID]; ok {
			r.ToolCallFinished = b
			s.results[e.CallID] = r
		}
	case HandedOff:
		s.handedOff(e, b)
	case RunFinished:
		s.finish(e, b)
	}
}

// message collects what the agent says without calling tools: that is what its
// peers hear. The copy carries no usage, so that it counts once.
func (s *seat) message(e *Event, m Message) {
	switch {
	case m.Role == RoleUser:
		if m.Kind != KindStop || !s.began { // else somebody asks a nested team to stop
			s.heard++
			s.inputs++
		}
		return
	case m.Incomplete:
		return
	case len(m.Calls) > 0 && m.Kind != KindHandoff:
		s.reply, s.replyID = m, e.MessageID
		s.results, s.order = make(map[string]result, len(m.Calls)), nil
		return
	}
	m.Usage = Usage{}
	if m.Kind != KindHandoff {
		m.Thought = ""
	}
	s.said = append(s.said, Event{Source: e.Source, Chain: e.Chain, MessageID: e.MessageID, Body: m})
}

// handedOff ends the turn of an agent that handed off itself. A swarm's thread
// also holds those of its participants.
func (s *seat) handedOff(e *Event, h HandedOff) {
	if e.Source != s.agent {
		return
	}
	s.handOff, s.over = &h, true
	if n := len(s.said); n > 0 && s.said[n-1].Body.(Message).Kind == KindHandoff {
		return // a Filter says first what its agent said
	}
	m := Message{
		Role: RoleAssistant, Kind: KindHandoff, Text: cmp.Or(h.Message, transferred(h.To)),
		HandoffTo: h.To, Thought: cmp.Or(s.reply.Text, s.reply.Thought),
	}
	for i, id := range s.order {
		r := s.results[id]
		if transfers(r.tool) || !r.decided && !r.Failed {
			continue // see call.elsewhere
		}
		m.Calls = append(m.Calls, s.reply.Calls[i])
		m.Parts = append(m.Parts, r.part())
	}
	s.said = append(s.said, Event{Source: e.Source, Chain: e.Chain, MessageID: s.replyID, Body: m})
}

// part is a call's result inside a hand-off message.
func (r *result) part() Part {
	if r.Failed {
		return Part{Text: r.Result}
	}
	return Part{JSON: r.Result}
}

// finish ends the turn. An agent that was stopped before it answered is quoted
// with what it said last.
func (s *seat) finish(e *Event, f RunFinished) {
	s.over, s.end = true, f
	if len(s.said) == 0 && f.Output != "" {
		s.said = []Event{{Source: s.agent, Chain: e.Chain, Body: Message{Role: RoleAssistant, Text: f.Output}}}
	}
}
