package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/model/modeltest"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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

func TestASessionGoesOnOverRuns(t *testing.T) {
	t.Parallel()
	m := modeltest.NewServer(t)
	m.Queue("scripted", modeltest.Reply{Text: "first answer"}, modeltest.Reply{Text: "second answer"})
	w := newWorld(t, setup{model: m})
	a := w.as(alice)
	one, err := a.stream(t, &behalfv1.StreamAgentRequest{Agent: "support", Input: "first question"})
	if err != nil {
		t.Fatal(err)
	}
	session := one[0].GetSessionId()

	two, err := a.stream(t, &behalfv1.StreamAgentRequest{Agent: "support", Input: "second question", SessionId: session})
	if err != nil {
		t.Fatal(err)
	}

	wantGapless(t, two, wantGapless(t, one, 1)+1)
	if q := string(m.Requests()[1].Body); !strings.Contains(q, "first question") || !strings.Contains(q, "first answer") {
		t.Errorf("the model was asked %s, want the session so far in it", q)
	}
	got, err := a.sessions().GetSession(a.ctx(t), &behalfv1.GetSessionRequest{SessionId: session})
	if err != nil || len(got.GetMessages()) != 4 || got.GetSession().GetOpenRunId() != "" {
		t.Errorf("got %v, %v, want four messages and no open run", got, err)
	}
}

// hanging is a world whose model says "so far" and then nothing more.
func hanging(t *testing.T, set setup) (*world, *modeltest.Server) {
	t.Helper()
	m := modeltest.NewServer(t)
	m.Always("scripted", modeltest.Reply{Text: "so far so good", Chunks: 2, Fault: modeltest.Hang, FaultAfter: 1})
	set.model = m
	return newWorld(t, set), m
}

// open starts a stream and reads until the model has begun to speak.
func (c *client) open(t *testing.T, r *behalfv1.StreamAgentRequest) (s grpc.ServerStreamingClient[behalfv1.StreamAgentResponse], first *behalfv1.Event, cancel func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(c.ctx(t))
	s, err := c.agents().StreamAgent(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	for {
		m, err := s.Recv()
		if err != nil {
			t.Fatalf("before the model spoke: %v", err)
		}
		if first == nil {
			first = m.GetEvent()
		}
		if m.GetEvent().GetTextDelta() != nil {
			return s, first, cancel
		}
	}
}

// finished waits until the run has ended, by watching it.
func (c *client) finished(t *testing.T, runID string) *behalfv1.Event {
	t.Helper()
	s, err := c.runs().WatchRun(c.ctx(t), &behalfv1.WatchRunRequest{RunId: runID})
	if err != nil {
		t.Fatal(err)
	}
	all, err := messages(s)
	if err != nil {
		t.Fatalf("WatchRun: %v", err)
	}
	return all[len(all)-1].GetEvent()
}

func TestASessionHasOneRunAtATime(t *testing.T) {
	t.Parallel()
	w, _ := hanging(t, setup{})
	a := w.as(alice)
	_, first, cancel := a.open(t, &behalfv1.StreamAgentRequest{Agent: "support", Input: "hello"})
	defer cancel()

	_, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "support", Input: "again", SessionId: first.GetSessionId()})
	wantError(t, err, codes.FailedPrecondition, "SESSION_BUSY")
	_, err = a.sessions().DeleteSession(a.ctx(t), &behalfv1.DeleteSessionRequest{SessionId: first.GetSessionId()})
	wantError(t, err, codes.FailedPrecondition, "SESSION_BUSY")
}

func TestASessionIsItsOwnersAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	mine := w.hello(w.as(alice), "")

	for _, p := range []person{bob, dave, erin} {
		c := w.as(p)
		_, err := c.agents().RunAgent(c.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: "hello", SessionId: mine.GetSessionId()})
		wantError(t, err, codes.NotFound, "NOT_FOUND")
	}
	b := w.as(bob)
	list, err := b.sessions().ListSessions(b.ctx(t), &behalfv1.ListSessionsRequest{})
	if err != nil || len(list.GetSessions()) > 0 {
		t.Errorf("got %v, %v of bob's sessions, want none", list, err)
	}
	runs, err := b.runs().ListRuns(b.ctx(t), &behalfv1.ListRunsRequest{})
	if err != nil || len(runs.GetRuns()) > 0 {
		t.Errorf("got %v, %v of bob's runs, want none", runs, err)
	}
	got, err := w.as(alice).sessions().GetSession(w.as(alice).ctx(t), &behalfv1.GetSessionRequest{SessionId: mine.GetSessionId()})
	if err != nil || len(got.GetMessages()) != 2 {
		t.Errorf("got %v, %v of alice's session, want what she said and nothing of others", got, err)
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

func TestCancelRunCutsTheModelAndFreesTheSession(t *testing.T) {
	t.Parallel()
	w, m := hanging(t, setup{})
	a := w.as(alice)
	s, first, cancel := a.open(t, &behalfv1.StreamAgentRequest{Agent: "support", Input: "hello"})
	defer cancel()

	begun := time.Now()
	r, err := a.runs().CancelRun(a.ctx(t), &behalfv1.CancelRunRequest{RunId: first.GetRunId()})
	took := time.Since(begun)

	if err != nil || r.GetRun().GetState() != behalfv1.RunState_RUN_STATE_CANCELLED {
		t.Fatalf("got %v, %v, want it cancelled", r, err)
	}
	if took > 2*time.Second { // DESIGN 9 says 100 ms; this allows for a loaded machine
		t.Errorf("it took %v", took)
	}
	rest, err := messages(s)
	if err != nil {
		t.Errorf("got %v on the stream, want it to end with the run", err)
	}
	if e := rest[len(rest)-1].GetEvent(); e.GetRunFinished().GetStopReason() != agents.StopCancelled {
		t.Errorf("got %v at the end", e)
	}
	m.Queue("scripted", modeltest.Reply{Text: "fine"})
	if _, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "support", Input: "again", SessionId: first.GetSessionId()}); err != nil {
		t.Errorf("got %v, want the session usable at once", err)
	}
	wantPartial(t, a, first.GetSessionId(), "so far ")
}

// wantPartial fails unless the session's second message is an unfinished one
// that begins with text.
func wantPartial(t *testing.T, c *client, session, text string) {
	t.Helper()
	got, err := c.sessions().GetSession(c.ctx(t), &behalfv1.GetSessionRequest{SessionId: session})
	if err != nil {
		t.Fatal(err)
	}
	if m := got.GetMessages(); len(m) < 2 || !m[1].GetMessage().GetIncomplete() || !strings.HasPrefix(m[1].GetMessage().GetText(), strings.TrimSpace(text)) {
		t.Errorf("got %v, want what was said so far, marked as incomplete", m)
	}
}

func TestAClientThatLeavesCancelsItsRun(t *testing.T) {
	t.Parallel()
	w, _ := hanging(t, setup{})
	a := w.as(alice)
	_, first, leave := a.open(t, &behalfv1.StreamAgentRequest{Agent: "support", Input: "hello"})

	leave()

	if e := a.finished(t, first.GetRunId()); e.GetRunFinished().GetStopReason() != agents.StopCancelled {
		t.Errorf("got %v, want it cancelled", e)
	}
}

func TestARunThatContinuesOnDisconnectDoes(t *testing.T) {
	t.Parallel()
	w, m := hanging(t, setup{})
	a := w.as(alice)
	goOn := make(chan struct{})
	m.Handle("scripted", func(modeltest.Request) modeltest.Reply {
		<-goOn
		return modeltest.Reply{Text: "done without you"}
	})
	ctx, leave := context.WithCancel(a.ctx(t))
	s, err := a.agents().StreamAgent(ctx, &behalfv1.StreamAgentRequest{Agent: "support", Input: "hello", ContinueOnDisconnect: true})
	if err != nil {
		t.Fatal(err)
	}
	first, err := s.Recv()
	if err != nil {
		t.Fatal(err)
	}

	leave()
	if _, err := messages(s); status.Code(err) != codes.Canceled {
		t.Errorf("got %v after leaving", err)
	}
	close(goOn)

	if e := a.finished(t, first.GetEvent().GetRunId()); e.GetRunFinished().GetOutput() != "done without you" {
		t.Errorf("got %v, want the run to have gone on", e)
	}
}

func TestADeletedSessionIsGoneAndItsRecordIsNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	b := w.as(bob)
	r := w.hello(b, "")

	if _, err := b.sessions().DeleteSession(b.ctx(t), &behalfv1.DeleteSessionRequest{SessionId: r.GetSessionId()}); err != nil {
		t.Fatal(err)
	}

	_, err := b.sessions().GetSession(b.ctx(t), &behalfv1.GetSessionRequest{SessionId: r.GetSessionId()})
	wantError(t, err, codes.NotFound, "NOT_FOUND")
	_, err = b.agents().RunAgent(b.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: "hello", SessionId: r.GetSessionId()})
	wantError(t, err, codes.NotFound, "NOT_FOUND")
	run, err := b.runs().GetRun(b.ctx(t), &behalfv1.GetRunRequest{RunId: r.GetRunId()})
	if err != nil || run.GetRun().GetState() != behalfv1.RunState_RUN_STATE_FINISHED || run.GetRun().GetOutput() != "" {
		t.Errorf("got %v, %v of its run, want it finished and without what was said", run, err)
	}
	if n := len(b.records(t, &behalfv1.QueryAuditRequest{SessionId: r.GetSessionId()})); n == 0 {
		t.Error("the audit log forgot the session")
	}
}

func TestGetSessionPagesThroughTheMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a := w.as(alice)
	r := w.hello(a, "")
	for range 3 {
		w.hello(a, r.GetSessionId())
	}
	whole, err := a.sessions().GetSession(a.ctx(t), &behalfv1.GetSessionRequest{SessionId: r.GetSessionId()})
	if err != nil || len(whole.GetMessages()) != 8 || whole.GetNextPageToken() != "" {
		t.Fatalf("got %d messages, %v, want 8 on one page", len(whole.GetMessages()), err)
	}

	var all []*behalfv1.Event
	pages := 0
	for token := ""; pages == 0 || token != ""; pages++ {
		p, err := a.sessions().GetSession(a.ctx(t), &behalfv1.GetSessionRequest{SessionId: r.GetSessionId(), PageSize: 3, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		all, token = append(all, p.GetMessages()...), p.GetNextPageToken()
	}

	if diff := cmp.Diff(whole.GetMessages(), all, protocmp.Transform()); diff != "" || pages != 3 {
		t.Errorf("got %d pages, which differ from the whole:\n%s", pages, diff)
	}
	_, err = a.sessions().GetSession(a.ctx(t), &behalfv1.GetSessionRequest{SessionId: r.GetSessionId(), PageToken: "not ours"})
	wantError(t, err, codes.InvalidArgument, "ARGUMENT_INVALID")
}

func TestARestartLosesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{embedded: true})
	b := w.as(bob)
	one, err := b.stream(t, &behalfv1.StreamAgentRequest{Agent: "triage", Input: refundIt})
	if err != nil {
		t.Fatal(err)
	}
	session := one[0].GetSessionId()

	w.restart()

	b = w.as(bob)
	two, err := b.stream(t, &behalfv1.StreamAgentRequest{Agent: "triage", Input: "thank you", SessionId: session})
	if err != nil {
		t.Fatal(err)
	}
	wantGapless(t, two, wantGapless(t, one, 1)+1)
	v, err := b.audit().VerifyAudit(b.ctx(t), &behalfv1.VerifyAuditRequest{})
	if err != nil || !v.GetIntact() || v.GetCheckpointSequence() == 0 {
		t.Errorf("got %v, %v, want the log intact and signed", v, err)
	}
	if n := len(b.records(t, &behalfv1.QueryAuditRequest{SessionId: session, Tool: "refund_order"})); n != 2 {
		t.Errorf("got %d rows of the refund before the restart, want decision and outcome", n)
	}
}

func TestARestartCancelsWhatLostItsClientAndResumesTheRest(t *testing.T) {
	t.Parallel()
	w, m := hanging(t, setup{embedded: true})
	a := w.as(alice)
	_, attached, leave := a.open(t, &behalfv1.StreamAgentRequest{Agent: "support", Input: "attached"})
	defer leave()
	detached, err := a.runs().CreateRun(a.ctx(t), &behalfv1.CreateRunRequest{Target: &behalfv1.CreateRunRequest_Agent{Agent: "support"}, Input: "detached"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, unwatch := context.WithCancel(a.ctx(t))
	defer unwatch()
	watch, err := a.runs().WatchRun(ctx, &behalfv1.WatchRunRequest{RunId: detached.GetRunId()})
	if err != nil {
		t.Fatal(err)
	}
	for { // until its model call hangs
		e, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if e.GetEvent().GetTextDelta() != nil {
			break
		}
	}
	m.Always("scripted", modeltest.Reply{Text: "after the restart"})
	leave()
	unwatch() // the server would wait for it
	if e := a.finished(t, attached.GetRunId()); e.GetRunFinished().GetStopReason() != agents.StopCancelled {
		t.Errorf("got %v of the attached run, want it cancelled", e)
	}

	w.restart()

	a = w.as(alice)
	if e := a.finished(t, detached.GetRunId()); e.GetRunFinished().GetOutput() != "after the restart" {
		t.Errorf("got %v of the detached run, want it to have gone on", e)
	}
}

func TestAModelThatFailsFailsItsRunAndKeepsWhatWasSaid(t *testing.T) {
	t.Parallel()
	for _, fault := range []modeltest.Fault{modeltest.Garbage, modeltest.Abort, modeltest.Cut, modeltest.HalfLine, modeltest.MidError, modeltest.Hang} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			m := modeltest.NewServer(t)
			m.Always("scripted", modeltest.Reply{Text: "so far so good", Chunks: 2, Fault: fault, FaultAfter: 1})
			w := newWorld(t, setup{model: m, edit: func(c *config.Config) {
				d := c.Models["default"]
				if fault == modeltest.Hang {
					d.Timeouts.Idle = time.Second
				}
				c.Models["default"] = d
			}})
			a := w.as(alice)

			events, err := a.stream(t, &behalfv1.StreamAgentRequest{Agent: "support", Input: "hello"})

			wantError(t, err, codes.Unavailable, "MODEL_UNAVAILABLE")
			if strings.Contains(status.Convert(err).String(), "secret-detail") {
				t.Error("what the model's server said reached the client")
			}
			f := events[len(events)-1].GetRunFinished()
			if f.GetStopReason() != agents.StopFailed || f.GetErrorReason() != behalfv1.ErrorReason_ERROR_REASON_MODEL_UNAVAILABLE {
				t.Errorf("got %v, want the run failed", events[len(events)-1])
			}
			wantPartial(t, a, events[0].GetSessionId(), "so far ")
			m.Queue("scripted", modeltest.Reply{Text: "fine"})
			if _, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "support", Input: "again", SessionId: events[0].GetSessionId()}); err != nil {
				t.Errorf("got %v, want the session usable", err)
			}
		})
	}
}

// narrow accepts connections with small send buffers, so that what lies in
// sockets is little.
type narrow struct{ net.Listener }

func (n narrow) Accept() (net.Conn, error) {
	c, err := n.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		err = tcp.SetWriteBuffer(32 << 10)
	}
	return c, err
}

// endless is a model that speaks until nobody takes it any more, and then tells
// how much it got rid of.
func endless(t *testing.T) (url string, stalled <-chan int64) {
	t.Helper()
	out := make(chan int64, 1)
	word := strings.Repeat("x", 1000) + " "
	delta, err := json.Marshal(map[string]any{"id": "x", "choices": []any{map[string]any{"index": 0, "delta": map[string]any{"content": word}}}})
	if err != nil {
		t.Fatal(err)
	}
	frame := []byte("data: " + string(delta) + "\n\n")
	var calls atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		rc, sent := http.NewResponseController(w), int64(0)
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			_ = rc.SetWriteDeadline(time.Now().Add(500 * time.Millisecond)) // so long nobody took a byte
			n, err := w.Write(frame)
			if err == nil {
				err = rc.Flush()
			}
			if err != nil {
				out <- sent
				return
			}
			sent += int64(n)
		}
	}))
	s.Listener = narrow{s.Listener}
	s.Start()
	t.Cleanup(s.Close)
	return s.URL + "/v1", out
}

func TestASlowClientHoldsUpTheModel(t *testing.T) {
	t.Parallel()
	url, stalled := endless(t)
	w := newWorld(t, setup{edit: func(c *config.Config) { c.Models["default"] = config.Model{BaseURL: url, Model: "endless"} }})
	a := w.as(alice)
	_, first, leave := a.open(t, &behalfv1.StreamAgentRequest{Agent: "support", Input: "talk"}) // and does not read on

	sent := until(t, "the model to stall", stalled)

	// The adapter would give up at 8 MiB. What was taken lies in buffers of sockets and windows.
	t.Logf("the model got rid of %d KiB", sent>>10)
	if sent > 6<<20 {
		t.Errorf("the model got rid of %d bytes though nobody read, want it held up", sent)
	}
	leave()
	if e := a.finished(t, first.GetRunId()); e.GetRunFinished() == nil {
		t.Errorf("got %v, want the run ended", e)
	}
}

func TestAStreamEndsWithItsCredentialAndGoesOnWithAFreshOne(t *testing.T) {
	t.Parallel()
	w, m := hanging(t, setup{})
	short := &client{w.dial(w.workload(w.acme, "/app")), bearer(w.token(w.idp, alice, map[string]any{"exp": time.Now().Add(4 * time.Second).Unix()}))}
	s, first, leave := short.open(t, &behalfv1.StreamAgentRequest{Agent: "support", Input: "hello"})
	defer leave()

	rest, err := messages(s)

	wantError(t, err, codes.Unauthenticated, "CREDENTIAL_EXPIRED")
	if len(rest) == 0 || rest[len(rest)-1].GetEvent().GetCredentialRequired() == nil {
		t.Fatalf("got %v, want credential_required at the end", rest)
	}
	a := w.as(alice)
	run, err := a.runs().GetRun(a.ctx(t), &behalfv1.GetRunRequest{RunId: first.GetRunId()})
	if err != nil || run.GetRun().GetState() != behalfv1.RunState_RUN_STATE_WAITING || !run.GetRun().GetCredentialRequired() {
		t.Errorf("got %v, %v, want the run to wait for its person", run, err)
	}
	m.Always("scripted", modeltest.Reply{Text: "welcome back"})
	if e := a.finished(t, first.GetRunId()); e.GetRunFinished().GetOutput() != "welcome back" {
		t.Errorf("got %v, want the run to go on under the fresh credential", e)
	}
}
