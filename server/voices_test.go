package server_test

import (
	"testing"

	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// waiting begins a run in which somebody is asked, and gives it and its session.
func (c *client) waiting(t *testing.T, chat, session string) (run, in string) {
	t.Helper()
	s, err := c.chats().StreamGroupChat(c.ctx(t), &behalfv1.StreamGroupChatRequest{GroupChat: chat, SessionId: session, Input: "Ask the boss"})
	if err != nil {
		t.Fatal(err)
	}
	e := question(t, s)
	return e.GetRunId(), e.GetSessionId()
}

// question receives up to the first question.
func question(t *testing.T, s grpc.ServerStreamingClient[behalfv1.StreamGroupChatResponse]) *behalfv1.Event {
	t.Helper()
	for {
		m, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if m.GetEvent().GetInputRequested() != nil {
			return m.GetEvent()
		}
	}
}

func (c *client) replies(t *testing.T, run, text string) error {
	t.Helper()
	_, err := c.runs().SendInput(c.ctx(t), &behalfv1.SendInputRequest{RunId: run, Text: text})
	return err
}

// Whoever has answered in a run must be allowed what it does from then on, also
// when they speak in another run of the session meanwhile: one that was cancelled
// still has its question in the log.
func TestNobodyTakesTheirVoiceOutOfARun(t *testing.T) {
	t.Parallel()
	w, l := shared(t, func(s *setup) {
		edit := s.edit
		s.edit = func(c *config.Config) {
			edit(c)
			c.Agents["keeper"] = config.Agent{Kind: config.KindHuman}
			c.Agents["deputy"] = c.Agents["boss"]
			c.GroupChats["twice"] = config.GroupChat{Kind: config.RoundRobin, Authority: "speaker", MaxTurns: 3, Participants: []config.Participant{{Name: "boss"}, {Name: "deputy"}, {Name: "keeper"}, {Name: "hand"}}}
		}
	})
	owner := w.as(person{"owner", []string{"support"}, "crm.read orders.refund"})
	clerk := w.as(person{"clerk", []string{"manager"}, "crm.read"})
	old, session := owner.waiting(t, "twice", "")
	if _, err := owner.runs().CancelRun(owner.ctx(t), &behalfv1.CancelRunRequest{RunId: old}); err != nil {
		t.Fatal(err)
	}
	run, _ := owner.waiting(t, "twice", session)
	if err := clerk.replies(t, run, "pay"); err != nil {
		t.Fatal(err)
	}

	wantError(t, clerk.replies(t, old, "pay"), codes.FailedPrecondition, "RUN_NOT_ACTIVE")
	s, err := owner.runs().WatchRun(owner.ctx(t), &behalfv1.WatchRunRequest{RunId: run})
	if err != nil {
		t.Fatal(err)
	}
	for asked := 0; asked < 2; {
		m, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if m.GetEvent().GetInputRequested() != nil {
			asked++
		}
	}
	if err := owner.replies(t, run, "pay"); err != nil {
		t.Fatal(err)
	}
	owner.finished(t, run)

	if got := l.new(); got != nil {
		t.Errorf("got %q, which is not allowed to who answered first", got)
	}
}

// What an owner has narrowed their turn to is all that they lend: an answer in
// another's turn, which cannot be narrowed, does not widen it.
func TestAnAnswerDoesNotWidenWhatAnOwnerLends(t *testing.T) {
	t.Parallel()
	w, l := shared(t)
	h, g := w.as(host), w.as(guest)
	s, err := h.chats().StreamGroupChat(h.ctx(t), &behalfv1.StreamGroupChatRequest{GroupChat: "asked_owner", Input: "Ask the boss", Scopes: &behalfv1.Scopes{Values: []string{"crm.read"}}})
	if err != nil {
		t.Fatal(err)
	}
	first := question(t, s)
	if err := h.replies(t, first.GetRunId(), "note"); err != nil {
		t.Fatal(err)
	}
	h.finished(t, first.GetRunId())

	run, _ := g.waiting(t, "asked_owner", first.GetSessionId())
	if err := h.replies(t, run, "pay"); err != nil {
		t.Fatal(err)
	}
	g.finished(t, run)

	if diff := gocmp.Diff([]string{"note for host with crm.read"}, l.new()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// A guest who may not join any more says nothing more either, in a turn that they
// began when they might, and it does not go on when somebody else wakes it.
func TestWhoMayNotJoinAnyMoreSaysNothingMore(t *testing.T) {
	t.Parallel()
	w, l := shared(t, func(s *setup) { s.policies["pay.cedar"] = needsManager })
	h, g, b := w.as(host), w.as(guest), w.as(bob)
	session := h.turn(t, "speaker", "", "note")
	run := about(g.say(t, "speaker", session, "pay"), "run_id")
	first, in := h.waiting(t, "asked", "")
	if err := h.replies(t, first, "note"); err != nil {
		t.Fatal(err)
	}
	h.finished(t, first)
	open, _ := g.waiting(t, "asked", in)
	talk, _ := g.waiting(t, "asked", "")
	l.new()

	w.policy("no.cedar", `@id("no-guests") forbid (principal == User::"acme/guest", action == Action::"join_session", resource);`)
	if _, err := b.admin().ReloadConfig(b.ctx(t), &behalfv1.ReloadConfigRequest{}); err != nil {
		t.Fatal(err)
	}
	wantError(t, g.replies(t, open, "note"), codes.PermissionDenied, "POLICY_DENIED")
	k := g.converse(t).open("asked", in)
	wantError(t, k.end(), codes.NotFound, "NOT_FOUND")
	if err := g.replies(t, talk, "note"); err != nil {
		t.Errorf("got %v in a session of their own", err)
	}
	g.finished(t, talk)
	list, err := b.approvals().ListApprovals(b.ctx(t), &behalfv1.ListApprovalsRequest{RunId: run})
	if err != nil || len(list.GetApprovals()) != 1 {
		t.Fatalf("got %v, %v, want one question", list, err)
	}
	if err := b.decide(t, list.GetApprovals()[0].GetApprovalId(), true); err != nil {
		t.Fatal(err)
	}
	if end := h.finished(t, run).GetRunFinished(); end.GetErrorReason() != behalfv1.ErrorReason_ERROR_REASON_POLICY_DENIED {
		t.Errorf("got %v, want it to end", end)
	}

	if diff := gocmp.Diff([]string{"note for guest with crm.read orders.refund"}, l.new()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}
