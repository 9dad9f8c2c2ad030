package server_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/tools"
	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
)

// The people of these tests are all managers: only who they are keeps one from
// approving.
var (
	host  = person{"host", []string{"manager"}, "crm.read orders.refund"}
	guest = person{"guest", []string{"manager"}, "crm.read orders.refund"}
)

// say is a turn of which only the error is of interest.
func (c *client) say(t *testing.T, chat, session, text string) error {
	t.Helper()
	_, err := c.chats().RunGroupChat(c.ctx(t), &behalfv1.RunGroupChatRequest{GroupChat: chat, SessionId: session, Input: text})
	return err
}

func TestNobodyInWhoseNameACallIsMadeApprovesIt(t *testing.T) {
	t.Parallel()
	for chat, c := range map[string]struct {
		asks, made string
		may        []person // of those present
	}{
		"speaker":      {"guest", "pay for guest with crm.read orders.refund", []person{host}},
		"owner":        {"host", "pay for host with crm.read orders.refund", nil},
		"intersection": {"guest", "pay for guest with crm.read orders.refund", nil},
	} {
		t.Run(chat, func(t *testing.T) {
			t.Parallel()
			w, l := shared(t, func(s *setup) { s.policies["pay.cedar"] = needsManager })
			h, g, other := w.as(host), w.as(guest), w.as(frank)
			session := h.turn(t, chat, "", "note")
			l.new()

			err := g.say(t, chat, session, "pay")
			wantError(t, err, codes.FailedPrecondition, "APPROVAL_REQUIRED")
			approval, run := about(err, "approval_id"), about(err, "run_id")
			all, err := other.approvals().ListApprovals(other.ctx(t), &behalfv1.ListApprovalsRequest{})
			if err != nil || len(all.GetApprovals()) != 1 || all.GetApprovals()[0].GetRequester().GetSubject() != c.asks {
				t.Fatalf("got %v, %v, want one question, of %s", all, err, c.asks)
			}
			last := other
			for _, p := range []person{guest, host} {
				if slices.ContainsFunc(c.may, func(m person) bool { return m.subject == p.subject }) {
					last = w.as(p)
					continue
				}
				wantError(t, w.as(p).decide(t, approval, true), codes.PermissionDenied, "POLICY_DENIED")
			}
			if got := l.new(); got != nil {
				t.Errorf("got %q before anybody agreed", got)
			}
			if err := last.decide(t, approval, true); err != nil {
				t.Fatal(err)
			}
			g.finished(t, run)
			if diff := gocmp.Diff([]string{c.made}, l.new()); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnOwnersMemoryStaysInTheirOwnTurns(t *testing.T) {
	t.Parallel()
	w, _ := shared(t, func(s *setup) {
		s.policies["memory.cedar"] = `@id("staff-remember") permit (principal in Role::"manager", action == Action::"call_tool", resource in Toolset::"memory");`
		edit := s.edit
		s.edit = func(c *config.Config) {
			edit(c)
			c.Tools["memory"] = config.Toolset{Builtin: config.BuiltinMemory}
			hand := c.Agents["hand"]
			hand.Tools = append(hand.Tools, "memory/*")
			hand.Remembers = []string{config.RemembersPerson, config.RemembersSession}
			c.Agents["hand"] = hand
		}
	})
	h, g := w.as(host), w.as(guest)
	const list = `list_memories {"about":"me"}`
	session := h.turn(t, "owner", "", `remember {"text":"likes tea","about":"me"}`)
	g.wantTool(t, "", "remember", `{"text":"likes coffee","about":"me"}`, "coffee")
	events := func(c *client, text string) string {
		s, err := c.chats().StreamGroupChat(c.ctx(t), &behalfv1.StreamGroupChatRequest{GroupChat: "owner", SessionId: session, Input: text})
		if err != nil {
			t.Fatal(err)
		}
		all, err := messages(s)
		if err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		for _, m := range all {
			said.WriteString(m.String())
		}
		return said.String()
	}

	for _, text := range []string{list, `remember {"text":"likes rum","about":"me"}`, `remember {"text":"likes gin","about":"session"}`, `forget_all {"about":"me"}`} {
		got := events(g, text)
		if strings.Contains(got, "tea") || strings.Contains(got, "coffee") || strings.Contains(got, "memory_recalled") || !strings.Contains(got, "OWNER_MISMATCH") {
			t.Errorf("%s in the guest's turn: got %s", text, got)
		}
	}
	if got := events(h, list); !strings.Contains(got, "tea") || !strings.Contains(got, "memory_recalled") || strings.Contains(got, "coffee") {
		t.Errorf("in the owner's own turn: got %s", got)
	}
	for name, c := range map[string]*client{"tea": h, "coffee": g} {
		got, err := c.tool(t, "", "list_memories", `{"about":"me"}`)
		if err != nil || strings.Count(got.GetResultJson(), "likes") != 1 || !strings.Contains(got.GetResultJson(), name) {
			t.Errorf("got %v, %v, want only %s", got, err, name)
		}
	}
}

// A run that acts with another's authority waits for that person, by whichever
// door they come back.
func TestARunWaitsForItsSessionsOwner(t *testing.T) {
	t.Parallel()
	now := &clock{}
	w, l := shared(t, func(s *setup) { s.options = append(s.options, behalf.WithClock(now.Now)) })
	h, g := w.as(host), w.as(guest)
	for name, comeBack := range map[string]func(session, run string){
		"watches": func(_, run string) { h.finished(t, run) },
		"opens a conversation": func(session, _ string) {
			k := h.converse(t).open("owner", session)
			if err := errors.Join(k.CloseSend(), k.end()); err != nil {
				t.Error(err)
			}
		},
	} {
		short := &client{h.ClientConn, bearer(w.token(w.idp, host, map[string]any{"exp": now.Now().Add(3 * time.Minute).Unix()}))}
		session := short.turn(t, "owner", "", "note")
		now.forward(5 * time.Minute)
		l.new()

		err := g.say(t, "owner", session, "pay")
		wantError(t, err, codes.FailedPrecondition, "CREDENTIAL_EXPIRED")
		run := about(err, "run_id")
		st, err := g.runs().GetRun(g.ctx(t), &behalfv1.GetRunRequest{RunId: run})
		if err != nil || st.GetRun().GetState() != behalfv1.RunState_RUN_STATE_WAITING || !st.GetRun().GetCredentialRequired() {
			t.Fatalf("%s: got %v, %v, want it to wait for a credential", name, st, err)
		}
		wantError(t, h.say(t, "owner", session, "note"), codes.FailedPrecondition, "SESSION_BUSY")
		if got := l.new(); got != nil {
			t.Fatalf("%s: got %q without the owner", name, got)
		}

		comeBack(session, run)

		g.finished(t, run)
		if diff := gocmp.Diff([]string{"pay for host with crm.read orders.refund"}, l.new()); diff != "" {
			t.Errorf("%s: calls (-want +got):\n%s", name, diff)
		}
	}
}

func TestWhoIsLockedOrGoneStopsWhatIsDoneInTheirName(t *testing.T) {
	t.Parallel()
	now := &clock{}
	w, l := shared(t, func(s *setup) { s.options = append(s.options, behalf.WithClock(now.Now)) })
	g, b := w.as(guest), w.as(bob)
	h := &client{g.ClientConn, bearer(w.token(w.idp, host, map[string]any{"exp": now.Now().Add(10 * time.Minute).Unix()}))}
	long := &client{g.ClientConn, bearer(w.token(w.idp, guest, map[string]any{"exp": now.Now().Add(time.Hour).Unix()}))}
	sessions := map[string]string{}
	for _, chat := range []string{"owner", "intersection", "speaker"} {
		sessions[chat] = h.turn(t, chat, "", "note")
		long.turn(t, chat, sessions[chat], "note")
	}
	l.new()

	if err := b.lock(t, lockUser("acme/host")); err != nil {
		t.Fatal(err)
	}
	wantError(t, long.say(t, "owner", sessions["owner"], "pay"), codes.PermissionDenied, "PRINCIPAL_LOCKED")
	wantFailedCall(t, long, "intersection", sessions["intersection"], "PRINCIPAL_LOCKED")
	long.turn(t, "speaker", sessions["speaker"], "pay")
	if err := b.unlock(t, lockUser("acme/host")); err != nil {
		t.Fatal(err)
	}
	long.turn(t, "intersection", sessions["intersection"], "pay")
	if diff := gocmp.Diff([]string{"pay for guest with crm.read orders.refund", "pay for guest with crm.read orders.refund"}, l.new()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}

	now.forward(20 * time.Minute) // the host's token has ended, the guest's has not
	wantFailedCall(t, long, "intersection", sessions["intersection"], "CREDENTIAL_EXPIRED")
	if got := l.new(); got != nil {
		t.Errorf("got %q in the name of somebody who is gone", got)
	}
	w.as(host).turn(t, "intersection", sessions["intersection"], "note")
	long.turn(t, "intersection", sessions["intersection"], "pay")
	if got := l.new(); len(got) != 2 {
		t.Errorf("got %q, want both calls when the host has spoken again", got)
	}
}

// wantFailedCall has somebody pay, which comes to nothing for a reason.
func wantFailedCall(t *testing.T, c *client, chat, session, why string) {
	t.Helper()
	s, err := c.chats().StreamGroupChat(c.ctx(t), &behalfv1.StreamGroupChatRequest{GroupChat: chat, SessionId: session, Input: "pay"})
	if err != nil {
		t.Fatal(err)
	}
	all, err := messages(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if f := m.GetEvent().GetToolCallFinished(); f.GetFailed() && strings.Contains(f.GetResultJson(), why) {
			return
		}
	}
	t.Errorf("got %v, want the call to fail with %s", all, why)
}

// A call that is being made in several people's names ends when one of them is
// locked, and so does a run that acts with its owner's authority.
func TestALockOnOneOfSeveralCutsWhatIsBeingDone(t *testing.T) {
	t.Parallel()
	begun, cut := make(chan struct{}, 1), make(chan error, 1)
	w, _ := shared(t, func(s *setup) {
		s.spies = append(s.spies, tools.Func("dwell", "Waits.", func(ctx context.Context, _ none) (none, error) {
			begun <- struct{}{}
			<-ctx.Done()
			cut <- context.Cause(ctx)
			return none{}, ctx.Err()
		}, tools.ReadOnly()))
	})
	h, g, b := w.as(host), w.as(guest), w.as(bob)
	for _, chat := range []string{"intersection", "owner"} {
		session := h.turn(t, chat, "", "note")
		s, err := g.chats().StreamGroupChat(g.ctx(t), &behalfv1.StreamGroupChatRequest{GroupChat: chat, SessionId: session, Input: "dwell"})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { // ends with the stream
			_, err := messages(s)
			done <- err
		}()
		until(t, "the call", begun)

		if err := b.lock(t, lockUser("acme/host")); err != nil {
			t.Fatal(err)
		}

		if why := until(t, "the cut", cut); reason(why) != "PRINCIPAL_LOCKED" {
			t.Errorf("%s: the call was cut by %v", chat, why)
		}
		if err := until(t, "the end", done); reason(err) != "PRINCIPAL_LOCKED" {
			t.Errorf("%s: got %v, want the run cut", chat, err)
		}
		rows := slices.DeleteFunc(b.records(t, &behalfv1.QueryAuditRequest{User: "host", SessionId: session}), func(r *behalfv1.AuditRecord) bool {
			return !strings.HasPrefix(r.GetCallId(), "cut_")
		})
		if len(rows) == 0 || rows[0].GetReason() != behalfv1.ErrorReason_ERROR_REASON_PRINCIPAL_LOCKED {
			t.Errorf("%s: got %v, want on record what was cut for the host's sake", chat, rows)
		}
		if err := b.unlock(t, lockUser("acme/host")); err != nil {
			t.Fatal(err)
		}
	}
}
