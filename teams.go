package behalf

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/team"
	"github.com/behalf-dev/behalf/config"
)

// team makes a group chat that takes part in the chats of around, from the
// outermost in.
func (c *cast) team(name string, around []string) (*team.Team, error) {
	g := c.cfg.GroupChats[name]
	cfg := team.Config{Name: name, Description: g.Description, Until: condition(g.Termination), MaxTurns: g.MaxTurns}
	for _, p := range g.Participants {
		m, err := c.participant(p, g, append(slices.Clip(around), name))
		if err != nil {
			return nil, err
		}
		cfg.Participants = append(cfg.Participants, m)
	}
	switch g.Kind {
	case config.RoundRobin:
		return team.NewRoundRobin(cfg)
	case config.Selector:
		choose, err := chooser(g.Choose)
		if err != nil {
			return nil, err
		}
		return team.NewSelector(team.SelectorConfig{
			Choose: choose, Config: cfg, Model: c.model(g.Model), Prompt: g.Prompt, PromptAsUser: g.PromptAsUser,
			AllowRepeats: g.AllowRepeatedSpeaker, Attempts: g.MaxAttempts, History: g.History, Stream: g.Stream,
		})
	case config.Swarm:
		return team.NewSwarm(cfg)
	case config.Graph:
		return graph(cfg, g)
	case config.Magentic:
		return team.NewMagentic(team.MagenticConfig{
			Config: cfg, Model: c.model(g.Model), ModelLacks: c.lacks(g.Model),
			MaxStalls: g.MaxStalls, MaxReplans: g.MaxReplans, Attempts: g.MaxAttempts, FinalPrompt: g.FinalPrompt,
		})
	}
	return nil, fmt.Errorf("group_chats.%s: the kind %q is not known here", name, g.Kind)
}

// participant makes who takes part in the innermost of chats, under the ceilings
// of its own, of its place, and of the chat. The chat's ceiling is put on each
// participant, because a chat that is run by itself is no part of their chain.
func (c *cast) participant(p config.Participant, g config.GroupChat, chats []string) (team.Member, error) {
	m := team.Member{Ceiling: ceiling(c.cfg.Agents[p.Name].Scopes, c.cfg.GroupChats[p.Name].Scopes, p.Scopes, g.Scopes)}
	var err error
	if _, nested := c.cfg.GroupChats[p.Name]; nested {
		m.Agent, err = c.team(p.Name, chats)
	} else {
		m.Agent, err = c.agent(p.Name, c.cfg.Offers(p.Name, chats...), slices.Clone(chats))
	}
	if err != nil || len(p.Filter) == 0 {
		return m, err
	}
	f := team.FilterConfig{Name: p.Name, Agent: team.Member{Agent: m.Agent}}
	for _, r := range p.Filter {
		f.Rows = append(f.Rows, team.FilterRow{Source: r.Source, First: r.First, Last: r.Last})
	}
	m.Agent, err = team.NewFilter(f)
	return m, err
}

// chooser gives nil for no expression.
func chooser(expression string) (func(context.Context, []agents.Event) (string, error), error) {
	if expression == "" {
		return nil, nil //nolint:nilnil // the model chooses
	}
	choice, err := config.CompileChoice(expression)
	if err != nil {
		return nil, err
	}
	return func(_ context.Context, said []agents.Event) (string, error) {
		for _, ev := range slices.Backward(said) {
			if m, ok := ev.Body.(agents.Message); ok {
				return choice.Name(cmp.Or(m.Structured, m.Text), ev.Source), nil
			}
		}
		return "", nil
	}, nil
}

func graph(cfg team.Config, g config.GroupChat) (*team.Team, error) {
	out := team.GraphConfig{Config: cfg}
	if g.Entry != "" {
		out.Entry = []string{g.Entry}
	}
	for _, e := range g.Edges {
		edge := team.Edge{From: e.From, To: e.To, If: e.If, Label: e.When, Group: e.Group, Join: team.Join(e.Join)}
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
	return team.NewGraph(out)
}

// condition gives nil for none.
func condition(t *config.Termination) team.Condition {
	switch {
	case t == nil:
		return nil
	case t.Any != nil:
		return team.Any(conditions(t.Any))
	case t.All != nil:
		return team.All(conditions(t.All))
	case t.MaxMessages != nil:
		return team.MaxMessages{N: t.MaxMessages.Count, Events: t.MaxMessages.Events}
	case t.Mention != nil:
		return team.TextMention{Text: t.Mention.Text, Sources: t.Mention.Sources}
	case t.StopMessage:
		return team.StopMessage{}
	case t.TextMessage == "*":
		return team.TextMessage{}
	case t.TextMessage != "":
		return team.TextMessage{Source: t.TextMessage}
	case t.Handoff != "":
		return team.HandoffTo{Target: t.Handoff}
	case t.Source != nil:
		return team.SourceMatch{Sources: t.Source}
	case t.Function != "":
		return team.FunctionCall{Name: t.Function}
	case t.Tokens != nil:
		return team.TokenUsage{Total: int64(t.Tokens.Total), Prompt: int64(t.Tokens.Prompt), Completion: int64(t.Tokens.Completion)}
	}
	return team.Timeout{After: t.Timeout}
}

func conditions(list []config.Termination) []team.Condition {
	out := make([]team.Condition, len(list))
	for i := range list {
		out[i] = condition(&list[i])
	}
	return out
}
