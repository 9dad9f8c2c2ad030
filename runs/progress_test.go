package runs_test

import (
	"context"
	"iter"
	"slices"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/runs"
)

// counter calls one tool that tells how far it is so many times, after leave was
// called at the first, and answers.
func counter(times int, leave func()) script {
	return func(_ context.Context, t *agents.Transcript, yield func(agents.Event, error) bool) {
		if !say(yield, of(agents.TurnStarted{Turn: 1}), of(agents.ToolCallRequested{Tool: "report", ModelCallID: "c1"})) {
			return
		}
		all := t.Since(0)
		call := func(body agents.Body) agents.Event {
			e := of(body)
			e.CallID = all[len(all)-1].CallID
			return e
		}
		if !say(yield, call(agents.ToolCallDecided{Decision: agents.Allowed})) {
			return
		}
		leave()
		for i := range times {
			if !say(yield, call(agents.ToolCallProgress{Done: float64(i)})) {
				return
			}
		}
		say(yield, call(agents.ToolCallFinished{Result: `{"ok":true}`}), reply("done"), finished("done"))
	}
}

func isProgress(e agents.Event) bool {
	_, ok := e.Body.(agents.ToolCallProgress)
	return ok
}

func TestProgressIsShownAndNeverStored(t *testing.T) {
	eachLog(t, func(t *testing.T, log runs.Log) {
		d := newDesk(t, log, counter(2, func() {}))
		run := d.start(t, ana(t), "")

		got, err := collect(run.Events(t.Context()))

		if err != nil || len(slices.DeleteFunc(slices.Clone(got), func(e agents.Event) bool { return !isProgress(e) })) != 2 {
			t.Errorf("got %v and %v, want two events of progress", bodies(got), err)
		}
		for _, e := range got {
			if isProgress(e) && (e.Sequence != 0 || e.CallID != run.ID+"/4" || e.Time.IsZero() || e.RunID != run.ID) {
				t.Errorf("progress is not stamped as a live event: %+v", e)
			}
		}
		if stored := d.stored(t, run); slices.ContainsFunc(stored, isProgress) || len(stored) != 8 {
			t.Errorf("stored is %v", bodies(stored))
		}
	})
}

// A write that was begun goes on when its run is cancelled. However much it tells of
// its progress, its result is kept.
func TestProgressAfterACancelCutsNothingOff(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	d := newDesk(t, runs.NewMemory(), counter(1000, cancel))
	run := d.start(t, ana(t), "")

	if _, err := collect(run.Events(ctx)); err != nil {
		t.Fatal(err)
	}

	kept := slices.ContainsFunc(d.stored(t, run), func(e agents.Event) bool {
		f, ok := e.Body.(agents.ToolCallFinished)
		return ok && f.Result == `{"ok":true}`
	})
	if !kept {
		t.Errorf("the result was lost: %v", bodies(d.stored(t, run)))
	}
}

var watched = runs.Key{Tenant: "acme", Session: "ses_1"}

func live(e agents.Event) *agents.Event { return &e }

// Whoever reads slowly loses progress, and neither text nor what is stored.
func TestAFloodOfProgressTakesNoPlaceOfText(t *testing.T) {
	log := runs.NewMemory()
	next, stop := iter.Pull2(log.Watch(t.Context(), watched, 0))
	defer stop()
	log.Publish(watched, live(about("m1", agents.TextDelta{Text: "a"})))
	if e, _, _ := next(); e.MessageID != "m1" {
		t.Fatalf("got %+v, want the delta", e)
	}

	for range 1000 {
		log.Publish(watched, live(of(agents.ToolCallProgress{Done: 1})))
	}
	log.Publish(watched, live(about("m1", agents.TextDelta{Text: "b"})))

	for n := 0; ; n++ {
		e, err, ok := next()
		if err != nil || !ok || n > 500 {
			t.Fatalf("got %v, %v after %d events, want the text", err, ok, n)
		}
		if b, ok := e.Body.(agents.TextDelta); ok {
			if b.Text != "b" {
				t.Errorf("got %q, want b", b.Text)
			}
			return
		}
	}
}
