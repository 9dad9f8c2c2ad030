package mcpserver

import (
	"fmt"
	"strings"
	"sync"
	"time"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	apart    = 100 * time.Millisecond // the time between two notifications of one call
	maxToken = 256                    // bytes
)

// teller tells a client how far an agent is: the newest that there is to say, when the
// client takes it, and never more than ten times a second. What it does not take in
// time is left out, so a slow client holds up nobody. The number is how many steps of
// the run there were, because a client may only be told of more and nobody knows how
// many there will be.
//
// hear is for one goroutine. What speaks is ended, and waited for, by close.
type teller struct {
	token any
	send  func(*mcp.ProgressNotificationParams) error

	newest chan *mcp.ProgressNotificationParams // has room for one
	gone   chan struct{}
	spoken sync.WaitGroup

	steps float64
	tools map[string]string // by the call that goes on
}

func newTeller(token any, send func(*mcp.ProgressNotificationParams) error) *teller {
	t := &teller{
		token: token, send: send, newest: make(chan *mcp.ProgressNotificationParams, 1), gone: make(chan struct{}), tools: map[string]string{},
	}
	t.spoken.Go(t.speak)
	return t
}

// close ends what speaks. It waits for a client that is being told, as the answer
// would have to, which goes the same way.
func (t *teller) close() {
	if t == nil {
		return
	}
	close(t.gone)
	t.spoken.Wait()
}

// hear takes an event of the run. A nil teller has nobody to tell.
func (t *teller) hear(e *behalfv1.Event) {
	if t == nil {
		return
	}
	text := t.said(e)
	if text == "" {
		return
	}
	t.steps++
	select { // what was not taken is old
	case <-t.newest:
	default:
	}
	t.newest <- &mcp.ProgressNotificationParams{ProgressToken: t.token, Progress: t.steps, Message: text}
}

// said is what the event says of the progress, of what is in it and no more; empty for
// those that say nothing.
func (t *teller) said(e *behalfv1.Event) string {
	switch b := e.GetBody().(type) {
	case *behalfv1.Event_TurnStarted:
		return fmt.Sprintf("%s: turn %d", b.TurnStarted.GetAgent(), b.TurnStarted.GetTurn())
	case *behalfv1.Event_ToolCallRequested:
		t.tools[e.GetCallId()] = nameOf(b.ToolCallRequested)
		return e.GetSource() + " calls " + t.tools[e.GetCallId()]
	case *behalfv1.Event_ToolCallProgress:
		return t.tools[e.GetCallId()] + ": " + howFar(b.ToolCallProgress)
	case *behalfv1.Event_ToolCallFinished:
		delete(t.tools, e.GetCallId())
	}
	return ""
}

// nameOf is the tool's name, which a model wrote: it may be anything.
func nameOf(r *behalfv1.ToolCallRequested) string {
	name := r.GetTool()
	if len(name) > 64 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
		return "a tool"
	}
	return name
}

func howFar(p *behalfv1.ToolCallProgress) string {
	text := fmt.Sprintf("%g", p.GetProgress())
	if p.GetTotal() > 0 {
		text += fmt.Sprintf(" of %g", p.GetTotal())
	}
	if m := p.GetMessage(); m != "" {
		text += ", " + m
	}
	return text
}

// speak ends with the first word that the client did not get: it will get no other.
func (t *teller) speak() {
	rest := time.NewTimer(apart)
	defer rest.Stop()
	for {
		select {
		case <-t.gone:
			return
		case word := <-t.newest:
			if t.send(word) != nil {
				return
			}
		}
		rest.Reset(apart)
		select {
		case <-t.gone:
			return
		case <-rest.C:
		}
	}
}
