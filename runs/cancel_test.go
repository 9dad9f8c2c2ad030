package runs_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/runs"
	"github.com/google/go-cmp/cmp"
)

// blocking is a model that says "hel" and then hangs until it is cut.
func blocking(hung func()) script {
	return func(ctx context.Context, _ *agents.Transcript, yield func(agents.Event, error) bool) {
		if !say(yield, of(agents.TurnStarted{Turn: 1}), about("m1", agents.TextDelta{Text: "hel"})) {
			return
		}
		if hung != nil {
			hung()
		}
		<-ctx.Done()
		yield(agents.Event{}, context.Cause(ctx))
	}
}

// soon is far less than anything here waits for, and far more than the 100 ms of DESIGN
// 9, for a loaded machine.
const soon = 3 * time.Second

var cutOff = []agents.Body{
	agents.Message{Role: agents.RoleAssistant, Text: "hel", Incomplete: true},
	agents.RunFinished{StopReason: agents.StopCancelled},
}

func checkCutOff(t *testing.T, d *desk, run *runs.Run) {
	t.Helper()
	all := d.stored(t, run)
	if diff := cmp.Diff(cutOff, bodies(all[len(all)-2:])); diff != "" {
		t.Errorf("the end of the log (-want +got):\n%s", diff)
	}
	if s := d.state(t, run); s != runs.StateCancelled {
		t.Errorf("the index says %s, want cancelled", s)
	}
	d.start(t, ana(t), run.SessionID) // usable at once
}

func TestLeavingClientCancelsTheRun(t *testing.T) {
	eachLog(t, func(t *testing.T, log runs.Log) {
		d := newDesk(t, log, blocking(nil))
		run := d.start(t, ana(t), "")
		began := time.Now()

		for e := range run.Events(t.Context()) {
			if e.Live() {
				began = time.Now()
				break
			}
		}

		if took := time.Since(began); took > soon {
			t.Errorf("the model was cut after %v, want it at once", took)
		}
		checkCutOff(t, d, run)
	})
}

func TestEndOfTheClientsContextCancelsTheRun(t *testing.T) {
	eachLog(t, func(t *testing.T, log runs.Log) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		d := newDesk(t, log, blocking(cancel))
		run := d.start(t, ana(t), "")
		began := time.Now()

		_, err := collect(run.Events(ctx))

		if took := time.Since(began); err != nil || took > soon {
			t.Errorf("ended after %v with %v, want it at once and no error", took, err)
		}
		checkCutOff(t, d, run)
	})
}

func TestCancelFromElsewhereEndsTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, runs.NewMemory(), blocking(nil))
		run := d.start(t, ana(t), "")
		ended := make(chan []agents.Event, 1)
		go func() {
			got, _ := collect(run.Events(t.Context()))
			ended <- got
		}()
		synctest.Wait()
		began := time.Now()

		rec, err := d.Cancel(t.Context(), "acme", run.ID)

		if err != nil || rec.State != runs.StateCancelled || time.Since(began) != 0 {
			t.Errorf("cancel gave %s and %v after %v", rec.State, err, time.Since(began))
		}
		got := <-ended
		if diff := cmp.Diff(cutOff, bodies(got[len(got)-2:])); diff != "" {
			t.Errorf("the client saw (-want +got):\n%s", diff)
		}
		checkCutOff(t, d, run)
		if _, err := d.Cancel(t.Context(), "acme", run.ID); !errors.Is(err, fault.RunNotActive) {
			t.Errorf("cancelling again: got %v, want RUN_NOT_ACTIVE", err)
		}
		if _, err := d.Cancel(t.Context(), "beta", run.ID); !errors.Is(err, fault.NotFound) {
			t.Errorf("another tenant's cancel: got %v, want NOT_FOUND", err)
		}
	})
}

func TestRunThatNobodyRangesOverCanBeCancelled(t *testing.T) {
	d := newDesk(t, runs.NewMemory(), talker)
	run := d.start(t, ana(t), "")

	if _, err := d.Cancel(t.Context(), "acme", run.ID); err != nil {
		t.Fatal(err)
	}

	if _, err := collect(run.Events(t.Context())); !errors.Is(err, runs.ErrConflict) {
		t.Errorf("its events end with %v, want ErrConflict", err)
	}
	d.start(t, ana(t), run.SessionID)
}

func TestResultOfAWriteThatHadBegunIsKept(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	d := newDesk(t, runs.NewMemory(), clerk(cancel)) // the client leaves during the effect
	run := d.start(t, ana(t), "")

	got, err := collect(run.Events(ctx))
	if err != nil {
		t.Fatal(err)
	}
	kept := false
	for _, e := range got {
		if r, ok := e.Body.(agents.ToolCallFinished); ok && r.Result == `{"ok":true}` {
			kept = true
		}
	}
	if !kept {
		t.Errorf("the result is missing in %+v", bodies(got))
	}
}

func TestNothingBeginsAfterACancel(t *testing.T) {
	for name, cancelAt := range map[string]string{"before the decision": "request", "while the decision is stored": "store"} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			acted := false
			log := &brittleLog{Log: runs.NewMemory()}
			log.after = func() {
				if log.count == 2 && cancelAt == "store" {
					cancel()
				}
			}
			deaf := clerk(func() { acted = true }) // does not look at its context
			d := newDesk(t, log, script(func(ctx context.Context, tr *agents.Transcript, yield func(agents.Event, error) bool) {
				if cancelAt == "request" {
					cancel()
				}
				deaf(ctx, tr, yield)
			}))
			run := d.start(t, ana(t), "")

			got, err := collect(run.Events(ctx))

			if acted || err != nil || end(t, got).StopReason != agents.StopCancelled {
				t.Errorf("acted %t, error %v, end %+v", acted, err, end(t, got))
			}
			for _, e := range got {
				if _, turn := e.Body.(agents.TurnStarted); turn && cancelAt == "request" {
					t.Errorf("a turn began: %+v", bodies(got))
				}
			}
		})
	}
}

func TestAgentThatDoesNotListenIsCutOff(t *testing.T) {
	d := newDesk(t, runs.NewMemory(), script(func(_ context.Context, _ *agents.Transcript, yield func(agents.Event, error) bool) {
		for yield(about("m1", agents.TextDelta{Text: "hel"}), nil) {
		}
	}))
	run := d.start(t, ana(t), "")

	for e := range run.Events(t.Context()) {
		if e.Live() {
			break
		}
	}

	checkCutOff(t, d, run)
}

func TestAgentsOwnIncompleteMessageIsNotDoubled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	d := newDesk(t, runs.NewMemory(), script(func(ctx context.Context, _ *agents.Transcript, yield func(agents.Event, error) bool) {
		if !say(yield, about("m1", agents.TextDelta{Text: "hel"})) {
			return
		}
		cancel()
		if say(yield, about("m1", agents.Message{Role: agents.RoleAssistant, Text: "hel", Incomplete: true})) {
			yield(agents.Event{}, context.Cause(ctx))
		}
	}))
	run := d.start(t, ana(t), "")

	got, _ := collect(run.Events(ctx))

	if diff := cmp.Diff(cutOff, bodies(got[3:])); diff != "" {
		t.Errorf("the end (-want +got):\n%s", diff)
	}
}

// A loop body that waits for its client learns by the tie that the run is to stop.
func TestATiedLoopLearnsThatTheRunWasCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, runs.NewMemory(), blocking(nil))
		stopped, untied := make(chan struct{}), false
		run := d.start(t, ana(t), "", func(s *runs.Spec) {
			s.Tie = func(work context.Context) func() {
				context.AfterFunc(work, func() { close(stopped) })
				return func() { untied = true }
			}
		})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for e := range run.Events(t.Context()) {
				if e.Live() {
					<-stopped // a send that the client does not take
					break
				}
			}
		}()
		synctest.Wait()
		began := time.Now()

		rec, err := d.Cancel(t.Context(), "acme", run.ID)

		if err != nil || rec.State != runs.StateCancelled || time.Since(began) != 0 {
			t.Errorf("cancel gave %s and %v after %v", rec.State, err, time.Since(began))
		}
		<-ended
		if !untied {
			t.Error("the loop was not told that the work is over")
		}
		checkCutOff(t, d, run)
	})
}
