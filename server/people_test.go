package server_test

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/tools"
	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
)

// The people of a shared session: poor may note and peek, rich may pay too. Rich
// may join the sessions of others.
var (
	poor = person{"poor", []string{"support"}, "crm.read"}
	rich = person{"rich", []string{"manager"}, "crm.read orders.refund"}
)

const sharing = `
@id("staff-chat") permit (principal, action in [Action::"run_group_chat", Action::"call_tool"], resource)
when { principal in Role::"support" || principal in Role::"manager" };
@id("managers-join") permit (principal in Role::"manager", action in [Action::"join_session", Action::"send_input", Action::"watch_run"], resource);
@id("poor-does-not-peek") forbid (principal == User::"acme/poor", action == Action::"call_tool", resource == Tool::"peek");`

// doer does what the newest message of a person says: it calls the tool of that
// name, with the arguments behind it, and tells what came of it.
type doer struct{}

func (doer) Generate(_ context.Context, p *agents.Prompt) iter.Seq2[agents.Chunk, error] {
	return func(yield func(agents.Chunk, error) bool) {
		last := p.Messages[len(p.Messages)-1]
		if last.Role == agents.RoleTool {
			if yield(agents.Chunk{Text: last.Text}, nil) {
				yield(agents.Chunk{Done: &agents.Reply{}}, nil)
			}
			return
		}
		tool, args, _ := strings.Cut(strings.TrimSpace(last.Text), " ")
		yield(agents.Chunk{Done: &agents.Reply{Calls: []agents.CallRequest{{ID: "c1", Tool: tool, Arguments: cmp.Or(args, "{}")}}}}, nil)
	}
}

// daybook is a backend that keeps who called it, and with which rights.
type daybook struct {
	mu    sync.Mutex
	calls []string
}

func (l *daybook) tool(name string, o ...tools.Option) tools.Tool {
	return tools.Func(name, "Does it.", func(ctx context.Context, _ none) (none, error) {
		g, _ := identity.FromContext(ctx)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.calls = append(l.calls, fmt.Sprintf("%s for %s with %s", name, g.Principal().Subject(), strings.Join(g.Scopes().Names(), " ")))
		return none{}, nil
	}, o...)
}

// new is what happened since the last time.
func (l *daybook) new() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.calls
	l.calls = nil
	return all
}

// shared is a world with a group chat of each authority, and one in which a
// manager is asked before the agent acts.
func shared(t *testing.T, change ...func(*setup)) (*world, *daybook) {
	l := &daybook{}
	chat := func(authority string, who ...string) config.GroupChat {
		g := config.GroupChat{Kind: config.RoundRobin, Authority: authority, MaxTurns: len(who)}
		for _, name := range who {
			g.Participants = append(g.Participants, config.Participant{Name: name})
		}
		return g
	}
	set := setup{
		spies:    []tools.Tool{l.tool("note", tools.ReadOnly(), tools.Scopes("crm.read")), l.tool("pay", tools.Scopes("orders.refund")), l.tool("peek", tools.ReadOnly())},
		options:  []behalf.Option{behalf.WithModel("default", doer{})},
		policies: map[string]string{"sharing.cedar": sharing, "approvals.cedar": mayApprove},
		edit: func(c *config.Config) {
			c.Agents["hand"] = config.Agent{Kind: config.KindAssistant, Model: "default", Tools: []string{"spy/*"}}
			c.Agents["boss"] = config.Agent{Kind: config.KindHuman, Who: &config.Who{Role: "manager"}}
			c.GroupChats = map[string]config.GroupChat{
				"speaker": chat("speaker", "hand"), "owner": chat("owner", "hand"), "intersection": chat("intersection", "hand"),
				"asked": chat("speaker", "boss", "hand"), "asked_owner": chat("owner", "boss", "hand"),
			}
		},
	}
	for _, f := range change {
		f(&set)
	}
	return newWorld(t, set), l
}

// turn is one turn in a chat; it gives the session.
func (c *client) turn(t *testing.T, chat, session, say string) string {
	t.Helper()
	r, err := c.chats().RunGroupChat(c.ctx(t), &behalfv1.RunGroupChatRequest{GroupChat: chat, SessionId: session, Input: say})
	if err != nil {
		t.Fatalf("RunGroupChat: %v", err)
	}
	if m := r.GetMessages()[0].GetMessage(); m.GetText() != say || m.GetSpeaker().GetSubject() == "" {
		t.Errorf("got %v, want it with its speaker", r.GetMessages()[0])
	}
	return r.GetSessionId()
}

func TestEachTurnUsesTheRightsThatTheChatDeclares(t *testing.T) {
	t.Parallel()
	w, l := shared(t)
	p, r := w.as(poor), w.as(rich)
	few, many := "crm.read", "crm.read orders.refund"
	for chat, want := range map[string][]string{
		"speaker": {
			"note for poor with " + few, "note for rich with " + many, "pay for rich with " + many, "peek for rich with " + many,
			"note for poor with " + few, // and poor's pay and peek were denied
		},
		"owner": {
			"note for poor with " + few, "note for poor with " + few, "note for poor with " + few, // never with rich's rights
		},
		"intersection": {
			"note for poor with " + few, "note for rich with " + few, "note for poor with " + few,
		},
	} {
		t.Run(chat, func(t *testing.T) {
			l.new()
			session := p.turn(t, chat, "", "note")
			for _, say := range []string{"note", "pay", "peek"} {
				r.turn(t, chat, session, say)
			}
			for _, say := range []string{"note", "pay", "peek"} {
				p.turn(t, chat, session, say)
			}
			if diff := gocmp.Diff(want, l.new()); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

func TestASharedSessionOfARichOwnerGivesNobodyElseTheirRights(t *testing.T) {
	t.Parallel()
	w, l := shared(t)
	r := w.as(rich)
	clerk := w.as(person{"clerk", []string{"manager"}, "crm.read"})

	session := r.turn(t, "speaker", "", "pay")
	clerk.turn(t, "speaker", session, "pay")
	if diff := gocmp.Diff([]string{"pay for rich with crm.read orders.refund"}, l.new()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	session = r.turn(t, "intersection", "", "pay")
	clerk.turn(t, "intersection", session, "note")
	r.turn(t, "intersection", session, "pay") // clerk has spoken by now
	if diff := gocmp.Diff([]string{"pay for rich with crm.read orders.refund", "note for clerk with crm.read"}, l.new()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestAnIntersectionIsDecidedForEachPerson(t *testing.T) {
	t.Parallel()
	w, l := shared(t)
	p, r, b := w.as(poor), w.as(rich), w.as(bob)
	session := p.turn(t, "intersection", "", "note")
	r.turn(t, "intersection", session, "note")
	r.turn(t, "intersection", session, "peek")
	if got := l.new(); len(got) != 2 {
		t.Errorf("got %q, want no peek", got)
	}

	rows := func(tool string) (all []string) {
		for _, rec := range b.records(t, &behalfv1.QueryAuditRequest{SessionId: session, Tool: tool}) {
			all = append(all, strings.TrimPrefix(rec.GetPhase().String(), "AUDIT_PHASE_")+" "+rec.GetUser().GetSubject()+" "+strings.TrimPrefix(rec.GetDecision().String(), "DECISION_"))
		}
		return all
	}
	want := []string{"DECISION poor ALLOW", "OUTCOME poor UNSPECIFIED", "DECISION poor ALLOW", "DECISION rich ALLOW", "OUTCOME rich UNSPECIFIED"}
	if diff := gocmp.Diff(want, rows("note")); diff != "" {
		t.Errorf("rows of note (-want +got):\n%s", diff)
	}
	if diff := gocmp.Diff([]string{"DECISION poor DENY", "DECISION rich DENY"}, rows("peek")); diff != "" {
		t.Errorf("rows of peek (-want +got):\n%s", diff)
	}
}

func TestWhoAnswersInAnothersRunLendsThemNoRightsAndGetsNone(t *testing.T) {
	t.Parallel()
	w, l := shared(t)
	owner := w.as(person{"owner", []string{"support"}, "crm.read orders.refund"})
	clerk := w.as(person{"clerk", []string{"manager"}, "crm.read"})
	for chat, want := range map[string][]string{"asked": nil, "asked_owner": {"pay for owner with crm.read orders.refund"}} {
		s, err := owner.chats().StreamGroupChat(owner.ctx(t), &behalfv1.StreamGroupChatRequest{GroupChat: chat, Input: "Ask the boss"})
		if err != nil {
			t.Fatal(err)
		}
		var run string
		for {
			m, err := s.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if m.GetEvent().GetInputRequested() != nil {
				run = m.GetEvent().GetRunId()
				break
			}
		}
		if _, err := clerk.runs().SendInput(clerk.ctx(t), &behalfv1.SendInputRequest{RunId: run, Text: "pay"}); err != nil {
			t.Fatal(err)
		}
		if _, err := messages(s); err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(want, l.new()); diff != "" {
			t.Errorf("%s: calls (-want +got):\n%s", chat, diff)
		}
	}
}

// It is the boss who is asked: not even the session's owner answers instead.
func TestWhenItIsAPersonsTurnNobodyElseAnswers(t *testing.T) {
	t.Parallel()
	w, l := shared(t)
	owner, boss := w.as(poor), w.as(rich)
	k := owner.converse(t).open("asked", "")
	k.say("Ask the boss")
	asked := k.until(asks)
	in := &behalfv1.SendInputRequest{RunId: asked.GetRunId(), Text: "note"}

	_, err := owner.runs().SendInput(owner.ctx(t), in)
	wantError(t, err, codes.PermissionDenied, "OWNER_MISMATCH")
	if got := l.new(); got != nil {
		t.Errorf("got %q before the boss has spoken", got)
	}
	if _, err := boss.runs().SendInput(boss.ctx(t), in); err != nil {
		t.Fatal(err)
	}
	k.until(finished)
	if diff := gocmp.Diff([]string{"note for poor with crm.read"}, l.new()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestOnlyWhoMayJoinSpeaksInAnothersSession(t *testing.T) {
	t.Parallel()
	w, _ := shared(t)
	p, r := w.as(poor), w.as(rich)
	session := p.turn(t, "speaker", "", "note")
	alone := w.hello(w.as(alice), "").GetSessionId()

	for name, c := range map[string]*client{"another tenant": w.as(erin), "who may not join": w.as(dave), "a workload": {p.ClientConn, nil}} {
		_, err := c.chats().RunGroupChat(c.ctx(t), &behalfv1.RunGroupChatRequest{GroupChat: "speaker", SessionId: session, Input: "note"})
		wantError(t, err, codes.NotFound, "NOT_FOUND")
		_, err = c.runs().CreateRun(c.ctx(t), &behalfv1.CreateRunRequest{Target: &behalfv1.CreateRunRequest_GroupChat{GroupChat: "speaker"}, SessionId: session, Input: "note"})
		if reason(err) != "NOT_FOUND" {
			t.Errorf("%s: got %v from CreateRun", name, err)
		}
		k := c.converse(t).open("speaker", session)
		wantError(t, k.end(), codes.NotFound, "NOT_FOUND")
	}
	_, err := r.agents().RunAgent(r.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", SessionId: alone, Input: "hello"})
	wantError(t, err, codes.NotFound, "NOT_FOUND") // an agent's session is its owner's
	_, err = r.chats().RunGroupChat(r.ctx(t), &behalfv1.RunGroupChatRequest{GroupChat: "owner", SessionId: session, Input: "note"})
	wantError(t, err, codes.NotFound, "NOT_FOUND") // of another chat

	asked := slices.DeleteFunc(w.as(bob).records(t, &behalfv1.QueryAuditRequest{User: "dave"}), func(rec *behalfv1.AuditRecord) bool {
		return rec.GetAction() != "join_session"
	})
	if len(asked) != 3 || asked[0].GetDecision() != behalfv1.Decision_DECISION_DENY {
		t.Errorf("got %v, want each question on record", asked)
	}
}

func TestAnOwnersAuthorityIsNotNarrowedByOthers(t *testing.T) {
	t.Parallel()
	w, _ := shared(t)
	p, r := w.as(poor), w.as(rich)
	session := p.turn(t, "owner", "", "note")

	_, err := r.chats().RunGroupChat(r.ctx(t), &behalfv1.RunGroupChatRequest{GroupChat: "owner", SessionId: session, Input: "note", Scopes: &behalfv1.Scopes{}})

	wantError(t, err, codes.InvalidArgument, "ARGUMENT_INVALID")
}

// What is done in another's turn is the owner's authority, and the speaker's bill.
func TestWhoseTurnItIsPaysForItsModelCalls(t *testing.T) {
	t.Parallel()
	for broke, want := range map[string]string{"guest": "BUDGET_EXHAUSTED", "host": ""} {
		t.Run(broke, func(t *testing.T) {
			t.Parallel()
			w, _ := shared(t)
			b := w.as(bob)
			session := w.as(host).turn(t, "owner", "", "note")
			w.policy("tokens.cedar", `@id("tokens") @budget("1 tokens/24h") forbid (principal == User::"acme/`+broke+`", action == Action::"run_group_chat", resource);`)
			if _, err := b.admin().ReloadConfig(b.ctx(t), &behalfv1.ReloadConfigRequest{}); err != nil {
				t.Fatal(err)
			}

			if err := w.as(guest).say(t, "owner", session, "note"); reason(err) != want {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
}
