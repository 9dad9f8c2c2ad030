package agents_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/agentstest"
	"github.com/google/go-cmp/cmp"
)

// Where several speak at the same time it is chance in which order their threads
// are stored. So the dialogs of testdata/waves are compared thread by thread, and
// without ids, which come from sequences.

func TestWaveDialogsGoAsWritten(t *testing.T) {
	for _, d := range dialogsOf(t, "testdata/waves/*.txtar") {
		t.Run(d.name(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := d.newWorld(t, nil)
				for _, step := range d.steps {
					w.begin(t, step)
					w.play(t, step)
				}

				d.compare(t, "threads", formatThreads(w.stored))
				d.compare(t, "prompts", promptsByAgent(w.script))
			})
		})
	}
}

// TestWavesResumeFromEveryPrefix is the property for speakers at the same time.
func TestWavesResumeFromEveryPrefix(t *testing.T) {
	for _, d := range dialogsOf(t, "testdata/waves/*.txtar") {
		t.Run(d.name(), func(t *testing.T) {
			whole, marks := d.record(t)
			tried := 0
			for n := 1; n <= len(whole); n++ {
				step := slices.IndexFunc(marks, func(m mark) bool { return n <= m.end })
				if n < marks[step].outside || d.cutsEffect(whole[:n]) || cutsFailure(whole[:n]) {
					continue
				}
				tried++
				got := d.resume(t, whole[:n], step)
				if diff := cmp.Diff(threads(got), threads(whole)); diff != "" {
					t.Errorf("after %d events: got, want\n%s", n, diff)
				}
			}
			t.Logf("%d of %d prefixes", tried, len(whole))
		})
	}
}

func threads(events []agents.Event) map[string][]string {
	id := regexp.MustCompile(`run\d+/[a-z]?\d+`)
	byThread := map[string][]string{}
	for i := range events {
		line := strings.TrimSpace(id.ReplaceAllString(agentstest.Line(&events[i]), "ID"))
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

func promptsByAgent(s *agentstest.Script) string {
	all := s.Prompts()
	slices.SortStableFunc(all, func(a, b agents.Prompt) int { return strings.Compare(a.Agent, b.Agent) })
	id := regexp.MustCompile(`run\d+/[a-z]?\d+`)
	var b strings.Builder
	for i := range all {
		b.WriteString(id.ReplaceAllString(agentstest.FormatPrompt(&all[i]), "ID"))
	}
	return b.String()
}
