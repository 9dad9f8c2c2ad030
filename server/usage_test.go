package server_test

import (
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/model/modeltest"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
)

// cost is a usage that tells from the sum who is missing in it.
func cost(digit int64) agents.Usage {
	return agents.Usage{PromptTokens: digit, CompletionTokens: 100 * digit, ModelCalls: 1}
}

// company has agents with a model of their own each, in every way in which one
// can work for another:
//
//	boss    asks the clerk as a tool, and then answers
//	inner   the clerk and the aide in turn
//	outer   a chair lets boss or inner speak, two turns
func company(t *testing.T) *world {
	m := modeltest.NewServer(t)
	who := []string{"boss", "clerk", "aide", "chair"}
	w := newWorld(t, setup{
		policies: map[string]string{"company.cedar": `@id("company") permit (principal in Role::"support", action in [Action::"run_agent", Action::"run_group_chat", Action::"call_tool"], resource);`},
		edit: func(c *config.Config) {
			for _, name := range who {
				c.Models[name] = config.Model{BaseURL: m.URL, Model: name}
				c.Agents[name] = config.Agent{Kind: config.KindAssistant, Model: name}
			}
			c.Tools["ask_clerk"] = config.Toolset{Agent: "clerk"}
			boss := c.Agents["boss"]
			boss.Tools = []string{"ask_clerk"}
			c.Agents["boss"] = boss
			c.GroupChats = map[string]config.GroupChat{
				"inner": {Kind: config.RoundRobin, Participants: []config.Participant{{Name: "clerk"}, {Name: "aide"}}, MaxTurns: 2},
				"outer": {Kind: config.Selector, Model: "chair", Participants: []config.Participant{{Name: "boss"}, {Name: "inner"}, {Name: "aide"}}, MaxTurns: 2},
			}
		},
	})
	boss := []modeltest.Reply{
		{Calls: []agents.CallRequest{{ID: "c1", Tool: "ask_clerk", Arguments: `{"task":"Look it up."}`}}, Usage: cost(1)},
		{Text: "The clerk says so.", Usage: cost(2)},
	}
	for range 2 {
		m.Queue("boss", boss...)
	}
	m.Always("clerk", modeltest.Reply{Text: "It is so.", Usage: cost(10)})
	m.Always("aide", modeltest.Reply{Text: "I agree.", Usage: cost(20)})
	for range 2 {
		m.Queue("chair", modeltest.Reply{Text: "boss", Usage: cost(30)}, modeltest.Reply{Text: "inner", Usage: cost(40)})
	}
	return w
}

// spent is what the events of all threads say that the models used.
func spent(events []*behalfv1.Event) *behalfv1.Usage {
	sum := &behalfv1.Usage{}
	for _, e := range events {
		for _, u := range []*behalfv1.Usage{e.GetMessage().GetUsage(), e.GetSpeakerSelected().GetUsage(), e.GetPlanUpdated().GetUsage()} {
			sum.PromptTokens += u.GetPromptTokens()
			sum.CompletionTokens += u.GetCompletionTokens()
			sum.TotalTokens += u.GetTotalTokens()
			sum.ModelCalls += u.GetModelCalls()
		}
	}
	return sum
}

func wantUsage(t *testing.T, what string, want, got *behalfv1.Usage) {
	t.Helper()
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("usage of %s (-want +got):\n%s", what, diff)
	}
}

func TestUsageCountsAgentsThatAreTools(t *testing.T) {
	t.Parallel()
	w := company(t)
	alice := w.as(alice)
	want := &behalfv1.Usage{PromptTokens: 13, CompletionTokens: 1300, TotalTokens: 1313, ModelCalls: 3}

	events, err := alice.stream(t, &behalfv1.StreamAgentRequest{Agent: "boss", Input: "Is it so?"})
	succeed(t, err)
	got, err := alice.agents().RunAgent(alice.ctx(t), &behalfv1.RunAgentRequest{Agent: "boss", Input: "Is it so?"})
	succeed(t, err)
	at, err := alice.runs().GetRun(alice.ctx(t), &behalfv1.GetRunRequest{RunId: got.GetRunId()})
	succeed(t, err)

	wantUsage(t, "all events", want, spent(events))
	wantUsage(t, "RunFinished", want, events[len(events)-1].GetRunFinished().GetUsage())
	wantUsage(t, "RunAgentResponse", want, got.GetUsage())
	wantUsage(t, "Run", want, at.GetRun().GetUsage())
}

func TestUsageCountsNestedTeamsAndTheChoiceOfSpeakers(t *testing.T) {
	t.Parallel()
	w := company(t)
	alice := w.as(alice)
	want := &behalfv1.Usage{PromptTokens: 113, CompletionTokens: 11300, TotalTokens: 11413, ModelCalls: 7}

	s, err := alice.chats().StreamGroupChat(alice.ctx(t), &behalfv1.StreamGroupChatRequest{GroupChat: "outer", Input: "Is it so?"})
	succeed(t, err)
	all, err := messages(s)
	succeed(t, err)
	events := eventsOf(all)
	got, err := alice.chats().RunGroupChat(alice.ctx(t), &behalfv1.RunGroupChatRequest{GroupChat: "outer", Input: "Is it so?"})
	succeed(t, err)
	at, err := alice.runs().GetRun(alice.ctx(t), &behalfv1.GetRunRequest{RunId: got.GetRunId()})
	succeed(t, err)

	wantUsage(t, "all events", want, spent(events))
	wantUsage(t, "RunFinished", want, events[len(events)-1].GetRunFinished().GetUsage())
	wantUsage(t, "RunGroupChatResponse", want, got.GetUsage())
	wantUsage(t, "Run", want, at.GetRun().GetUsage())
}
