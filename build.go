package behalf

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/interceptors"
	"github.com/behalf-dev/behalf/model"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/runs"
	"github.com/behalf-dev/behalf/tools"
)

// builtins collects the typed functions that the config's toolsets name, under
// the toolset's name.
func (s *Server) builtins() (list []tools.Tool, problems []error) {
	for _, name := range slices.Sorted(maps.Keys(s.cfg.Tools)) {
		section := s.cfg.Tools[name]
		if section.Builtin == "" {
			continue
		}
		functions, ok := s.opt.tools[section.Builtin]
		if !ok {
			problems = append(problems, fmt.Errorf("tools.%s: this program has no tools called %q; pass them with behalf.WithTools", name, section.Builtin))
		}
		for _, t := range functions {
			t.Toolset = name
			list = append(list, t)
		}
	}
	return list, problems
}

// known lists the tools by the config key that brings them.
func (s *Server) known() map[string][]string {
	out := map[string][]string{}
	for _, name := range s.registry.Names() {
		if d, ok := s.registry.Descriptor(name); ok {
			out[d.Toolset] = append(out[d.Toolset], name)
		}
	}
	return out
}

// checkTools finds agents that name tools which nobody offers.
func (s *Server) checkTools() error {
	if list := s.cfg.CheckTools(s.known()); len(list) > 0 {
		return &config.Problems{List: list}
	}
	return nil
}

// Check finds what is wrong with a config beyond the file itself: its tools,
// models and policies. Nothing is opened or started. It gives the tools that
// each section brings and which of them only read.
func Check(cfg *config.Config, opts ...Option) (known map[string][]string, reads func(tool string) bool, err error) {
	s := &Server{cfg: cfg, opt: defaults(opts)}
	if _, err := s.check(); err != nil {
		return nil, nil, err
	}
	return s.known(), func(name string) bool {
		d, ok := s.registry.Descriptor(name)
		return ok && d.Effect == tools.Read
	}, nil
}

// Policies loads the policies of a config as the service would.
func Policies(cfg *config.Config, opts ...Option) (*policy.Set, error) {
	s := &Server{cfg: cfg, opt: defaults(opts)}
	return s.check()
}

func (s *Server) loadPolicies() (*policy.Set, error) {
	actions := interceptors.Actions()
	return policy.Load(policy.Config{
		Dir: s.cfg.Policy.Dir, Tools: s.registry.Schemas(), Actions: slices.Sorted(maps.Keys(actions)), Resources: actions,
		Agents: slices.Sorted(maps.Keys(s.cfg.Agents)), GroupChats: slices.Sorted(maps.Keys(s.cfg.GroupChats)),
	})
}

// buildModels makes the models that were not passed as options, the plain ones
// first and then those with fallbacks.
func (s *Server) buildModels() error {
	var problems []error
	plain := map[string]agents.Model{}
	for _, name := range slices.Sorted(maps.Keys(s.cfg.Models)) {
		if s.opt.models[name] != nil {
			continue
		}
		m, err := newModel(s.cfg.Models[name])
		if err != nil {
			problems = append(problems, fmt.Errorf("models.%s: %w", name, err))
		}
		plain[name] = m
	}
	for name, m := range plain {
		var rest []agents.Model
		for _, f := range s.cfg.Models[name].Fallbacks {
			rest = append(rest, plain[f])
		}
		if len(rest) > 0 {
			m = model.Fallback(m, rest...)
		}
		s.opt.models[name] = m
	}
	return errors.Join(problems...)
}

func newModel(c config.Model) (agents.Model, error) {
	if c.Demo != "" {
		rules, err := os.ReadFile(c.Demo)
		if err != nil {
			return nil, err
		}
		m, err := model.NewDemo(model.DemoConfig{Rules: rules, Name: c.Demo})
		if err != nil {
			return nil, err
		}
		return m, nil
	}
	m, err := model.NewOpenAI(model.OpenAIConfig{
		BaseURL: c.BaseURL, APIKey: identity.NewSecret(c.APIKey.Reveal()), Model: c.Model,
		Temperature: c.Temperature, MaxTokens: c.MaxTokens, IdleTimeout: c.Timeouts.Idle, MaxWall: c.Timeouts.Total,
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

// buildAgents makes a desk for each agent: the agent itself and everybody it can
// hand over to, near and far.
func (s *Server) buildAgents() error {
	members := map[string]agents.Member{}
	for name, c := range s.cfg.Agents {
		m, err := s.member(name, c)
		if err != nil {
			return err
		}
		members[name] = m
	}
	s.agents = map[string]agents.Agent{}
	for name := range s.cfg.Agents {
		desk, err := agents.NewDesk(agents.DeskConfig{Entry: name, Members: reachable(s.cfg.Agents, members, name)})
		if err != nil {
			return err
		}
		s.agents[name] = desk
	}
	return nil
}

func (s *Server) member(name string, c config.Agent) (agents.Member, error) {
	gate, err := tools.NewGate(tools.GateConfig{
		Registry: s.registry, Guard: s.guard, Journal: s.store, Agent: name, Tools: c.Tools,
		Clock: s.opt.now, Trace: interceptors.Trace, Report: s.reportTool,
		Limits: tools.Limits{MaxResult: s.cfg.Server.Limits.ResultBytes},
	})
	if err != nil {
		return agents.Member{}, err
	}
	a, err := agents.NewAssistant(agents.AssistantConfig{
		Name: name, Description: c.Description, Instructions: c.Instructions, Model: s.opt.models[c.Model], Toolbox: gate,
		Handoffs: s.handoffs(c), MaxTurns: c.MaxTurns, ParallelCalls: c.ParallelCalls,
	})
	return agents.Member{Agent: a, Ceiling: ceiling(c.Scopes)}, err
}

func (s *Server) handoffs(c config.Agent) []agents.Handoff {
	var out []agents.Handoff
	for _, h := range c.Handoffs {
		description := h.Description
		if description == "" {
			description = s.cfg.Agents[h.To].Description
		}
		out = append(out, agents.Handoff{To: h.To, Description: description, Scopes: h.Scopes})
	}
	return out
}

// ceiling keeps the difference between no ceiling (nil) and nothing (empty).
func ceiling(names *[]string) *identity.Scopes {
	if names == nil {
		return nil
	}
	s := identity.NewScopes(*names...)
	return &s
}

// reachable are the members that a conversation that starts at entry can get to.
func reachable(all map[string]config.Agent, members map[string]agents.Member, entry string) []agents.Member {
	seen := map[string]bool{entry: true}
	for queue := []string{entry}; len(queue) > 0; queue = queue[1:] {
		for _, h := range all[queue[0]].Handoffs {
			if !seen[h.To] {
				seen[h.To] = true
				queue = append(queue, h.To)
			}
		}
	}
	var out []agents.Member
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		out = append(out, members[name])
	}
	return out
}

// target finds what a run is about.
func (s *Server) target(name string, groupChat bool) (agents.Agent, bool) {
	a, ok := s.agents[name]
	return a, ok && !groupChat
}

// again asks policy anew before an interrupted run goes on.
func (s *Server) again(ctx context.Context, r runs.RunRecord, g identity.Grant) error {
	return s.ask(ctx, "run_agent", r, g)
}

// offline asks whether a run may go on although its person's credential has
// ended (DESIGN 5, run_offline).
func (s *Server) offline(ctx context.Context, r runs.RunRecord, g identity.Grant) bool {
	return s.ask(ctx, policy.ActionRunOffline, r, g) == nil
}

// ask puts a question about a run to the guard, on record like any other.
func (s *Server) ask(ctx context.Context, action string, r runs.RunRecord, g identity.Grant) error {
	return s.guard.Do(ctx, &policy.Query{
		Grant: g, Action: action, Resource: policy.Entity{Type: "Agent", ID: r.Target}, Session: r.SessionID, Run: r.RunID,
	}, func(context.Context) (policy.Result, error) { return policy.Result{Outcome: policy.Succeeded}, nil })
}
