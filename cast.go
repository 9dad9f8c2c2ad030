package behalf

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/agents/team"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/interceptors"
	"github.com/behalf-dev/behalf/memory"
	"github.com/behalf-dev/behalf/model"
	"github.com/behalf-dev/behalf/tools"
)

// cast makes the agents of the config. The same agent is made anew for each place
// where it acts, because the place says whom it may hand off to: other agents when
// it is run by itself, participants in a group chat, nobody when it is a tool.
type cast struct {
	*snapshot
	callees map[string]agents.Agent // made as tools, by name; all places share them
}

// buildAgents makes everything that can be run.
func (s *snapshot) buildAgents() error {
	c := &cast{s, map[string]agents.Agent{}}
	var err error
	if s.agents, err = c.desks(); err != nil {
		return err
	}
	s.chats = map[string]agents.Agent{}
	for name := range s.cfg.GroupChats {
		if s.chats[name], err = c.team(name, nil); err != nil {
			return err
		}
	}
	return nil
}

// target finds what a run is about.
func (s *Server) target(name string, groupChat bool) (agents.Agent, bool) {
	now := s.current()
	all := now.agents
	if groupChat {
		all = now.chats
	}
	a, ok := all[name]
	if !ok {
		return nil, false
	}
	return s.overheard(a, groupChat), true
}

// desks makes a desk for each agent: the agent itself and everybody it can hand
// over to, near and far.
func (c *cast) desks() (map[string]agents.Agent, error) {
	members, desks := map[string]team.Member{}, map[string]agents.Agent{}
	for name, a := range c.cfg.Agents {
		if a.Kind == config.KindHuman {
			continue // nobody to be run
		}
		agent, err := c.agent(name, c.cfg.Offers(name), nil)
		if err != nil {
			return nil, err
		}
		members[name] = team.Member{Agent: agent, Ceiling: ceiling(a.Scopes)}
	}
	for name := range members {
		desk, err := team.NewDesk(team.DeskConfig{Entry: name, Members: c.reachable(members, name)})
		if err != nil {
			return nil, err
		}
		desks[name] = desk
	}
	return desks, nil
}

// reachable are the members that a conversation that starts at entry can get to.
func (c *cast) reachable(members map[string]team.Member, entry string) []team.Member {
	seen := map[string]bool{entry: true}
	for queue := []string{entry}; len(queue) > 0; queue = queue[1:] {
		for _, h := range c.cfg.Offers(queue[0]) {
			if !seen[h.To] {
				seen[h.To] = true
				queue = append(queue, h.To)
			}
		}
	}
	var out []team.Member
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		out = append(out, members[name])
	}
	return out
}

// agent makes one of the agents, which is offered these hand-offs and takes part in
// these chats, from the outermost in.
func (c *cast) agent(name string, offers []config.Handoff, chats []string) (agents.Agent, error) {
	a := c.cfg.Agents[name]
	switch a.Kind {
	case config.KindAssistant:
		return c.assistant(name, a, offers, chats)
	case config.KindHuman:
		return agents.NewHuman(agents.HumanConfig{Name: name, Description: a.Description, Prompt: a.Prompt})
	case config.KindSociety:
		return c.society(name, a)
	case config.KindCode:
		return c.coder(name, a, chats)
	}
	return nil, fmt.Errorf("agents.%s: the kind %q is not known here", name, a.Kind)
}

func (c *cast) assistant(name string, a config.Agent, offers []config.Handoff, chats []string) (agents.Agent, error) {
	box, err := c.toolbox(name, a, chats)
	if err != nil {
		return nil, err
	}
	out, err := output(a.Output)
	if err != nil {
		return nil, fmt.Errorf("agents.%s.output: %w", name, err)
	}
	cfg := agents.AssistantConfig{
		Name: name, Description: a.Description, Instructions: a.Instructions, Model: c.model(a.Model), ModelLacks: c.lacks(a.Model),
		Toolbox: box, Handoffs: c.handoffs(offers), Window: window(a.Context), Output: out,
		MaxToolRounds: a.MaxToolRounds, Reflect: a.Reflect, SummaryFormat: a.Summary,
		MaxTurns: a.MaxTurns, ParallelCalls: a.ParallelCalls, MaxToolsPerRun: c.cfg.Runs.MaxToolCalls,
	}
	if cfg.ModelLacks.Tools && len(a.Tools) == 0 {
		cfg.Toolbox = nil // a gate without tools
	}
	cfg.Memory = c.memory(a)
	for _, m := range a.Opening {
		cfg.Opening = append(cfg.Opening, agents.PromptMessage{Role: agents.PromptRole(m.Role), Text: m.Text})
	}
	return agents.NewAssistant(cfg)
}

// memory gives nil for none.
func (c *cast) memory(a config.Agent) agents.Memory {
	var all agents.Memories
	if len(a.Memory) > 0 {
		all = append(all, agents.ListMemory(a.Memory))
	}
	if len(a.Remembers) > 0 {
		all = append(all, &memory.Recaller{
			Store: &memories{c.Server}, Person: slices.Contains(a.Remembers, config.RemembersPerson), Session: slices.Contains(a.Remembers, config.RemembersSession),
		})
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// coder makes an agent that has code run, by the one tool that it may call.
func (c *cast) coder(name string, a config.Agent, chats []string) (agents.Agent, error) {
	box, err := c.toolbox(name, a, chats)
	if err != nil {
		return nil, err
	}
	cfg := agents.CoderConfig{
		Name: name, Description: a.Description, Tool: strings.Join(a.Tools, " "), Toolbox: box, Languages: a.Languages, Sources: a.Sources,
		Instructions: a.Instructions, Window: window(a.Context), Retries: a.Retries,
	}
	if a.Model != "" {
		cfg.Model, cfg.ModelLacks = c.model(a.Model), c.lacks(a.Model)
	}
	return agents.NewCoder(cfg)
}

// model is a model that is asked only under authority that holds.
func (c *cast) model(name string) agents.Model { return model.Live(c.models[name], c.guard) }

// lacks is what a model, or one that may answer for it, cannot do.
func (c *cast) lacks(model string) agents.Lacks {
	return agents.Lacks{
		Tools:            c.cfg.Lacking(model, config.LacksTools) != "",
		StructuredOutput: c.cfg.Lacking(model, config.LacksStructuredOutput) != "",
	}
}

// toolbox is the gate, and the agents among the tools behind the same gate.
func (c *cast) toolbox(name string, a config.Agent, chats []string) (agents.Toolbox, error) {
	gate, err := tools.NewGate(tools.GateConfig{
		Registry: c.registry, Guard: c.guard, Journal: c.store, Agent: name, Tools: c.present(a.Tools), Live: onTheWay{standing{c.snapshot, chats}},
		Clock: c.opt.now, Trace: interceptors.Trace, Report: c.reportTool, Limits: tools.Limits{MaxResult: c.cfg.Server.Limits.ResultBytes}, Lanes: c.lanes,
	})
	if err != nil {
		return nil, err
	}
	var nested []team.AgentTool
	for _, ref := range a.Tools {
		tool := strings.TrimSuffix(ref, "/*")
		section := c.cfg.Tools[tool]
		callee := section.Callee()
		twice := slices.ContainsFunc(nested, func(t team.AgentTool) bool { return t.Name == tool })
		if callee == "" || twice {
			continue
		}
		agent, err := c.callee(callee)
		if err != nil {
			return nil, err
		}
		d, _ := c.registry.Descriptor(tool)
		nested = append(nested, team.AgentTool{
			Agent: agent, Ceiling: c.ceiling(callee), Name: tool, Description: d.Description, LastOnly: section.Result == "last",
		})
	}
	if len(nested) == 0 {
		return gate, nil
	}
	return team.AsTools(gate, gate.Govern, nested...)
}

// callee makes an agent or group chat that is a tool.
func (c *cast) callee(name string) (agents.Agent, error) {
	if made := c.callees[name]; made != nil {
		return made, nil
	}
	var agent agents.Agent
	var err error
	if _, chat := c.cfg.GroupChats[name]; chat {
		agent, err = c.team(name, nil)
	} else {
		agent, err = c.agent(name, nil, nil)
	}
	c.callees[name] = agent
	return agent, err
}

func (c *cast) society(name string, a config.Agent) (agents.Agent, error) {
	chat, err := c.team(a.GroupChat, nil)
	if err != nil {
		return nil, err
	}
	return team.NewSociety(team.SocietyConfig{
		Name: name, Description: a.Description, Team: team.Member{Agent: chat, Ceiling: c.ceiling(a.GroupChat)},
		Model: c.model(a.Model), Instruction: a.Instructions, ResponsePrompt: a.Response, Window: window(a.Context),
	})
}

func (c *cast) handoffs(offers []config.Handoff) []agents.Handoff {
	var out []agents.Handoff
	for _, h := range offers {
		out = append(out, agents.Handoff{
			To: h.To, Tool: h.Name, Description: cmp.Or(h.Description, c.description(h.To)), Message: h.Message, Scopes: h.Scopes,
		})
	}
	return out
}

// description is what an agent or group chat says of itself.
func (s *snapshot) description(name string) string {
	return cmp.Or(s.cfg.Agents[name].Description, s.cfg.GroupChats[name].Description)
}

// ceiling is an agent's or group chat's own.
func (c *cast) ceiling(name string) *identity.Scopes {
	if g, ok := c.cfg.GroupChats[name]; ok {
		return ceiling(g.Scopes)
	}
	return ceiling(c.cfg.Agents[name].Scopes)
}

// ceiling is what all of these lists let through. It keeps the difference between
// no ceiling (nil) and nothing (empty).
func ceiling(lists ...*[]string) *identity.Scopes {
	var out *identity.Scopes
	for _, names := range lists {
		if names == nil {
			continue
		}
		s := identity.NewScopes(*names...)
		if out != nil {
			s = out.Narrow(&s)
		}
		out = &s
	}
	return out
}

func window(w *config.Window) agents.Window {
	switch {
	case w == nil:
		return nil
	case w.HeadTail != nil:
		return agents.HeadTail{Head: w.HeadTail.Head, Tail: w.HeadTail.Tail}
	case w.TokenLimit > 0:
		return agents.TokenLimit{Max: w.TokenLimit}
	}
	return agents.Buffered{N: w.Buffered}
}

func output(o *config.Output) (agents.Output, error) {
	if o == nil {
		return agents.Output{}, nil
	}
	schema := json.RawMessage(o.Schema)
	check, err := tools.AnswerCheck(schema)
	return agents.Output{Schema: schema, Format: o.Format, Validate: check}, err
}

// checkOutputs finds schemas of answers that cannot be used.
func (s *snapshot) checkOutputs() error {
	var list []config.Problem
	for _, name := range slices.Sorted(maps.Keys(s.cfg.Agents)) {
		o := s.cfg.Agents[name].Output
		if o == nil || len(o.Schema) == 0 {
			continue // none, or the file's own problem
		}
		if _, err := output(o); err != nil {
			first, _, _ := strings.Cut(err.Error(), "\n")
			list = append(list, s.cfg.Problem("agents."+name+".output.schema", first, "correct the schema"))
		}
	}
	if len(list) > 0 {
		return &config.Problems{List: list}
	}
	return nil
}
