package server

import (
	"context"

	"github.com/behalf-dev/behalf/audit"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/policy"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Approvals are the questions whether single calls may be made.
type Approvals interface {
	// Approval finds one of the tenant.
	Approval(ctx context.Context, tenant, id string) (audit.Approval, error)
	// Approvals lists the tenant's, the newest first, made before the approval after.
	Approvals(ctx context.Context, tenant, after string, limit int) ([]audit.Approval, error)
	// MayDecide says whether the person could decide it.
	MayDecide(g identity.Grant, a *audit.Approval) bool
	// State is where it stands now.
	State(a *audit.Approval) string
	// DecideApproval takes the answer of the person in ctx, and wakes the run.
	DecideApproval(ctx context.Context, id string, yes bool, comment string) (audit.Approval, error)
}

type approvalService struct {
	behalfv1.UnimplementedApprovalServiceServer
	approvals Approvals
}

// concerns says whether an approval exists for the caller: it is theirs, or they
// are of those who are asked. Whether policy lets them is another question.
func concerns(g identity.Grant, a *audit.Approval) bool {
	return policy.Requested(g, a) || policy.Approver(g, a) == nil
}

// visible says whether the caller may look at an approval.
func (s *approvalService) visible(g identity.Grant, a *audit.Approval) bool {
	return policy.Requested(g, a) || s.approvals.MayDecide(g, a)
}

const (
	approvalPage = 256  // read at once
	approvalScan = 2048 // looked at for one page; there may be more to follow
)

func (s *approvalService) ListApprovals(ctx context.Context, r *behalfv1.ListApprovalsRequest) (*behalfv1.ListApprovalsResponse, error) {
	g, after, err := ownList(ctx, r.GetPageToken())
	if err != nil {
		return nil, err
	}
	out := &behalfv1.ListApprovalsResponse{}
	for range approvalScan / approvalPage {
		list, err := s.approvals.Approvals(ctx, g.Tenant(), after, approvalPage)
		if err != nil {
			return nil, err
		}
		for i := range list {
			after = list[i].ID
			if !s.visible(g, &list[i]) || !s.wanted(r, &list[i]) {
				continue
			}
			out.Approvals = append(out.Approvals, s.show(g, &list[i]))
			if len(out.GetApprovals()) == pageSize(r.GetPageSize()) {
				out.NextPageToken = token64(after)
				return out, nil
			}
		}
		if len(list) < approvalPage {
			return out, nil
		}
	}
	out.NextPageToken = token64(after)
	return out, nil
}

func (s *approvalService) wanted(r *behalfv1.ListApprovalsRequest, a *audit.Approval) bool {
	state := r.GetState()
	if state == behalfv1.ApprovalState_APPROVAL_STATE_UNSPECIFIED {
		state = behalfv1.ApprovalState_APPROVAL_STATE_PENDING
	}
	return state == approvalState(s.approvals.State(a)) && (r.GetRunId() == "" || r.GetRunId() == a.RunID)
}

func (s *approvalService) GetApproval(ctx context.Context, r *behalfv1.GetApprovalRequest) (*behalfv1.GetApprovalResponse, error) {
	g, err := grant(ctx)
	if err != nil {
		return nil, err
	}
	a, err := s.approvals.Approval(ctx, g.Tenant(), r.GetApprovalId())
	if err != nil {
		return nil, err
	}
	if !s.visible(g, &a) {
		return nil, notFound("approval")
	}
	return &behalfv1.GetApprovalResponse{Approval: s.show(g, &a)}, nil
}

func (s *approvalService) DecideApproval(ctx context.Context, r *behalfv1.DecideApprovalRequest) (*behalfv1.DecideApprovalResponse, error) {
	g, err := grant(ctx)
	if err != nil {
		return nil, err
	}
	yes := r.GetDecision() == behalfv1.ApprovalDecision_APPROVAL_DECISION_APPROVE
	a, err := s.approvals.DecideApproval(ctx, r.GetApprovalId(), yes, r.GetComment())
	if err != nil {
		return nil, err
	}
	return &behalfv1.DecideApprovalResponse{Approval: s.show(g, &a)}, nil
}

func (s *approvalService) show(g identity.Grant, a *audit.Approval) *behalfv1.Approval {
	state := approvalState(s.approvals.State(a))
	return &behalfv1.Approval{
		ApprovalId: a.ID, State: state, Requester: auditUser(a.Tenant, a.Requester, ""), Workload: a.Workload,
		DelegationChain: a.Chain, Tool: a.Tool, ArgumentsJson: a.Arguments, Digest: a.Digest, ArgumentsDigest: a.SentDigest,
		ApproverRoles: a.Approvers, PolicyIds: a.PolicyIDs, PolicyRevision: a.Revision, RunId: a.RunID, SessionId: a.SessionID, CallId: a.CallID,
		CreatedAt: nanos(a.Created), ExpiresAt: nanos(a.Expires), DecidedAt: when(a.Decided),
		Approver: auditUser(a.Tenant, a.Approver, a.ApproverName), Comment: a.Comment,
		MayDecide: state == behalfv1.ApprovalState_APPROVAL_STATE_PENDING && s.approvals.MayDecide(g, a),
	}
}

func auditUser(tenant string, u audit.User, name string) *behalfv1.User {
	if u.Subject == "" {
		return nil
	}
	return &behalfv1.User{Issuer: u.Issuer, Subject: u.Subject, Email: u.Email, Tenant: tenant, Name: name}
}

// when is a time that may not have come.
func when(n int64) *timestamppb.Timestamp {
	if n == 0 {
		return nil
	}
	return nanos(n)
}

func approvalState(word string) behalfv1.ApprovalState {
	return behalfv1.ApprovalState(enum(behalfv1.ApprovalState_value, "APPROVAL_STATE_", word))
}
