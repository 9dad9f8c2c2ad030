package conformance_test

import (
	"errors"
	"fmt"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/team"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/config/autogen"
	"github.com/behalf-dev/behalf/model"
)

// dumpLoad writes the case's team as component JSON, reads that back, and goes on
// with a team that is made from nothing but the configuration that came out.
func (s *session) dumpLoad() error {
	cfg, err := s.b.config()
	if err != nil {
		return err
	}
	data, _, err := autogen.Export(cfg, "team", nil)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	r, err := autogen.Import("team.json", data, autogen.Options{})
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	s.reset()
	s.agent, err = s.b.fromConfig(r.Config, r.Config.GroupChats[r.Target])
	return err
}

// config is the case as a configuration: what has a place there. Functions have
// none. The models are those of the case, at their server.
func (b *builder) config() (*config.Config, error) {
	t := b.c.Team
	if t == nil || t.Until != nil || len(b.c.Agents) > 0 || len(b.c.Teams) > 0 {
		return nil, errors.New("dump_load: only a team of plain agents without a condition is written here")
	}
	g := config.GroupChat{Kind: t.Kind, AllowRepeatedSpeaker: t.AllowRepeated, Entry: t.Graph.Entry, MaxStalls: t.MaxStalls}
	if t.MaxTurns != nil {
		g.MaxTurns = *t.MaxTurns
	}
	if t.Kind == config.Selector || t.Kind == config.Magentic {
		g.Model = map[string]string{config.Selector: "selector", config.Magentic: "orchestrator"}[t.Kind]
	}
	cfg := &config.Config{Models: map[string]config.Model{}, Agents: map[string]config.Agent{}}
	for _, key := range b.c.keys() {
		cfg.Models[key] = config.Model{BaseURL: b.models.URL, Model: modelPrefix + key}
	}
	for _, name := range t.Participants {
		g.Participants = append(g.Participants, config.Participant{Name: name})
		cfg.Agents[name] = config.Agent{Kind: config.KindAssistant, Description: name + " agent", Model: name, MaxToolRounds: 1}
	}
	for _, e := range t.Graph.Edges {
		g.Edges = append(g.Edges, config.Edge{From: e.From, To: e.To, If: e.If, Group: e.Group, Join: e.Join})
	}
	cfg.GroupChats = map[string]config.GroupChat{"team": g}
	return cfg, nil
}

// fromConfig makes a team as the root package does.
func (b *builder) fromConfig(cfg *config.Config, g config.GroupChat) (agents.Agent, error) {
	chat := team.Config{Name: managers[g.Kind], MaxTurns: g.MaxTurns}
	for _, name := range g.Names() {
		a := cfg.Agents[name]
		m, err := b.modelAt(cfg.Models[a.Model])
		if err != nil {
			return nil, err
		}
		one, err := agents.NewAssistant(agents.AssistantConfig{
			Name: name, Description: a.Description, Instructions: a.Instructions, Model: m, MaxToolRounds: a.MaxToolRounds, Reflect: a.Reflect,
		})
		if err != nil {
			return nil, err
		}
		chat.Participants = append(chat.Participants, team.Member{Agent: one})
	}
	switch g.Kind {
	case config.RoundRobin:
		return team.NewRoundRobin(chat)
	case config.Graph:
		return team.NewGraph(graphOf(chat, g))
	case config.Selector:
		m, err := b.modelAt(cfg.Models[g.Model])
		if err != nil {
			return nil, err
		}
		return team.NewSelector(team.SelectorConfig{
			Config: chat, Model: m, Prompt: g.Prompt, AllowRepeats: g.AllowRepeatedSpeaker, Attempts: g.MaxAttempts, History: g.History,
		})
	}
	return nil, fmt.Errorf("dump_load: a team of the kind %s is not made here", g.Kind)
}

func graphOf(chat team.Config, g config.GroupChat) team.GraphConfig {
	out := team.GraphConfig{Config: chat}
	if g.Entry != "" {
		out.Entry = []string{g.Entry}
	}
	for _, e := range g.Edges {
		out.Edges = append(out.Edges, team.Edge{From: e.From, To: e.To, If: e.If, Group: e.Group, Join: team.Join(e.Join)})
	}
	return out
}

// modelAt asks where the configuration says.
func (b *builder) modelAt(m config.Model) (agents.Model, error) {
	return model.NewOpenAI(model.OpenAIConfig{BaseURL: m.BaseURL, Model: m.Model, Retries: -1, NoCoalesce: true, Transport: b.models.transport})
}
