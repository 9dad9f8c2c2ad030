package runs_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/runs"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
)

func TestFailedAgentLeavesAUsableSession(t *testing.T) {
	cause := fault.New(codes.Unavailable, fault.ModelUnavailable, "the model is away")
	d := newDesk(t, runs.NewMemory(), script(func(_ context.Context, _ *agents.Transcript, yield func(agents.Event, error) bool) {
		if say(yield, of(agents.TurnStarted{Turn: 1}), about("m1", agents.ThoughtDelta{Text: "hm"}), about("m1", agents.TextDelta{Text: "hel"})) {
			yield(agents.Event{}, cause)
		}
	}))
	run := d.start(t, ana(t), "")

	got, err := collect(run.Events(t.Context()))

	if !errors.Is(err, fault.ModelUnavailable) {
		t.Errorf("got error %v, want MODEL_UNAVAILABLE", err)
	}
	want := []agents.Body{
		agents.Message{Role: agents.RoleAssistant, Text: "hel", Thought: "hm", Incomplete: true},
		agents.RunFinished{StopReason: agents.StopFailed, Reason: string(fault.ModelUnavailable)},
	}
	if diff := cmp.Diff(want, bodies(got[len(got)-2:])); diff != "" {
		t.Errorf("the end (-want +got):\n%s", diff)
	}
	if s := d.state(t, run); s != runs.StateFailed {
		t.Errorf("the index says %s, want failed", s)
	}
	d.start(t, ana(t), run.SessionID)
}

func TestAgentThatJustStopsFails(t *testing.T) {
	d := newDesk(t, runs.NewMemory(), script(func(context.Context, *agents.Transcript, func(agents.Event, error) bool) {}))
	run := d.start(t, ana(t), "")

	got, err := collect(run.Events(t.Context()))

	if err == nil || end(t, got).Reason != string(fault.Internal) {
		t.Errorf("got error %v and end %+v, want a failure", err, end(t, got))
	}
}

func TestAgentThatPanicsFailsItsOwnRun(t *testing.T) {
	d := newDesk(t, runs.NewMemory(), script(func(context.Context, *agents.Transcript, func(agents.Event, error) bool) { panic("secret") }))
	run := d.start(t, ana(t), "")

	got, err := collect(run.Events(t.Context()))

	if err == nil || strings.Contains(err.Error(), "secret") || end(t, got).Reason != string(fault.Internal) {
		t.Errorf("got error %v and end %+v, want a failure without the panic's text", err, end(t, got))
	}
}

func TestRunThatTakesTooLongIsTimedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, runs.NewMemory(), blocking(nil))
		run := d.start(t, ana(t), "", func(s *runs.Spec) { s.Limits.Timeout = time.Minute })
		began := time.Now()

		got, err := collect(run.Events(t.Context()))

		if err != nil || end(t, got).StopReason != agents.StopTimeout {
			t.Errorf("got error %v and end %+v, want timeout", err, end(t, got))
		}
		if took := time.Since(began); took != time.Minute {
			t.Errorf("it took %v, want 1m", took)
		}
	})
}

func TestEndOfTheHeldContextDecidesHowTheRunEnds(t *testing.T) {
	for _, c := range []struct {
		name  string
		cause error
		state string
		last  agents.Body
	}{
		{"locked", fault.New(codes.PermissionDenied, fault.PrincipalLocked, "locked"), runs.StateFailed, agents.RunFinished{StopReason: agents.StopFailed, Reason: string(fault.PrincipalLocked)}},
		{"expired", fault.New(codes.Unauthenticated, fault.CredentialExpired, "expired"), runs.StateWaiting, agents.CredentialRequired{}},
		{"cancelled", context.Canceled, runs.StateCancelled, agents.RunFinished{StopReason: agents.StopCancelled}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var end context.CancelCauseFunc
			d := newDesk(t, runs.NewMemory(), blocking(func() { end(c.cause) }), func(cfg *runs.Config) {
				cfg.Hold = func(ctx context.Context, _ runs.RunRecord, _ identity.Grant) (context.Context, func(), error) {
					ctx, end = context.WithCancelCause(ctx)
					return ctx, func() { end(nil) }, nil
				}
			})
			run := d.start(t, ana(t), "")

			got, _ := collect(run.Events(t.Context()))

			if diff := cmp.Diff(c.last, got[len(got)-1].Body); diff != "" {
				t.Errorf("the last event (-want +got):\n%s", diff)
			}
			if s := d.state(t, run); s != c.state {
				t.Errorf("the index says %s, want %s", s, c.state)
			}
		})
	}
}

func TestStepThatIsLostStopsTheRunBeforeTheEffect(t *testing.T) {
	acted := false
	log := &brittleLog{Log: runs.NewMemory(), failAt: 2, err: errBroken} // the opening, then the step with the decision
	d := newDesk(t, log, clerk(func() { acted = true }))
	run := d.start(t, ana(t), "")

	got, err := collect(run.Events(t.Context()))

	if acted {
		t.Error("the tool acted though its decision was not stored")
	}
	if !errors.Is(err, errBroken) || end(t, got).StopReason != agents.StopFailed {
		t.Errorf("got error %v and end %+v, want the broken log and failed", err, end(t, got))
	}
	if diff := cmp.Diff(got, d.stored(t, run)); diff != "" {
		t.Errorf("shown and stored differ (-shown +stored):\n%s", diff)
	}
	d.start(t, ana(t), run.SessionID)
}

func TestLogThatFailsOnItsThirdAppendFailsTheRun(t *testing.T) {
	calls := 0
	log := &brittleLog{Log: runs.NewMemory(), failAt: 3, err: errBroken}
	d := newDesk(t, log, clerk(func() { calls++ }))
	run := d.start(t, ana(t), "")

	got, err := collect(run.Events(t.Context()))

	if calls != 1 || !errors.Is(err, errBroken) || end(t, got).StopReason != agents.StopFailed {
		t.Errorf("got %d calls, error %v, end %+v", calls, err, end(t, got))
	}
	if diff := cmp.Diff(got, d.stored(t, run)); diff != "" {
		t.Errorf("shown and stored differ (-shown +stored):\n%s", diff)
	}
}

func TestRunThatLostItsFenceStopsWithoutATrace(t *testing.T) {
	eachLog(t, func(t *testing.T, log runs.Log) {
		acted := false
		d := newDesk(t, log, clerk(func() { acted = true }))
		run := d.start(t, ana(t), "")
		k := runs.Key{Tenant: "acme", Session: run.SessionID}
		other := said(3, "another process was here")
		other.RunID = run.ID
		if err := log.Append(t.Context(), k, 2, []agents.Event{other}); err != nil {
			t.Fatal(err)
		}

		_, err := collect(run.Events(t.Context()))

		if acted || !errors.Is(err, runs.ErrConflict) || fault.From(err).Reason != fault.SessionBusy {
			t.Errorf("acted %t, error %v", acted, err)
		}
		if n := len(d.stored(t, run)); n != 3 {
			t.Errorf("the log has %d events, want 3", n)
		}
	})
}
