package server_test

import (
	"strings"
	"testing"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/model/modeltest"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
)

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

func TestAPageOfASessionIsBoundInBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a := w.as(alice)
	session := w.longSession(a, 4)

	seen, token := 0, ""
	for pages := 1; ; pages++ {
		page, err := a.sessions().GetSession(a.ctx(t), &behalfv1.GetSessionRequest{SessionId: session, PageSize: 100, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		if n := proto.Size(page); n > 1<<20+4<<10 || len(page.GetMessages()) == 0 {
			t.Errorf("got a page of %d bytes with %d messages, want some, and 1 MiB at most", n, len(page.GetMessages()))
		}
		seen += len(page.GetMessages())
		if token = page.GetNextPageToken(); token != "" {
			continue
		}
		if seen != 8 || pages != 2 {
			t.Errorf("got %d messages on %d pages, want all 8 on 2", seen, pages)
		}
		return
	}
}

// longSession is one in which c said 350 KiB so many times.
func (w *world) longSession(c *client, times int) (session string) {
	w.t.Helper()
	var parts []*behalfv1.Part
	for range 5 {
		parts = append(parts, &behalfv1.Part{Content: &behalfv1.Part_Text{Text: strings.Repeat("hello ", 70<<10/6)}})
	}
	for range times {
		r, err := c.agents().RunAgent(c.ctx(w.t), &behalfv1.RunAgentRequest{Agent: "triage", Parts: parts, SessionId: session})
		if err != nil {
			w.t.Fatal(err)
		}
		session = r.GetSessionId()
	}
	return session
}
