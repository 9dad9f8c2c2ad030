package server_test

import (
	"slices"
	"testing"

	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
)

// TestListsShowWhatTheCallerMayRun has two agents and two group chats, of which
// support may run one each, managers all of them and auditors none.
func TestListsShowWhatTheCallerMayRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{
		policies: map[string]string{"lists.cedar": `
@id("staff-chat") permit (principal, action == Action::"run_group_chat", resource)
when { principal in Role::"support" || principal in Role::"manager" };
@id("billing-is-for-managers") forbid (principal, action == Action::"run_agent", resource == Agent::"billing") unless { principal in Role::"manager" };
@id("board-is-for-managers") forbid (principal, action == Action::"run_group_chat", resource == GroupChat::"board") unless { principal in Role::"manager" };
@id("not-too-often") @rate("60/1m") forbid (principal, action == Action::"run_group_chat", resource == GroupChat::"panel");
`},
		edit: func(c *config.Config) {
			c.GroupChats = map[string]config.GroupChat{
				"board": {Kind: config.RoundRobin, Participants: []config.Participant{{Name: "triage"}}},
				"panel": {Kind: config.RoundRobin, Participants: []config.Participant{{Name: "triage"}}},
			}
		},
	})
	for _, c := range []struct {
		who    *client
		agents []string
		chats  []string
	}{
		{w.as(alice), []string{"support", "triage"}, []string{"panel"}},
		{w.as(bob), []string{"billing", "support", "triage"}, []string{"board", "panel"}},
		{w.as(carol), nil, nil},
	} {
		list, err := c.who.agents().ListAgents(c.who.ctx(t), &behalfv1.ListAgentsRequest{})
		succeed(t, err)
		var agents []string
		for _, a := range list.GetAgents() {
			agents = append(agents, a.GetName())
		}
		chats, err := c.who.chats().ListGroupChats(c.who.ctx(t), &behalfv1.ListGroupChatsRequest{})
		succeed(t, err)
		var names []string
		for _, g := range chats.GetGroupChats() {
			names = append(names, g.GetName())
		}
		if !slices.Equal(agents, c.agents) || !slices.Equal(names, c.chats) {
			t.Errorf("%v: got %q and %q, want %q and %q", c.who.md, agents, names, c.agents, c.chats)
		}
	}

	first, err := w.as(bob).agents().ListAgents(w.as(bob).ctx(t), &behalfv1.ListAgentsRequest{PageSize: 1})
	succeed(t, err)
	alice := w.as(alice)
	rest, err := alice.agents().ListAgents(alice.ctx(t), &behalfv1.ListAgentsRequest{PageSize: 1, PageToken: first.GetNextPageToken()})
	succeed(t, err)
	if len(rest.GetAgents()) != 1 || rest.GetAgents()[0].GetName() != "support" {
		t.Errorf("got %v behind a name that is not in the list, want support", rest)
	}
	bob := w.as(bob)
	for _, r := range bob.records(t, &behalfv1.QueryAuditRequest{}) {
		if a := r.GetAction(); a == "run_agent" || a == "run_group_chat" {
			t.Errorf("a list has put %v on record", r)
		}
	}
}
