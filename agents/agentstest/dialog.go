package agentstest

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/team"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// Dialogs are conversations in txtar files. Each has who takes part (desk, JSON),
// what the models say (model, one reply per line after the agent's name), what
// happens from outside (steps, a line each), and what is expected to come of it.
type Dialogs struct {
	Files  string // a pattern
	Update bool   // write what comes of them instead of comparing

	// Parallel dialogs have several who speak at the same time, and it is chance in
	// which order their threads are stored. So they are compared thread by thread,
	// and without ids, which come from sequences.
	Parallel bool
	// Waves makes teams of the kind waves. Nil: there are none.
	Waves func(cfg team.Config, order ...[]string) (*team.Team, error)
}

// GoAsWritten plays each dialog and compares what comes of it.
func (s Dialogs) GoAsWritten(t *testing.T) {
	s.each(t, func(t *testing.T, d *dialog) {
		synctest.Test(t, func(t *testing.T) {
			w := d.newWorld(t, nil)
			var events []agents.Event
			for _, step := range d.steps {
				before := len(w.stored)
				w.begin(t, step)
				events = append(events, w.stored[before:]...)
				events = append(events, w.play(t, step)...)
			}

			if s.Parallel {
				d.compare(t, "threads", formatThreads(w.stored))
				d.compare(t, "prompts", promptsByAgent(w.script))
				return
			}
			d.compare(t, "events", Format(events))
			d.compare(t, "prompts", prompts(w.script))
		})
	})
}

// UsageAddsUp compares what each run says that it used with the sum over the
// events of all threads.
func (s Dialogs) UsageAddsUp(t *testing.T) {
	s.each(t, func(t *testing.T, d *dialog) {
		log, _ := d.record(t)
		var sum agents.Usage
		for _, e := range log {
			switch b := e.Body.(type) {
			case agents.RunStarted:
				if e.Thread == "" {
					sum = agents.Usage{}
				}
			case agents.Message:
				sum = sum.Add(b.Usage)
			case agents.SpeakerSelected:
				sum = sum.Add(b.Usage)
			case agents.PlanUpdated:
				sum = sum.Add(b.Usage)
			case agents.RunFinished:
				if e.Thread == "" && e.Source != "" && b.Usage != sum {
					t.Errorf("run %s: got %+v, the events' sum is %+v", e.RunID, b.Usage, sum)
				}
			}
		}
	})
}

func (s Dialogs) each(t *testing.T, f func(*testing.T, *dialog)) {
	t.Helper()
	files, err := filepath.Glob(s.Files)
	if err != nil || len(files) == 0 {
		t.Fatalf("got %d dialogs, %v", len(files), err)
	}
	for _, file := range files {
		d := readDialog(t, file)
		d.Dialogs = s
		t.Run(d.name(), func(t *testing.T) { f(t, d) })
	}
}

// dialog is one file.
type dialog struct {
	Dialogs
	file    string
	archive *txtar.Archive
	desk    deskFile
	replies map[string][]Reply
	steps   []string
}

type deskFile struct {
	Scopes  []string // of the person
	Members []memberFile
	Tools   []Tool
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

func readDialog(t *testing.T, file string) *dialog {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := &dialog{file: file, archive: archive, replies: map[string][]Reply{}}
	decode(t, file, d.section("desk"), &d.desk)
	for line := range strings.Lines(d.section("model")) {
		name, reply, _ := strings.Cut(line, " ")
		var r ReplyFile
		decode(t, file, reply, &r)
		d.replies[name] = append(d.replies[name], r.Written())
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

func prompts(s *Script) string {
	var b strings.Builder
	for _, p := range s.Prompts() {
		b.WriteString(FormatPrompt(&p))
	}
	return b.String()
}

func (d *dialog) compare(t *testing.T, section, got string) {
	t.Helper()
	if d.Update {
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

func threads(events []agents.Event) map[string][]string {
	id := regexp.MustCompile(`run\d+/[a-z]?\d+`)
	byThread := map[string][]string{}
	for i := range events {
		line := strings.TrimSpace(id.ReplaceAllString(Line(&events[i]), "ID"))
		byThread[events[i].Thread] = append(byThread[events[i].Thread], line)
	}
	return byThread
}

func formatThreads(events []agents.Event) string {
	var b strings.Builder
	byThread := threads(events)
	for _, thread := range slices.Sorted(maps.Keys(byThread)) {
		b.WriteString(strings.Join(byThread[thread], "\n") + "\n")
	}
	return b.String()
}

func promptsByAgent(s *Script) string {
	all := s.Prompts()
	slices.SortStableFunc(all, func(a, b agents.Prompt) int { return strings.Compare(a.Agent, b.Agent) })
	id := regexp.MustCompile(`run\d+/[a-z]?\d+`)
	var b strings.Builder
	for i := range all {
		b.WriteString(id.ReplaceAllString(FormatPrompt(&all[i]), "ID"))
	}
	return b.String()
}
