package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/behalf-dev/behalf/fault"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Admin is what operators reach.
type Admin interface {
	// Reload reads the config and its policies anew and answers once they are in force.
	// An error that is no fault is about policies.
	Reload(ctx context.Context) (Reloaded, error)
	// Status describes the process to a caller of the tenant.
	Status(ctx context.Context, tenant string) (Status, error)
	// Operator says whether a person of the tenant may change what is shared by all tenants.
	Operator(tenant string) bool
	// Lock, Unlock and Locks are *policy.Guard's.
	Lock(ctx context.Context, l policy.Lock) (policy.Lock, error)
	Unlock(ctx context.Context, t policy.LockTarget, tenant string) error
	Locks() []policy.Lock
	// Knows says whether what a lock names is configured; true for what is not.
	Knows(t policy.LockTarget) bool
}

// Reloaded is what is in force after a reload, and what backends lack for it.
type Reloaded struct {
	PolicyRevision, ConfigRevision string
	Notes                          []string
}

// Status is the process as an operator sees it.
type Status struct {
	PolicyRevision string
	ConfigRevision string
	AuditHead      int64
	Journal        int64 // rows of the tenant that wait in the journal
	Journaled      int64 // rows of all tenants that ever went there, since the start
	OpenRuns       int
	Started        time.Time
}

type adminService struct {
	behalfv1.UnimplementedAdminServiceServer
	admin   Admin
	keys    SigningKeys
	explain *Explainer
	version string
}

func (s *adminService) WhoAmI(ctx context.Context, _ *behalfv1.WhoAmIRequest) (*behalfv1.WhoAmIResponse, error) {
	g, err := grant(ctx)
	if err != nil {
		return nil, err
	}
	p := g.Principal()
	out := &behalfv1.WhoAmIResponse{
		Tenant: g.Tenant(), Scopes: scopes(g.Scopes().Names()), ExpiresAt: timestamp(g.Expires()), ServerVersion: s.version,
		User: user(p.User),
	}
	if u := p.User; u != nil {
		out.Roles, out.Auth = u.Roles, &behalfv1.Auth{Acr: u.ACR, Amr: u.AMR, Time: timestamp(u.AuthTime)}
	}
	if w := p.Workload; w != nil {
		out.Workload = &behalfv1.Workload{SpiffeId: w.ID, TrustDomain: w.TrustDomain, LeafThumbprint: w.Thumbprint, NotAfter: timestamp(w.NotAfter)}
	}
	return out, nil
}

func (s *adminService) ReloadConfig(ctx context.Context, _ *behalfv1.ReloadConfigRequest) (*behalfv1.ReloadConfigResponse, error) {
	g, err := grant(ctx)
	if err != nil {
		return nil, err
	}
	if !s.admin.Operator(g.Tenant()) {
		return nil, errNoOperator
	}
	now, err := s.admin.Reload(ctx)
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return nil, f
	}
	if err != nil {
		return nil, fault.New(codes.FailedPrecondition, fault.PolicyError, "the new policies were refused and the old ones stay in force; run `behalf policy check` and `behalf policy test`").
			WithFields(findings(err)...).Because(err)
	}
	return &behalfv1.ReloadConfigResponse{PolicyRevision: now.PolicyRevision, ConfigRevision: now.ConfigRevision, Notes: now.Notes}, nil
}

// maxShown bounds the problems that one answer names.
const maxShown = 32

// findings are the places of what is wrong with policies, inside their folder. An
// operator may know them; where the folder is they need not.
func findings(err error) (out []fault.Field) {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range several.Unwrap() {
			out = append(out, findings(one)...)
		}
		return out[:min(len(out), maxShown)]
	}
	if p, ok := errors.AsType[*policy.Problem](err); ok {
		out = append(out, fault.Field{Path: fmt.Sprintf("%s:%d", p.Inside, p.Line), Problem: p.Text})
	}
	return out
}

func (s *adminService) GetStatus(ctx context.Context, _ *behalfv1.GetStatusRequest) (*behalfv1.GetStatusResponse, error) {
	g, err := grant(ctx)
	if err != nil {
		return nil, err
	}
	st, err := s.admin.Status(ctx, g.Tenant())
	if err != nil {
		return nil, err
	}
	return &behalfv1.GetStatusResponse{
		Version: s.version, PolicyRevision: st.PolicyRevision, ConfigRevision: st.ConfigRevision,
		AuditHeadSequence: st.AuditHead, AuditJournalRows: st.Journal, AuditJournaled: st.Journaled, OpenRuns: int32(min(st.OpenRuns, 1<<30)), StartedAt: timestamppb.New(st.Started),
	}, nil
}

// ExplainDecision answers what would be decided. That the question may be asked,
// and by whom it was, is decided and on record by now.
func (s *adminService) ExplainDecision(ctx context.Context, r *behalfv1.ExplainDecisionRequest) (*behalfv1.ExplainDecisionResponse, error) {
	g, err := grant(ctx)
	if err != nil {
		return nil, err
	}
	return s.explain.Explain(ctx, g, r)
}

// grant is the caller's identity. The chain has bound it; without it nothing acts.
func grant(ctx context.Context) (identity.Grant, error) {
	g, ok := identity.FromContext(ctx)
	if !ok {
		return g, fault.New(codes.Internal, fault.Internal, "no identity is bound to this call")
	}
	return g, nil
}

func user(u *identity.User) *behalfv1.User {
	if u == nil {
		return nil
	}
	return &behalfv1.User{Issuer: u.Issuer, Subject: u.Subject, Tenant: u.Tenant, Email: u.Email, Name: u.Name}
}

func scopes(names []string) *behalfv1.Scopes { return &behalfv1.Scopes{Values: names} }

// timestamp leaves unknown times out.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
