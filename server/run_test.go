package server_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/model/modeltest"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
)

const refundIt = "Customer C-1001 says the espresso machine of order O-5001 arrived broken. Please refund it."

func TestRunAgentAnswersWithAllOfTheRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a := w.as(alice)

	r, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: refundIt, Labels: map[string]string{"ticket": "7"}})
	if err != nil {
		t.Fatal(err)
	}

	if !strings.HasPrefix(r.GetRunId(), "run_") || !strings.HasPrefix(r.GetSessionId(), "ses_") || r.GetStopReason() != agents.StopCompleted {
		t.Errorf("got run %q, session %q, %q", r.GetRunId(), r.GetSessionId(), r.GetStopReason())
	}
	if !strings.Contains(r.GetOutput(), "POLICY_DENIED") || strings.Contains(r.String(), "SSN 5") {
		t.Errorf("got %q, want the denial explained and no SSN", r.GetOutput())
	}
	if u := r.GetUsage(); u.GetModelCalls() < 3 || u.GetTotalTokens() != u.GetPromptTokens()+u.GetCompletionTokens() {
		t.Errorf("got usage %v", u)
	}
	var calls []string
	for _, c := range r.GetToolCalls() {
		calls = append(calls, fmt.Sprintf("%s by %s: %s %s %v", c.GetTool(), c.GetAgent(), c.GetDecision(), c.GetReason(), c.GetFailed()))
	}
	want := []string{
		"transfer_to_billing by triage: DECISION_UNSPECIFIED ERROR_REASON_UNSPECIFIED false", // a hand-off acts on nothing, so nothing is decided
		"get_customer by billing: DECISION_ALLOW ERROR_REASON_UNSPECIFIED false",
		"list_orders by billing: DECISION_ALLOW ERROR_REASON_UNSPECIFIED false",
		"refund_order by billing: DECISION_DENY ERROR_REASON_POLICY_DENIED true",
	}
	if diff := cmp.Diff(want, calls); diff != "" {
		t.Errorf("tool calls (-want +got):\n%s", diff)
	}
	if id := r.GetToolCalls()[3].GetPolicyIds(); !slices.Contains(id, "large-refunds-need-a-manager") {
		t.Errorf("got %v as the policies of the denial", id)
	}
	if m := r.GetMessages(); len(m) < 4 || m[0].GetMessage().GetText() != refundIt || m[len(m)-1].GetMessage().GetText() != r.GetOutput() {
		t.Errorf("got %d messages, want them from the input to the output", len(m))
	}
	got, err := a.runs().GetRun(a.ctx(t), &behalfv1.GetRunRequest{RunId: r.GetRunId()})
	if err != nil {
		t.Fatal(err)
	}
	run := got.GetRun()
	if run.GetState() != behalfv1.RunState_RUN_STATE_FINISHED || run.GetOutput() != r.GetOutput() || run.GetUser().GetSubject() != "alice" ||
		run.GetWorkload() != "spiffe://acme.test/app" || run.GetLabels()["ticket"] != "7" || run.GetFinishedAt() == nil {
		t.Errorf("got %v of GetRun", run)
	}
}

// wantGapless fails unless the stored events are numbered from first on without
// a gap, and live ones not at all. It gives the last number.
func wantGapless(t *testing.T, events []*behalfv1.Event, first int64) int64 {
	t.Helper()
	next := first
	for _, e := range events {
		live := e.GetTextDelta() != nil || e.GetThoughtDelta() != nil
		switch {
		case live && e.GetSequence() == 0:
		case e.GetSequence() == next:
			next++
		default:
			t.Fatalf("got sequence %d (%T), want %d", e.GetSequence(), e.GetBody(), next)
		}
	}
	return next - 1
}

func TestStreamAgentTellsEachStepInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	b := w.as(bob)

	events, err := b.stream(t, &behalfv1.StreamAgentRequest{Agent: "triage", Input: refundIt})
	if err != nil {
		t.Fatal(err)
	}

	wantGapless(t, events, 1)
	if events[0].GetRunStarted() == nil || events[len(events)-1].GetRunFinished() == nil {
		t.Errorf("got %v … %v, want run_started … run_finished", events[0], events[len(events)-1])
	}
	stage := map[string]int{}
	said := map[string]string{}
	for _, e := range events {
		switch {
		case e.GetSource() == "triage" && e.GetCallId() != "": // the hand-off
		case e.GetToolCallRequested() != nil:
			stage[e.GetCallId()]++
		case e.GetToolCallDecided() != nil && stage[e.GetCallId()] == 1:
			stage[e.GetCallId()]++
		case e.GetToolCallFinished() != nil && stage[e.GetCallId()] == 2:
			stage[e.GetCallId()]++
		case e.GetToolCallDecided() != nil || e.GetToolCallFinished() != nil:
			t.Errorf("%v is out of order", e)
		case e.GetTextDelta() != nil:
			said[e.GetMessageId()] += e.GetTextDelta().GetText()
		case e.GetMessage().GetRole() == behalfv1.Role_ROLE_ASSISTANT && said[e.GetMessageId()] != e.GetMessage().GetText():
			t.Errorf("got %q live, want what is stored: %q", said[e.GetMessageId()], e.GetMessage().GetText())
		}
		if e.GetToolCallDecided() != nil && !slices.Equal(e.GetDelegationChain(), []string{"triage", "billing"}) {
			t.Errorf("got the chain %v", e.GetDelegationChain())
		}
	}
	if len(stage) != 3 {
		t.Errorf("got %d calls, want 3", len(stage))
	}
}

func TestARepeatedRequestIsTheSameRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a := w.as(alice)
	r := &behalfv1.RunAgentRequest{Agent: "triage", Input: "hello", RequestId: "once"}
	one, err := a.agents().RunAgent(a.ctx(t), r)
	if err != nil {
		t.Fatal(err)
	}

	two, err := a.agents().RunAgent(a.ctx(t), r)
	if err != nil {
		t.Fatal(err)
	}

	if diff := cmp.Diff(one, two, protocmp.Transform()); diff != "" {
		t.Errorf("the repeat's answer differs (-first +repeat):\n%s", diff)
	}
	other := proto.Clone(r).(*behalfv1.RunAgentRequest)
	other.Input = "goodbye"
	_, err = a.agents().RunAgent(a.ctx(t), other)
	wantError(t, err, codes.InvalidArgument, "ARGUMENT_INVALID")
	d := w.as(dave) // the id is the person's own
	three, err := d.agents().RunAgent(d.ctx(t), r)
	if err != nil || three.GetRunId() == one.GetRunId() {
		t.Errorf("got %v, %v for somebody else, want a run of their own", three, err)
	}
}

func TestARepeatOfAFailedRunFailsTheSameWay(t *testing.T) {
	t.Parallel()
	m := modeltest.NewServer(t)
	m.Always("scripted", modeltest.Reply{Text: "half of it", Fault: modeltest.Cut, FaultAfter: 1})
	w := newWorld(t, setup{model: m})
	a := w.as(alice)
	r := &behalfv1.RunAgentRequest{Agent: "support", Input: "hello", RequestId: "once"}

	for range 2 {
		_, err := a.agents().RunAgent(a.ctx(t), r)
		wantError(t, err, codes.Unavailable, "MODEL_UNAVAILABLE")
	}
	if m.Count() != 1 {
		t.Errorf("the model was asked %d times, want once", m.Count())
	}
}

func TestWatchersOfADetachedRunSeeTheSame(t *testing.T) {
	t.Parallel()
	for _, embedded := range []bool{false, true} {
		t.Run(fmt.Sprintf("embedded log %v", embedded), func(t *testing.T) {
			w := newWorld(t, setup{embedded: embedded})
			b := w.as(bob)
			r, err := b.runs().CreateRun(b.ctx(t), &behalfv1.CreateRunRequest{Target: &behalfv1.CreateRunRequest_Agent{Agent: "triage"}, Input: refundIt})
			if err != nil {
				t.Fatal(err)
			}

			var all [5][]*behalfv1.Event
			var wg sync.WaitGroup
			for i := range all {
				wg.Go(func() {
					s, err := b.runs().WatchRun(b.ctx(t), &behalfv1.WatchRunRequest{RunId: r.GetRunId(), AfterSequence: int64(i)})
					if err != nil {
						t.Error(err)
						return
					}
					got, err := messages(s)
					if err != nil {
						t.Errorf("watcher %d: %v", i, err)
					}
					all[i] = slices.DeleteFunc(eventsOf(got), func(e *behalfv1.Event) bool { return e.GetSequence() == 0 })
				})
			}
			wg.Wait()

			for i := range all {
				if last := wantGapless(t, all[i], int64(i)+1); last < 10 || all[i][len(all[i])-1].GetRunFinished() == nil {
					t.Errorf("watcher %d ended at %d, want the whole run", i, last)
				}
				if diff := cmp.Diff(all[0][i:], all[i], protocmp.Transform()); diff != "" {
					t.Errorf("watcher %d saw something else (-first +%d):\n%s", i, i, diff)
				}
			}
		})
	}
}
