package agents

// phase says what an assistant does next.
type phase int

const (
	idle     phase = iota // open a turn
	asking                // ask the model: a turn is open
	calling               // deal with the calls of the newest reply
	answered              // finish: the newest reply is the answer
	finished              // nothing
)

// state is what one assistant knows of its thread. It is a fold: apply is all
// that changes it. The conversation grows over the whole session; everything
// about the run starts again with each RunStarted.
type state struct {
	self         string
	maxArguments int

	messages []PromptMessage   // the conversation as the model sees it
	held     []PromptMessage   // said by others while own calls have no result yet
	batches  map[string]*batch // the newest reply with calls of each agent
	calls    map[string]*call  // the calls of these batches by call id

	phase    phase
	limits   Limits
	turns    int // of all agents in this run
	ownTurns int
	requests int // tool calls of all agents in this run
	usage    Usage
	output   string // what an agent said last
	asked    uint64 // sequence of the own event that opened the question
}

func newState(self string, maxArguments int) *state {
	return &state{self: self, maxArguments: maxArguments, batches: map[string]*batch{}, calls: map[string]*call{}}
}

func (s *state) apply(e *Event) {
	switch b := e.Body.(type) {
	case RunStarted:
		s.start(b)
	case TurnStarted:
		s.turn(e)
	case Message:
		s.message(e, b)
	case ToolCallRequested:
		s.request(e, b)
	case HandedOff:
		s.handedOff(e, b)
	case ApprovalDecided:
		s.wake(b.ApprovalID)
	case InputReceived:
		s.wake(b.InputRequestID)
	case RunFinished:
		s.settle()
		s.phase = finished
	default:
		s.progress(e)
	}
}

// start opens a run: what is about the run starts from nothing.
func (s *state) start(r RunStarted) {
	s.settle()
	clear(s.batches)
	clear(s.calls)
	s.phase, s.limits = idle, r.Limits
	s.turns, s.ownTurns, s.requests = 0, 0, 0
	s.usage, s.output, s.asked = Usage{}, "", 0
}

func (s *state) turn(e *Event) {
	s.turns++
	if e.Source == s.self {
		s.ownTurns++
		s.phase, s.asked = asking, e.Sequence
	}
}

func (s *state) message(e *Event, m Message) {
	said := PromptMessage{Role: RoleUser, Name: e.Source, Text: m.Text, Parts: m.Parts}
	if m.Role == RoleUser {
		s.hear(spoken(said)...)
		return
	}
	s.usage = s.usage.Add(m.Usage)
	if m.Text != "" {
		s.output = m.Text
	}
	if len(m.Calls) > 0 && !m.Incomplete {
		s.open(e, m)
		return
	}
	if e.Source != s.self {
		s.hear(spoken(said)...)
		return
	}
	s.messages = append(s.messages, spoken(PromptMessage{Role: RoleAssistant, Text: m.Text})...)
	s.phase = answered
	if m.Incomplete {
		s.phase, s.asked = asking, e.Sequence
	}
}

// hear adds messages of others. While own calls have no results they wait:
// nothing may stand between a reply and its results.
func (s *state) hear(said ...PromptMessage) {
	for _, m := range said {
		if s.batches[s.self] != nil {
			s.held = append(s.held, m)
			continue
		}
		s.messages = append(s.messages, m)
	}
}

// open notes a reply with calls. What another agent says beside its calls is
// seen by the others only if it hands off.
func (s *state) open(e *Event, m Message) {
	if old := s.batches[e.Source]; old != nil {
		s.forget(old)
	}
	s.batches[e.Source] = newBatch(e.MessageID, m)
	if e.Source == s.self {
		s.phase = calling
	}
}

func (s *state) request(e *Event, r ToolCallRequested) {
	s.requests++
	b := s.batches[e.Source]
	if b == nil || b.messageID != r.MessageID {
		return
	}
	if c := b.request(e, s.requests); c != nil {
		s.calls[e.CallID] = c
	}
}

// progress notes what happened to a call, and closes the own batch when that was
// the last result. An accepted hand-off keeps it open until HandedOff.
func (s *state) progress(e *Event) {
	c := s.calls[e.CallID]
	if c == nil {
		return
	}
	c.apply(e.Body)
	if b := s.batches[s.self]; b != nil && b.complete() && b.winner() == nil {
		s.settle()
		s.phase = idle
	}
}

// wake ends a wait. The answer names what it answers, not the call.
func (s *state) wake(id string) {
	for _, c := range s.calls {
		if c.waits == id {
			c.waits = ""
		}
	}
}

// handedOff closes the own batch, or adds what another agent did in the reply
// that handed off: its calls and results, then the hand-off itself.
func (s *state) handedOff(e *Event, h HandedOff) {
	if e.Source == s.self {
		s.settle()
		s.phase = idle
		return
	}
	if b := s.batches[e.Source]; b != nil {
		s.hear(prompt(b.text, b.all(func(c *call) bool { return !c.transfer() }), s.maxArguments)...)
		s.forget(b)
		delete(s.batches, e.Source)
	}
	s.hear(PromptMessage{Role: RoleUser, Name: e.Source, Text: transferred(h.To)})
}

// settle closes the own batch, whatever results it has, and lets in what others
// said meanwhile.
func (s *state) settle() {
	b := s.batches[s.self]
	if b == nil {
		return
	}
	s.forget(b)
	delete(s.batches, s.self)
	every := func(*call) bool { return true }
	s.messages = append(s.messages, prompt(b.text, b.all(every), s.maxArguments)...)
	s.messages = append(s.messages, s.held...)
	s.held = nil
}

func (s *state) forget(b *batch) {
	for i := range b.calls {
		delete(s.calls, b.calls[i].request.CallID)
	}
}
