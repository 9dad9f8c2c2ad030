package interceptors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// Guard is the enforcement point as the RPC door needs it.
type Guard interface {
	Begin(context.Context, *policy.Query) (*policy.Permit, error)
	Read(context.Context, *policy.Query) error
	Locked(*policy.Query) *fault.Error
	Hold(context.Context, *policy.Query) (context.Context, func(), error)
	Refuse(context.Context, *policy.Query, *fault.Error) error
}

// Target is what a call is about: the entity that policy decides on and the
// action, which for runs depends on what the request names.
type Target struct {
	Action  string
	Entity  policy.Entity
	Session string
	Run     string
	// Arguments are what the record shows of the request, as JSON; nil: nothing.
	Arguments json.RawMessage
}

// Resolver finds the target of a request for a caller.
type Resolver interface {
	// Named is the target as the request names it, whether or not there is one.
	Named(g identity.Grant, r *Rule, request proto.Message) Target
	// Resolve looks the target up. Another tenant's object is NOT_FOUND, like an
	// absent one; the target then names what was not found.
	Resolve(ctx context.Context, g identity.Grant, r *Rule, request proto.Message) (Target, error)
	// Delegation finds the grant that a request names, if it was made for p.
	Delegation(ctx context.Context, p identity.Principal, grantID string) (identity.Delegation, error)
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

// unlocked refuses who is locked before anything of the call is looked at, and
// so also where no policy is asked. What a call names may be locked too: that is
// found when it is decided.
func (a *authorizer) unlocked(ctx context.Context, c *call, rest next) error {
	if _, known := ctx.Value(principalKey{}).(identity.Principal); !known { // it may be once the request is read
		c.first = append(c.first, func(ctx context.Context, _ proto.Message) (context.Context, error) { return ctx, a.stopped(ctx, c) })
		return rest(ctx)
	}
	if err := a.stopped(ctx, c); err != nil {
		return err
	}
	return rest(ctx)
}

// stopped is why a known caller may do nothing.
func (a *authorizer) stopped(ctx context.Context, c *call) error {
	p, known := ctx.Value(principalKey{}).(identity.Principal)
	if !known {
		return nil
	}
	q := &policy.Query{Grant: identity.Root(a.grantID(), p, nil, ""), Action: c.rule.Action, Trace: a.trace(ctx)}
	if f := a.guard.Locked(q); f != nil {
		return a.guard.Refuse(ctx, q, f)
	}
	return nil
}

func (a *authorizer) layer(ctx context.Context, c *call, rest next) error {
	v := &verdict{release: func() {}}
	c.first = append(c.first, func(ctx context.Context, m proto.Message) (context.Context, error) { return a.hear(ctx, c, m, v) })
	c.each = append(c.each, func(proto.Message) error {
		if v.held != nil && v.held.Err() != nil {
			return context.Cause(v.held)
		}
		return nil
	})
	c.send = append(c.send, func(ctx context.Context) error {
		if v.permit == nil {
			return nil
		}
		return v.permit.Wait(ctx)
	})
	panicked := true
	defer func() {
		if panicked && v.permit != nil { // the decision must not look as if the process had died
			v.permit.Done(context.WithoutCancel(ctx), policy.Result{Outcome: policy.Failed, Reason: string(fault.Internal)})
		}
		v.release() // here: the records of a call come in the order in which it ends
	}()
	err := rest(ctx)
	panicked = false
	if v.held != nil {
		policy.Look(v.held)
	}
	if why := cutBy(v.held); why != nil {
		err = why
	}
	note(ctx, v.about, err)
	if v.permit == nil {
		return err
	}
	return a.close(ctx, v.permit, err)
}

// verdict is what the first message of a call led to.
type verdict struct {
	about   Target
	permit  *policy.Permit
	held    context.Context // in which it goes on; nil: it is short
	release func()
}

// hear makes the grant of a call, decides it, and holds what may last.
func (a *authorizer) hear(ctx context.Context, c *call, m proto.Message, v *verdict) (context.Context, error) {
	p, known := ctx.Value(principalKey{}).(identity.Principal)
	if !known {
		return ctx, nil // a public call
	}
	m = terms(m)
	g, err := a.grant(ctx, p, c.rule, m)
	if err != nil {
		return ctx, a.refuse(ctx, g, c.rule, a.resolve.Named(g, c.rule, m), err)
	}
	if foreign(g, m) {
		return ctx, a.refuse(ctx, g, c.rule, a.resolve.Named(g, c.rule, m), errForeign)
	}
	ctx = identity.WithGrant(ctx, g)
	q, err := a.decide(ctx, g, c.rule, m, v)
	ctx = context.WithValue(ctx, permitKey{}, v.permit)
	if err != nil || !c.lasts() {
		return ctx, err
	}
	held, release, err := a.guard.Hold(ctx, q)
	if err != nil {
		return ctx, err
	}
	letGo := condemn(held, c.farewell)
	v.held, v.release = held, func() { letGo(); release() }
	return held, nil
}

// lasts reports whether a call goes on for so long that its authority may end
// meanwhile: a stream, and what waits for a run.
func (c *call) lasts() bool {
	return c.stream || c.rule.Action == "run_agent" || c.rule.Action == "run_group_chat"
}

// grant is what the call acts with: the caller's own authority, or the delegated
// grant that the request names, narrowed by what it asks for. With an error it is
// the caller's own, for the record.
func (a *authorizer) grant(ctx context.Context, p identity.Principal, r *Rule, m proto.Message) (identity.Grant, error) {
	own := identity.Root(a.grantID(), p, narrowing(m), tier(m))
	named, ok := m.(interface{ GetGrantId() string })
	if !ok || named.GetGrantId() == "" {
		return own, nil
	}
	d, err := a.resolve.Delegation(ctx, p, named.GetGrantId())
	if err != nil {
		return own, err
	}
	g := identity.Delegated(d, p, narrowing(m))
	if r.Action == "delegate" { // it makes a grant: what is decided and recorded is the new one
		g = g.Renamed(own.ID())
	}
	return g, nil
}

// close records how the call ended. Before the decision is on record not even an
// error is an answer, and what was refused in the end has no outcome. An effect
// whose outcome cannot be recorded is not reported as done.
func (a *authorizer) close(ctx context.Context, permit *policy.Permit, err error) error {
	ctx = context.WithoutCancel(ctx)
	if lost := permit.Wait(ctx); lost != nil {
		return lost
	}
	permit.Done(ctx, Outcome(err))
	if failed := permit.Settled(ctx); failed != nil && err == nil {
		return failed
	}
	return err
}

// Outcome is how an effect ended, for its record.
func Outcome(err error) policy.Result {
	if err == nil {
		return policy.Result{Outcome: policy.Succeeded}
	}
	f := toFault(err)
	if f.Code == codes.Canceled {
		return policy.Result{Outcome: policy.Cancelled, Reason: string(f.Reason)}
	}
	return policy.Result{Outcome: policy.Failed, Reason: string(f.Reason)}
}

// decide asks the guard as the rule says: before the effect, with one row, or
// not at all for a caller's own lists. Tool calls are decided at the other door:
// the gate knows the arguments. It gives the query, as far as there is one.
func (a *authorizer) decide(ctx context.Context, g identity.Grant, r *Rule, m proto.Message, v *verdict) (*policy.Query, error) {
	if r.Audit == behalfv1.Audit_AUDIT_NONE {
		return a.query(ctx, g, Target{Action: r.Action}), nil
	}
	t, err := a.resolve.Resolve(ctx, g, r, m)
	v.about = t
	if err != nil {
		return nil, a.refuse(ctx, g, r, t, err)
	}
	q := a.query(ctx, g, t)
	switch {
	case r.Action == policy.ActionCallTool:
		return q, nil // the gate has its own
	case r.Audit == behalfv1.Audit_AUDIT_READ:
		return q, a.guard.Read(ctx, q)
	}
	if v.permit, err = a.guard.Begin(ctx, q); err != nil || overlaps(r, m) && len(v.permit.Decision().Duties) == 0 {
		return q, err
	}
	return q, v.permit.Wait(ctx)
}

// note gives the call's line in the log what was refused and which policies did
// it: the caller learns neither from the answer, and an operator looks there first.
func note(ctx context.Context, about Target, err error) {
	if err == nil || about.Action == "" {
		return
	}
	fields := logging.Fields{"action", about.Action, "resource", fmt.Sprintf("%s::%q", about.Entity.Type, about.Entity.ID)}
	if d, ok := errors.AsType[*policy.Denied](err); ok {
		fields = append(fields, "policies", strings.Join(d.PolicyIDs, " "))
	}
	logging.AddFields(ctx, fields)
}

func (a *authorizer) query(ctx context.Context, g identity.Grant, t Target) *policy.Query {
	return &policy.Query{Grant: g, Action: t.Action, Resource: t.Entity, Time: a.now(), Session: t.Session, Run: t.Run, Trace: a.trace(ctx), Arguments: t.Arguments}
}

// refuse puts a denial on record that is made before policy is asked: of a known
// caller who names another tenant, what is not there for them, or what is not
// theirs. The row, like
// the answer, does not tell an absent object from somebody else's. Errors that deny
// nothing (a malformed request, a call that is not built, an index that is down)
// stay as they are.
func (a *authorizer) refuse(ctx context.Context, g identity.Grant, r *Rule, t Target, err error) error {
	f := fault.From(err)
	if r.Audit == behalfv1.Audit_AUDIT_NONE || f.Reason != fault.NotFound && f.Code != codes.PermissionDenied && f.Reason != fault.CredentialExpired {
		return err
	}
	q := a.query(ctx, g, Target{Action: t.Action, Entity: t.Entity, Arguments: t.Arguments}) // it belongs to no session or run of theirs
	if t.Entity.Type == "Tool" {
		q.Tool = t.Entity.ID
	}
	return a.guard.Refuse(ctx, q, f)
}

// overlaps says that the decision may still be on its way to the disk while the
// handler works: a run's first effect is a model call. Its handler asks Recorded
// before the first tool acts, and the answer is held back by the send hook. A run
// that outlives its call waits, and so does one with a duty, such as a rate: it
// may still be refused. Everything else waits too.
func overlaps(r *Rule, m proto.Message) bool {
	if d, ok := m.(interface{ GetContinueOnDisconnect() bool }); ok && d.GetContinueOnDisconnect() {
		return false
	}
	return r.Action == "run_agent" || r.Action == "run_group_chat"
}

// permitKey holds the call's permit for Recorded.
type permitKey struct{}

// Recorded waits until the decision about the call in ctx is durable. A handler
// whose decision overlaps with its work asks before the first effect; an error
// means that there must be none.
func Recorded(ctx context.Context) error {
	if permit, _ := ctx.Value(permitKey{}).(*policy.Permit); permit != nil {
		return permit.Wait(ctx)
	}
	return nil
}

// terms is what of a first message says with whom and under which limits: all of
// it, or the opening of a conversation.
func terms(m proto.Message) proto.Message {
	if c, ok := m.(interface {
		GetOpen() *behalfv1.OpenConversation
	}); ok {
		return c.GetOpen()
	}
	return m
}

// foreign reports whether a request names another tenant than its caller's.
func foreign(g identity.Grant, m proto.Message) bool {
	t, ok := m.(interface{ GetTenant() string })
	return ok && t.GetTenant() != "" && t.GetTenant() != g.Tenant()
}

var errForeign = fault.New(codes.PermissionDenied, fault.TenantMismatch, "the request names a tenant that is not yours; leave `tenant` empty or name your own")

// question reports whether what a request says of scopes and tier is about
// another call than itself.
func question(m proto.Message) bool {
	_, asks := m.(*behalfv1.ExplainDecisionRequest)
	return asks
}

func narrowing(m proto.Message) *identity.Scopes {
	if question(m) {
		return nil
	}
	r, ok := m.(interface{ GetScopes() *behalfv1.Scopes })
	if !ok || r.GetScopes() == nil {
		return nil
	}
	s := identity.NewScopes(r.GetScopes().GetValues()...)
	return &s
}

func tier(m proto.Message) identity.Tier {
	r, ok := m.(interface{ GetTier() behalfv1.Tier })
	if !ok || question(m) {
		return identity.Interactive
	}
	return Tier(r.GetTier())
}

// Tier is a tier of the wire.
func Tier(t behalfv1.Tier) identity.Tier {
	switch t {
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
