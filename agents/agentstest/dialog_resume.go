package agentstest

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/google/go-cmp/cmp"
)

// mark says how much of a log one step made.
type mark struct{ outside, end int }

// Resume lets another process find each prefix of each dialog's stored events and
// go on: the rest must be the same.
func (s Dialogs) Resume(t *testing.T) {
	s.each(t, func(t *testing.T, d *dialog) {
		whole, marks := d.record(t)
		tried := 0
		for n := 1; n <= len(whole); n++ {
			step := slices.IndexFunc(marks, func(m mark) bool { return n <= m.end })
			if n < marks[step].outside || d.cutsEffect(whole[:n]) || cutsFailure(whole[:n]) {
				continue
			}
			tried++
			if diff := d.differs(d.resume(t, whole[:n], step), whole); diff != "" {
				t.Errorf("after %d events: got, want\n%s", n, diff)
			}
		}
		t.Logf("%d of %d prefixes", tried, len(whole))
	})
}

func (d *dialog) differs(got, want []agents.Event) string {
	if d.Parallel {
		return cmp.Diff(threads(got), threads(want))
	}
	return cmp.Diff(canonical(got), canonical(want))
}

// Break stops reading after each event of each dialog's first step. The bubble
// fails if a goroutine is left.
func (s Dialogs) Break(t *testing.T) {
	s.each(t, func(t *testing.T, d *dialog) {
		for n, more := 1, !strings.HasPrefix(d.steps[0], "cancel "); more; n++ {
			synctest.Test(t, func(t *testing.T) {
				w := d.newWorld(t, nil)
				w.begin(t, d.steps[0])

				events, _ := RunUntil(Context(t.Context(), d.desk.Scopes...), t, w.desk, w.transcript, n)

				more = len(events) == n
			})
		}
	})
}

// record plays a dialog and keeps the log.
func (d *dialog) record(t *testing.T) ([]agents.Event, []mark) {
	t.Helper()
	var marks []mark
	var log []agents.Event
	synctest.Test(t, func(t *testing.T) {
		w := d.newWorld(t, nil)
		for _, step := range d.steps {
			w.begin(t, step)
			outside := len(w.stored)
			w.play(t, step)
			marks = append(marks, mark{outside, len(w.stored)})
		}
		log = w.stored
	})
	return log, marks
}

// resume plays the rest of a dialog, which was in the given step.
func (d *dialog) resume(t *testing.T, prefix []agents.Event, step int) []agents.Event {
	t.Helper()
	var log []agents.Event
	synctest.Test(t, func(t *testing.T) {
		w := d.newWorld(t, prefix)
		w.play(t, d.steps[step])
		for _, s := range d.steps[step+1:] {
			w.begin(t, s)
			w.play(t, s)
		}
		log = w.stored
	})
	return log
}

// cutsEffect says that the prefix ends inside a call that must not be repeated.
func (d *dialog) cutsEffect(prefix []agents.Event) bool {
	open := map[string]bool{}
	for _, e := range prefix {
		switch b := e.Body.(type) {
		case agents.ToolCallRequested:
			open[e.CallID] = false
		case agents.ToolCallDecided:
			open[e.CallID] = b.Decision == agents.Allowed && d.once(prefix, e.CallID)
		case agents.ToolCallFinished, agents.RunFinished:
			delete(open, e.CallID)
		case agents.RunStarted:
			clear(open)
		}
	}
	for _, begun := range open {
		if begun {
			return true
		}
	}
	return false
}

func (d *dialog) once(events []agents.Event, callID string) bool {
	for _, e := range events {
		if b, ok := e.Body.(agents.ToolCallRequested); ok && e.CallID == callID {
			return slices.ContainsFunc(d.desk.Tools, func(t Tool) bool { return t.Name == b.Tool && t.Once })
		}
	}
	return false
}

// cutsFailure says that the prefix ends between a model's failure and the end of
// the run, which is the consumer's to write. An answer that does not fit is no failure.
func cutsFailure(prefix []agents.Event) bool {
	switch b := prefix[len(prefix)-1].Body.(type) {
	case agents.Message:
		return b.Incomplete && b.Kind != agents.KindStructured
	case agents.PlanUpdated: // not if it is the last of all attempts
		return b.Plan+b.Facts+b.Ledger == "" && b.Usage.ModelCalls == 1
	}
	return false
}

// canonical leaves out times and sequences and the order of parallel calls.
func canonical(events []agents.Event) []agents.Event {
	c := slices.Clone(events)
	for i := range c {
		c[i].Time, c[i].Sequence = time.Time{}, 0
	}
	for i := 0; i < len(c); i++ {
		end := i
		for end < len(c) && ofCall(c[end]) {
			end++
		}
		slices.SortStableFunc(c[i:end], func(a, b agents.Event) int { return strings.Compare(a.CallID, b.CallID) })
		i = max(i, end-1)
	}
	return c
}

func ofCall(e agents.Event) bool {
	switch e.Body.(type) {
	case agents.ToolCallDecided, agents.ToolCallFinished, agents.ApprovalRequested:
		return true
	}
	return false
}
