package server

import (
	"context"

	"github.com/behalf-dev/behalf/fault"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/interceptors"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/runs"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// resolver finds what a request is about, and whose it is, before policy is
// asked. Objects are looked up in the caller's tenant only, so that another
// tenant's is as absent as one that never was.
type resolver struct {
	runs      Objects
	catalog   Catalog
	approvals Approvals
	grants    Delegations
	guard     interceptors.Guard
}

// Delegation implements interceptors.Resolver.
func (r *resolver) Delegation(ctx context.Context, p identity.Principal, grantID string) (identity.Delegation, error) {
	return r.grants.Delegation(ctx, p, grantID)
}

// Named implements interceptors.Resolver.
func (r *resolver) Named(g identity.Grant, rule *interceptors.Rule, m proto.Message) interceptors.Target {
	t := interceptors.Target{Action: rule.Action, Entity: policy.Entity{Type: interceptors.EntityType(rule.Resource)}, Arguments: lockRecord(g, m)}
	switch rule.Resource {
	case "tenant":
		t.Entity.ID = g.Tenant()
		if r := keyRecord(m); r != nil {
			t.Arguments = r
		}
		if q, ok := m.(*behalfv1.ExplainDecisionRequest); ok {
			t.Arguments = question(q)
			if other(q) {
				t.Action = interceptors.ExplainForOther
			}
		}
	case "agent", "group_chat", "target":
		if d, ok := m.(*behalfv1.DelegateRequest); ok {
			t.Arguments = delegateRecord(d)
		}
		to := aim(m)
		if t.Entity = to.entity(); t.Action == "run_target" {
			t.Action = to.action()
		}
	case "run":
		t.Entity.ID = named(m, runID.GetRunId)
	case "session":
		t.Entity.ID = named(m, sessionID.GetSessionId)
	case "approval":
		t.Entity.ID = named(m, approvalID.GetApprovalId)
	case "tool":
		t.Entity.ID = named(m, toolName.GetTool)
	}
	return t
}

// What requests name things by.
type (
	runID     interface{ GetRunId() string }
	sessionID interface{ GetSessionId() string }
	toolName  interface{ GetTool() string }

	approvalID interface{ GetApprovalId() string }
)

// named reads a name, empty for a request that has no such field.
func named[T any](m proto.Message, get func(T) string) string {
	if r, ok := m.(T); ok {
		return get(r)
	}
	return ""
}

// Resolve implements interceptors.Resolver.
func (r *resolver) Resolve(ctx context.Context, g identity.Grant, rule *interceptors.Rule, m proto.Message) (interceptors.Target, error) {
	t := r.Named(g, rule, m)
	var err error
	switch rule.Resource {
	case "tenant":
	case "agent", "group_chat", "target":
		err = r.target(ctx, g, m, &t)
	case "run":
		err = r.run(ctx, g, &t)
	case "session":
		err = r.session(ctx, g, &t)
	case "approval":
		err = r.approval(ctx, g, &t)
	case "tool": // which ones there are is the gate's to say
		err = r.own(ctx, g, m, &t)
	default:
		err = notFound(rule.Resource)
	}
	return t, err
}

// target is the agent or the group chat that a request names.
func (r *resolver) target(ctx context.Context, g identity.Grant, m proto.Message, t *interceptors.Target) error {
	if d, ok := m.(*behalfv1.DelegateRequest); ok { // mostly to agents that this server does not know
		return r.grants.May(g.Principal(), d.GetAgent())
	}
	to := aim(m)
	if to.name == "" { // the field rules let only a conversation get here
		return fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "the first message must be `open`; it names the agent or the group chat")
	}
	if err := r.known(to); err != nil {
		return err
	}
	return r.in(ctx, g, m, t, func(rec runs.SessionRecord) error { return joinTurn(ctx, r.guard, g, rec, to) })
}

// own makes sure that a call is not decided, and put on record, in a session that
// is somebody else's. One that is not the caller's is what the call is refused for.
func (r *resolver) own(ctx context.Context, g identity.Grant, m proto.Message, t *interceptors.Target) error {
	return r.in(ctx, g, m, t, func(rec runs.SessionRecord) error {
		if rec.Owner != runs.OwnerOf(g) {
			return notFound("session")
		}
		return nil
	})
}

// in looks up the session of a request, if it names one, for whoever may speak there.
func (r *resolver) in(ctx context.Context, g identity.Grant, m proto.Message, t *interceptors.Target, may func(runs.SessionRecord) error) error {
	session := named(m, sessionID.GetSessionId)
	if session == "" {
		return nil
	}
	rec, err := r.runs.FindSession(ctx, g.Tenant(), session)
	if err == nil {
		err = may(rec)
	}
	if err != nil {
		t.Entity = policy.Entity{Type: "Session", ID: session}
		return err
	}
	t.Session = session
	return nil
}

func (r *resolver) known(to target) error {
	if to.groupChat {
		if _, ok := r.catalog.GroupChat(to.name); !ok {
			return notFound("group chat")
		}
		return nil
	}
	if _, ok := r.catalog.Agent(to.name); !ok {
		return notFound("agent")
	}
	return nil
}

func (r *resolver) run(ctx context.Context, g identity.Grant, t *interceptors.Target) error {
	rec, err := r.runs.Find(ctx, g.Tenant(), t.Entity.ID)
	if err != nil {
		return err
	}
	t.Entity, t.Run, t.Session = runEntity(rec), rec.RunID, rec.SessionID
	return nil
}

func (r *resolver) session(ctx context.Context, g identity.Grant, t *interceptors.Target) error {
	rec, err := r.runs.FindSession(ctx, g.Tenant(), t.Entity.ID)
	if err != nil {
		return err
	}
	t.Entity, t.Session = sessionEntity(rec.Tenant, rec.Owner, rec.SessionID, rec.Target), rec.SessionID
	return nil
}

// runEntity is a run as every door shows it to policy.
func runEntity(rec runs.RunRecord) policy.Entity {
	session := sessionEntity(rec.Tenant, rec.Owner, rec.SessionID, rec.Target)
	return policy.Entity{Type: "Run", ID: rec.RunID, Owner: session.Owner, Parents: append(parents(rec.Target), session)}
}

// sessionEntity is a session as every door shows it to policy.
func sessionEntity(tenant string, o runs.Owner, id, target string) policy.Entity {
	return policy.Entity{Type: "Session", ID: id, Owner: owner(tenant, o), Parents: parents(target)}
}

// approval is there for who asked for it and for those who may be asked.
func (r *resolver) approval(ctx context.Context, g identity.Grant, t *interceptors.Target) error {
	a, err := r.approvals.Approval(ctx, g.Tenant(), t.Entity.ID)
	if err != nil {
		return err
	}
	if !concerns(g, &a) {
		return notFound("approval")
	}
	t.Entity, t.Run, t.Session = policy.ApprovalEntity(&a), a.RunID, a.SessionID
	return nil
}

// parents are what a session and its runs are of. An agent and a group chat
// never share a name, so both are named and one of them is.
func parents(target string) []policy.Entity {
	return []policy.Entity{{Type: "Agent", ID: target}, {Type: "GroupChat", ID: target}}
}

// owner is how policies name whose an object is.
func owner(tenant string, o runs.Owner) string { return tenant + "/" + o.Subject }

func notFound(what string) error {
	return fault.New(codes.NotFound, fault.NotFound, "there is no such "+what)
}
