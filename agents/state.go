package agents

import "cmp"

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
	handsOff     func(tool string) bool       // of its own calls
	tell         func(*batch) []PromptMessage // how the model reads these; nil: as calls

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
	asked    uint64 // sequence of the own event that opened the question

	output     string // what an agent said last
	structured string

	part part
}

// part is what an assistant did since it became active: with the run, or when the
// conversation was handed to it.
type part struct {
	turns    int
	made     []*batch // replies with calls that have all results
	recalled []string
	rejected int             // answers that did not fit
	repair   []PromptMessage // the newest of them, and what is wrong with it
}

func newState(self string, maxArguments int, handsOff func(string) bool) *state {
	return &state{
		self: self, maxArguments: maxArguments, handsOff: handsOff,
		batches: map[string]*batch{}, calls: map[string]*call{},
	}
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
		s.wake(b.ApprovalID, b.Comment)
	case InputReceived:
		s.wake(b.InputRequestID, "")
	case PlanUpdated:
		s.usage = s.usage.Add(b.Usage)
	case MemoryRecalled:
		if e.Source == s.self {
			s.part.recalled = b.Items
		}
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
	s.usage, s.output, s.structured, s.asked = Usage{}, "", "", 0
	s.part = part{}
}

func (s *state) turn(e *Event) {
	s.turns++
	if e.Source == s.self {
		s.ownTurns++
		s.part.turns++
		s.phase, s.asked = asking, e.Sequence
	}
}

func (s *state) message(e *Event, m Message) {
	if m.Role == RoleUser {
		s.hear(s.input(e, m)...)
		return
	}
	s.usage = s.usage.Add(m.Usage)
	if m.Text != "" && !m.rejected() {
		s.output, s.structured = m.Text, m.Structured
	}
	if len(m.Calls) > 0 && !m.Incomplete {
		s.open(e, m)
		return
	}
	if e.Source == s.self {
		s.say(e, &m)
		return
	}
	if !m.rejected() {
		s.hear(spoken(PromptMessage{Role: RoleUser, Name: e.Source, Text: cmp.Or(m.Structured, m.Text), Parts: m.Parts})...)
	}
}

// say notes an own reply in words. An answer that does not fit is mended in this
// part and then forgotten; a summary repeats results that the model sees anyway.
func (s *state) say(e *Event, m *Message) {
	s.phase = answered
	if m.Incomplete {
		s.phase, s.asked = asking, e.Sequence
	}
	if m.rejected() {
		s.part.rejected++
		s.part.repair = m.repair()
		return
	}
	s.part.repair = nil
	if m.Kind != KindToolSummary {
		s.messages = append(s.messages, spoken(PromptMessage{Role: RoleAssistant, Text: cmp.Or(m.Structured, m.Text)})...)
	}
}

// input renders what somebody else said. A hand-off first tells what its author
// did; a structured message is read as its JSON.
func (s *state) input(e *Event, m Message) []PromptMessage {
	said := PromptMessage{Role: RoleUser, Name: e.Source, Text: cmp.Or(m.Structured, m.Text), Parts: m.Parts}
	if m.Kind != KindHandoff {
		return spoken(said)
	}
	if m.HandoffTo == "" && e.Source != string(RoleUser) { // a Society's, to its team
		old, rest := unpack(m.Parts)
		said.Parts = rest
		return append(append(old, prompt(m.Thought, nil, s.maxArguments)...), spoken(said)...)
	}
	done := make([]*call, len(m.Calls))
	for i, c := range m.Calls {
		done[i] = &call{CallRequest: c}
		if i < len(m.Parts) {
			p := m.Parts[i]
			done[i].result = &ToolCallFinished{Failed: p.JSON == "", Result: cmp.Or(p.JSON, p.Text)}
		}
	}
	if len(m.Calls) > 0 {
		said.Parts = nil // they are the results
	}
	return append(prompt(m.Thought, done, s.maxArguments), spoken(said)...)
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
	handsOff := transfers
	if e.Source == s.self {
		handsOff = s.handsOff
		s.phase = calling
	}
	s.batches[e.Source] = newBatch(e.MessageID, m, handsOff)
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
		s.part.made = append(s.part.made, b)
		s.settle()
		s.phase, s.asked = idle, e.Sequence
	}
}

// wake ends a wait. The answer names what it answers, not the call.
func (s *state) wake(id, comment string) {
	for _, c := range s.calls {
		if c.waits == id {
			c.waits, c.comment = "", comment
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
		s.hear(prompt(b.text, b.all(func(c *call) bool { return !c.elsewhere() }), s.maxArguments)...)
		s.forget(b)
		delete(s.batches, e.Source)
	}
	s.hear(PromptMessage{Role: RoleUser, Name: e.Source, Text: h.Text()})
	if h.To == s.self {
		s.part = part{}
	}
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
	s.messages = append(s.messages, s.told(b)...)
	s.messages = append(s.messages, s.held...)
	s.held = nil
}

// told is an own batch as the model reads it.
func (s *state) told(b *batch) []PromptMessage {
	if s.tell != nil {
		return s.tell(b)
	}
	every := func(*call) bool { return true }
	return prompt(b.text, b.all(every), s.maxArguments)
}

func (s *state) forget(b *batch) {
	for i := range b.calls {
		delete(s.calls, b.calls[i].request.CallID)
	}
}
