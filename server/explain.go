package server

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/interceptors"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/runs"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Calls explains calls of tools, as the gates of the agents would see them.
type Calls interface {
	// Under is the grant with which the last of the agents acts.
	Under(g identity.Grant, chain []string) (identity.Grant, error)
	// Explain says what would become of a call with the grant in ctx.
	Explain(ctx context.Context, c agents.ToolCall, at time.Time) (tools.Explanation, error)
}

// Objects finds what belongs to somebody.
type Objects interface {
	Find(ctx context.Context, tenant, runID string) (runs.RunRecord, error)
	FindSession(ctx context.Context, tenant, sessionID string) (runs.SessionRecord, error)
}

// Explainer says what would be decided about a call, without doing anything. All
// fields but Approvals are required.
type Explainer struct {
	Guard interface {
		Explain(context.Context, *policy.Query) (policy.Explanation, error)
	}
	Calls     Calls
	Objects   Objects
	Catalog   Catalog
	Approvals Approvals // nil: there are none
	// Admin says whether people of a tenant may change what all tenants share.
	Admin interface{ Operator(tenant string) bool }
	Now   func() time.Time
}

// Explain answers a question of whoever holds the grant. Whether they may ask it
// was decided before, see resolver.
func (e *Explainer) Explain(ctx context.Context, g identity.Grant, r *behalfv1.ExplainDecisionRequest) (*behalfv1.ExplainDecisionResponse, error) {
	at := e.Now()
	if r.GetTime() != nil {
		at = r.GetTime().AsTime()
	}
	thing, err := parseEntity(r.GetResource())
	if err != nil {
		return nil, err
	}
	if err := fits(r.GetAction(), thing.Type); err != nil {
		return nil, err
	}
	who, err := e.Calls.Under(asked(g, r, at), r.GetDelegationChain())
	if f := fault.From(err); err != nil && f.Reason == fault.DelegationScope { // too deep a chain
		return explained(tools.Explanation{Explanation: policy.Explanation{Refused: f}}), nil
	}
	if err != nil {
		return nil, err
	}
	x, err := e.of(ctx, who, thing, r, at)
	if err != nil {
		return nil, err
	}
	if r.GetTime() == nil && x.Refused == nil { // at another time there may be room
		x.Refused = x.UsedUp
	}
	return explained(x), nil
}

func (e *Explainer) of(ctx context.Context, g identity.Grant, thing policy.Entity, r *behalfv1.ExplainDecisionRequest, at time.Time) (tools.Explanation, error) {
	if r.GetAction() == policy.ActionCallTool {
		return e.call(ctx, g, thing.ID, r, at)
	}
	return e.act(ctx, g, thing, r, at)
}

// call explains a call of a tool.
func (e *Explainer) call(ctx context.Context, g identity.Grant, tool string, r *behalfv1.ExplainDecisionRequest, at time.Time) (tools.Explanation, error) {
	args := cmp.Or(r.GetArgumentsJson(), "{}")
	x, err := e.Calls.Explain(identity.WithGrant(ctx, g), agents.ToolCall{ID: "call_explained", Name: tool, Arguments: args}, at)
	if !other(r) { // SECURITY 6: a scope is named to who has it
		x.Missing = slices.DeleteFunc(x.Missing, func(s string) bool { return !g.Principal().Scopes().Has(s) })
	}
	return x, err
}

// act explains everything else that policy decides.
func (e *Explainer) act(ctx context.Context, g identity.Grant, thing policy.Entity, r *behalfv1.ExplainDecisionRequest, at time.Time) (tools.Explanation, error) {
	t := interceptors.Target{Action: r.GetAction(), Entity: thing}
	if err := e.find(ctx, g, &t); err != nil {
		return tools.Explanation{}, err
	}
	q := &policy.Query{Grant: g, Action: t.Action, Resource: t.Entity, Time: at, Session: t.Session, Run: t.Run}
	if thing.Type == "Tool" {
		q.Tool, q.Arguments = thing.ID, json.RawMessage(cmp.Or(r.GetArgumentsJson(), "{}"))
	}
	said, err := e.Guard.Explain(ctx, q)
	x := tools.Explanation{Explanation: said}
	switch {
	case err != nil:
		return x, err
	case g.Principal().User == nil && interceptors.NeedsPerson(t.Action):
		return refusedBefore(x, errNoPerson), nil
	case x.Refused == nil && forOperators[t.Action] != nil && !e.Admin.Operator(g.Tenant()):
		return refusedBefore(x, forOperators[t.Action]), nil
	}
	return x, nil
}

// forOperators is what policy does not refuse to people of other tenants than
// server.operator_tenant, and their calls do.
var forOperators = map[string]*fault.Error{
	"reload_config": errNoOperator, "list_signing_keys": errOperatorsKeys, "rotate_signing_key": errOperatorsKeys, "revoke_signing_key": errOperatorsKeys,
}

func refusedBefore(x tools.Explanation, f *fault.Error) tools.Explanation {
	x.Refused, x.Decision = f, policy.Decision{Reason: string(f.Reason), Revision: x.Decision.Revision}
	return x
}

var (
	errNoPerson   = fault.New(codes.Unauthenticated, fault.CredentialRequired, "this needs a person; send the access token of one")
	errNoOperator = fault.New(codes.PermissionDenied, fault.PolicyDenied, "only people of server.operator_tenant may reload what all tenants share")
	errEntity     = fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "`resource` is not the name of an entity; write it as in a policy, e.g. Tool::\"refund_order\"")
	errUnfit      = fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "there is no such action on such a resource; `action` and `resource` are those that policies name")
)

// find looks the object up in the grant's tenant, as for a call that names it.
func (e *Explainer) find(ctx context.Context, g identity.Grant, t *interceptors.Target) error {
	r := &resolver{runs: e.Objects, catalog: e.Catalog, approvals: e.Approvals}
	switch t.Entity.Type {
	case "Agent", "GroupChat":
		return r.known(target{t.Entity.ID, t.Entity.Type == "GroupChat"})
	case "Run":
		return r.run(ctx, g, t)
	case "Session":
		return r.session(ctx, g, t)
	case "Tenant":
		if t.Entity.ID != g.Tenant() {
			return notFound("tenant")
		}
	case "Approval":
		if e.Approvals == nil {
			return notFound("approval")
		}
		return r.approval(ctx, g, t)
	}
	return nil
}

// parseEntity reads Type::"id".
func parseEntity(text string) (policy.Entity, error) {
	kind, quoted, _ := strings.Cut(text, "::")
	id, err := strconv.Unquote(quoted)
	if err != nil || id == "" || quoted[0] != '"' {
		return policy.Entity{}, errEntity
	}
	return policy.Entity{Type: kind, ID: id}, nil
}

// fits reports whether policy decides the action on that type of resource.
func fits(action, kind string) error {
	actions := interceptors.Actions()
	maps.Copy(actions, map[string][]string{
		policy.ActionCallTool: {"Tool"}, policy.ActionActForOther: {"Tool"}, policy.ActionRunOffline: {"Agent", "GroupChat"},
		policy.ActionJoinSession: {"Session"}, policy.ActionDecideApproval: {"Approval"},
	})
	if !slices.Contains(actions[action], kind) {
		return errUnfit
	}
	return nil
}

// other reports whether a question is about somebody else than the caller.
func other(r *behalfv1.ExplainDecisionRequest) bool {
	return r.GetUser() != "" || r.GetWorkload() != ""
}

// asked is the grant that a question is about. It is of the caller's tenant, and
// nothing in it is proven: it decides about nothing but the answer.
func asked(g identity.Grant, r *behalfv1.ExplainDecisionRequest, at time.Time) identity.Grant {
	p := g.Principal()
	until := p.Expires()
	if r.GetTime() != nil || other(r) {
		until = at.Add(time.Hour)
	}
	var narrow *identity.Scopes
	if s := r.GetScopes(); s != nil {
		set := identity.NewScopes(s.GetValues()...)
		narrow = &set
	}
	stranger := r.GetUser() != "" || p.User == nil && r.GetWorkload() != ""
	p = identity.Principal{User: askedUser(p.User, r, g.Tenant(), until), Workload: askedWorkload(p.Workload, r, g.Tenant(), until)}
	if stranger {
		narrow = nil // these are the scopes that they have
	}
	return identity.Root(g.ID(), p, narrow, interceptors.Tier(r.GetTier()))
}

func askedUser(own *identity.User, r *behalfv1.ExplainDecisionRequest, tenant string, until time.Time) *identity.User {
	if r.GetUser() != "" {
		u := &identity.User{
			Subject: r.GetUser(), Tenant: tenant, Roles: slices.Sorted(slices.Values(r.GetRoles())),
			Scopes: identity.NewScopes(r.GetScopes().GetValues()...), ACR: r.GetAuth().GetAcr(), Expires: until,
		}
		if r.GetAuth().GetTime() != nil {
			u.AuthTime = r.GetAuth().GetTime().AsTime()
		}
		return u
	}
	if own == nil {
		return nil
	}
	u := *own
	u.Expires = until
	return &u
}

func askedWorkload(own *identity.Workload, r *behalfv1.ExplainDecisionRequest, tenant string, until time.Time) *identity.Workload {
	if r.GetWorkload() != "" {
		w := &identity.Workload{ID: r.GetWorkload(), Tenant: tenant, NotAfter: until}
		if r.GetUser() == "" { // else the scopes are the person's
			w.Scopes = identity.NewScopes(r.GetScopes().GetValues()...)
		}
		return w
	}
	if own == nil {
		return nil
	}
	w := *own
	if r.GetUser() == "" && r.GetTime() != nil {
		w.NotAfter = until
	}
	return &w
}

// explained is the answer on the wire.
func explained(x tools.Explanation) *behalfv1.ExplainDecisionResponse {
	d := x.Decision
	out := &behalfv1.ExplainDecisionResponse{
		PolicyIds: d.PolicyIDs, PolicyRevision: d.Revision, SentArgumentsJson: string(x.Sent),
		Duties: duties(d.Duties),
	}
	if out.Decision = outcome(x); out.Decision == behalfv1.Decision_DECISION_WAIT {
		out.Reason = behalfv1.ErrorReason_ERROR_REASON_APPROVAL_REQUIRED
	}
	for _, f := range x.Findings {
		out.Policies = append(out.Policies, &behalfv1.ExplainedPolicy{
			Id: f.ID, Permit: f.Permit, File: f.File, Line: int32(f.Line), Duties: duties(f.Duties),
			Holds: f.Holds, Determines: f.Determines, Failed: f.Failed,
		})
	}
	for _, l := range x.Limits {
		said := &behalfv1.ExplainedLimit{PolicyId: l.Duty.PolicyID, Duty: l.Duty.String(), Used: l.Used, Limit: l.Most}
		if !l.Refills.IsZero() {
			said.RefillsAt = timestamppb.New(l.Refills)
		}
		out.Limits = append(out.Limits, said)
	}
	if d.Err != nil {
		out.Errors = []string{d.Err.Error()}
	}
	if x.Refused != nil {
		out.Message, out.RefusedBy = x.Refused.Message, refusedBy(x)
		out.Reason = behalfv1.ErrorReason(enum(behalfv1.ErrorReason_value, "ERROR_REASON_", string(x.Refused.Reason)))
		out.MissingScopes = x.Missing
		for _, f := range x.Fields {
			out.Problems = append(out.Problems, strings.TrimSpace(f.Path+" "+f.Problem))
		}
	}
	return out
}

// outcome is a call's, or that it waits.
func outcome(x tools.Explanation) behalfv1.Decision {
	switch {
	case x.Refused != nil:
		return behalfv1.Decision_DECISION_DENY
	case slices.ContainsFunc(x.Decision.Duties, policy.Duty.Waits):
		return behalfv1.Decision_DECISION_WAIT
	}
	return behalfv1.Decision_DECISION_ALLOW
}

func duties(all []policy.Duty) (texts []string) {
	for _, d := range all {
		texts = append(texts, d.String())
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

// refusedBy names the check that refuses.
func refusedBy(x tools.Explanation) string {
	if x.Refused == errNoOperator || x.Refused == errOperatorsKeys {
		return "operator"
	}
	switch x.Refused.Reason {
	case fault.CredentialRequired:
		return "caller"
	case fault.ToolUnknown, fault.ToolUnavailable:
		return "tool"
	case fault.ArgumentInvalid:
		return "arguments"
	case fault.PrincipalLocked:
		return "lock"
	case fault.CredentialExpired, fault.CredentialInvalid:
		return "credential"
	case fault.ScopeMissing, fault.DelegationScope:
		return "scopes"
	case fault.OwnerMismatch:
		return "owner"
	case fault.StepUpRequired, fault.RateLimited, fault.BudgetExhausted:
		return "duty"
	}
	if slices.ContainsFunc(x.Findings, func(f policy.Finding) bool { return f.Determines && len(f.Duties) > 0 }) {
		return "duty" // one that cannot be met
	}
	return "policy"
}

// question is what the record says of a question: all but the arguments, of which
// a policy might take something out.
func question(r *behalfv1.ExplainDecisionRequest) json.RawMessage {
	b, err := json.Marshal(struct {
		Action   string   `json:"action"`
		Resource string   `json:"resource"`
		User     string   `json:"user,omitempty"`
		Roles    []string `json:"roles,omitempty"`
		Scopes   []string `json:"scopes,omitempty"`
		Chain    []string `json:"delegation_chain,omitempty"`
		Tier     string   `json:"tier"`
		Workload string   `json:"workload,omitempty"`
	}{
		r.GetAction(), r.GetResource(), r.GetUser(), r.GetRoles(), r.GetScopes().GetValues(), r.GetDelegationChain(),
		string(interceptors.Tier(r.GetTier())), r.GetWorkload(),
	})
	if err != nil {
		return nil // texts alone cannot fail
	}
	return b
}
