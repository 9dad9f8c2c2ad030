package interceptors

import (
	"context"
	"time"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// Guard is the enforcement point as the RPC door needs it.
type Guard interface {
	Begin(context.Context, *policy.Query) (*policy.Permit, error)
	Read(context.Context, *policy.Query) error
}

// Target is what a call is about: the entity that policy decides on and the
// action, which for runs depends on what the request names.
type Target struct {
	Action  string
	Entity  policy.Entity
	Session string
	Run     string
}

// Resolver finds the target of a request for a caller. Another tenant's object
// is NOT_FOUND, like an absent one.
type Resolver interface {
	Resolve(ctx context.Context, g identity.Grant, r *Rule, request proto.Message) (Target, error)
}

// authorizer is the last layer: it makes the grant of the call, asks the guard
// and holds back the answer until the decision is durable.
type authorizer struct {
	guard   Guard
	resolve Resolver
	now     func() time.Time
	grantID func() string
	trace   func(context.Context) string
}

func (a *authorizer) layer(ctx context.Context, c *call, rest next) error {
	var permit *policy.Permit
	c.first = append(c.first, func(ctx context.Context, m proto.Message) (context.Context, error) {
		g, known, err := a.grant(ctx, m)
		if err != nil || !known {
			return ctx, err
		}
		ctx = identity.WithGrant(ctx, g)
		permit, err = a.decide(ctx, g, c.rule, m)
		return ctx, err
	})
	c.send = append(c.send, func(ctx context.Context) error {
		if permit == nil {
			return nil
		}
		return permit.Wait(ctx)
	})
	err := rest(ctx)
	if permit == nil {
		return err
	}
	return a.close(ctx, permit, err)
}

// close records how the call ended. An effect whose outcome cannot be recorded
// is not reported as done.
func (a *authorizer) close(ctx context.Context, permit *policy.Permit, err error) error {
	ctx = context.WithoutCancel(ctx)
	permit.Done(ctx, outcome(err))
	if failed := permit.Settled(ctx); failed != nil && err == nil {
		return failed
	}
	return err
}

func outcome(err error) policy.Result {
	if err == nil {
		return policy.Result{Outcome: policy.Succeeded}
	}
	f := fault.From(err)
	if f.Code == codes.Canceled {
		return policy.Result{Outcome: policy.Cancelled, Reason: string(f.Reason)}
	}
	return policy.Result{Outcome: policy.Failed, Reason: string(f.Reason)}
}

// decide asks the guard as the rule says: before the effect, with one row, or
// not at all for a caller's own lists and for tool calls, which the gate decides.
func (a *authorizer) decide(ctx context.Context, g identity.Grant, r *Rule, m proto.Message) (*policy.Permit, error) {
	if r.Audit == behalfv1.Audit_AUDIT_NONE || r.Action == callTool {
		return nil, nil //nolint:nilnil // no permit is needed
	}
	t, err := a.resolve.Resolve(ctx, g, r, m)
	if err != nil {
		return nil, err
	}
	q := &policy.Query{Grant: g, Action: t.Action, Resource: t.Entity, Time: a.now(), Session: t.Session, Run: t.Run, Trace: a.trace(ctx)}
	if r.Audit == behalfv1.Audit_AUDIT_READ {
		return nil, a.guard.Read(ctx, q)
	}
	permit, err := a.guard.Begin(ctx, q)
	if err != nil || overlaps(t.Action) {
		return permit, err
	}
	return permit, permit.Wait(ctx)
}

// overlaps says that the decision may still be on its way to the disk while the
// handler works: a run's first effects are a model call and tool calls, and the
// audit log keeps the order, so no tool acts before the run's decision is
// durable; the answer is held back by the send hook. Everything else waits.
func overlaps(action string) bool { return action == "run_agent" || action == "run_group_chat" }

// callTool is decided at the other door: the tool gate knows the arguments.
const callTool = "call_tool"

// grant makes the call's grant of the verified principal and what the request
// asks to be narrowed to. known is false for public calls.
func (a *authorizer) grant(ctx context.Context, m proto.Message) (g identity.Grant, known bool, err error) {
	p, known := ctx.Value(principalKey{}).(identity.Principal)
	if !known {
		return identity.Grant{}, false, nil
	}
	if t, ok := m.(interface{ GetTenant() string }); ok && t.GetTenant() != "" && t.GetTenant() != p.Tenant() {
		return identity.Grant{}, false, fault.New(codes.PermissionDenied, fault.TenantMismatch, "the request names a tenant that is not yours; leave `tenant` empty or name your own")
	}
	return identity.Root(a.grantID(), p, narrowing(m), tier(m)), true, nil
}

func narrowing(m proto.Message) *identity.Scopes {
	r, ok := m.(interface{ GetScopes() *behalfv1.Scopes })
	if !ok || r.GetScopes() == nil {
		return nil
	}
	s := identity.NewScopes(r.GetScopes().GetValues()...)
	return &s
}

func tier(m proto.Message) identity.Tier {
	r, ok := m.(interface{ GetTier() behalfv1.Tier })
	if !ok {
		return identity.Interactive
	}
	switch r.GetTier() {
	case behalfv1.Tier_TIER_BACKGROUND:
		return identity.Background
	case behalfv1.Tier_TIER_API:
		return identity.API
	case behalfv1.Tier_TIER_SUBAGENT:
		return identity.Subagent
	default:
		return identity.Interactive
	}
}
