package behalf

import (
	"context"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/fault"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/interceptors"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/runs"
	"github.com/behalf-dev/behalf/server"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc/codes"
)

// calls explains calls of tools by the config's agents.
type calls struct{ *Server }

// Under narrows the grant as the chain's agents would: by the ceiling of each, and
// by what each hands on to the next.
func (c *calls) Under(g identity.Grant, chain []string) (identity.Grant, error) {
	now := c.current()
	for i, name := range chain {
		scopes, ok := now.own(name)
		if !ok {
			return g, fault.New(codes.NotFound, fault.NotFound, "there is no such agent in `delegation_chain`")
		}
		lists := []*[]string{scopes}
		if i > 0 {
			lists = append(lists, now.handedOn(chain[i-1], name))
		}
		var err error
		if g, err = g.Child(name, ceiling(lists...), agents.MaxDepth); err != nil {
			return g, err
		}
	}
	return g, nil
}

// own is the ceiling of an agent or a group chat.
func (s *snapshot) own(name string) (scopes *[]string, ok bool) {
	if chat, ok := s.cfg.GroupChats[name]; ok {
		return chat.Scopes, true
	}
	a, ok := s.cfg.Agents[name]
	return a.Scopes, ok
}

func (s *snapshot) handedOn(from, to string) *[]string {
	scopes, _ := s.handsOff(from, to)
	return scopes
}

// handsOff is what a hand-off leaves, nil if it narrows nothing; false if there is none.
func (s *snapshot) handsOff(from, to string) (scopes *[]string, ok bool) {
	for _, h := range s.cfg.Agents[from].Handoffs {
		if h.To == to {
			return h.Scopes, true
		}
	}
	return nil, false
}

// Explain asks the gate that the agent who acts would stand before.
func (c *calls) Explain(ctx context.Context, call agents.ToolCall, at time.Time) (tools.Explanation, error) {
	g, _ := identity.FromContext(ctx)
	now := c.current()
	cfg := tools.GateConfig{Registry: now.registry, Guard: c.guard, Journal: c.store, Tools: now.registry.Names(), Clock: c.opt.now, Trace: interceptors.Trace}
	if cfg.Agent = g.Agent(); cfg.Agent != "" {
		cfg.Tools = now.present(now.cfg.Agents[cfg.Agent].Tools)
	}
	gate, err := tools.NewGate(cfg)
	if err != nil {
		return tools.Explanation{}, err
	}
	return gate.Explain(ctx, call, at)
}

// Offline is who asks what would be decided without a server, and what a server
// would know.
type Offline struct {
	Tenant string
	// Owner is whose the runs and sessions are that are asked about, by subject,
	// and Target the agent or group chat that they are of.
	Owner, Target string
}

// Explain answers a question by the policies, tools and agents of a config, as
// AdminService.ExplainDecision would. Nothing is made or started.
func Explain(ctx context.Context, cfg *config.Config, o Offline, q *behalfv1.ExplainDecisionRequest, opts ...Option) (*behalfv1.ExplainDecisionResponse, error) {
	s := &Server{cfg: cfg, opt: defaults(opts)}
	err := s.check()
	if err != nil {
		return nil, err
	}
	s.guard, err = policy.NewGuard(policy.GuardConfig{Sink: audit.NewMemory(s.opt.now), DigestKey: func(string) []byte { return nil }})
	if err != nil {
		return nil, err
	}
	s.guard.Swap(policy.NewEngine(s.current().set))
	e := &server.Explainer{Guard: s.guard, Calls: &calls{s}, Objects: o, Catalog: &catalog{s}, Admin: &admin{s.guard, s}, Now: s.opt.now}
	return e.Explain(ctx, identity.Root("grt_offline", o.asker(q), nil, ""), q)
}

// asker is somebody of the tenant, so that the question is about another one.
func (o Offline) asker(q *behalfv1.ExplainDecisionRequest) identity.Principal {
	if q.GetUser() == "" {
		return identity.Principal{Workload: &identity.Workload{ID: q.GetWorkload(), Tenant: o.Tenant}}
	}
	return identity.Principal{User: &identity.User{Subject: q.GetUser(), Tenant: o.Tenant}}
}

// Find implements server.Objects.
func (o Offline) Find(_ context.Context, tenant, runID string) (runs.RunRecord, error) {
	return runs.RunRecord{Tenant: tenant, RunID: runID, SessionID: "ses_offline", Owner: runs.Owner{Subject: o.Owner}, Target: o.Target}, nil
}

// FindSession implements server.Objects.
func (o Offline) FindSession(_ context.Context, tenant, sessionID string) (runs.SessionRecord, error) {
	return runs.SessionRecord{Tenant: tenant, SessionID: sessionID, Owner: runs.Owner{Subject: o.Owner}, Target: o.Target}, nil
}
