package team

import (
	"slices"

	"github.com/behalf-dev/behalf/agents"
)

// chat is what a team knows of its own thread, and through feed of its
// participants' turns. It is a fold: who was heard, who speaks, how many turns.
// What is about the run starts again with each RunStarted.
type chat struct {
	team *Team
	feed feed

	seen  int              // events of the thread
	said  []int            // indexes of all chat messages
	queue map[string][]int // of these, what each participant hears of others
	last  []string         // who was selected last, in this run or before

	// handoffTo is the target of the newest hand-off, in this run or before.
	handoffTo string

	generation int // of the participants: how many plans there were

	wave       []string // who speaks now
	selected   uint64   // sequence of the selection
	selectedAt int      // its index
	depth      int      // of the team's own chain
	lifted     int      // events of the wave that are in the thread

	limits   agents.Limits
	turns    int
	usage    agents.Usage   // of the turns that are closed
	planned  agents.Usage   // of model calls that belong to the next turn
	output   agents.Message // what was said last in this run
	finished bool

	watch   watcher // nil: no condition
	turn    Delta   // the turn that is not yet closed
	closed  bool
	stop    string
	outside bool // somebody asked to stop

	before *bookmark // the state before this run, for a team that may refuse one
}

// bookmark is how much of a chat's history there was.
type bookmark struct {
	said      int
	queue     map[string]int
	handoffTo string
}

func newChat(team *Team, t *agents.Transcript) *chat {
	return &chat{
		team: team, feed: feed{t: t, threads: map[string]*reading{}},
		queue: make(map[string][]int, len(team.order)), closed: true,
	}
}

func (c *chat) apply(e *agents.Event) {
	c.seen++
	switch b := e.Body.(type) {
	case agents.RunStarted:
		c.start(e, b)
	case agents.Message:
		c.message(e, b)
	case agents.SpeakerSelected:
		c.speakers(e, b)
	case agents.HandedOff:
		c.lifted++
	case agents.PlanUpdated:
		c.plan(e, b)
	case agents.RunFinished:
		c.close(e.Sequence)
		c.finish(b)
	}
}

func (c *chat) start(e *agents.Event, r agents.RunStarted) {
	c.feed.since = e.Sequence
	c.wave, c.lifted, c.turns = nil, 0, 0
	c.limits, c.usage, c.planned, c.output, c.finished = r.Limits, agents.Usage{}, agents.Usage{}, agents.Message{}, false
	c.turn, c.closed, c.stop, c.outside = Delta{Time: e.Time}, true, "", false
	c.watch = nil
	if c.team.cfg.Until != nil {
		c.watch = c.team.cfg.Until.watch(e.Time)
	}
	if c.team.refuses {
		c.before = c.mark()
	}
}

// message adds to the conversation. In the first place that is the task, then
// what participants said in their threads, or the team itself.
func (c *chat) message(e *agents.Event, m agents.Message) {
	if c.asksToStop(e, m) {
		c.outside = true
		return
	}
	author := ""
	if m.Role == agents.RoleAssistant {
		c.output = m
		if e.Source != c.team.cfg.Name {
			author = authorOf(e, c.wave, c.depth)
			c.lifted++
			c.readInside(author, e.Sequence)
		}
	}
	if m.Kind == agents.KindHandoff {
		c.handoffTo = m.HandoffTo
	}
	c.said = append(c.said, c.seen-1)
	if c.team.leads && author == "" {
		c.lead(m)
		return
	}
	c.closed = false
	c.turn.reach(e.Time)
	c.turn.add(said(e.Source, &m))
	c.hear(author)
}

// lead notes a message that belongs to no turn: the task, which is the
// orchestrator's alone, or what it says to all.
func (c *chat) lead(m agents.Message) {
	if m.Role == agents.RoleAssistant {
		c.planned = c.planned.Add(m.Usage)
		c.hear("")
	}
}

// hear lets all but the author hear the newest event.
func (c *chat) hear(author string) {
	for _, name := range c.team.order {
		if name != author {
			c.queue[name] = append(c.queue[name], c.seen-1)
		}
	}
}

// plan notes a step of an orchestrator. With a new plan nobody speaks and nobody
// remembers what was said before.
func (c *chat) plan(e *agents.Event, p agents.PlanUpdated) {
	c.close(e.Sequence)
	c.planned = c.planned.Add(p.Usage)
	if p.Plan != "" {
		c.generation++
		c.wave = nil
		clear(c.queue)
	}
}

// asksToStop says that a message is not part of the conversation but a request
// from outside: one of the user after the first speaker was selected, or one
// that the team wrote because External was set.
func (c *chat) asksToStop(e *agents.Event, m agents.Message) bool {
	return m.Role == agents.RoleUser && m.Kind == agents.KindStop && (c.turns > 0 || e.Source == c.team.cfg.Name)
}

// authorOf is the participant that a lifted message comes from: one of those who
// speak, below a chain of the given depth. The message of a nested team has a
// source inside it.
func authorOf(e *agents.Event, wave []string, depth int) string {
	if len(wave) == 1 {
		return wave[0]
	}
	if depth < len(e.Chain) {
		return e.Chain[depth]
	}
	return e.Source
}

// speakers opens a turn: the wave speaks, and is one turn together.
func (c *chat) speakers(e *agents.Event, s agents.SpeakerSelected) {
	c.close(e.Sequence)
	c.turn = Delta{Time: e.Time, Usage: c.planned.Add(s.Usage)}
	c.planned, c.closed = agents.Usage{}, false
	c.wave, c.last = s.Speakers, s.Speakers
	c.selected, c.selectedAt, c.depth = e.Sequence, c.seen-1, len(e.Chain)
	c.lifted = 0
	c.turns++
}

// readInside adds to the turn what a participant did, as far as that came before
// the given sequence.
func (c *chat) readInside(participant string, before uint64) {
	c.feed.read(seatThread(c.feed.t.Thread(), participant, c.generation), before, &c.turn)
}

// close shows the condition the turn that is over, once. Whether that happens
// because the team asks what to do, or later because a stored event tells that it
// did ask, makes no difference: all of the turn came before.
func (c *chat) close(before uint64) string {
	if c.closed {
		return c.stop
	}
	c.closed = true
	for _, name := range c.wave {
		c.readInside(name, before)
	}
	c.usage = c.usage.Add(c.turn.Usage)
	if c.watch != nil {
		c.turn.StopRequested = c.outside
		c.stop = c.watch(&c.turn)
	}
	return c.stop
}

func (c *chat) finish(f agents.RunFinished) {
	c.finished, c.wave = true, nil
	if c.team.refuses && f.StopReason == agents.StopFailed && c.turns == 0 {
		c.forget()
	}
}

func (c *chat) mark() *bookmark {
	m := &bookmark{said: len(c.said), queue: make(map[string]int, len(c.queue)), handoffTo: c.handoffTo}
	for name, q := range c.queue {
		m.queue[name] = len(q)
	}
	return m
}

// forget takes back the task of a run that was refused: nobody ever heard it.
func (c *chat) forget() {
	c.said, c.handoffTo = c.said[:c.before.said], c.before.handoffTo
	for name := range c.queue {
		c.queue[name] = c.queue[name][:c.before.queue[name]]
	}
}

// due is what a participant has not heard of what was said before it was selected.
func (c *chat) due(participant string, heard int) []int {
	queue := c.queue[participant]
	if heard >= len(queue) {
		return nil
	}
	end, _ := slices.BinarySearch(queue, c.selectedAt)
	return queue[min(heard, end):end]
}
