package agents_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/agentstest"
	"github.com/behalf-dev/behalf/identity"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite the expected parts of testdata")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dialog is one file of testdata: who takes part, what the models say, what
// happens from outside, and what is expected to come of it.
type dialog struct {
	file    string
	archive *txtar.Archive
	desk    deskFile
	replies map[string][]agentstest.Reply
	steps   []string
}

type deskFile struct {
	Scopes  []string // of the person
	Members []memberFile
	Tools   []agentstest.Tool
	Nested  map[string]string // tool → member that runs as one

	Team   *teamFile            // what runs instead of a desk of the members
	Teams  map[string]teamFile  // that take part in it
	Humans []agents.HumanConfig // that take part in it
}

type memberFile struct {
	Name         string
	Instructions string
	Ceiling      *[]string
	Handoffs     []agents.Handoff
	MaxTurns     int
	MaxTools     int
	AsTools      []string // members and teams that are tools of this one
	optionFile
}

func dialogs(t *testing.T) []*dialog {
	t.Helper()
	return dialogsOf(t, "testdata/*.txtar")
}

func dialogsOf(t *testing.T, pattern string) []*dialog {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("got %d dialogs, %v", len(files), err)
	}
	all := make([]*dialog, len(files))
	for i, file := range files {
		all[i] = readDialog(t, file)
	}
	return all
}

func readDialog(t *testing.T, file string) *dialog {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := &dialog{file: file, archive: archive, replies: map[string][]agentstest.Reply{}}
	decode(t, file, d.section("desk"), &d.desk)
	for line := range strings.Lines(d.section("model")) {
		name, reply, _ := strings.Cut(line, " ")
		var r replyFile
		decode(t, file, reply, &r)
		d.replies[name] = append(d.replies[name], r.reply())
	}
	d.steps = strings.Split(strings.TrimSpace(d.section("steps")), "\n")
	return d
}

func decode(t *testing.T, file, text string, into any) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		t.Fatalf("%s: %v in %q", file, err, text)
	}
}

func (d *dialog) section(name string) string {
	for _, f := range d.archive.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

func (d *dialog) name() string { return strings.TrimSuffix(filepath.Base(d.file), ".txtar") }

// world is one process that plays a dialog.
type world struct {
	d          *dialog
	transcript *agents.Transcript
	script     *agentstest.Script
	desk       agents.Agent
	stored     []agents.Event // of all threads
}

// newWorld is a process that finds the stored events.
func (d *dialog) newWorld(t *testing.T, stored []agents.Event) *world {
	t.Helper()
	w := &world{
		d: d, transcript: agents.NewTranscript(stored...),
		script: agentstest.NewScript(d.replies), stored: slices.Clone(stored),
	}
	w.script.Skip(stored)
	box := &nestingBox{Toolbox: agentstest.NewToolbox(w.transcript, d.desk.Tools...), transcript: w.transcript, desks: map[string]*agents.Desk{}}
	if d.desk.Team != nil {
		w.desk = w.team(t, "desk", d.desk.Team)
		return w
	}
	cfg := agents.DeskConfig{Entry: d.desk.Members[0].Name}
	for _, m := range d.desk.atDesk() {
		cfg.Members = append(cfg.Members, agents.Member{Agent: w.member(t, &m, box), Ceiling: ceiling(m.Ceiling)})
	}
	for tool, entry := range d.desk.Nested {
		box.desks[tool] = newDesk(t, agents.DeskConfig{Entry: entry, Members: cfg.Members})
	}
	w.desk = newDesk(t, cfg)
	return w
}

func newDesk(t *testing.T, cfg agents.DeskConfig) *agents.Desk {
	t.Helper()
	d, err := agents.NewDesk(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
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
	agentstest.Start(w.transcript, w.nextRun(), w.desk.Name(), rest, limits)
	w.stored = append(w.stored, w.transcript.Since(before)...)
}

func (w *world) nextRun() string {
	runs := strings.Count(agentstest.Format(w.transcript.Since(0)), "run started")
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
	e = agentstest.Commit(w.transcript, e)
	w.stored = append(w.stored, e)
	return e
}

// play lets the desk run and, when that fails, finishes the run as its consumer.
func (w *world) play(t *testing.T, step string) []agents.Event {
	t.Helper()
	ctx, cancel := context.WithCancelCause(agentstest.Context(t.Context(), w.d.desk.Scopes...))
	defer cancel(nil)
	if rest, ok := strings.CutPrefix(step, "cancel "); ok {
		text, _, _ := strings.Cut(rest, " ")
		after, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		defer time.AfterFunc(after, func() { cancel(context.Canceled) }).Stop()
	}
	events, err := agentstest.Run(ctx, t, w.desk, w.transcript)
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

func TestDialogsGoAsWritten(t *testing.T) {
	for _, d := range dialogs(t) {
		t.Run(d.name(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := d.newWorld(t, nil)
				var events []agents.Event
				for _, step := range d.steps {
					before := len(w.stored)
					w.begin(t, step)
					events = append(events, w.stored[before:]...)
					events = append(events, w.play(t, step)...)
				}

				d.compare(t, "events", agentstest.Format(events))
				d.compare(t, "prompts", prompts(w.script))
			})
		})
	}
}

func prompts(s *agentstest.Script) string {
	var b strings.Builder
	for _, p := range s.Prompts() {
		b.WriteString(agentstest.FormatPrompt(&p))
	}
	return b.String()
}

func (d *dialog) compare(t *testing.T, section, got string) {
	t.Helper()
	if *update {
		d.replace(t, section, got)
		return
	}
	if diff := cmp.Diff(got, d.section(section)); diff != "" {
		t.Errorf("%s of %s: got, want\n%s", section, d.file, diff)
	}
}

func (d *dialog) replace(t *testing.T, section, text string) {
	t.Helper()
	kept := d.archive.Files[:0]
	for _, f := range d.archive.Files {
		if f.Name != section {
			kept = append(kept, f)
		}
	}
	d.archive.Files = append(kept, txtar.File{Name: section, Data: []byte(text)})
	old, err := os.ReadFile(d.file)
	if err != nil {
		t.Fatal(err)
	}
	if text := txtar.Format(d.archive); !bytes.Equal(text, old) {
		if err := os.WriteFile(d.file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
