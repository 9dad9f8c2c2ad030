package server

import (
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/interceptors"
	"github.com/behalf-dev/behalf/internal/wire"
	"github.com/behalf-dev/behalf/runs"
	"google.golang.org/grpc"
)

// Runs is the run engine as the RPCs use it: *runs.Engine.
type Runs interface {
	Start(ctx context.Context, s runs.Spec) (*runs.Run, error)
	Watch(ctx context.Context, tenant, runID string, after uint64) iter.Seq2[agents.Event, error]
	Answer(ctx context.Context, tenant, runID string, body agents.Body) (uint64, error)
	Refresh(ctx context.Context, tenant, runID string) error
	Cancel(ctx context.Context, tenant, runID string) (runs.RunRecord, error)
	Find(ctx context.Context, tenant, runID string) (runs.RunRecord, error)
	Status(ctx context.Context, tenant, runID string) (runs.RunRecord, runs.Status, error)
	Runs(ctx context.Context, tenant string, o runs.Owner, after string, limit int) ([]runs.RunRecord, error)
	FindSession(ctx context.Context, tenant, sessionID string) (runs.SessionRecord, error)
	Session(ctx context.Context, tenant, sessionID string) (runs.SessionRecord, runs.Status, error)
	Sessions(ctx context.Context, tenant string, o runs.Owner, after string, limit int) ([]runs.SessionRecord, error)
	Messages(ctx context.Context, tenant, sessionID string) iter.Seq2[agents.Event, error]
	Delete(ctx context.Context, tenant, sessionID string) error
}

type runService struct {
	behalfv1.UnimplementedRunServiceServer
	runs  Runs
	guard interceptors.Guard
}

// CreateRun starts a run that belongs to no connection.
func (s *runService) CreateRun(ctx context.Context, r *behalfv1.CreateRunRequest) (*behalfv1.CreateRunResponse, error) {
	sp, err := spec(aim(r), behalfv1.RunService_CreateRun_FullMethodName, r)
	if err != nil {
		return nil, err
	}
	sp.Detached = true
	run, err := s.runs.Start(ctx, sp)
	if err != nil {
		return nil, err
	}
	return &behalfv1.CreateRunResponse{RunId: run.ID, SessionId: run.SessionID}, nil
}

func (s *runService) GetRun(ctx context.Context, r *behalfv1.GetRunRequest) (*behalfv1.GetRunResponse, error) {
	g, err := grant(ctx)
	if err != nil {
		return nil, err
	}
	rec, st, err := s.runs.Status(ctx, g.Tenant(), r.GetRunId())
	if err != nil {
		return nil, err
	}
	return &behalfv1.GetRunResponse{Run: runOf(rec, &st)}, nil
}

func (s *runService) ListRuns(ctx context.Context, r *behalfv1.ListRunsRequest) (*behalfv1.ListRunsResponse, error) {
	g, after, err := ownList(ctx, r.GetPageToken())
	if err != nil {
		return nil, err
	}
	out := &behalfv1.ListRunsResponse{}
	size := pageSize(r.GetPageSize())
	list, err := s.runs.Runs(ctx, g.Tenant(), runs.OwnerOf(g), after, size)
	if err != nil {
		return nil, err
	}
	for _, rec := range list {
		if wanted(r, rec) {
			out.Runs = append(out.Runs, runOf(rec, nil))
		}
	}
	if len(list) == size {
		out.NextPageToken = token64(list[size-1].RunID)
	}
	return out, nil
}

// wanted applies the request's filters; a page may hold fewer runs than asked
// for although there are more (AIP-158).
func wanted(r *behalfv1.ListRunsRequest, rec runs.RunRecord) bool {
	if r.GetSessionId() != "" && r.GetSessionId() != rec.SessionID {
		return false
	}
	if len(r.GetStates()) == 0 {
		return true
	}
	for _, s := range r.GetStates() {
		if s == runState(rec.State) {
			return true
		}
	}
	return false
}

// WatchRun sends what was stored after a sequence and goes on live. A person who
// comes back with a valid token refreshes the credential of a run that waits for one.
func (s *runService) WatchRun(r *behalfv1.WatchRunRequest, out grpc.ServerStreamingServer[behalfv1.WatchRunResponse]) error {
	ctx := out.Context()
	g, err := grant(ctx)
	if err != nil {
		return err
	}
	if err := ignore(freshen(ctx, s.runs, r.GetRunId()), fault.RunNotActive); err != nil { // it may go on or end meanwhile
		return err
	}
	for e, err := range s.runs.Watch(ctx, g.Tenant(), r.GetRunId(), uint64(r.GetAfterSequence())) {
		if err != nil {
			return err
		}
		if err := out.Send(&behalfv1.WatchRunResponse{Event: wire.Encode(&e)}); err != nil {
			return err
		}
	}
	return nil
}

// freshen gives a run that waits the caller's credential, if it is the caller's or
// acts with their authority.
func freshen(ctx context.Context, engine Runs, runID string) error {
	g, err := grant(ctx)
	if err != nil {
		return err
	}
	rec, err := engine.Find(ctx, g.Tenant(), runID)
	if err != nil || rec.State != runs.StateWaiting {
		return err
	}
	if rec.Owner != runs.OwnerOf(g) {
		session, err := engine.FindSession(ctx, g.Tenant(), rec.SessionID)
		if err != nil || session.Owner != runs.OwnerOf(g) {
			return err
		}
	}
	return engine.Refresh(ctx, g.Tenant(), runID)
}

// SendInput answers an input request, now or days later. Whoever is not the
// run's owner must be allowed into the session too. An input request is answered
// once, so an answer that comes again is found in the session.
func (s *runService) SendInput(ctx context.Context, r *behalfv1.SendInputRequest) (*behalfv1.SendInputResponse, error) {
	g, err := grant(ctx)
	if err != nil {
		return nil, err
	}
	body, err := s.answer(r)
	if err != nil {
		return nil, err
	}
	rec, err := s.runs.Find(ctx, g.Tenant(), r.GetRunId())
	if err != nil {
		return nil, err
	}
	if err := s.join(ctx, g, rec); err != nil {
		return nil, err
	}
	if r.GetRequestId() != "" {
		if sequence, err := s.answered(ctx, g, rec, body); sequence > 0 || err != nil {
			return &behalfv1.SendInputResponse{Sequence: sequence}, err
		}
	}
	if err := ignore(freshen(ctx, s.runs, rec.RunID), fault.RunNotActive); err != nil {
		return nil, err
	}
	sequence, err := s.runs.Answer(ctx, g.Tenant(), rec.RunID, body)
	if err != nil {
		return nil, err
	}
	return &behalfv1.SendInputResponse{Sequence: int64(sequence)}, nil
}

func (s *runService) answer(r *behalfv1.SendInputRequest) (agents.InputReceived, error) {
	if r.GetRequestId() != "" && r.GetInputRequestId() == "" { // else a repeat could answer the next request
		return agents.InputReceived{}, malformed("input_request_id", "needed with request_id")
	}
	parts, err := parts(r.GetParts())
	return agents.InputReceived{InputRequestID: r.GetInputRequestId(), Text: r.GetText(), Parts: parts}, err
}

// join asks whether somebody may speak in a run, unless the session is theirs: who
// began one in another's may have lost the right since.
func (s *runService) join(ctx context.Context, g identity.Grant, rec runs.RunRecord) error {
	session, err := s.runs.FindSession(ctx, g.Tenant(), rec.SessionID)
	if err != nil {
		return err
	}
	return join(ctx, s.guard, g, session, rec.RunID)
}

// answered finds the answer that the same person gave before; 0: there is none.
func (s *runService) answered(ctx context.Context, g identity.Grant, rec runs.RunRecord, body agents.InputReceived) (int64, error) {
	for e, err := range s.runs.Messages(ctx, g.Tenant(), rec.SessionID) {
		if err != nil {
			return 0, err
		}
		b, ok := e.Body.(agents.InputReceived)
		if !ok || e.RunID != rec.RunID || b.InputRequestID != body.InputRequestID || b.Speaker.Subject != speaker(g) {
			continue
		}
		if b.Text != body.Text || !slices.Equal(b.Parts, body.Parts) {
			return 0, malformed("request_id", "the input request was answered with something else")
		}
		return int64(e.Sequence), nil
	}
	return 0, nil
}

// speaker is who says something as events have it: the person, if there is one.
func speaker(g identity.Grant) string {
	if u := g.Principal().User; u != nil {
		return u.Subject
	}
	return ""
}

func (s *runService) CancelRun(ctx context.Context, r *behalfv1.CancelRunRequest) (*behalfv1.CancelRunResponse, error) {
	g, err := grant(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := s.runs.Cancel(ctx, g.Tenant(), r.GetRunId()); err != nil && !errors.Is(err, fault.RunNotActive) {
		return nil, err // a run that has ended stays as it is, and that is no error
	}
	rec, st, err := s.runs.Status(ctx, g.Tenant(), r.GetRunId())
	if err != nil {
		return nil, err
	}
	return &behalfv1.CancelRunResponse{Run: runOf(rec, &st)}, nil
}

// runOf shows a run; without a status, or when its events were deleted with their
// session, only what the index knows of it.
func runOf(rec runs.RunRecord, st *runs.Status) *behalfv1.Run {
	out := &behalfv1.Run{
		RunId: rec.RunID, SessionId: rec.SessionID, Target: rec.Target, TargetKind: targetKind(rec.Kind), State: runState(rec.State),
		User:      &behalfv1.User{Issuer: rec.Owner.Issuer, Subject: rec.Owner.Subject, Tenant: rec.Tenant},
		StartedAt: nanos(rec.Created), StopReason: rec.StopReason, RequestId: rec.RequestID,
	}
	if rec.Owner.Issuer == "" {
		out.User, out.Workload = nil, rec.Owner.Subject
	}
	if st == nil || st.RunID == "" {
		return out
	}
	out.State, out.Output, out.StructuredOutputJson, out.Usage = runState(st.State()), st.Output, st.Structured, usage(st.Usage)
	out.ApprovalIds, out.InputRequestIds, out.CredentialRequired = st.Approvals, st.Inputs, st.Credential
	out.LastSequence, out.Labels, out.Workload = int64(st.Last), st.Started.Labels, st.Started.Workload
	out.Tier = behalfv1.Tier(enum(behalfv1.Tier_value, "TIER_", st.Started.Tier))
	if f := st.Finished; f != nil {
		out.StopReason, out.FinishedAt = f.StopReason, timestamp(st.FinishedAt)
		out.ErrorReason = behalfv1.ErrorReason(enum(behalfv1.ErrorReason_value, "ERROR_REASON_", f.Reason))
	}
	return out
}

func runState(word string) behalfv1.RunState {
	return behalfv1.RunState(enum(behalfv1.RunState_value, "RUN_STATE_", word))
}

func targetKind(word string) behalfv1.TargetKind {
	return behalfv1.TargetKind(enum(behalfv1.TargetKind_value, "TARGET_KIND_", word))
}

// ownList is what the caller's own lists begin with.
func ownList(ctx context.Context, token string) (g identity.Grant, after string, err error) {
	if g, err = grant(ctx); err != nil {
		return g, "", err
	}
	after, err = cursor(token)
	return g, after, err
}
