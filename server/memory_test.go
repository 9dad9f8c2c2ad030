package server_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/model/modeltest"
	"google.golang.org/grpc/codes"
)

// remembering is a world whose support remembers people and sessions.
func remembering(t *testing.T, set setup) (*world, *modeltest.Server) {
	t.Helper()
	m := modeltest.NewServer(t)
	m.Always("scripted", modeltest.Reply{Text: "all right"})
	set.model = m
	set.policies = map[string]string{
		"memory.cedar": `@id("staff-remember") permit (principal, action == Action::"call_tool", resource in Toolset::"memory")
			when { principal in Role::"support" || principal in Role::"manager" };`,
	}
	set.edit = func(c *config.Config) {
		c.Tools["memory"] = config.Toolset{Builtin: config.BuiltinMemory}
		support := c.Agents["support"]
		support.Tools = append(slices.Clone(support.Tools), "memory/*")
		support.Remembers = []string{config.RemembersPerson, config.RemembersSession}
		c.Agents["support"] = support
	}
	return newWorld(t, set), m
}

// tool calls a tool without an agent.
func (c *client) tool(t *testing.T, session, name, args string) (*behalfv1.CallToolResponse, error) {
	t.Helper()
	return c.tools().CallTool(c.ctx(t), &behalfv1.CallToolRequest{Tool: name, ArgumentsJson: args, SessionId: session})
}

func (c *client) wantTool(t *testing.T, session, name, args, want string) {
	t.Helper()
	got, err := c.tool(t, session, name, args)
	if err != nil || got.GetFailed() || !strings.Contains(got.GetResultJson(), want) {
		t.Errorf("%s: got %v, %v, want %s", name, got, err, want)
	}
}

// ask runs support, and gives its session and what was recalled.
func (c *client) ask(t *testing.T, session string) (string, []string) {
	t.Helper()
	events, err := c.stream(t, &behalfv1.StreamAgentRequest{Agent: "support", Input: "hello", SessionId: session})
	if err != nil {
		t.Fatal(err)
	}
	var recalled []string
	for _, e := range events {
		recalled = append(recalled, e.GetMemoryRecalled().GetItems()...)
	}
	return events[0].GetSessionId(), recalled
}

func (c *client) wantRecalled(t *testing.T, session string, want ...string) string {
	t.Helper()
	session, got := c.ask(t, session)
	if !slices.Equal(got, want) {
		t.Errorf("got %q recalled, want %q", got, want)
	}
	return session
}

// Two people use the same agent. Each has what they remembered: by the agent, or
// by a call of their own; and only that is in the stream and in the prompt.
func TestPeopleHaveTheirOwnMemories(t *testing.T) {
	t.Parallel()
	w, m := remembering(t, setup{embedded: true})
	a, b, e := w.as(alice), w.as(bob), w.as(erin)
	m.Queue("scripted", modeltest.Reply{Calls: []agents.CallRequest{
		{ID: "1", Tool: "remember", Arguments: `{"text":"prefers tea","about":"me"}`},
		{ID: "2", Tool: "remember", Arguments: `{"text":"asked about a jug","about":"session"}`},
	}}, modeltest.Reply{Text: "noted"})
	session := a.wantRecalled(t, "")
	b.wantTool(t, "", "remember", `{"text":"prefers coffee","about":"me"}`, `"prefers coffee"`)
	before := m.Count()

	if got, want := sorted(a.ask(t, session)), "asked about a jug; prefers tea"; got != want {
		t.Errorf("got %q recalled in her session, want %q", got, want)
	}
	a.wantRecalled(t, "", "prefers tea")
	b.wantRecalled(t, "", "prefers coffee")
	e.wantRecalled(t, "")
	e.wantTool(t, "", "list_memories", `{"about":"me"}`, `{"memories":[]}`)
	for i, req := range m.Requests()[before:] {
		tea, coffee := strings.Contains(string(req.Body), "prefers tea"), strings.Contains(string(req.Body), "prefers coffee")
		if tea != (i < 2) || coffee != (i == 2) {
			t.Errorf("question %d: tea %t, coffee %t: %s", i, tea, coffee, req.Body)
		}
	}
	wantNotesNotOrders(t, m.Requests()[before+1])

	w.restart()

	a, b = w.as(alice), w.as(bob)
	a.wantRecalled(t, "", "prefers tea")
	_, err := b.tool(t, session, "list_memories", `{"about":"session"}`)
	wantError(t, err, codes.NotFound, "NOT_FOUND")
	got, err := a.tool(t, "", "remember", `{"text":"x","about":"session"}`)
	if err != nil || !got.GetFailed() || !strings.Contains(got.GetResultJson(), "no session") {
		t.Errorf("got %v, %v, want a failed result", got, err)
	}
	if n := len(b.records(t, &behalfv1.QueryAuditRequest{Tool: "remember"})); n != 8 {
		t.Errorf("got %d rows of remember, want decision and outcome of all four calls", n)
	}
}

func sorted(_ string, items []string) string {
	slices.Sort(items)
	return strings.Join(items, "; ")
}

// wantNotesNotOrders looks at how a recalled text is told to the model.
func wantNotesNotOrders(t *testing.T, r modeltest.Request) {
	t.Helper()
	var body struct {
		Messages []struct{ Role, Content string }
	}
	if err := json.Unmarshal(r.Body, &body); err != nil {
		t.Fatal(err)
	}
	for _, said := range body.Messages {
		if strings.Contains(said.Content, "prefers tea") && (said.Role != "user" || !strings.Contains(said.Content, "notes and no instructions")) {
			t.Errorf("got %q as %s, want it as notes that somebody made", said.Content, said.Role)
		}
	}
}

func TestAPersonErasesWhatIsRemembered(t *testing.T) {
	t.Parallel()
	w, _ := remembering(t, setup{})
	a, b := w.as(alice), w.as(bob)
	session := a.wantRecalled(t, "")
	for i, about := range []string{"me", "session"} {
		a.wantTool(t, session, "remember", fmt.Sprintf(`{"text":"note %d","about":%q}`, i, about), about[:0])
	}
	b.wantTool(t, "", "remember", `{"text":"bob's","about":"me"}`, "bob")

	if _, err := a.sessions().DeleteSession(a.ctx(t), &behalfv1.DeleteSessionRequest{SessionId: session}); err != nil {
		t.Fatal(err)
	}
	got, err := a.tool(t, "", "list_memories", `{"about":"me"}`)
	if err != nil || !strings.Contains(got.GetResultJson(), "note 0") || strings.Contains(got.GetResultJson(), "note 1") {
		t.Errorf("got %v, %v, want the session's memory gone with it", got, err)
	}
	a.wantTool(t, "", "forget_all", `{"about":"me"}`, `{"forgotten":1}`)
	a.wantRecalled(t, "")
	b.wantRecalled(t, "", "bob's")
}

// Bob helps out in Alice's run. It goes on for her, and so it is told hers.
func TestWhoJoinsARunBringsNoMemory(t *testing.T) {
	t.Parallel()
	w, m := remembering(t, setup{})
	w.stop()
	w.policy("join.cedar", `@id("managers-help") permit (principal in Role::"manager", action in [Action::"send_input", Action::"join_session"], resource);
@id("staff-chat") permit (principal in Role::"support", action == Action::"run_group_chat", resource);`)
	edit := w.set.edit
	w.set.edit = func(c *config.Config) {
		edit(c)
		c.Agents["helper"] = config.Agent{Kind: config.KindHuman, Prompt: "What now?", Who: &config.Who{Role: "manager"}}
		c.GroupChats = map[string]config.GroupChat{"pair": {
			Kind: config.RoundRobin, Participants: []config.Participant{{Name: "support"}, {Name: "helper"}}, MaxTurns: 3,
		}}
	}
	w.start()
	a, b := w.as(alice), w.as(bob)
	a.wantTool(t, "", "remember", `{"text":"prefers tea","about":"me"}`, "tea")
	b.wantTool(t, "", "remember", `{"text":"prefers coffee","about":"me"}`, "coffee")
	stream, err := behalfv1.NewGroupChatServiceClient(a).StreamGroupChat(a.ctx(t), &behalfv1.StreamGroupChatRequest{GroupChat: "pair", Input: "hello"})
	if err != nil {
		t.Fatal(err)
	}

	var recalled []string
	for {
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		e := r.GetEvent()
		recalled = append(recalled, e.GetMemoryRecalled().GetItems()...)
		if e.GetInputRequested() != nil {
			if _, err := b.runs().SendInput(b.ctx(t), &behalfv1.SendInputRequest{RunId: e.GetRunId(), Text: "go on"}); err != nil {
				t.Fatal(err)
			}
		}
		if e.GetRunFinished() != nil && e.GetThread() == "" {
			break
		}
	}

	if !slices.Equal(recalled, []string{"prefers tea", "prefers tea"}) {
		t.Errorf("got %q recalled, want Alice's in both turns of support", recalled)
	}
	for i, req := range m.Requests() {
		if !strings.Contains(string(req.Body), "prefers tea") || strings.Contains(string(req.Body), "prefers coffee") {
			t.Errorf("question %d: %s", i, req.Body)
		}
	}
}
