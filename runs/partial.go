package runs

import (
	"slices"

	"github.com/behalf-dev/behalf/agents"
)

// partial is a message that is being said: its deltas so far.
type partial struct {
	event         agents.Event // the first delta's envelope
	text, thought []byte
}

// say adds a delta to the messages being said. There are as many as speak at the
// same time: mostly one, so a slice is the fastest map.
func say(all []partial, e *agents.Event) []partial {
	if progress(e) {
		return all // it is no part of a message
	}
	i := slices.IndexFunc(all, func(p partial) bool { return p.event.MessageID == e.MessageID })
	if i < 0 {
		i = len(all)
		all = append(all, partial{event: *e})
		all[i].event.Body = nil
	}
	switch b := e.Body.(type) {
	case agents.TextDelta:
		all[i].text = append(all[i].text, b.Text...)
	case agents.ThoughtDelta:
		all[i].thought = append(all[i].thought, b.Text...)
	}
	return all
}

// progress reports a live event that stands alone: nobody misses it.
func progress(e *agents.Event) bool {
	_, ok := e.Body.(agents.ToolCallProgress)
	return ok
}

// said drops what a stored event makes complete: its message, or at the end of
// the run everything. A pause leaves what others still say.
func said(all []partial, e *agents.Event) []partial {
	if len(all) == 0 {
		return all
	}
	switch e.Body.(type) {
	case agents.Message:
		return slices.DeleteFunc(all, func(p partial) bool { return p.event.MessageID == e.MessageID })
	case agents.RunFinished, agents.RunStarted:
		if e.Thread == "" {
			clear(all)
			return all[:0]
		}
	}
	return all
}

// deltas gives the partial message as at most two live events.
func (p *partial) deltas(show func(*agents.Event)) {
	e := p.event
	if len(p.thought) > 0 {
		e.Body = agents.ThoughtDelta{Text: string(p.thought)}
		show(&e)
	}
	if len(p.text) > 0 {
		e.Body = agents.TextDelta{Text: string(p.text)}
		show(&e)
	}
}

// incomplete is the message that is kept when the rest will not come.
func (p *partial) incomplete() (agents.Event, bool) {
	e := p.event
	e.Body = agents.Message{Role: agents.RoleAssistant, Text: string(p.text), Thought: string(p.thought), Incomplete: true}
	return e, len(p.text) > 0 || len(p.thought) > 0
}
