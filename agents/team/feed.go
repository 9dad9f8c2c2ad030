package team

import (
	"cmp"
	"math"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/agents"
)

// Delta is what one turn brought, as a condition sees it. The task comes first,
// as a turn of its own.
type Delta struct {
	Items         []Item
	Usage         agents.Usage // of all model calls of the turn, the choice of the speaker included
	Time          time.Time
	StopRequested bool // somebody outside asked to stop, now or earlier in the run
}

// Item is a message, or something that an agent did inside its turn.
type Item struct {
	Source    string
	Kind      ItemKind
	Text      string   // a message, or names and arguments, or results, one per line
	Tools     []string // of requests in the reply's order, of results as they came
	HandoffTo string
}

// ItemKind is a MessageKind or one of the constants below.
type ItemKind string

// Kinds of items that are not messages to the peers: one item per reply.
const (
	ItemRequests ItemKind = "requests"
	ItemResults  ItemKind = "results"
	ItemThought  ItemKind = "thought"
	ItemMemory   ItemKind = "memory"
)

// Said reports whether peers hear the item.
func (it *Item) Said() bool {
	switch it.Kind {
	case ItemRequests, ItemResults, ItemThought, ItemMemory:
		return false
	}
	return true
}

// feed reads what participants did inside their turns, which is in their own
// threads, and below those of a nested team. It reads each event once.
type feed struct {
	t       *agents.Transcript
	threads map[string]*reading
	since   uint64 // what was left of earlier runs does not count
}

// reading is how far a feed is in one thread.
type reading struct {
	next       int
	speakers   []string // of a nested team, now
	generation int      // of its participants
	reply      Item     // the results so far of the newest reply with calls
	names      map[string]string
	missing    int
}

// read adds what a thread holds before the given sequence to d.
func (f *feed) read(thread string, before uint64, d *Delta) {
	r := f.threads[thread]
	if r == nil {
		r = &reading{names: map[string]string{}}
		f.threads[thread] = r
	}
	fresh := f.t.Sub(thread).Since(r.next)
	for i := range fresh {
		e := &fresh[i]
		if e.Sequence >= before {
			break
		}
		r.next++
		f.readBelow(thread, r, e.Sequence, d)
		f.readCall(thread, r, e, d)
		if e.Sequence < f.since {
			r.apply(e, &Delta{})
			continue
		}
		d.reach(e.Time)
		r.apply(e, d)
	}
	f.readBelow(thread, r, before, d)
}

func (f *feed) readBelow(thread string, r *reading, before uint64, d *Delta) {
	for _, name := range r.speakers {
		f.read(seatThread(thread, name, r.generation), before, d)
	}
}

// readCall adds what an agent that is a tool used, once its call has a result.
// What it did is its own affair.
func (f *feed) readCall(thread string, r *reading, e *agents.Event, d *Delta) {
	if _, ok := e.Body.(agents.ToolCallFinished); !ok {
		return
	}
	for _, nested := range []string{toolThread(thread, r.names[e.CallID]), e.CallID} {
		if f.t.Sub(nested).Len() == 0 {
			continue
		}
		var inside Delta
		f.read(nested, e.Sequence, &inside)
		d.Usage = d.Usage.Add(inside.Usage)
	}
}

// everything is a sequence that comes after all stored events.
const everything = math.MaxUint64

func (r *reading) apply(e *agents.Event, d *Delta) {
	switch b := e.Body.(type) {
	case agents.RunStarted:
		r.speakers, r.missing = nil, 0
	case agents.SpeakerSelected:
		r.speakers = b.Speakers
		d.Usage = d.Usage.Add(b.Usage)
	case agents.PlanUpdated:
		d.Usage = d.Usage.Add(b.Usage)
		if b.Plan != "" {
			r.generation++
		}
	case agents.Message:
		r.message(e, b, d)
	case agents.ToolCallRequested:
		r.names[e.CallID] = b.Tool
	case agents.ToolCallFinished:
		r.result(e, b, d)
	case agents.MemoryRecalled:
		d.add(Item{Source: e.Source, Kind: ItemMemory, Text: strings.Join(b.Items, "\n")})
	}
}

// message notes what a reply asks for and thinks. What it says was lifted into
// the team's thread and comes from there.
func (r *reading) message(e *agents.Event, m agents.Message, d *Delta) {
	if m.Role == agents.RoleUser || m.Kind == agents.KindHandoff {
		return
	}
	d.Usage = d.Usage.Add(m.Usage)
	if m.Thought != "" {
		d.add(Item{Source: e.Source, Kind: ItemThought, Text: m.Thought})
	}
	if len(m.Calls) == 0 {
		return
	}
	if m.Text != "" { // beside calls it is a thought
		d.add(Item{Source: e.Source, Kind: ItemThought, Text: m.Text})
	}
	asks := Item{Source: e.Source, Kind: ItemRequests}
	var text strings.Builder
	for _, c := range m.Calls {
		asks.Tools = append(asks.Tools, c.Tool)
		text.WriteString(c.Tool + "(" + c.Arguments + ")\n")
	}
	asks.Text = text.String()
	d.add(asks)
	r.reply, r.missing = Item{Source: e.Source, Kind: ItemResults}, len(m.Calls)
	r.names = make(map[string]string, len(m.Calls))
}

// result collects the results of a reply into one item.
func (r *reading) result(e *agents.Event, f agents.ToolCallFinished, d *Delta) {
	name, ok := r.names[e.CallID]
	if !ok {
		return
	}
	delete(r.names, e.CallID)
	r.reply.Tools = append(r.reply.Tools, name)
	r.reply.Text += f.Result + "\n"
	if r.missing--; r.missing == 0 {
		d.add(r.reply)
	}
}

// reach moves the time of the turn on.
func (d *Delta) reach(t time.Time) {
	if d.Time.Before(t) {
		d.Time = t
	}
}

func (d *Delta) add(it Item) { d.Items = append(d.Items, it) }

// said is a message as a condition sees it.
func said(source string, m *agents.Message) Item {
	return Item{Source: source, Kind: ItemKind(m.Kind), Text: cmp.Or(m.Text, m.Structured), HandoffTo: m.HandoffTo}
}
