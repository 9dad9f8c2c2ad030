package server_test

import (
	"testing"

	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
)

// TestAConfiguredGraphIsShownWhole goes through a real config: a loop, both kinds
// of conditions, a group of edges and a nested chat, which is shown by its name.
func TestAConfiguredGraphIsShownWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{
		policies: map[string]string{"look.cedar": `@id("look") permit (principal in Role::"support", action == Action::"get_group_chat", resource);`},
		edit: func(c *config.Config) {
			for _, name := range []string{"writer", "critic", "clerk", "editor"} {
				c.Agents[name] = config.Agent{Kind: config.KindAssistant, Model: "default"}
			}
			c.GroupChats = map[string]config.GroupChat{
				"facts": {Kind: config.RoundRobin, Participants: []config.Participant{{Name: "clerk"}}, MaxTurns: 1},
				"essay": {
					Kind: config.Graph, Description: "Writes.", Entry: "writer", MaxTurns: 9,
					Participants: []config.Participant{{Name: "writer"}, {Name: "critic"}, {Name: "facts"}, {Name: "editor"}},
					Termination:  &config.Termination{Mention: &config.Mention{Text: "DONE"}},
					Edges: []config.Edge{
						{From: "writer", To: "critic"},
						{From: "writer", To: "facts"},
						{From: "critic", To: "writer", If: "again", Join: "any"},
						{From: "critic", To: "editor", When: `text.contains("fine")`, Group: "agreed", Join: "all"},
						{From: "facts", To: "editor", Group: "agreed", Join: "all"},
					},
				},
			}
		},
	})
	a := w.as(alice)

	got, err := a.chats().GetGroupChat(a.ctx(t), &behalfv1.GetGroupChatRequest{GroupChat: "essay"})
	succeed(t, err)
	inner, err := a.chats().GetGroupChat(a.ctx(t), &behalfv1.GetGroupChatRequest{GroupChat: got.GetGroupChat().GetParticipants()[2]})
	succeed(t, err)

	want := &behalfv1.GroupChat{
		Name: "essay", Description: "Writes.", Kind: behalfv1.GroupChatKind_GROUP_CHAT_KIND_GRAPH,
		Participants: []string{"writer", "critic", "facts", "editor"}, TerminationJson: `{"mention":{"text":"DONE"}}`, MaxTurns: 9,
		Graph: &behalfv1.GroupChatGraph{Entry: "writer", Edges: []*behalfv1.GroupChatEdge{
			{From: "writer", To: "critic"},
			{From: "writer", To: "facts"},
			{From: "critic", To: "writer", Condition: "again", Join: behalfv1.GroupChatJoin_GROUP_CHAT_JOIN_ANY},
			{From: "critic", To: "editor", Condition: `text.contains("fine")`, Group: "agreed", Join: behalfv1.GroupChatJoin_GROUP_CHAT_JOIN_ALL},
			{From: "facts", To: "editor", Group: "agreed", Join: behalfv1.GroupChatJoin_GROUP_CHAT_JOIN_ALL},
		}},
	}
	if diff := cmp.Diff(want, got.GetGroupChat(), protocmp.Transform()); diff != "" {
		t.Errorf("essay (-want +got):\n%s", diff)
	}
	nested := &behalfv1.GroupChat{Name: "facts", Kind: behalfv1.GroupChatKind_GROUP_CHAT_KIND_ROUND_ROBIN, Participants: []string{"clerk"}, MaxTurns: 1}
	if diff := cmp.Diff(nested, inner.GetGroupChat(), protocmp.Transform()); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
}
