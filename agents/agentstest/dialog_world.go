package agentstest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/team"
	"github.com/behalf-dev/behalf/identity"
)

// world is one process that plays a dialog.
type world struct {
	d          *dialog
	transcript *agents.Transcript
	script     *Script
	desk       agents.Agent
	stored     []agents.Event // of all threads
}

// newWorld is a process that finds the stored events.
func (d *dialog) newWorld(t *testing.T, stored []agents.Event) *world {
	t.Helper()
	w := &world{
		d: d, transcript: agents.NewTranscript(stored...),
		script: NewScript(d.replies), stored: slices.Clone(stored),
	}
	w.script.Skip(stored)
	box := &nestingBox{Toolbox: NewToolbox(w.transcript, d.desk.Tools...), transcript: w.transcript, desks: map[string]*team.Desk{}}
	if d.desk.Team != nil {
		w.desk = w.team(t, "desk", d.desk.Team)
		return w
	}
	cfg := team.DeskConfig{Entry: d.desk.Members[0].Name}
	for _, m := range d.desk.atDesk() {
		cfg.Members = append(cfg.Members, team.Member{Agent: w.member(t, &m, box), Ceiling: ceiling(m.Ceiling)})
	}
	for tool, entry := range d.desk.Nested {
		box.desks[tool] = Desk(t, team.DeskConfig{Entry: entry, Members: cfg.Members})
	}
	w.desk = Desk(t, cfg)
	return w
}

func ceiling(names *[]string) *identity.Scopes {
	if names == nil {
		return nil
	}
	s := identity.NewScopes(*names...)
	return &s
}

// begin appends what a step brings from outside: an input or a decision.
// A step is: run TEXT, limits JSON TEXT, cancel DURATION TEXT, approve,
// deny REASON, and for teams: task JSON, continue, input TEXT, stop.
func (w *world) begin(t *testing.T, step string) {
	t.Helper()
	verb, rest, _ := strings.Cut(step, " ")
	var limits agents.Limits
	switch verb {
	case "run":
	case "limits":
		var text string
		text, rest, _ = strings.Cut(rest, " ")
		decode(t, w.d.file, text, &limits)
	case "cancel":
		_, rest, _ = strings.Cut(rest, " ")
	case "approve", "deny":
		w.decide(t, verb == "approve", rest)
		return
	case "task", "continue", "input", "stop":
		w.teamStep(t, verb, rest)
		return
	default:
		t.Fatalf("%s: unknown step %q", w.d.file, step)
	}
	before := w.transcript.Len()
	Start(w.transcript, w.nextRun(), w.desk.Name(), rest, limits)
	w.stored = append(w.stored, w.transcript.Since(before)...)
}

func (w *world) nextRun() string {
	runs := strings.Count(Format(w.transcript.Since(0)), "run started")
	return "run" + string(rune('1'+runs))
}

// decide answers the oldest open approval, in its thread.
func (w *world) decide(t *testing.T, approved bool, comment string) {
	t.Helper()
	var open []agents.Event
	for _, e := range w.stored {
		switch e.Body.(type) {
		case agents.ApprovalRequested:
			open = append(open, e)
		case agents.ApprovalDecided:
			open = open[1:]
		}
	}
	if len(open) == 0 {
		t.Fatalf("%s: nothing waits for approval", w.d.file)
	}
	id := open[0].Body.(agents.ApprovalRequested).ApprovalID
	w.commit(agents.Event{Source: "user", Thread: open[0].Thread, Body: agents.ApprovalDecided{ApprovalID: id, Approved: approved, Comment: comment}})
}

func (w *world) commit(e agents.Event) agents.Event {
	e = Commit(w.transcript, e)
	w.stored = append(w.stored, e)
	return e
}

// play lets the desk run and, when that fails, finishes the run as its consumer.
func (w *world) play(t *testing.T, step string) []agents.Event {
	t.Helper()
	ctx, cancel := context.WithCancelCause(Context(t.Context(), w.d.desk.Scopes...))
	defer cancel(nil)
	if rest, ok := strings.CutPrefix(step, "cancel "); ok {
		text, _, _ := strings.Cut(rest, " ")
		after, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		defer time.AfterFunc(after, func() { cancel(context.Canceled) }).Stop()
	}
	events, err := Run(ctx, t, w.desk, w.transcript)
	for _, e := range events {
		if !e.Live() {
			w.stored = append(w.stored, e)
		}
	}
	if err == nil {
		return events
	}
	end := agents.RunFinished{StopReason: agents.StopFailed, Reason: err.Error()}
	if errors.Is(err, context.Canceled) {
		end = agents.RunFinished{StopReason: agents.StopCancelled}
	}
	return append(events, w.commit(agents.Event{Body: end}))
}
