package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/team"
	"github.com/behalf-dev/behalf/config"
)

// builder makes the agents and teams of a case. What a case shares by name, such
// as an agent that is a tool, is made once.
type builder struct {
	c      *testCase
	models *scripted
	gates  *gates
	made   map[string]agents.Agent
}

// managers are AutoGen's names of what leads a team.
var managers = map[string]string{
	"round_robin": "RoundRobinGroupChatManager", "selector": "SelectorGroupChatManager", "swarm": "SwarmGroupChatManager",
	"magentic": "MagenticOneOrchestrator", "graph": "GraphManager",
}

// build makes what the case runs.
func (b *builder) build() (agents.Agent, error) {
	b.made = map[string]agents.Agent{}
	if b.c.Team != nil {
		return b.team(managers[b.c.Team.Kind], *b.c.Team)
	}
	return b.agent(b.c.Agent)
}

// agent is a participant: a named team or an agent.
func (b *builder) agent(name string) (agents.Agent, error) {
	if a, ok := b.made[name]; ok {
		return a, nil
	}
	var a agents.Agent
	var err error
	if chat, ok := b.c.Teams[name]; ok {
		a, err = b.team(name, chat)
	} else {
		a, err = b.single(name, b.c.Agents[name])
	}
	b.made[name] = a
	return a, err
}

func (b *builder) single(name string, s agentSpec) (agents.Agent, error) {
	switch s.Kind {
	case "", "assistant":
		return b.assistant(name, s)
	case "echo":
		return echo{name: name}, nil
	case "stopper":
		return echo{name: name, stop: s.At}, nil
	case "flaky":
		return echo{name: name, fail: errFlaky}, nil
	case "user_proxy":
		return agents.NewHuman(agents.HumanConfig{Name: name, Description: name + " agent"})
	case "filter":
		return b.filter(name, s)
	case "som":
		return b.society(name, s)
	case "code":
		return b.coder(name, s)
	}
	return nil, fmt.Errorf("no such kind of agent: %s", s.Kind)
}

// assistant has AutoGen's defaults: one tool round, and reflection only with an
// output schema.
func (b *builder) assistant(name string, s agentSpec) (agents.Agent, error) {
	m, err := b.models.model(name)
	if err != nil {
		return nil, err
	}
	cfg := agents.AssistantConfig{
		Name: name, Description: name + " agent", Instructions: s.System, Model: m,
		Window: s.Context.window(), SummaryFormat: s.Summary,
		MaxToolRounds: max(s.MaxIter, 1), Reflect: s.Output != nil, ModelLacks: b.c.Model.lacks(),
	}
	if s.Reflect != nil {
		cfg.Reflect = *s.Reflect
	}
	if len(s.Memory) > 0 {
		cfg.Memory = agents.ListMemory(s.Memory)
	}
	if s.Output != nil {
		cfg.Output = agents.Output{Schema: []byte(schema(s.Output)), Format: s.OutputFormat}
	}
	for _, h := range s.Handoffs {
		cfg.Handoffs = append(cfg.Handoffs, agents.Handoff{To: h.Target, Tool: h.Name, Message: h.Message, Description: h.Description})
	}
	if cfg.Toolbox, err = b.toolbox(name, slices.Concat(append(s.Workbench, s.Tools)...)); err != nil {
		return nil, err
	}
	return agents.NewAssistant(cfg)
}

func (w *windowSpec) window() agents.Window {
	switch {
	case w == nil:
		return nil
	case w.Buffered > 0:
		return agents.Buffered{N: w.Buffered}
	case len(w.HeadTail) == 2:
		return agents.HeadTail{Head: w.HeadTail[0], Tail: w.HeadTail[1]}
	}
	return agents.TokenLimit{Max: w.TokenLimit, Count: func(text string) int { return len(strings.Fields(text)) }}
}

func schema(fields map[string]string) string {
	properties := map[string]any{}
	for name, kind := range fields {
		properties[name] = map[string]string{"type": kind}
	}
	return marshal(map[string]any{
		"type": "object", "properties": properties, "required": slices.Sorted(maps.Keys(fields)), "additionalProperties": false,
	})
}

func (b *builder) toolbox(agent string, specs []toolSpec) (agents.Toolbox, error) {
	var names []string
	var asTools []team.AgentTool
	for _, s := range specs {
		if s.Tool != "" {
			names = append(names, s.Tool)
			continue
		}
		a, err := b.agent(s.Agent + s.Team)
		if err != nil {
			return nil, err
		}
		asTools = append(asTools, team.AgentTool{Agent: a, Name: s.Name, LastOnly: s.Last})
	}
	box, err := b.gates.gate(agent, names)
	if err != nil || len(asTools) == 0 {
		return box, err
	}
	return team.AsTools(box, permit, asTools...)
}

func (b *builder) filter(name string, s agentSpec) (agents.Agent, error) {
	inner, err := b.agent(s.Wraps)
	if err != nil {
		return nil, err
	}
	cfg := team.FilterConfig{Name: name, Agent: team.Member{Agent: inner}}
	for _, r := range s.PerSource {
		row := team.FilterRow{Source: r.Source}
		switch r.Position {
		case "first":
			row.First = r.Count
		case "last":
			row.Last = r.Count
		}
		cfg.Rows = append(cfg.Rows, row)
	}
	return team.NewFilter(cfg)
}

func (b *builder) society(name string, s agentSpec) (agents.Agent, error) {
	chat, err := b.agent(s.Team)
	if err != nil {
		return nil, err
	}
	m, err := b.models.model(name)
	if err != nil {
		return nil, err
	}
	return team.NewSociety(team.SocietyConfig{Name: name, Description: name + " agent", Team: team.Member{Agent: chat}, Model: m})
}

func (b *builder) team(name string, s teamSpec) (agents.Agent, error) {
	cfg := team.Config{Name: name, Description: name + " team"}
	for _, p := range s.Participants {
		a, err := b.agent(p)
		if err != nil {
			return nil, err
		}
		cfg.Participants = append(cfg.Participants, team.Member{Agent: a})
	}
	if s.MaxTurns != nil {
		cfg.MaxTurns = *s.MaxTurns
		if err := maxTurnsAllowed(cfg.MaxTurns); err != nil {
			return nil, err
		}
	}
	if s.Until != nil {
		var err error
		if cfg.Until, err = s.Until.build(); err != nil {
			return nil, err
		}
	}
	switch s.Kind {
	case "round_robin":
		return team.NewRoundRobin(cfg)
	case "selector":
		return b.selector(cfg, s)
	case "swarm":
		return team.NewSwarm(cfg)
	case "graph":
		return team.NewGraph(s.Graph.config(cfg))
	case "magentic":
		m, err := b.models.model("orchestrator")
		if err != nil {
			return nil, err
		}
		return team.NewMagentic(team.MagenticConfig{Config: cfg, Model: m, MaxStalls: s.MaxStalls})
	}
	return nil, fmt.Errorf("no such kind of team: %s", s.Kind)
}

// maxTurnsAllowed asks the configuration, which is where somebody can write a zero:
// for a TeamConfig that is the default.
func maxTurnsAllowed(turns int) error {
	file := fmt.Sprintf("group_chats:\n  g: { kind: round_robin, participants: [a], max_turns: %d }\n", turns)
	_, err := config.Parse("behalf.yaml", []byte(file), config.World{})
	if problems, ok := errors.AsType[*config.Problems](err); ok {
		for _, p := range problems.List {
			if strings.Contains(fmt.Sprint(p), "max_turns") {
				return fmt.Errorf("%v", p)
			}
		}
	}
	return nil
}

func (b *builder) selector(chat team.Config, s teamSpec) (agents.Agent, error) {
	m, err := b.models.model("selector")
	if err != nil {
		return nil, err
	}
	cfg := team.SelectorConfig{Config: chat, Model: m, AllowRepeats: s.AllowRepeated, Stream: s.Stream}
	if s.Context != nil {
		cfg.History = s.Context.Buffered
	}
	if s.SelectorFunc != nil {
		cfg.Choose = func(_ context.Context, said []agents.Event) (string, error) {
			if name := bySource(s.SelectorFunc, said); name != nil {
				return *name, nil
			}
			return "", nil
		}
	}
	if s.CandidateFunc != nil {
		cfg.Candidates = func(_ context.Context, said []agents.Event) ([]string, error) {
			return bySource(s.CandidateFunc, said), nil
		}
	}
	return team.NewSelector(cfg)
}

// bySource looks up the last message's source; * is all others.
func bySource[T any](table map[string]T, said []agents.Event) T {
	if v, ok := table[said[len(said)-1].Source]; ok {
		return v
	}
	return table["*"]
}

func (g *graphSpec) config(chat team.Config) team.GraphConfig {
	cfg := team.GraphConfig{Config: chat}
	for _, e := range g.Edges {
		cfg.Edges = append(cfg.Edges, team.Edge{From: e.From, To: e.To, If: e.If, Group: e.Group, Join: team.Join(e.Join)})
	}
	if g.Entry != "" {
		cfg.Entry = []string{g.Entry}
	}
	return cfg
}

// build makes the condition of a case.
func (c *condition) build() (team.Condition, error) {
	switch {
	case c.MaxMessages > 0:
		return team.MaxMessages{N: c.MaxMessages, Events: c.IncludeEvents}, nil
	case c.Text != "":
		return team.TextMention{Text: c.Text, Sources: c.Sources}, nil
	case c.StopMessage:
		return team.StopMessage{}, nil
	case c.TextMessage == "any":
		return team.TextMessage{}, nil
	case c.TextMessage != "":
		return team.TextMessage{Source: c.TextMessage}, nil
	case c.Function != "":
		return team.FunctionCall{Name: c.Function}, nil
	case c.Tokens != nil:
		return team.TokenUsage{Total: c.Tokens.Total, Prompt: c.Tokens.Prompt, Completion: c.Tokens.Completion}, nil
	case c.Handoff != "":
		return team.HandoffTo{Target: c.Handoff}, nil
	case c.Source != nil:
		return team.SourceMatch{Sources: c.Source}, nil
	case c.Timeout > 0:
		return team.Timeout{After: seconds(c.Timeout)}, nil
	case c.External:
		return team.External{}, nil
	case c.Func == "last_text_is_stop":
		return team.Func{Met: lastTextIsStop}, nil
	case c.Any != nil:
		members, err := buildAll(c.Any)
		return team.Any(members), err
	case c.All != nil:
		members, err := buildAll(c.All)
		return team.All(members), err
	}
	return nil, fmt.Errorf("no such condition: %+v", c)
}

func buildAll(specs []condition) ([]team.Condition, error) {
	var all []team.Condition
	for i := range specs {
		c, err := specs[i].build()
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

func lastTextIsStop(d *team.Delta) bool {
	n := len(d.Items)
	return n > 0 && d.Items[n-1].Kind == team.ItemKind(agents.KindText) && d.Items[n-1].Text == "stop"
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
