package conformance_test

import (
	"strings"

	"github.com/behalf-dev/behalf/agents"
)

// fold reads the events of one run, in the order in which they came, as AutoGen's
// stream and result.
//
// An agent's events are taken from the thread that it runs in. What a team lifted
// into its own thread, and what it told its participants, repeats them and is left
// out; the task of an agent that is a tool is shown.
type fold struct {
	c      *testCase
	hide   bool // the task is not shown
	stream []string
	result []string
	stop   *string // of the run

	agent    map[string]string // by thread
	tool     map[string]bool   // threads of agents that are tools
	open     map[string]*batch // newest reply with calls, by thread
	choosing string            // what a selector's model said so far
	chunks   map[string]bool   // message ids of chunks that have no message yet
}

// batch is a reply with calls.
type batch struct {
	names   []string
	ids     []string
	results map[string]string
}

func newFold(c *testCase) *fold {
	return &fold{
		c: c, agent: map[string]string{}, tool: map[string]bool{}, open: map[string]*batch{}, chunks: map[string]bool{},
	}
}

func (f *fold) say(source, kind, text string) {
	line := source + " " + kind + ": " + text
	f.stream = append(f.stream, line)
	if kind != "chunk" {
		f.result = append(f.result, line)
	}
}

func (f *fold) add(e *agents.Event) {
	switch b := e.Body.(type) {
	case agents.RunStarted:
		f.agent[e.Thread] = b.Target
		f.tool[e.Thread] = e.CallID != ""
	case agents.TextDelta:
		f.delta(e, b.Text)
	case agents.Message:
		f.message(e, b)
	case agents.ToolCallRequested:
		if open := f.open[e.Thread]; open != nil {
			open.ids = append(open.ids, e.CallID)
		}
	case agents.ToolCallFinished:
		f.finished(e, b)
	case agents.HandedOff:
		if f.own(e) {
			f.say(e.Source, "handoff>"+b.To, b.Message)
		}
	case agents.MemoryRecalled:
		f.say(e.Source, "memory", strings.Join(b.Items, " | "))
	case agents.SpeakerSelected:
		f.selected(e, b)
	case agents.InputRequested:
		f.say(e.Source, "input_req", b.Prompt)
	case agents.RunFinished:
		if e.Thread == "" {
			f.stop = &b.StopReason
		}
	}
}

// own says that the event is of the agent that runs in the thread.
func (f *fold) own(e *agents.Event) bool { return e.Source == f.agent[e.Thread] }

func (f *fold) delta(e *agents.Event, text string) {
	switch {
	case f.c.Team != nil && e.Source == managers[f.c.Team.Kind]:
		f.choosing += text
		if f.c.Team.Stream {
			f.say(e.Source, "chunk", text)
		}
	case f.c.Agents[e.Source].Stream:
		f.say(e.Source, "chunk", text)
		f.chunks[e.MessageID] = true
	}
}

func (f *fold) message(e *agents.Event, m agents.Message) {
	switch {
	case m.Role == agents.RoleUser:
		if e.Thread == "" && !f.hide || f.tool[e.Thread] {
			f.say(e.Source, kindOf(m), m.Text)
		}
	case !f.own(e) || m.Incomplete:
	case len(m.Calls) > 0 && f.c.Agents[e.Source].Kind == "code": // AutoGen's has no call
	case len(m.Calls) > 0:
		f.calls(e, m)
	default:
		if m.Thought != "" {
			f.say(e.Source, "thought", m.Thought)
		}
		f.say(e.Source, kindOf(m), m.Text)
		delete(f.chunks, e.MessageID)
	}
}

// kindOf is AutoGen's name of a message.
func kindOf(m agents.Message) string {
	switch m.Kind {
	case agents.KindToolSummary:
		return "summary"
	case agents.KindStructured:
		return "struct"
	case agents.KindHandoff:
		return "handoff>" + m.HandoffTo
	case agents.KindStop:
		return "stop"
	}
	return "text"
}

func (f *fold) calls(e *agents.Event, m agents.Message) {
	for _, thought := range []string{m.Thought, m.Text} {
		if thought != "" {
			f.say(e.Source, "thought", thought)
		}
	}
	b := &batch{results: map[string]string{}}
	for _, c := range m.Calls {
		b.names = append(b.names, c.Tool)
	}
	f.open[e.Thread] = b
	f.say(e.Source, "req", strings.Join(b.names, ", "))
	delete(f.chunks, e.MessageID)
}

// finished shows all results of a reply when the last one is there, in the order
// of the calls.
func (f *fold) finished(e *agents.Event, r agents.ToolCallFinished) {
	b := f.open[e.Thread]
	if b == nil {
		return
	}
	mark := "="
	if r.Failed {
		mark = "!="
	}
	b.results[e.CallID] = mark + words(r.Result)
	if len(b.results) < len(b.names) {
		return
	}
	var all []string
	for i, id := range b.ids {
		all = append(all, b.names[i]+b.results[id])
	}
	f.say(e.Source, "res", strings.Join(all, ", "))
}

// selected shows a team's choice, if the case wants that.
func (f *fold) selected(e *agents.Event, s agents.SpeakerSelected) {
	said := f.choosing
	f.choosing = ""
	if f.c.Team == nil || !f.c.Team.Events || e.Thread != "" {
		return
	}
	if f.c.Team.Stream {
		f.say(e.Source, "selector", said)
	}
	f.say(e.Source, "select", strings.Join(s.Speakers, ", "))
}
