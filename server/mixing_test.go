package server_test

import (
	"context"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/behalf-dev/behalf"
	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/tools"
)

// errand is for whom, and in which session, a backend is called.
type errand struct {
	Who     string `json:"who"`
	Session string `json:"session"`
}

var errandText = regexp.MustCompile(`I am (\w+) in (\d+)`)

// loyal is the model of everybody: what it does is for whom the conversation says
// last that it is, and for nobody else.
type loyal struct{}

func (loyal) Generate(_ context.Context, p *agents.Prompt) iter.Seq2[agents.Chunk, error] {
	return func(yield func(agents.Chunk, error) bool) {
		var all strings.Builder
		for i := range p.Messages {
			all.WriteString(p.Messages[i].Text + "\n")
		}
		said := errandText.FindAllStringSubmatch(all.String(), -1)
		found := said[len(said)-1]
		if last := p.Messages[len(p.Messages)-1]; last.Role == agents.RoleTool {
			if yield(agents.Chunk{Text: p.Agent + " was told " + last.Text}, nil) {
				yield(agents.Chunk{Done: &agents.Reply{}}, nil)
			}
			return
		}
		call := agents.CallRequest{ID: "c1", Tool: "note", Arguments: fmt.Sprintf(`{"who":%q,"session":%q}`, found[1], found[2])}
		if p.Agent == "boss" {
			call.Tool, call.Arguments = "ask_clerk", fmt.Sprintf(`{"task":%q}`, found[0])
		}
		yield(agents.Chunk{Done: &agents.Reply{Calls: []agents.CallRequest{call}}}, nil)
	}
}

// notebook is a backend that looks at who calls it.
type notebook struct {
	t      *testing.T
	people map[string]person
	rights func(errand) (subject, scopes string) // nil: those of who speaks

	mu    sync.Mutex
	calls map[errand]int
	runs  map[string]string // whose a run is
}

func (n *notebook) tool() tools.Tool {
	return tools.Func("note", "Notes for whom it was called.", func(ctx context.Context, in errand) (errand, error) {
		g, _ := identity.FromContext(ctx)
		n.check(g, in)
		return in, nil
	}, tools.ReadOnly(), tools.Scopes("crm.read"))
}

func (n *notebook) check(g identity.Grant, in errand) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls[in]++
	who, scopes := in.Who, n.people[in.Who].scopes
	if n.rights != nil {
		who, scopes = n.rights(in)
	}
	if user := g.Principal().User; user == nil || user.Subject != who {
		n.t.Errorf("the call for %s in session %s came as %+v", in.Who, in.Session, user)
	}
	want := strings.Fields(scopes)
	if got := slices.Sorted(slices.Values(g.Scopes().Names())); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		n.t.Errorf("the call for %s in session %s could do %q, want %q", in.Who, in.Session, got, want)
	}
	if whose, ok := n.runs[g.ID()]; ok && whose != who+in.Session {
		n.t.Errorf("one grant acts for %s and for %s", whose, who+in.Session)
	}
	n.runs[g.ID()] = who + in.Session
}

// TestTwoPeopleInOneTeamNeverMix has two people in flight in 100 sessions of the
// same group chat, which has a nested team and an agent that is a tool. Each call
// of the backend, each event and each record is theirs whose session it is in.
func TestTwoPeopleInOneTeamNeverMix(t *testing.T) {
	t.Parallel()
	const sessions, turns = 100, 2
	n := &notebook{t: t, people: map[string]person{"alice": alice, "dave": dave}, calls: map[errand]int{}, runs: map[string]string{}}
	w := newWorld(t, setup{
		spies:    []tools.Tool{n.tool()},
		options:  []behalf.Option{behalf.WithModel("default", loyal{})},
		policies: map[string]string{"mixing.cedar": `@id("mixing") permit (principal in Role::"support", action in [Action::"run_group_chat", Action::"call_tool"], resource);`},
		edit: func(c *config.Config) {
			c.Server.Limits.CallsPerUser = sessions
			for name, tool := range map[string]string{"boss": "ask_clerk", "clerk": "note", "aide": "note", "helper": "note"} {
				c.Agents[name] = config.Agent{Kind: config.KindAssistant, Model: "default", Tools: []string{tool}}
			}
			c.Tools["ask_clerk"] = config.Toolset{Agent: "clerk"}
			c.GroupChats = map[string]config.GroupChat{
				"inner": {Kind: config.RoundRobin, Participants: []config.Participant{{Name: "helper"}}, MaxTurns: 1},
				"outer": {Kind: config.RoundRobin, Participants: []config.Participant{{Name: "boss"}, {Name: "inner"}, {Name: "aide"}}, MaxTurns: 3},
			}
		},
	})
	clients := map[string]*client{"alice": w.as(alice), "dave": w.as(dave)}
	var wg sync.WaitGroup
	for i := range sessions {
		in := errand{[]string{"alice", "dave"}[i%2], fmt.Sprint(i)}
		wg.Go(func() { clients[in.Who].errands(t, in, turns, i%10 < 2) })
	}
	wg.Wait()

	for i := range sessions {
		in := errand{[]string{"alice", "dave"}[i%2], fmt.Sprint(i)}
		if got := n.calls[in]; got != 3*turns {
			t.Errorf("%+v: got %d calls of the backend, want %d", in, got, 3*turns)
		}
	}
	b := w.as(bob)
	rows := b.records(t, &behalfv1.QueryAuditRequest{Tool: "note", Limit: 100_000})
	for _, r := range rows {
		args := r.GetRedactedArgumentsJson()
		if args != "" && !strings.Contains(args, `"who":"`+r.GetUser().GetSubject()+`"`) {
			t.Errorf("got the record of a call with %s by %s", args, r.GetUser().GetSubject())
		}
	}
	if len(rows) < 3*turns*sessions {
		t.Errorf("got %d records, want one for each of %d calls at least", len(rows), 3*turns*sessions)
	}
}

// TestTwoPeopleWhoAlternateInOneSessionNeverMix has two people take turns in many
// shared sessions at once. Each call of the backend comes with the rights that the
// chat declares for that turn: nothing is kept of who spoke before.
func TestTwoPeopleWhoAlternateInOneSessionNeverMix(t *testing.T) {
	t.Parallel()
	const each, turns = 4, 4
	modes := []string{"speaker", "owner", "intersection"}
	n := &notebook{t: t, people: map[string]person{"alice": alice, "dave": dave}, calls: map[errand]int{}, runs: map[string]string{}}
	place := func(session string) (mode, owner string) {
		i, err := strconv.Atoi(session)
		if err != nil {
			t.Errorf("got session %q", session)
		}
		return modes[i%3], []string{"alice", "dave"}[i/3%2]
	}
	n.rights = func(in errand) (string, string) {
		switch mode, owner := place(in.Session); mode {
		case "owner":
			return owner, n.people[owner].scopes
		case "intersection":
			return in.Who, dave.scopes
		}
		return in.Who, n.people[in.Who].scopes
	}
	w := newWorld(t, setup{
		spies:   []tools.Tool{n.tool()},
		options: []behalf.Option{behalf.WithModel("default", loyal{})},
		policies: map[string]string{"mixing.cedar": `@id("mixing") permit (principal in Role::"support",
			action in [Action::"run_group_chat", Action::"call_tool", Action::"join_session"], resource);`},
		edit: func(c *config.Config) {
			c.Server.Limits.CallsPerUser = 3 * each
			c.Agents["clerk"] = config.Agent{Kind: config.KindAssistant, Model: "default", Tools: []string{"note"}}
			c.Agents["boss"] = config.Agent{Kind: config.KindAssistant, Model: "default", Tools: []string{"ask_clerk"}}
			c.Tools["ask_clerk"] = config.Toolset{Agent: "clerk"}
			c.GroupChats = map[string]config.GroupChat{}
			for _, m := range modes {
				c.GroupChats[m] = config.GroupChat{Kind: config.RoundRobin, Authority: m, Participants: []config.Participant{{Name: "boss"}}, MaxTurns: 1}
			}
		},
	})
	clients := map[string]*client{"alice": w.as(alice), "dave": w.as(dave)}
	var wg sync.WaitGroup
	for i := range 3 * each {
		wg.Go(func() {
			mode, who := place(fmt.Sprint(i))
			session := ""
			for turn := range turns + 2 { // the first two turns of an intersection are not yet both of them
				in := &behalfv1.RunGroupChatRequest{GroupChat: mode, SessionId: session, Input: fmt.Sprintf("I am %s in %d", who, i)}
				if turn < 2 && mode == "intersection" {
					in.Scopes = &behalfv1.Scopes{Values: strings.Fields(dave.scopes)}
				}
				r, err := clients[who].chats().RunGroupChat(clients[who].ctx(t), in)
				if err != nil {
					t.Errorf("%s in %d: %v", who, i, err)
					return
				}
				session, who = r.GetSessionId(), map[string]string{"alice": "dave", "dave": "alice"}[who]
			}
		})
	}
	wg.Wait()

	for i := range 3 * each {
		for _, who := range []string{"alice", "dave"} {
			if got := n.calls[errand{who, fmt.Sprint(i)}]; got != turns/2+1 {
				t.Errorf("%s in %d: got %d calls of the backend, want %d", who, i, got, turns/2+1)
			}
		}
	}
}

// errands runs the team in one session, so many times, and looks at each event.
func (c *client) errands(t *testing.T, in errand, turns int, streamed bool) {
	other := map[string]string{"alice": "dave", "dave": "alice"}[in.Who]
	text, session := fmt.Sprintf("I am %s in %s", in.Who, in.Session), ""
	for range turns {
		var events []*behalfv1.Event
		if streamed {
			s, err := c.chats().StreamGroupChat(c.ctx(t), &behalfv1.StreamGroupChatRequest{GroupChat: "outer", Input: text, SessionId: session})
			if err != nil {
				t.Error(err)
				return
			}
			all, err := messages(s)
			if err != nil {
				t.Error(err)
				return
			}
			events = eventsOf(all)
		} else {
			r, err := c.chats().RunGroupChat(c.ctx(t), &behalfv1.RunGroupChatRequest{GroupChat: "outer", Input: text, SessionId: session})
			if err != nil {
				t.Error(err)
				return
			}
			events = r.GetMessages()
		}
		session = events[0].GetSessionId()
		said := fmt.Sprint(events)
		if strings.Contains(said, other) || len(lines(events)) != 4 {
			t.Errorf("session %s of %s: got %v", in.Session, in.Who, events)
		}
	}
}
