package behalf

import (
	"errors"
	"io/fs"
	"slices"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/tools"
)

// snapshot is everything that a reload replaces: one reading of the config, and what
// was made of it. It does not change once it is in force. A run keeps the agents that
// it began with; whatever else asks, asks the snapshot in force.
type snapshot struct {
	*Server
	cfg      *config.Config
	policies fs.FS // to be read instead of the config's folder; nil: that
	registry *tools.Registry
	absent   []string     // toolsets whose tools are not known, because their backend was not reached or the config has problems
	left     []tools.Left // tools of backends that nobody can call, as what they are called is another's
	models   map[string]agents.Model
	set      *policy.Set
	resting  []string // tools that cases of policies speak of, and that nobody could be asked about yet
	agents   map[string]agents.Agent
	chats    map[string]agents.Agent
	gates    map[string]*tools.Gate  // for direct calls, see directGates
	sources  map[string]*running     // of tools in other processes, by toolset
	brought  map[string][]tools.Tool // what each section brought
	unfit    map[string]bool         // sections that could bring nothing
	frozen   map[string][]tools.Tool // what these sections bring instead of what their backends say now
}

// current is the snapshot in force; while the server is made, the one that is to be.
func (s *Server) current() *snapshot { return s.inForce.Load() }

// read makes what is checked by itself: tools, models and policies. All problems are
// reported together, and nothing is opened.
func (sn *snapshot) read() error {
	list, problems := sn.builtins()
	doomed := sn.cfg.Flawed() || errors.Join(problems...) != nil
	registry, err := tools.NewRegistry(sn.free(list)...)
	if sn.models == nil {
		problems = append(problems, sn.buildModels())
	}
	problems = append(problems, err, sn.checkOutputs())
	if err != nil {
		return errors.Join(problems...) // tools and policies cannot be held against it
	}
	var before *tools.Registry
	if was := sn.current(); was != nil {
		before = was.registry
	}
	sn.registry = registry
	sn.leaveOut(registry.Left())
	sn.registry = registry.After(before, sn.awaited())
	sn.set, err = sn.loadPolicies(doomed)
	return errors.Join(append(problems, err, sn.checkTools())...)
}

// build makes everything that can be run, and the gates of direct calls.
func (sn *snapshot) build() (err error) {
	if err := sn.buildAgents(); err != nil {
		return err
	}
	sn.gates, err = sn.directGates()
	return err
}

// tryBuild builds once, before anything is opened, and forgets it: behind its guard
// there are no policies and no log.
func (sn *snapshot) tryBuild() error {
	guard, err := policy.NewGuard(policy.GuardConfig{Sink: audit.NewMemory(sn.opt.now), DigestKey: func(string) []byte { return nil }})
	if err != nil {
		return err
	}
	dry := *sn
	dry.Server = &Server{cfg: sn.Server.cfg, opt: sn.opt, guard: guard}
	return dry.build()
}

// standing implements tools.Live for the gates of a snapshot, which may not be the one
// in force any more.
type standing struct {
	made  *snapshot
	chats []string // in which the agent takes part, from the outermost in
}

// Registry implements tools.Live.
func (st standing) Registry() *tools.Registry { return st.made.current().registry }

// May implements tools.Live. A name that never was an agent's is a label of somebody
// who works elsewhere, and has what the gate for such has.
func (st standing) May(g identity.Grant, tool string) bool {
	now := st.made.current()
	for name := range g.Agents() {
		_, was := st.made.own(name)
		if _, here := now.own(name); was && !here {
			return false
		}
	}
	for i := range st.chats {
		if _, takesPart := st.part(now, i, g.Agent()); !takesPart {
			return false
		}
	}
	a, ok := now.cfg.Agents[g.Agent()]
	if !ok {
		return true
	}
	names, err := now.registry.Resolve(now.present(a.Tools))
	return err == nil && slices.Contains(names, tool)
}

// Narrowed implements tools.Live: by what each agent of the chain has now, what each
// hands on to the next, and what the chats leave to who takes part.
func (st standing) Narrowed(g identity.Grant) identity.Grant {
	now := st.made.current()
	if now == st.made {
		return g
	}
	before := ""
	for name := range g.Agents() {
		own, _ := now.own(name)
		g = g.Under(ceiling(own, now.handedOn(before, name)))
		before = name
	}
	for i, chat := range st.chats {
		p, _ := st.part(now, i, g.Agent())
		g = g.Under(ceiling(now.cfg.GroupChats[chat].Scopes, p.Scopes))
	}
	return g
}

// part is the part in a chat of the next one, or of the agent in the innermost.
func (st standing) part(now *snapshot, i int, agent string) (config.Participant, bool) {
	name := agent
	if i+1 < len(st.chats) {
		name = st.chats[i+1]
	}
	for _, p := range now.cfg.GroupChats[st.chats[i]].Participants {
		if p.Name == name {
			return p, true
		}
	}
	return config.Participant{}, false
}
