package server_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/runs"
	"github.com/behalf-dev/behalf/server"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"
)

func TestAGroupChatSaysWhoSaidWhat(t *testing.T) {
	r := newRoom(t, plan{})
	r.model.Queue("m-ada", says("I am Ada.", "Again.")...)
	r.model.Queue("m-bert", says("I am Bert.", "And again.")...)
	alice := r.as(alice)

	got, err := alice.chats().RunGroupChat(alice.ctx(t), &behalfv1.RunGroupChatRequest{GroupChat: "panel", Input: "Who is there?"})
	succeed(t, err)

	if diff := cmp.Diff([]string{"user: Who is there?", "ada: I am Ada.", "bert: I am Bert."}, lines(got.GetMessages())); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	if got.GetStopReason() != agents.StopMaxTurns || got.GetOutput() != "I am Bert." || got.GetUsage().GetModelCalls() != 2 {
		t.Errorf("got %v", got)
	}

	s, err := alice.chats().StreamGroupChat(alice.ctx(t), &behalfv1.StreamGroupChatRequest{GroupChat: "panel", Input: "Once more", SessionId: got.GetSessionId()})
	succeed(t, err)
	all, err := messages(s)
	succeed(t, err)
	events := eventsOf(all)
	if diff := cmp.Diff([]string{"user: Once more", "ada: Again.", "bert: And again."}, lines(events)); diff != "" {
		t.Errorf("messages of the stream (-want +got):\n%s", diff)
	}
	if events[0].GetRunStarted() == nil || events[len(events)-1].GetRunFinished() == nil {
		t.Errorf("got %v first and %v last", events[0], events[len(events)-1])
	}
	gapless(t, events)
	if rows := r.rows("run_group_chat"); !slices.Equal(rows, []string{"decision allow", "outcome succeeded", "decision allow", "outcome succeeded"}) {
		t.Errorf("got rows %q", rows)
	}
}

func gapless(t *testing.T, events []*behalfv1.Event) {
	t.Helper()
	var last int64
	for _, e := range events {
		if e.GetSequence() == 0 {
			continue
		}
		if last > 0 && e.GetSequence() != last+1 {
			t.Errorf("sequence %d follows %d", e.GetSequence(), last)
		}
		last = e.GetSequence()
	}
}

func TestAGroupChatIsShownAsData(t *testing.T) {
	r := newRoom(t, plan{})
	alice := r.as(alice)

	list, err := alice.chats().ListGroupChats(alice.ctx(t), &behalfv1.ListGroupChatsRequest{PageSize: 2})
	succeed(t, err)
	got, err := alice.chats().GetGroupChat(alice.ctx(t), &behalfv1.GetGroupChatRequest{GroupChat: "plan"})
	succeed(t, err)
	_, absent := alice.chats().GetGroupChat(alice.ctx(t), &behalfv1.GetGroupChatRequest{GroupChat: "nowhere"})

	if len(list.GetGroupChats()) != 2 || list.GetNextPageToken() == "" {
		t.Errorf("got %v, want a page of two", list)
	}
	panel := &behalfv1.GroupChat{
		Name: "panel", Description: "Talks.", Kind: behalfv1.GroupChatKind_GROUP_CHAT_KIND_ROUND_ROBIN, Participants: []string{"ada", "bert"},
		Authority: behalfv1.Authority_AUTHORITY_OWNER, MaxTurns: 2, TerminationJson: `{"mention":"DONE"}`,
	}
	if diff := cmp.Diff(panel, list.GetGroupChats()[1], protocmp.Transform()); diff != "" {
		t.Errorf("panel (-want +got):\n%s", diff)
	}
	graph := &behalfv1.GroupChatGraph{Entry: "ada", Edges: []*behalfv1.GroupChatEdge{
		{From: "ada", To: "bert", Condition: "said.contains('ok')", Group: "g", Join: behalfv1.GroupChatJoin_GROUP_CHAT_JOIN_ANY},
	}}
	if diff := cmp.Diff(graph, got.GetGroupChat().GetGraph(), protocmp.Transform()); diff != "" {
		t.Errorf("graph (-want +got):\n%s", diff)
	}
	wantError(t, absent, codes.NotFound, "NOT_FOUND")
}

// asked runs the clinic until it asks its guest.
func (r *room) asked(c *client) *errInfo {
	r.t.Helper()
	r.model.Queue("m-ada", says("How do you feel?")...)
	_, err := c.chats().RunGroupChat(c.ctx(r.t), &behalfv1.RunGroupChatRequest{GroupChat: "clinic", Input: "Hello"})
	wantError(r.t, err, codes.FailedPrecondition, "INPUT_REQUIRED")
	return infoOf(r.t, err)
}

func TestAPersonAnswersADayLater(t *testing.T) {
	r := newRoom(t, plan{})
	at := r.asked(r.as(alice))
	r.clock.Advance(24 * time.Hour)
	stranger, alice := r.fresh(dave), r.fresh(alice)
	answer := &behalfv1.SendInputRequest{RunId: at.run, Text: "Better.", InputRequestId: at.input, RequestId: "r1"}

	_, err := stranger.runs().SendInput(stranger.ctx(t), answer)
	wantError(t, err, codes.PermissionDenied, "POLICY_DENIED")
	got, err := alice.runs().SendInput(alice.ctx(t), answer)
	succeed(t, err)

	events := alice.watch(t, at.run, 0)
	gapless(t, events)
	if diff := cmp.Diff([]string{"user: Hello", "ada: How do you feel?", "guest: Better."}, lines(events)); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	i := slices.IndexFunc(events, func(e *behalfv1.Event) bool { return e.GetInputReceived() != nil })
	if i < 0 || events[i].GetSequence() != got.GetSequence() || events[i].GetInputReceived().GetSpeaker().GetSubject() != "alice" {
		t.Errorf("got %v for the answer with sequence %d", events, got.GetSequence())
	}

	again, err := alice.runs().SendInput(alice.ctx(t), answer)
	succeed(t, err)
	if again.GetSequence() != got.GetSequence() {
		t.Errorf("the same answer again: got %d, want %d", again.GetSequence(), got.GetSequence())
	}
	answer.Text = "Worse."
	_, err = alice.runs().SendInput(alice.ctx(t), answer)
	wantError(t, err, codes.InvalidArgument, "ARGUMENT_INVALID")
	_, err = alice.runs().SendInput(alice.ctx(t), &behalfv1.SendInputRequest{RunId: at.run, Text: "Hello?"})
	wantError(t, err, codes.FailedPrecondition, "RUN_NOT_ACTIVE")
	_, err = alice.runs().SendInput(alice.ctx(t), &behalfv1.SendInputRequest{RunId: at.run, Text: "Hello?", RequestId: "r2"})
	wantError(t, err, codes.InvalidArgument, "ARGUMENT_INVALID")
}

func TestSomebodyElseAnswersWherePolicyLetsThemJoin(t *testing.T) {
	r := newRoom(t, plan{})
	at := r.asked(r.as(alice))
	bob := r.as(bob)

	_, err := bob.runs().SendInput(bob.ctx(t), &behalfv1.SendInputRequest{RunId: at.run, Text: "She is fine."})
	succeed(t, err)

	alice := r.as(alice)
	for _, e := range alice.watch(t, at.run, 0) {
		if b := e.GetInputReceived(); b != nil && b.GetSpeaker().GetSubject() != "bob" {
			t.Errorf("got %v, want bob's words to be his", e)
		}
	}
	if rows := r.rows("join_session"); !slices.Equal(rows, []string{"decision allow"}) {
		t.Errorf("got rows %q", rows)
	}
}

func TestAStreamGoesOnAfterAPauseForAllWhoWatch(t *testing.T) {
	r := newRoom(t, plan{})
	r.model.Queue("m-ada", says("How do you feel?")...)
	alice := r.as(alice)
	s, err := alice.chats().StreamGroupChat(alice.ctx(t), &behalfv1.StreamGroupChatRequest{GroupChat: "clinic", Input: "Hello"})
	succeed(t, err)
	var seen []*behalfv1.Event
	for len(seen) == 0 || seen[len(seen)-1].GetInputRequested() == nil {
		m, err := s.Recv()
		succeed(t, err)
		seen = append(seen, m.GetEvent())
	}
	run := seen[0].GetRunId()
	watched := make(chan []*behalfv1.Event, 3)
	for range cap(watched) {
		go func() { watched <- alice.watch(t, run, 0) }() // ends with the run
	}

	_, err = alice.runs().SendInput(alice.ctx(t), &behalfv1.SendInputRequest{RunId: run, Text: "Better."})
	succeed(t, err)

	rest, err := messages(s)
	succeed(t, err)
	want := stored(append(seen, eventsOf(rest)...))
	gapless(t, want)
	if want[len(want)-1].GetRunFinished() == nil {
		t.Errorf("the stream ended with %v", want[len(want)-1])
	}
	for range cap(watched) {
		if diff := cmp.Diff(want, stored(until(t, "a watcher", watched)), protocmp.Transform()); diff != "" {
			t.Errorf("a watcher saw something else (-want +got):\n%s", diff)
		}
	}
}

// late finds runs as they were when they waited.
type late struct{ *runs.Engine }

func (l late) Find(ctx context.Context, tenant, runID string) (runs.RunRecord, error) {
	rec, err := l.Engine.Find(ctx, tenant, runID)
	rec.State = runs.StateWaiting
	return rec, err
}

func TestARunThatEndsWhileSomebodyComesToWatchIsShown(t *testing.T) {
	r := newRoom(t, plan{around: func(engine *runs.Engine) server.Runs { return late{engine} }})
	r.model.Queue("m-ada", says("I am Ada.")...)
	r.model.Queue("m-bert", says("I am Bert.")...)
	alice := r.as(alice)
	got, err := alice.chats().RunGroupChat(alice.ctx(t), &behalfv1.RunGroupChatRequest{GroupChat: "panel", Input: "Who is there?"})
	succeed(t, err)

	events := alice.watch(t, got.GetRunId(), 0)

	if len(events) == 0 || events[len(events)-1].GetRunFinished() == nil {
		t.Errorf("got %v, want the whole run", events)
	}
}

func stored(events []*behalfv1.Event) []*behalfv1.Event {
	return slices.DeleteFunc(events, func(e *behalfv1.Event) bool { return e.GetSequence() == 0 })
}

// watch follows a run to its end.
func (c *client) watch(t *testing.T, run string, after int64) []*behalfv1.Event {
	s, err := c.runs().WatchRun(c.ctx(t), &behalfv1.WatchRunRequest{RunId: run, AfterSequence: after})
	if err != nil {
		t.Error(err)
		return nil
	}
	all, err := messages(s)
	if err != nil {
		t.Errorf("WatchRun: %v", err)
	}
	return eventsOf(all)
}

func TestAGroupChatRunsWithoutAConnection(t *testing.T) {
	r := newRoom(t, plan{})
	r.model.Queue("m-ada", says("I am Ada.")...)
	r.model.Queue("m-bert", says("I am Bert.")...)
	alice := r.as(alice)

	got, err := alice.runs().CreateRun(alice.ctx(t), &behalfv1.CreateRunRequest{
		Target: &behalfv1.CreateRunRequest_GroupChat{GroupChat: "panel"}, Input: "Who is there?",
	})
	succeed(t, err)

	events := alice.watch(t, got.GetRunId(), 0)
	if diff := cmp.Diff([]string{"user: Who is there?", "ada: I am Ada.", "bert: I am Bert."}, lines(events)); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
}
