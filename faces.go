package behalf

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/memory"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/runs"
	"github.com/behalf-dev/behalf/server"
	"github.com/behalf-dev/behalf/store"
	"github.com/behalf-dev/behalf/tools"
)

// What the RPCs see of the parts below, one small type for each.

// toolbox is the gates for direct calls; see snapshot.directGates.
type toolbox struct {
	s *Server
	*tools.Elsewhere
}

// gate is the one for whoever acts in ctx: for what all agents of the chain may call
// that have gates of their own.
func (t *toolbox) gate(ctx context.Context) *tools.Gate {
	g, _ := identity.FromContext(ctx)
	gates := t.s.current().gates
	var all *tools.Gate
	for name := range g.Agents() {
		switch own := gates[name]; {
		case own == nil:
		case all == nil:
			all = own
		default:
			all = all.Meet(own)
		}
	}
	if all == nil {
		return gates[""]
	}
	return all
}

func (t *toolbox) Direct(ctx context.Context, c agents.ToolCall) (tools.CallResult, error) {
	return t.gate(ctx).Direct(ctx, c)
}

func (t *toolbox) Check(ctx context.Context, c agents.ToolCall) (tools.Checked, error) {
	return t.Elsewhere.Check(ctx, t.gate(ctx), c)
}

func (t *toolbox) Again(ctx context.Context, c agents.ToolCall, duties []string) error {
	return t.gate(ctx).Again(ctx, c, duties)
}

func (t *toolbox) Visible(ctx context.Context) ([]tools.Listed, error) {
	return t.gate(ctx).Callable(ctx)
}

func (t *toolbox) NewCall() string { return newID(runs.RunPrefix) + "/0" }

// answers is the store of what calls with a request id were answered with.
type answers struct{ s *Server }

func (a *answers) Claim(ctx context.Context, r server.Request) (*server.Answer, error) {
	was, err := a.s.store.ClaimAnswer(ctx, request(r))
	if was == nil || err != nil {
		return nil, err
	}
	return &server.Answer{CallID: was.CallID, Digest: was.Digest, Body: was.Body}, nil
}

func (a *answers) Keep(ctx context.Context, r server.Request, body []byte) error {
	return a.s.store.KeepAnswer(ctx, r.Grant.Tenant(), r.CallID, body)
}

func (a *answers) Drop(ctx context.Context, r server.Request) error {
	return a.s.store.DropAnswer(ctx, request(r))
}

func request(r server.Request) store.Request {
	return store.Request{Tenant: r.Grant.Tenant(), Owner: runs.OwnerOf(r.Grant), Method: r.Method, ID: r.ID, CallID: r.CallID, Digest: r.Digest}
}

// memories is the store of what is remembered, for tools and agents that are made
// before it is opened.
type memories struct{ s *Server }

func (m *memories) Remember(ctx context.Context, o memory.Owner, sessionID, text string) (memory.Item, error) {
	return m.s.store.Remember(ctx, o, sessionID, text)
}

func (m *memories) Memories(ctx context.Context, w memory.Which, after string, limit int) ([]memory.Item, error) {
	return m.s.store.Memories(ctx, w, after, limit)
}

func (m *memories) Forget(ctx context.Context, o memory.Owner, id string) (bool, error) {
	return m.s.store.Forget(ctx, o, id)
}

func (m *memories) ForgetAll(ctx context.Context, w memory.Which) (int, error) {
	return m.s.store.ForgetAll(ctx, w)
}

// catalog shows the agents and group chats of the config. A person is no agent
// that one can run.
type catalog struct{ s *Server }

func (c *catalog) Agents() []server.Agent {
	var out []server.Agent
	for _, name := range slices.Sorted(maps.Keys(c.s.current().cfg.Agents)) {
		if a, ok := c.Agent(name); ok {
			out = append(out, a)
		}
	}
	return out
}

func (c *catalog) Agent(name string) (server.Agent, bool) {
	cfg := c.s.current().cfg
	a, ok := cfg.Agents[name]
	out := server.Agent{Name: name, Description: a.Description, Tools: a.Tools, Scopes: a.Scopes, MaxTurns: a.MaxTurns}
	for _, h := range cfg.Offers(name) {
		out.Handoffs = append(out.Handoffs, server.Handoff{To: h.To, Scopes: h.Scopes})
	}
	return out, ok && a.Kind != config.KindHuman
}

func (c *catalog) GroupChats() []server.GroupChat {
	var out []server.GroupChat
	for _, name := range slices.Sorted(maps.Keys(c.s.current().cfg.GroupChats)) {
		if g, ok := c.GroupChat(name); ok {
			out = append(out, g)
		}
	}
	return out
}

func (c *catalog) GroupChat(name string) (server.GroupChat, bool) {
	g, ok := c.s.current().cfg.GroupChats[name]
	out := server.GroupChat{
		Name: name, Description: g.Description, Kind: g.Kind, Participants: g.Names(), Authority: g.Authority,
		Termination: g.Termination.JSON(), MaxTurns: g.MaxTurns,
	}
	if g.Kind == config.Graph {
		out.Graph = &server.Graph{Entry: g.Entry}
		for _, e := range g.Edges {
			out.Graph.Edges = append(out.Graph.Edges, server.Edge{From: e.From, To: e.To, If: cmp.Or(e.If, e.When), Group: e.Group, Join: e.Join})
		}
	}
	return out, ok
}

// admin is what operators reach. Locks are the guard's.
type admin struct {
	*policy.Guard
	s *Server
}

// Reload implements server.Admin.
func (a *admin) Reload(ctx context.Context) (server.Reloaded, error) {
	return a.s.reload(ctx)
}

// Knows says whether a tool, agent or group chat that a lock names is configured.
// An agent that works elsewhere has any name, so for agents it is a hint.
func (a *admin) Knows(t policy.LockTarget) bool {
	switch t.Kind {
	case policy.LockTool:
		_, ok := a.s.current().registry.Descriptor(t.ID)
		return ok
	case policy.LockAgent:
		_, known := a.s.current().own(t.ID)
		return known
	}
	return true
}

func (a *admin) Status(ctx context.Context, tenant string) (server.Status, error) {
	head, err := (&auditLog{a.s}).head(ctx, tenant)
	if err != nil {
		return server.Status{}, err
	}
	open, err := a.s.store.OpenRuns(ctx)
	if err != nil {
		return server.Status{}, err
	}
	open = slices.DeleteFunc(open, func(r runs.RunRecord) bool { return r.Tenant != tenant })
	return server.Status{
		PolicyRevision: a.s.guard.Revision(), ConfigRevision: a.s.current().cfg.Revision(), AuditHead: head, Journal: a.s.journaled().Waiting[tenant], Journaled: a.s.journaled().Kept, OpenRuns: len(open), Started: a.s.started,
	}, nil
}

// Operator: nobody, unless the config names the operators' tenant.
func (a *admin) Operator(tenant string) bool {
	return a.s.cfg.Server.OperatorTenant != "" && tenant == a.s.cfg.Server.OperatorTenant
}

// auditLog reads and proves the log while the server writes it.
type auditLog struct{ s *Server }

func (l *auditLog) Query(ctx context.Context, f audit.Filter) iter.Seq2[audit.Record, error] {
	return l.s.store.Query(ctx, f)
}

func (l *auditLog) Verify(ctx context.Context, _ string) (audit.Report, error) {
	var witness iter.Seq2[[]byte, error]
	if w := l.s.cfg.Audit.Witness; w != "" && w != "stdout" {
		witness = audit.WitnessFile(w)
	}
	return audit.Verify(l.s.store.Rows(ctx), l.s.store.Checkpoints(ctx), witness, l.s.auditPublic), ctx.Err()
}

// head is the newest row of a tenant.
func (l *auditLog) head(ctx context.Context, tenant string) (int64, error) {
	for rec, err := range l.Query(ctx, audit.Filter{Tenant: tenant, Limit: 1}) {
		return rec.Sequence, err
	}
	return 0, nil
}

func newGrantID() string { return newID(runs.GrantPrefix) }

// newID panics only if the machine has no randomness, and then nothing is safe.
func newID(prefix string) string {
	id, err := runs.NewID(prefix, rand.Reader)
	if err != nil {
		panic(fmt.Sprintf("behalf: no randomness: %v", err))
	}
	return id
}
