package runs_test

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/runs"
)

// hangingLog answers nothing any more once it is stuck, unless the caller gives up.
type hangingLog struct {
	runs.Log
	stuck bool
}

func (l *hangingLog) Append(ctx context.Context, k runs.Key, after uint64, events []agents.Event) error {
	if !l.stuck {
		return l.Log.Append(ctx, k, after, events)
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

func (l *hangingLog) Read(ctx context.Context, k runs.Key) iter.Seq2[agents.Event, error] {
	if !l.stuck {
		return l.Log.Read(ctx, k)
	}
	return func(yield func(agents.Event, error) bool) {
		<-ctx.Done()
		yield(agents.Event{}, context.Cause(ctx))
	}
}

func TestLogThatHangsHoldsNoRunForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &hangingLog{Log: runs.NewMemory()}
		d := newDesk(t, log, blocking(func() { log.stuck = true }))
		run := d.start(t, ana(t), "")
		began := time.Now()
		for e := range run.Events(t.Context()) {
			if e.Live() {
				break
			}
		}
		if took := time.Since(began); took > 2*time.Minute {
			t.Errorf("the cancelled run held its caller for %v", took)
		}
	})
}

func TestFullSessionTakesNoNewRun(t *testing.T) {
	eachLog(t, func(t *testing.T, log runs.Log) {
		d := newDesk(t, log, talker, func(c *runs.Config) { c.SessionBytes = 100_000 })
		fill := func(s *runs.Spec) { s.Input = strings.Repeat("x", 60_000) }
		first := d.start(t, ana(t), "", fill)
		collect(first.Events(t.Context()))
		collect(d.start(t, ana(t), first.SessionID, fill).Events(t.Context()))

		_, err := d.tryStart(ana(t), first.SessionID)

		if !errors.Is(err, fault.ArgumentInvalid) || !strings.Contains(err.Error(), "new session") {
			t.Errorf("got %v, want ARGUMENT_INVALID that says what to do", err)
		}
		if _, _, err := d.Session(t.Context(), "acme", first.SessionID); err != nil {
			t.Errorf("the full session cannot be read: %v", err)
		}
		if err := d.Delete(t.Context(), "acme", first.SessionID); err != nil {
			t.Errorf("the full session cannot be deleted: %v", err)
		}
	})
}

const again = "send it again under a fresh"

func TestRunIsSentAgainOnlyWhenItDidNotBegin(t *testing.T) {
	// old has run in a session; then the index also has a run without events.
	prepare := func(t *testing.T, state string) (*desk, *runs.Run, runs.RunRecord) {
		d := newDesk(t, runs.NewMemory(), talker)
		old := d.start(t, ana(t), "")
		collect(old.Events(t.Context()))
		rec, err := d.Find(t.Context(), "acme", old.ID)
		if err != nil {
			t.Fatal(err)
		}
		rec.RunID, rec.State, rec.Created = "run_unseen", state, time.Now().UnixNano()
		if err := d.index.PutRun(t.Context(), rec); err != nil {
			t.Fatal(err)
		}
		return d, old, rec
	}
	watched := func(t *testing.T, d *desk, runID string) error {
		t.Helper()
		_, err := collect(d.Watch(t.Context(), "acme", runID, 0))
		if err == nil {
			t.Fatal("no error")
		}
		return err
	}
	t.Run("it lost the race for its session", func(t *testing.T) {
		d, _, rec := prepare(t, runs.StateFailed)
		if err := watched(t, d, rec.RunID); !strings.Contains(err.Error(), again) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the index says that it finished", func(t *testing.T) {
		d, _, rec := prepare(t, runs.StateFinished)
		if err := watched(t, d, rec.RunID); strings.Contains(err.Error(), again) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the log is empty", func(t *testing.T) {
		d, old, rec := prepare(t, runs.StateFailed)
		if err := d.log.Purge(t.Context(), runs.Key{Tenant: "acme", Session: old.SessionID}); err != nil {
			t.Fatal(err)
		}
		if err := watched(t, d, rec.RunID); strings.Contains(err.Error(), again) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the log began anew after it", func(t *testing.T) {
		d, old, rec := prepare(t, runs.StateFailed)
		if err := d.log.Purge(t.Context(), runs.Key{Tenant: "acme", Session: old.SessionID}); err != nil {
			t.Fatal(err)
		}
		collect(d.start(t, ana(t), old.SessionID).Events(t.Context()))
		if err := watched(t, d, rec.RunID); strings.Contains(err.Error(), again) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the session was deleted", func(t *testing.T) {
		d, old, _ := prepare(t, runs.StateFailed)
		if err := d.Delete(t.Context(), "acme", old.SessionID); err != nil {
			t.Fatal(err)
		}
		if err := watched(t, d, old.ID); !errors.Is(err, fault.NotFound) || strings.Contains(err.Error(), again) {
			t.Errorf("got %v, want NOT_FOUND", err)
		}
	})
}
