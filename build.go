package behalf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/interceptors"
	"github.com/behalf-dev/behalf/memory"
	"github.com/behalf-dev/behalf/model"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/policy/lifecycle"
	"github.com/behalf-dev/behalf/runs"
	"github.com/behalf-dev/behalf/server"
	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/grpctool"
	"github.com/behalf-dev/behalf/tools/mcptool"
)

// builtins collects the typed functions that the config's toolsets name, under
// the toolset's name, and the agents that are tools.
func (s *snapshot) builtins() (list []tools.Tool, problems []error) {
	s.absent, s.left, s.brought, s.unfit = nil, nil, map[string][]tools.Tool{}, map[string]bool{}
	if s.cfg.Lost("tools") {
		s.absent = []string{"tools"} // whatever they are called: no name is held against it
	}
	brought := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(s.cfg.Tools)) {
		if s.cfg.Spoilt("tools." + name) {
			continue
		}
		found, frozen := s.frozen[name]
		var err error
		if !frozen {
			found, err = s.toolset(name, s.cfg.Tools[name], brought)
			s.unfit[name] = err != nil
		}
		s.brought[name] = slices.Clone(found)
		if found == nil || !s.complete(name) {
			s.absent = append(s.absent, name)
		}
		for _, t := range found {
			t.Toolset, t.Behind = name, behind(s.cfg.Tools[name])
			list = append(list, t)
		}
		problems = append(problems, err)
	}
	return list, problems
}

// behind is what does the calls of a section: another one is another tool, to whoever
// approved a call and to an auditor, also if it looks the same.
func behind(t config.Toolset) string {
	switch {
	case t.GRPC != nil:
		return fmt.Sprintf("grpc %q %q %q", t.GRPC.Target, t.GRPC.ServerID, t.GRPC.Audience)
	case t.MCP != nil:
		return fmt.Sprintf("mcp %q %q %q %q", t.MCP.URL, t.MCP.Command, t.MCP.ServerID, t.MCP.Audience)
	case t.Agent != "":
		return fmt.Sprintf("agent %q", t.Agent)
	case t.GroupChat != "":
		return fmt.Sprintf("group_chat %q", t.GroupChat)
	}
	return fmt.Sprintf("builtin %q", t.Builtin)
}

// toolset gives the tools of one section; nil if it cannot be known which they
// are. brought notes which section brings which functions.
func (s *snapshot) toolset(name string, section config.Toolset, brought map[string]string) ([]tools.Tool, error) {
	if callee := section.Callee(); callee != "" {
		return []tools.Tool{tools.Nested(name, cmp.Or(section.Description, s.description(callee)))}, nil
	}
	if section.GRPC != nil || section.MCP != nil {
		return s.sourceTools(name)
	}
	functions, ok := s.opt.tools[section.Builtin]
	if section.Builtin == config.BuiltinMemory {
		if ok {
			return nil, s.problem("tools."+name, fmt.Sprintf("this program brings tools called %q, which is the name of a part of behalf", section.Builtin), "pass them to behalf.WithTools under another name")
		}
		functions, ok = memory.Tools(&memories{s.Server}), true
	}
	first, twice := brought[section.Builtin]
	brought[section.Builtin] = name
	switch {
	case section.Builtin == "":
		return nil, nil // the file's own problem
	case !ok:
		return nil, s.problem("tools."+name, fmt.Sprintf("this program has no tools called %q", section.Builtin), "pass them with behalf.WithTools, or name others")
	case twice:
		return nil, s.problem("tools."+name, "brings the same tools as tools."+first, "keep one of them")
	}
	return append([]tools.Tool{}, functions...), nil
}

// problem is one with a value of the config.
func (s *snapshot) problem(path, message, fix string) error {
	return &config.Problems{List: []config.Problem{s.cfg.Problem(path, message, fix)}}
}

// known lists the tools by the config key that brings them.
func (s *snapshot) known() map[string][]string {
	out := map[string][]string{}
	for _, name := range s.registry.Names() {
		if d, ok := s.registry.Descriptor(name); ok {
			out[d.Toolset] = append(out[d.Toolset], name)
		}
	}
	return out
}

// checkTools finds agents that name tools which nobody offers.
func (s *snapshot) checkTools() error {
	if list := s.cfg.CheckTools(s.nameable(), s.leftOut()); len(list) > 0 {
		return &config.Problems{List: list}
	}
	return nil
}

// Check finds what is wrong with a config beyond the file itself: its tools,
// models, policies and agents, and files and folders that could not be opened or
// made. Nothing is made or started. It gives the tools that each section brings
// and what is known of each, as config.Ceilings asks for it. Of a file with problems it looks at
// config.Problems.Rest, and does not say again what the file's own problems say.
func Check(cfg *config.Config, opts ...Option) (known map[string][]string, facts func(tool string) config.ToolFacts, err error) {
	s := &Server{cfg: cfg, opt: defaults(opts)}
	check := s.check
	if cfg.Flawed() {
		check = s.look
	}
	if err := check(); err != nil {
		return nil, nil, err
	}
	sn := s.current()
	return sn.known(), func(name string) config.ToolFacts {
		d, ok := sn.registry.Descriptor(name)
		if !ok {
			return sn.said(name)
		}
		return config.ToolFacts{Reads: d.Effect == tools.Read, Scopes: d.Scopes}
	}, nil
}

// Notes are what Check lets pass and an operator should know: what of backends is no
// tool, and cases of policies about tools of which nobody could be asked.
func Notes(cfg *config.Config, opts ...Option) (notes []config.Problem, err error) {
	s := &Server{cfg: cfg, opt: defaults(opts)}
	if err := s.look(); err != nil {
		return nil, err
	}
	sn := s.current()
	for _, name := range slices.Sorted(maps.Keys(sn.sources)) {
		for _, n := range sn.sources[name].Notes() {
			notes = append(notes, cfg.Problem("tools."+name, n, ""))
		}
	}
	if tools := slices.Compact(slices.Sorted(slices.Values(sn.resting))); len(tools) > 0 {
		notes = append(notes, cfg.Problem("policy.dir", "the cases about "+strings.Join(tools, ", ")+" do not hold yet: nothing is known of what they are about", "a start asks the backends first, and is refused unless they hold then"))
	}
	return notes, nil
}

// said is what the file says of a tool whose backend was not asked. Where two are called
// the same, what only one says is not known.
func (s *snapshot) said(name string) (facts config.ToolFacts) {
	found := false
	for _, t := range s.cfg.Tools {
		for own, f := range t.Tools {
			if nameOf(t, own, f) != name {
				continue
			}
			reads := f.Effect == string(tools.Read)
			facts.Reads, facts.Scopes = reads && (facts.Reads || !found), append(facts.Scopes, f.Scopes...)
			found = true
		}
	}
	return facts
}

// nameOf is what a backend's tool is called here, unless the backend says otherwise.
func nameOf(t config.Toolset, own string, f config.Tool) string {
	switch {
	case f.Name != "":
		return f.Name
	case t.GRPC != nil:
		return grpctool.NameOf(t.Prefix, own)
	}
	return mcptool.NameOf(t.Prefix, own)
}

// Policies loads the policies of a config as the service would, but for their
// tests if WithoutPolicyTests is among the options.
func Policies(cfg *config.Config, opts ...Option) (*policy.Set, error) {
	s := &Server{cfg: cfg, opt: defaults(opts)}
	if err := s.check(); err != nil {
		return nil, err
	}
	return s.current().set, nil
}

// loadPolicies takes cases about tools that are not known as they are if the config is
// doomed: they may be those of what is wrong with it.
func (s *snapshot) loadPolicies(doomed bool) (*policy.Set, error) {
	switch {
	case s.cfg.Spoilt("policy.dir"):
		return nil, nil // the file's own problem
	case s.cfg.Policy.Dir == "":
		return nil, s.problem("policy.dir", "is missing", "name the folder of the policies; without a policy nothing is allowed")
	}
	actions := interceptors.Actions()
	load := lifecycle.Publish
	if s.opt.untested {
		load = policy.Load
	}
	c := policy.Config{
		Dir: s.cfg.Policy.Dir, FS: s.policies, Covered: s.cfg.Policy.RequireCoverage, Tools: s.schemas(), Absent: s.absent, Lost: s.cfg.Lost("tools"), Actions: slices.Sorted(maps.Keys(actions)), Resources: actions,
		Agents: namesOf(s.cfg, "agents", s.cfg.Agents), GroupChats: namesOf(s.cfg, "group_chats", s.cfg.GroupChats),
	}
	set, err := load(c)
	if err != nil && (doomed && len(s.absent) > 0 || s.unasked()) {
		return s.provisional(c, err)
	}
	return set, err
}

// namesOf gives nil, which is any name, for a section that lost some.
func namesOf[T any](cfg *config.Config, section string, all map[string]T) []string {
	if cfg.Lost(section) {
		return nil
	}
	return slices.Sorted(maps.Keys(all))
}

// buildModels makes the models that were not passed as options, the plain ones
// first and then those with fallbacks. What any of them says passes policy.
func (s *snapshot) buildModels() error {
	var problems []error
	plain := maps.Clone(s.opt.models)
	for _, name := range slices.Sorted(maps.Keys(s.cfg.Models)) {
		if plain[name] != nil || s.unclear(name) {
			continue
		}
		m, err := s.newModel(s.cfg.Models[name])
		if err != nil {
			problems = append(problems, fmt.Errorf("models.%s: %w", name, err))
			continue
		}
		if slices.Contains(s.cfg.Models[name].Lacks, config.LacksVision) {
			m = agents.Blind(m)
		}
		plain[name] = m
	}
	s.models = map[string]agents.Model{}
	for name, m := range plain {
		s.models[name] = model.Budgeted(s.govern(s.withFallbacks(name, m, plain)), purse{s.Server})
	}
	return errors.Join(problems...)
}

// withFallbacks leaves a model that was passed as an option as it is.
func (s *snapshot) withFallbacks(name string, m agents.Model, plain map[string]agents.Model) agents.Model {
	var rest []agents.Model
	for _, f := range s.cfg.Models[name].Fallbacks {
		if plain[f] != nil { // else it is a problem of its own
			rest = append(rest, plain[f])
		}
	}
	if len(rest) == 0 || s.opt.models[name] != nil {
		return m
	}
	return model.Fallback(m, rest...)
}

// unclear says that the file's own problems are about what a model is.
func (s *snapshot) unclear(name string) bool {
	at, m := "models."+name, s.cfg.Models[name]
	if !s.cfg.Flawed() || m.Demo != "" {
		return false
	}
	return m.Model == "" || s.cfg.Spoilt(at+".demo") || s.cfg.Spoilt(at+".base_url") || s.cfg.Spoilt(at+".api_key")
}

func (s *snapshot) newModel(c config.Model) (agents.Model, error) {
	if c.Demo != "" {
		rules, err := os.ReadFile(c.Demo)
		if err != nil {
			return nil, err
		}
		m, err := model.NewDemo(model.DemoConfig{Rules: rules, Name: c.Demo, Pace: s.opt.pace})
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

// hold watches a run for as long as it works, and binds its question to the context
// in which it acts, so that its model calls are charged to the budgets that apply.
func (s *Server) hold(ctx context.Context, r runs.RunRecord, g identity.Grant) (context.Context, func(), error) {
	q := s.question(runAction(r), r, g)
	if _, lent := g.Speaker(); lent { // whose turn it is pays for it
		return s.guard.Hold(ctx, q)
	}
	return s.guard.Hold(policy.WithRun(ctx, q), q)
}

func runEntity(r runs.RunRecord) policy.Entity {
	if r.Kind == runs.KindGroupChat {
		return policy.Entity{Type: "GroupChat", ID: r.Target}
	}
	return policy.Entity{Type: "Agent", ID: r.Target}
}

// again asks policy anew before an interrupted run goes on, also whether it may in
// another's session.
func (s *Server) again(ctx context.Context, r runs.RunRecord, g identity.Grant) error {
	if err := s.ask(ctx, runAction(r), r, g); err != nil {
		return err
	}
	rec, err := s.store.SessionByID(ctx, r.Tenant, r.SessionID)
	if err != nil || rec.Owner == r.Owner {
		return err
	}
	q := s.question(policy.ActionJoinSession, r, g)
	q.Resource = server.SessionEntity(rec)
	return s.guard.Read(ctx, q)
}

func runAction(r runs.RunRecord) string {
	if r.Kind == runs.KindGroupChat {
		return "run_group_chat"
	}
	return "run_agent"
}

// offline asks whether a run may go on although its person's credential has
// ended (DESIGN 5, run_offline).
func (s *Server) offline(ctx context.Context, r runs.RunRecord, g identity.Grant) bool {
	return s.ask(ctx, policy.ActionRunOffline, r, g) == nil
}

// question is one about a run.
func (s *Server) question(action string, r runs.RunRecord, g identity.Grant) *policy.Query {
	return &policy.Query{Grant: g, Action: action, Resource: runEntity(r), Session: r.SessionID, Run: r.RunID}
}

// authority is what new sessions of a group chat are bound to.
func (s *Server) authority(groupChat string) string {
	return s.current().cfg.GroupChats[groupChat].Authority
}

// mayJoin holds a turn in another's session against policy as it is when the run
// begins. The RPC has asked the same, on record.
func (s *Server) mayJoin(_ context.Context, r runs.SessionRecord, g identity.Grant) bool {
	e := s.guard.Engine()
	return e != nil && e.Decide(&policy.Query{
		Grant: g, Action: policy.ActionJoinSession, Resource: server.SessionEntity(r), Session: r.SessionID, Time: s.opt.now(),
	}).Allow
}

// ask puts a question about a run to the guard, on record like any other.
func (s *Server) ask(ctx context.Context, action string, r runs.RunRecord, g identity.Grant) error {
	return s.guard.Do(ctx, s.question(action, r, g), func(context.Context) (policy.Result, error) { return policy.Result{Outcome: policy.Succeeded}, nil })
}
