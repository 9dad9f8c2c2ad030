package server

import (
	"context"
	"iter"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/audit"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// AuditLog is the audit log as its readers reach it.
type AuditLog interface {
	Query(ctx context.Context, f audit.Filter) iter.Seq2[audit.Record, error]
	Verify(ctx context.Context, tenant string) (audit.Report, error)
}

type auditService struct {
	behalfv1.UnimplementedAuditServiceServer
	log AuditLog
}

// queryDefault is how many rows a query without a limit gives.
const queryDefault = 1000

// QueryAudit reads the caller's own tenant and no other: the tenant is taken
// from the identity, the request has no say in it.
func (s *auditService) QueryAudit(r *behalfv1.QueryAuditRequest, stream grpc.ServerStreamingServer[behalfv1.QueryAuditResponse]) error {
	g, err := grant(stream.Context())
	if err != nil {
		return err
	}
	for rec, err := range s.log.Query(stream.Context(), filter(g.Tenant(), r)) {
		if err != nil {
			return err
		}
		if err := stream.Send(&behalfv1.QueryAuditResponse{Record: record(&rec)}); err != nil {
			return err
		}
	}
	return nil
}

func (s *auditService) VerifyAudit(ctx context.Context, _ *behalfv1.VerifyAuditRequest) (*behalfv1.VerifyAuditResponse, error) {
	g, err := grant(ctx)
	if err != nil {
		return nil, err
	}
	report, err := s.log.Verify(ctx, g.Tenant())
	if err != nil {
		return nil, err
	}
	return verified(g.Tenant(), report), nil
}

func filter(tenant string, r *behalfv1.QueryAuditRequest) audit.Filter {
	limit := int(r.GetLimit())
	if limit == 0 {
		limit = queryDefault
	}
	f := audit.Filter{
		Tenant: tenant, User: r.GetUser(), Tool: r.GetTool(), Agent: r.GetAgent(),
		RunID: r.GetRunId(), SessionID: r.GetSessionId(), Limit: limit,
	}
	if r.GetDecision() != 0 {
		f.Decision = lower(r.GetDecision().String(), "DECISION_")
	}
	if r.GetSince() != nil {
		f.Since = r.GetSince().AsTime().UnixNano()
	}
	if r.GetUntil() != nil {
		f.Until = r.GetUntil().AsTime().UnixNano()
	}
	return f
}

func lower(name, prefix string) string { return strings.ToLower(strings.TrimPrefix(name, prefix)) }

func record(r *audit.Record) *behalfv1.AuditRecord {
	return &behalfv1.AuditRecord{
		Sequence: r.Sequence, Time: nanos(r.Time), Tenant: r.Tenant,
		User:     &behalfv1.AuditUser{Issuer: r.User.Issuer, Subject: r.User.Subject, Email: r.User.Email},
		Workload: r.Workload, LeafThumbprint: r.LeafThumbprint, Agent: r.Agent, DelegationChain: r.Chain, GrantId: r.GrantID,
		Roles: r.Roles, Scopes: r.Scopes, Auth: &behalfv1.Auth{Acr: r.ACR, Amr: r.AMR, Time: nanos(r.AuthTime)},
		Tier:      behalfv1.Tier(enum(behalfv1.Tier_value, "TIER_", r.Tier)),
		SessionId: r.SessionID, RunId: r.RunID, TraceId: r.TraceID, CallId: r.CallID,
		Phase:  behalfv1.AuditPhase(enum(behalfv1.AuditPhase_value, "AUDIT_PHASE_", string(r.Phase))),
		Action: r.Action, Resource: r.Resource, Tool: r.Tool, DescriptorHash: r.DescriptorHash,
		ArgumentsDigest: r.ArgumentsDigest, RedactedArgumentsJson: r.RedactedArguments,
		Decision:  behalfv1.Decision(enum(behalfv1.Decision_value, "DECISION_", r.Decision)),
		Reason:    behalfv1.ErrorReason(enum(behalfv1.ErrorReason_value, "ERROR_REASON_", r.Reason)),
		PolicyIds: r.PolicyIDs, PolicyRevision: r.PolicyRevision, Duties: r.Duties, ApprovalId: r.ApprovalID, Approver: r.Approver,
		TokenId: r.TokenID, Outcome: behalfv1.AuditOutcome(enum(behalfv1.AuditOutcome_value, "AUDIT_OUTCOME_", r.Outcome)),
		ResultDigest: r.ResultDigest, Duration: durationpb.New(time.Duration(r.Duration)), Governed: r.Governed,
		PreviousHash: r.PreviousHash, Hash: r.Hash, ResourceJson: r.ResourceJSON, RolesUnknown: r.RolesUnknown,
	}
}

// enum finds the wire value of a stored word; 0 when the word is empty or newer than this program.
func enum(values map[string]int32, prefix, word string) int32 {
	return values[prefix+strings.ToUpper(word)]
}

func nanos(n int64) *timestamppb.Timestamp {
	if n == 0 {
		return nil
	}
	return timestamppb.New(time.Unix(0, n))
}

// verified shows the tenant its own chain, and problems of the log as a whole
// without details of other tenants.
func verified(tenant string, report audit.Report) *behalfv1.VerifyAuditResponse {
	out := &behalfv1.VerifyAuditResponse{Intact: true}
	for _, t := range report.Tenants {
		if t.Tenant != tenant {
			continue
		}
		out.Records, out.HeadSequence, out.HeadHash, out.CheckpointSequence = t.Rows, t.Head.Sequence, t.Head.Hash, t.Signed
		out.RemovedSequence = t.Removed
		if t.Problem != "" {
			out.Intact = false
			out.Problems = append(out.Problems, &behalfv1.AuditProblem{Sequence: t.Head.Sequence + 1, Message: t.Problem})
		}
	}
	for _, p := range report.Problems {
		out.Intact = false
		out.Problems = append(out.Problems, &behalfv1.AuditProblem{Message: p})
	}
	return out
}
