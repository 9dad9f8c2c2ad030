package runs_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/runs"
	"google.golang.org/grpc/codes"
)

// asker waits for an approval and for an input, and answers when it has both.
var asker = script(func(ctx context.Context, t *agents.Transcript, yield func(agents.Event, error) bool) {
	var asked, approved, answered bool
	for _, e := range t.Since(0) {
		switch b := e.Body.(type) {
		case agents.InputRequested:
			asked = true
		case agents.ApprovalDecided:
			approved = b.Approved
		case agents.InputReceived:
			answered = b.Text == "blue"
		}
	}
	if !asked {
		wait := of(agents.ApprovalRequested{ApprovalID: "apr_1", Tool: "refund"})
		wait.CallID = "call-1"
		say(yield, of(agents.TurnStarted{Turn: 1}), wait, of(agents.InputRequested{InputRequestID: "inp_1", Prompt: "which colour"}))
		return
	}
	if approved && answered {
		g, _ := identity.FromContext(ctx)
		say(yield, reply("done for "+g.Principal().Subject()), finished("done"))
	}
})

func withQueue(log runs.Log) func(*runs.Config) {
	return func(c *runs.Config) {
		if j, ok := log.(*runs.JetStream); ok {
			c.Queue = j.Queue()
		}
	}
}

func TestDetachedRunIsExecutedByTheWorkers(t *testing.T) {
	eachLog(t, func(t *testing.T, log runs.Log) {
		d := newDesk(t, log, talker, withQueue(log))
		run := d.start(t, ana(t), "", detached)
		d.work(t)

		got, err := collect(run.Events(t.Context()))

		if err != nil || end(t, got).Output != "hello" {
			t.Errorf("got error %v and end %+v", err, end(t, got))
		}
		if s := d.state(t, run); s != runs.StateFinished {
			t.Errorf("the index says %s, want finished", s)
		}
	})
}

func TestWaitingRunRestsUntilItIsAnswered(t *testing.T) {
	eachLog(t, func(t *testing.T, log runs.Log) {
		d := newDesk(t, log, asker, withQueue(log))
		run := d.start(t, ana(t), "")
		got, err := collect(run.Events(t.Context()))
		if err != nil || !got[len(got)-1].Pause() || d.state(t, run) != runs.StateWaiting {
			t.Fatalf("got %v, state %s, last %+v", err, d.state(t, run), got[len(got)-1].Body)
		}
		if _, err := d.tryStart(ana(t), run.SessionID); !errors.Is(err, fault.SessionBusy) {
			t.Errorf("a second run: got %v, want SESSION_BUSY", err)
		}
		d.work(t)

		ben := as(t, "ben", "acme", time.Hour)
		for _, body := range []agents.Body{agents.ApprovalDecided{ApprovalID: "apr_9", Approved: true}, agents.InputReceived{InputRequestID: "apr_1"}} {
			if _, err := d.Answer(ben, "acme", run.ID, body); !errors.Is(err, fault.RunNotActive) {
				t.Errorf("%+v: got %v, want RUN_NOT_ACTIVE", body, err)
			}
		}
		seq, err := d.Answer(ben, "acme", run.ID, agents.ApprovalDecided{ApprovalID: "apr_1", Approved: true, Approver: agents.Speaker{Subject: "forged"}})
		if err != nil || seq != 6 {
			t.Fatalf("answer: %d, %v", seq, err)
		}
		if _, err := d.Answer(ana(t), "acme", run.ID, agents.InputReceived{Text: "blue"}); err != nil {
			t.Fatal(err)
		}

		all, err := collect(d.Watch(t.Context(), "acme", run.ID, 5))
		if err != nil || end(t, all).StopReason != agents.StopCompleted {
			t.Errorf("the run went on to %+v, %v", end(t, all), err)
		}
		if b := all[0].Body.(agents.ApprovalDecided); b.Approver.Subject != "ben" || all[0].CallID != "call-1" {
			t.Errorf("the approval is %+v of call %q, want ben's of call-1", b, all[0].CallID)
		}
		if m := all[len(all)-2].Body.(agents.Message); m.Text != "done for ana" {
			t.Errorf("the run acted as %q, want its owner", m.Text)
		}
	})
}

func TestClientThatLeavesAtThePauseDoesNotCancel(t *testing.T) {
	d := newDesk(t, runs.NewMemory(), asker)
	run := d.start(t, ana(t), "")

	for e := range run.Events(t.Context()) {
		if e.Pause() {
			break // as RunAgent does: it answers APPROVAL_REQUIRED at once
		}
	}

	if s := d.state(t, run); s != runs.StateWaiting {
		t.Errorf("the index says %s, want waiting", s)
	}
	_, status, err := d.Status(t.Context(), "acme", run.ID)
	if err != nil || !status.Waits() || len(status.Approvals) != 1 {
		t.Errorf("status %+v, %v", status, err)
	}
}

func TestAnswerToARunAtWorkIsTakenWhenItPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		d := newDesk(t, runs.NewMemory(), script(func(_ context.Context, tr *agents.Transcript, yield func(agents.Event, error) bool) {
			for _, e := range tr.Since(0) {
				if _, ok := e.Body.(agents.InputReceived); ok {
					say(yield, reply("done"), finished("done"))
					return
				}
			}
			if say(yield, of(agents.InputRequested{InputRequestID: "inp_1"})) {
				<-release // another call of the same reply is still at work
			}
		}))
		run := d.start(t, ana(t), "")
		ended := make(chan []agents.Event, 1)
		go func() { got, _ := collect(run.Events(t.Context())); ended <- got }()
		synctest.Wait()
		answered := make(chan error, 1)
		go func() {
			_, err := d.Answer(ana(t), "acme", run.ID, agents.InputReceived{Text: "x"})
			answered <- err
		}()
		synctest.Wait()

		close(release)

		if err := <-answered; err != nil {
			t.Fatal(err)
		}
		if got := <-ended; end(t, got).StopReason != agents.StopCompleted {
			t.Errorf("got end %+v", end(t, got))
		}
		if _, err := d.Answer(ana(t), "acme", run.ID, agents.InputReceived{Text: "x"}); !errors.Is(err, fault.RunNotActive) {
			t.Errorf("an answer after the end: got %v, want RUN_NOT_ACTIVE", err)
		}
	})
}

func TestWaitingRunCanBeCancelledAndItsSessionDeleted(t *testing.T) {
	d := newDesk(t, runs.NewMemory(), asker)
	run := d.start(t, ana(t), "")
	collect(run.Events(t.Context()))
	if _, err := d.Cancel(t.Context(), "acme", run.ID); err != nil || d.state(t, run) != runs.StateCancelled {
		t.Errorf("cancel: %v, state %s", err, d.state(t, run))
	}
	second := d.start(t, ana(t), run.SessionID)
	collect(second.Events(t.Context()))

	if err := d.Delete(t.Context(), "acme", run.SessionID); err != nil {
		t.Errorf("delete of a session that waits: %v", err)
	}
}

func TestFullQueueRefusesAndLeavesTheSessionUsable(t *testing.T) {
	eachLog(t, func(t *testing.T, log runs.Log) {
		d := newDesk(t, log, talker, func(c *runs.Config) {
			c.Queue = runs.NewMemoryQueue(1)
			if _, ok := log.(*runs.JetStream); ok {
				small, err := runs.OpenJetStream(t.Context(), runs.JetStreamConfig{Dir: t.TempDir(), QueueLimit: 1})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(small.Close)
				c.Queue = small.Queue()
			}
		})
		session := d.start(t, ana(t), "")
		collect(session.Events(t.Context()))
		d.start(t, ana(t), "", detached)

		_, err := d.tryStart(ana(t), session.SessionID, detached)

		if !errors.Is(err, fault.RateLimited) || fault.From(err).Code != codes.ResourceExhausted {
			t.Errorf("got %v, want RATE_LIMITED", err)
		}
		d.start(t, ana(t), session.SessionID)
	})
}

func TestRunWhoseGrantHasExpiredWaitsForItsPerson(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, runs.NewMemory(), talker)
		run := d.start(t, as(t, "ana", "acme", time.Minute), "", detached)
		time.Sleep(time.Hour) //nolint:forbidigo // the fake clock of synctest: the queue is long
		stop := d.work(t)
		synctest.Wait()
		if s := d.state(t, run); s != runs.StateWaiting {
			t.Fatalf("the index says %s, want waiting", s)
		}
		if err := d.Refresh(as(t, "ben", "acme", time.Hour), "acme", run.ID); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s := d.state(t, run); s != runs.StateWaiting {
			t.Fatalf("somebody else's credential moved the run to %s", s)
		}

		if err := d.Refresh(as(t, "ana", "acme", time.Hour), "acme", run.ID); err != nil {
			t.Fatal(err)
		}

		got, err := collect(d.Watch(t.Context(), "acme", run.ID, 0))
		if err != nil || end(t, got).StopReason != agents.StopCompleted {
			t.Errorf("got %v and end %+v", err, end(t, got))
		}
		stop()
	})
}

func TestPolicyMayLetARunGoOnOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		permitted := true
		d := newDesk(t, runs.NewMemory(), talker, func(c *runs.Config) {
			c.OfflineMax = 2 * time.Hour
			c.Offline = func(context.Context, runs.RunRecord, identity.Grant) bool { return permitted }
		})
		after := func(wait time.Duration) string {
			run := d.start(t, as(t, "ana", "acme", time.Minute), "", detached)
			time.Sleep(wait) //nolint:forbidigo // fake clock
			stop := d.work(t)
			defer stop()
			synctest.Wait()
			return d.state(t, run)
		}

		if s := after(time.Hour); s != runs.StateFinished {
			t.Errorf("within offline_max the run is %s, want finished", s)
		}
		if s := after(3 * time.Hour); s != runs.StateWaiting {
			t.Errorf("beyond offline_max the run is %s, want waiting", s)
		}
		permitted = false
		if s := after(time.Hour); s != runs.StateWaiting {
			t.Errorf("without policy the run is %s, want waiting", s)
		}
	})
}

func TestPolicyIsAskedAgainBeforeARunGoesOn(t *testing.T) {
	d := newDesk(t, runs.NewMemory(), talker, func(c *runs.Config) {
		c.Resume = func(context.Context, runs.RunRecord, identity.Grant) error {
			return fault.New(codes.PermissionDenied, fault.PolicyDenied, "not any more")
		}
	})
	run := d.start(t, ana(t), "", detached)
	d.work(t)

	got, err := collect(run.Events(t.Context()))

	if err != nil || end(t, got).Reason != string(fault.PolicyDenied) {
		t.Errorf("got %v and end %+v, want POLICY_DENIED", err, end(t, got))
	}
}

// patient does one turn, waits for the gate, and does the rest: a run that is
// stopped in the middle.
func patient(reached func(), gate <-chan struct{}) script {
	return func(ctx context.Context, t *agents.Transcript, yield func(agents.Event, error) bool) {
		began := false
		for _, e := range t.Since(0) {
			_, ok := e.Body.(agents.TurnStarted)
			began = began || ok
		}
		if !began && !say(yield, of(agents.TurnStarted{Turn: 1}), about("m1", agents.TextDelta{Text: "hel"})) {
			return
		}
		reached()
		select {
		case <-gate:
			say(yield, reply("done"), finished("done"))
		case <-ctx.Done():
			yield(agents.Event{}, context.Cause(ctx))
		}
	}
}

func TestDetachedRunSurvivesAShutdown(t *testing.T) {
	eachLog(t, func(t *testing.T, log runs.Log) {
		gate, reached := make(chan struct{}), make(chan struct{}, 8)
		agent := patient(func() { reached <- struct{}{} }, gate)
		first := newDesk(t, log, agent, withQueue(log))
		run := first.start(t, ana(t), "", detached)
		stop := first.work(t)
		<-reached

		stop()

		if n := len(first.stored(t, run)); n != 3 || first.state(t, run) != runs.StateRunning {
			t.Fatalf("after the shutdown %d events and state %s, want 3 and running", n, first.state(t, run))
		}
		second := newDesk(t, log, agent, withQueue(log), func(c *runs.Config) { c.Index, c.Grants = first.index, first.index })
		close(gate)
		second.work(t)
		got, err := collect(second.Watch(t.Context(), "acme", run.ID, 0))
		if err != nil || end(t, got).StopReason != agents.StopCompleted || len(second.stored(t, run)) != 5 {
			t.Errorf("got %+v, %v", bodies(got), err)
		}
	})
}

func TestAttachedRunOfADeadProcessIsCancelled(t *testing.T) {
	log := runs.NewMemory()
	first := newDesk(t, log, talker)
	orphan := first.start(t, ana(t), "")
	waiting := first.start(t, ana(t), "", func(s *runs.Spec) { s.Input = "" })
	pause := agents.Event{Sequence: 2, RunID: waiting.ID, Body: agents.InputRequested{InputRequestID: "inp_1"}}
	if err := log.Append(t.Context(), runs.Key{Tenant: "acme", Session: waiting.SessionID}, 1, []agents.Event{pause}); err != nil {
		t.Fatal(err)
	}
	done := first.start(t, ana(t), "")
	collect(done.Events(t.Context()))
	if err := first.index.UpdateRunState(t.Context(), "acme", done.ID, runs.StateRunning, ""); err != nil {
		t.Fatal(err)
	}

	older := first.start(t, ana(t), "")
	collect(older.Events(t.Context()))
	newer := first.start(t, ana(t), older.SessionID)
	collect(newer.Events(t.Context()))
	if err := first.index.UpdateRunState(t.Context(), "acme", older.ID, runs.StateRunning, ""); err != nil {
		t.Fatal(err)
	}

	second := newDesk(t, log, talker, func(c *runs.Config) { c.Index, c.Grants = first.index, first.index })
	own := second.start(t, ana(t), "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // recovery comes before the loop
	if err := second.Run(ctx); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		name string
		run  *runs.Run
		want string
	}{{"orphan", orphan, runs.StateCancelled}, {"waiting", waiting, runs.StateWaiting}, {"done", done, runs.StateFinished}, {"older", older, runs.StateFinished}, {"own", own, runs.StateRunning}} {
		if s := second.state(t, c.run); s != c.want {
			t.Errorf("%s is %s, want %s", c.name, s, c.want)
		}
	}
	second.start(t, ana(t), orphan.SessionID)
}

func TestManyDetachedRunsShareTheWorkers(t *testing.T) {
	const all, workers = 40, 4
	var mu sync.Mutex
	now, most := 0, 0
	d := newDesk(t, runs.NewMemory(), script(func(_ context.Context, _ *agents.Transcript, yield func(agents.Event, error) bool) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		say(yield, reply("x"), finished("x"))
		mu.Lock()
		now--
		mu.Unlock()
	}), func(c *runs.Config) { c.Workers = workers })
	var started []*runs.Run
	for range all {
		started = append(started, d.start(t, ana(t), "", detached))
	}
	d.work(t)
	for _, run := range started {
		if got, err := collect(run.Events(t.Context())); err != nil || end(t, got).StopReason != agents.StopCompleted {
			t.Errorf("run %s: %v", run.ID, err)
		}
	}
	if most > workers {
		t.Errorf("%d runs at the same time, want at most %d", most, workers)
	}
}
