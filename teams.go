package behalf

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/config"
)

// team makes a group chat that takes part in the chats of around, from the
// outermost in.
func (c *cast) team(name string, around []string) (*agents.Team, error) {
	g := c.cfg.GroupChats[name]
	cfg := agents.TeamConfig{Name: name, Description: g.Description, Until: condition(g.Termination), MaxTurns: g.MaxTurns}
	for _, p := range g.Participants {
		m, err := c.participant(p, g, append(slices.Clip(around), name))
		if err != nil {
			return nil, err
		}
		cfg.Participants = append(cfg.Participants, m)
	}
	switch g.Kind {
	case config.RoundRobin:
		return agents.NewRoundRobin(cfg)
	case config.Selector:
		return agents.NewSelector(agents.SelectorConfig{
			TeamConfig: cfg, Model: c.opt.models[g.Model], Prompt: g.Prompt, PromptAsUser: g.PromptAsUser,
			AllowRepeats: g.AllowRepeatedSpeaker, Attempts: g.MaxAttempts, History: g.History,
		})
	case config.Swarm:
		return agents.NewSwarm(cfg)
	case config.Graph:
		return graph(cfg, g)
	case config.Magentic:
		return agents.NewMagentic(agents.MagenticConfig{
			TeamConfig: cfg, Model: c.opt.models[g.Model], ModelLacks: c.lacks(g.Model),
			MaxStalls: g.MaxStalls, MaxReplans: g.MaxReplans, Attempts: g.MaxAttempts, FinalPrompt: g.FinalPrompt,
		})
	}
	return nil, fmt.Errorf("group_chats.%s: the kind %q is not known here", name, g.Kind)
}

// participant makes who takes part in the innermost of chats, under the ceilings
// of its own, of its place, and of the chat. The chat's ceiling is put on each
// participant, because a chat that is run by itself is no part of their chain.
func (c *cast) participant(p config.Participant, g config.GroupChat, chats []string) (agents.Member, error) {
	m := agents.Member{Ceiling: ceiling(c.cfg.Agents[p.Name].Scopes, c.cfg.GroupChats[p.Name].Scopes, p.Scopes, g.Scopes)}
	var err error
	if _, nested := c.cfg.GroupChats[p.Name]; nested {
		m.Agent, err = c.team(p.Name, chats)
	} else {
		m.Agent, err = c.agent(p.Name, c.cfg.Offers(p.Name, chats...))
	}
	if err != nil || len(p.Filter) == 0 {
		return m, err
	}
	f := agents.FilterConfig{Name: p.Name, Agent: agents.Member{Agent: m.Agent}}
	for _, r := range p.Filter {
		f.Rows = append(f.Rows, agents.FilterRow{Source: r.Source, First: r.First, Last: r.Last})
	}
	m.Agent, err = agents.NewFilter(f)
	return m, err
}

func graph(cfg agents.TeamConfig, g config.GroupChat) (*agents.Team, error) {
	out := agents.GraphConfig{TeamConfig: cfg}
	if g.Entry != "" {
		out.Entry = []string{g.Entry}
	}
	for _, e := range g.Edges {
		edge := agents.Edge{From: e.From, To: e.To, If: e.If, Label: e.When, Group: e.Group, Join: agents.Join(e.Join)}
		if e.When != "" {
			when, err := config.Compile(e.When)
			if err != nil {
				return nil, err
			}
			edge.When = func(ev agents.Event) bool {
				m, ok := ev.Body.(agents.Message)
				return ok && when.Holds(cmp.Or(m.Structured, m.Text), ev.Source)
			}
		}
		out.Edges = append(out.Edges, edge)
	}
	return agents.NewGraph(out)
}

// condition gives nil for none.
func condition(t *config.Termination) agents.Condition {
	switch {
	case t == nil:
		return nil
	case t.Any != nil:
		return agents.Any(conditions(t.Any))
	case t.All != nil:
		return agents.All(conditions(t.All))
	case t.MaxMessages != nil:
		return agents.MaxMessages{N: t.MaxMessages.Count, Events: t.MaxMessages.Events}
	case t.Mention != nil:
		return agents.TextMention{Text: t.Mention.Text, Sources: t.Mention.Sources}
	case t.StopMessage:
		return agents.StopMessage{}
	case t.TextMessage == "*":
		return agents.TextMessage{}
	case t.TextMessage != "":
		return agents.TextMessage{Source: t.TextMessage}
	case t.Handoff != "":
		return agents.HandoffTo{Target: t.Handoff}
	case t.Source != nil:
		return agents.SourceMatch{Sources: t.Source}
	case t.Function != "":
		return agents.FunctionCall{Name: t.Function}
	case t.Tokens != nil:
		return agents.TokenUsage{Total: int64(t.Tokens.Total), Prompt: int64(t.Tokens.Prompt), Completion: int64(t.Tokens.Completion)}
	}
	return agents.Timeout{After: t.Timeout}
}

func conditions(list []config.Termination) []agents.Condition {
	out := make([]agents.Condition, len(list))
	for i := range list {
		out[i] = condition(&list[i])
	}
	return out
}
