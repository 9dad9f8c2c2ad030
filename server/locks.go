package server

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

var errOperatorsLock = fault.New(codes.PermissionDenied, fault.PolicyDenied, "this reaches beyond your tenant; only people of server.operator_tenant may lock or unlock it")

// Lock puts a lock in force.
func (s *adminService) Lock(ctx context.Context, r *behalfv1.LockRequest) (*behalfv1.LockResponse, error) {
	g, err := grant(ctx)
	if err != nil {
		return nil, err
	}
	target, err := s.lockTarget(g, r.GetTarget())
	if err != nil {
		return nil, err
	}
	lock := policy.Lock{Target: target, Reason: r.GetReason(), Expires: moment(r.GetExpiresAt()), ByTenant: g.Tenant()}
	if u := g.Principal().User; u != nil {
		lock.By = audit.User{Issuer: u.Issuer, Subject: u.Subject, Email: u.Email}
	}
	if lock, err = s.admin.Lock(ctx, lock); err != nil {
		return nil, err
	}
	return &behalfv1.LockResponse{Lock: s.lock(g, lock), UnknownName: !s.admin.Knows(target)}, nil
}

// Unlock lifts a lock.
func (s *adminService) Unlock(ctx context.Context, r *behalfv1.UnlockRequest) (*behalfv1.UnlockResponse, error) {
	g, err := grant(ctx)
	if err != nil {
		return nil, err
	}
	target, err := s.lockTarget(g, r.GetTarget())
	if err != nil {
		return nil, err
	}
	if err := s.admin.Unlock(ctx, target, g.Tenant()); err != nil {
		return nil, err
	}
	return &behalfv1.UnlockResponse{}, nil
}

// ListLocks lists what is locked where the caller is concerned.
func (s *adminService) ListLocks(ctx context.Context, r *behalfv1.ListLocksRequest) (*behalfv1.ListLocksResponse, error) {
	g, err := grant(ctx)
	if err != nil {
		return nil, err
	}
	all := slices.DeleteFunc(s.admin.Locks(), func(l policy.Lock) bool {
		return l.Target.Tenant != "" && l.Target.Tenant != g.Tenant() && !s.admin.Operator(g.Tenant())
	})
	part, next, err := page(all, r.GetPageSize(), r.GetPageToken(), lockOrder)
	if err != nil {
		return nil, err
	}
	out := &behalfv1.ListLocksResponse{NextPageToken: next}
	for _, l := range part {
		out.Locks = append(out.Locks, s.lock(g, l))
	}
	return out, nil
}

// lockOrder sorts as Guard.Locks does: the newest first.
func lockOrder(l policy.Lock) string {
	return fmt.Sprintf("%016x %s %s/%s", math.MaxInt64-l.Created.UnixNano(), l.Target.Kind, l.Target.Tenant, l.Target.ID)
}

// lockTarget says what a request names, for a caller who may name it.
func (s *adminService) lockTarget(g identity.Grant, t *behalfv1.LockTarget) (policy.LockTarget, error) {
	to := aimLock(g.Tenant(), t)
	beyond := to.Tenant != g.Tenant() || to.Kind == policy.LockTenant
	switch {
	case to.Kind == "": // also one that this program does not know
		return to, malformed("target", "name exactly one")
	case beyond && !s.admin.Operator(g.Tenant()):
		return to, errOperatorsLock
	}
	return to, nil
}

// aimLock reads what a caller of the tenant names.
func aimLock(tenant string, t *behalfv1.LockTarget) policy.LockTarget {
	if t.GetAllTenants() {
		tenant = ""
	}
	switch what := t.GetTarget().(type) {
	case *behalfv1.LockTarget_User:
		tenant, subject, _ := strings.Cut(what.User, "/")
		return policy.LockTarget{Kind: policy.LockUser, Tenant: tenant, ID: subject}
	case *behalfv1.LockTarget_Workload:
		return policy.LockTarget{Kind: policy.LockWorkload, Tenant: tenant, ID: what.Workload}
	case *behalfv1.LockTarget_Agent:
		return policy.LockTarget{Kind: policy.LockAgent, Tenant: tenant, ID: what.Agent}
	case *behalfv1.LockTarget_Tool:
		return policy.LockTarget{Kind: policy.LockTool, Tenant: tenant, ID: what.Tool}
	case *behalfv1.LockTarget_SessionId:
		return policy.LockTarget{Kind: policy.LockSession, Tenant: tenant, ID: what.SessionId}
	case *behalfv1.LockTarget_TokenId:
		return policy.LockTarget{Kind: policy.LockToken, Tenant: tenant, ID: what.TokenId}
	case *behalfv1.LockTarget_Tenant:
		return policy.LockTarget{Kind: policy.LockTenant, Tenant: what.Tenant}
	case *behalfv1.LockTarget_Everything:
		return policy.LockTarget{Kind: policy.LockEverything}
	}
	return policy.LockTarget{}
}

// lock shows a lock. Who set it is nobody's business in another tenant.
func (s *adminService) lock(g identity.Grant, l policy.Lock) *behalfv1.Lock {
	out := &behalfv1.Lock{Target: lockedTarget(l.Target), Reason: l.Reason, ExpiresAt: timestamp(l.Expires), CreatedAt: timestamp(l.Created)}
	if l.ByTenant == g.Tenant() || s.admin.Operator(g.Tenant()) {
		out.CreatedBy = &behalfv1.User{Issuer: l.By.Issuer, Subject: l.By.Subject, Tenant: l.ByTenant, Email: l.By.Email}
	}
	return out
}

func lockedTarget(t policy.LockTarget) *behalfv1.LockTarget {
	out := &behalfv1.LockTarget{AllTenants: t.Tenant == "" && t.Kind != policy.LockEverything}
	switch t.Kind {
	case policy.LockUser:
		out.Target = &behalfv1.LockTarget_User{User: t.Tenant + "/" + t.ID}
	case policy.LockWorkload:
		out.Target = &behalfv1.LockTarget_Workload{Workload: t.ID}
	case policy.LockAgent:
		out.Target = &behalfv1.LockTarget_Agent{Agent: t.ID}
	case policy.LockTool:
		out.Target = &behalfv1.LockTarget_Tool{Tool: t.ID}
	case policy.LockSession:
		out.Target = &behalfv1.LockTarget_SessionId{SessionId: t.ID}
	case policy.LockToken:
		out.Target = &behalfv1.LockTarget_TokenId{TokenId: t.ID}
	case policy.LockTenant:
		out.Target = &behalfv1.LockTarget_Tenant{Tenant: t.Tenant}
	case policy.LockEverything:
		out.Target = &behalfv1.LockTarget_Everything{Everything: true}
	}
	return out
}

// lockRecord is what the audit log shows of a request to lock or unlock; nil for
// any other. A target without a tenant is meant in all.
func lockRecord(g identity.Grant, m proto.Message) json.RawMessage {
	r, ok := m.(interface {
		GetTarget() *behalfv1.LockTarget
		GetReason() string
	})
	if !ok {
		return nil
	}
	to := aimLock(g.Tenant(), r.GetTarget())
	shown := map[string]string{"target": string(to.Kind), "reason": clip(r.GetReason(), 1024)}
	if to.Tenant != "" {
		shown["tenant"] = to.Tenant
	}
	if to.ID != "" {
		shown["name"] = to.ID
	}
	if e, ok := m.(*behalfv1.LockRequest); ok && e.GetExpiresAt() != nil {
		shown["expires_at"] = e.GetExpiresAt().AsTime().Format(time.RFC3339)
	}
	b, err := json.Marshal(shown)
	if err != nil {
		return nil
	}
	return b
}

// clip cuts a text that may be too long for a record; the lock itself has it all.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit] + "…"
}

// moment is a time that may be absent: the zero time then.
func moment(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}
