package behalf

import (
	"context"
	"slices"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/runs"
	"google.golang.org/grpc/codes"
)

// delegations are the grants of sub-agents that run elsewhere. They are kept with
// the grants of runs; what tells them apart is the chain, which a run's has not.
type delegations struct{ s *Server }

// maxDelegations bounds the grants of one person that have not ended.
const maxDelegations = 256

var (
	errNoGrant   = fault.New(codes.NotFound, fault.NotFound, "there is no such grant")
	errElsewhere = fault.New(codes.PermissionDenied, fault.OwnerMismatch, "the grant was made for another workload of yours; delegate anew from this one")
	errEnded     = fault.New(codes.Unauthenticated, fault.CredentialExpired, "the grant has ended; delegate anew")
	errGone      = fault.New(codes.PermissionDenied, fault.DelegationScope, "an agent that the grant was made for is not configured any more; delegate anew to another one")
	errTakenName = fault.New(codes.PermissionDenied, fault.DelegationScope, "this is the name of a configured agent or group chat, which does not list your workload as `external`; take another name")
)

// May implements server.Delegations: anybody may take a name that is nobody's; a
// configured agent's only a workload that its `external` lists.
func (d *delegations) May(p identity.Principal, agent string) error {
	cfg := d.s.current().cfg
	a, configured := cfg.Agents[agent]
	_, chat := cfg.GroupChats[agent]
	if !configured && !chat || p.Workload != nil && slices.ContainsFunc(a.External, func(id string) bool { return identity.Matches(id, p.Workload.ID) }) {
		return nil
	}
	return errTakenName
}

// Delegate implements server.Delegations: the child of the grant in ctx is kept
// under the same id.
func (d *delegations) Delegate(ctx context.Context, agent string) (identity.Grant, error) {
	ctx, err := identity.Child(ctx, agent, d.ceiling(agent), agents.MaxDepth)
	if err != nil {
		return identity.Grant{}, err
	}
	g, _ := identity.FromContext(ctx)
	now := d.s.opt.now()
	rec := runs.RecordOf(g, now)
	rec.Tier, rec.Configured = string(identity.Subagent), d.configured(rec.Chain)
	return g, d.s.store.PutDelegation(ctx, rec, maxDelegations, now.UnixNano())
}

// configured are the agents of a chain that are the configuration's. They are kept: once
// such an agent is gone its name is nobody's, and would do whatever a label may.
func (d *delegations) configured(chain []string) (names []string) {
	cfg := d.s.current().cfg
	for _, name := range chain {
		if _, ok := cfg.Agents[name]; ok {
			names = append(names, name)
		}
	}
	return names
}

func (d *delegations) ceiling(agent string) *identity.Scopes {
	return ceiling(d.s.current().cfg.Agents[agent].Scopes)
}

// Delegation implements server.Delegations. Everything is compared with who calls
// now, and with the config as it is now: an agent whose ceiling was lowered since
// does not keep what it was given.
func (d *delegations) Delegation(ctx context.Context, p identity.Principal, id string) (identity.Delegation, error) {
	rec, err := d.s.store.Grant(ctx, id)
	if err != nil {
		return identity.Delegation{}, err
	}
	me := runs.RecordOf(identity.Root(id, p, nil, ""), d.s.opt.now())
	ends := time.Unix(0, rec.Expires)
	switch {
	case len(rec.Chain) == 0, rec.Tenant != me.Tenant, rec.Issuer != me.Issuer, rec.Subject != me.Subject:
		return identity.Delegation{}, errNoGrant
	case rec.Workload != me.Workload && rec.Subject == "": // a workload alone is the person
		return identity.Delegation{}, errNoGrant
	case rec.Workload != me.Workload:
		return identity.Delegation{}, errElsewhere
	case !d.s.opt.now().Before(ends):
		return identity.Delegation{}, errEnded
	case len(d.configured(rec.Configured)) < len(rec.Configured):
		return identity.Delegation{}, errGone
	}
	out := identity.Delegation{ID: id, Scopes: identity.NewScopes(rec.Scopes...), Chain: rec.Chain, Expires: ends}
	for _, agent := range rec.Chain {
		if err := d.May(p, agent); err != nil {
			return identity.Delegation{}, err
		}
		out.Scopes = out.Scopes.Narrow(d.ceiling(agent))
	}
	return out, nil
}

// external are the agents that may act elsewhere.
func external(cfg *config.Config) (names []string) {
	for name := range cfg.Agents {
		if len(cfg.Agents[name].External) > 0 {
			names = append(names, name)
		}
	}
	return names
}

// outside is the standing of who acts elsewhere: no agent of the chain is handed what
// another one above it may not do, whatever the last calls itself.
type outside struct{ standing }

// May implements tools.Live.
func (o outside) May(g identity.Grant, tool string) bool {
	now := o.made.current()
	for name := range g.Agents() {
		a, ok := now.cfg.Agents[name]
		if !ok {
			continue // a label, or gone: see standing.May
		}
		names, err := now.registry.Resolve(now.present(a.Tools))
		if err != nil || !slices.Contains(names, tool) {
			return false
		}
	}
	return o.standing.May(g, tool)
}
