package server

import (
	"context"
	"slices"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/interceptors"
	"github.com/behalf-dev/behalf/internal/wire"
	"github.com/behalf-dev/behalf/runs"
	"google.golang.org/grpc/codes"
)

// stream starts a run and sends each event as it happens, through pauses, to the
// run's end. The client's flow control holds up the model: nothing is buffered
// here. A run that is told to stop does not wait for it.
func stream(ctx context.Context, engine Runs, sp runs.Spec, send func(*behalfv1.Event) error) error {
	sp.Tie = interceptors.Tie(ctx)
	run, err := engine.Start(ctx, sp)
	if err != nil {
		return err
	}
	for e, err := range run.Follow(ctx) {
		if err != nil {
			return err
		}
		if err := send(wire.Encode(&e)); err != nil {
			return err
		}
	}
	return nil
}

// wait starts a run and sums it up when it has ended. It never waits for a
// person: a run that pauses is answered at once with what it waits for, and
// stays open.
func wait(ctx context.Context, engine Runs, sp runs.Spec) (*summary, error) {
	run, err := engine.Start(ctx, sp)
	if err != nil {
		return nil, err
	}
	sum := &summary{runID: run.ID, sessionID: run.SessionID, calls: map[string]*behalfv1.ToolCallSummary{}}
	for e, err := range run.Events(ctx) {
		if err != nil {
			return nil, err
		}
		if e.Pause() && pauses(ctx, engine, run, &e) {
			return nil, waiting(run, &e)
		}
		// The loop's body is before the tool's effect: to leave here prevents it.
		if _, ok := e.Body.(agents.ToolCallDecided); ok {
			if err := interceptors.Recorded(ctx); err != nil {
				return nil, err
			}
		}
		sum.add(&e)
	}
	if run.Repeated && sum.end.StopReason == agents.StopFailed {
		return nil, failedBefore(run, fault.Reason(sum.end.Reason))
	}
	return sum, nil
}

// pauses reports whether a run waits for what the event asks. The run of a
// repeated request may have had its answer long ago.
func pauses(ctx context.Context, engine Runs, run *runs.Run, e *agents.Event) bool {
	if !run.Repeated {
		return true
	}
	g, _ := identity.FromContext(ctx)
	_, st, err := engine.Status(ctx, g.Tenant(), run.ID)
	if err != nil {
		return true
	}
	switch b := e.Body.(type) {
	case agents.ApprovalRequested:
		return slices.Contains(st.Approvals, b.ApprovalID)
	case agents.InputRequested:
		return slices.Contains(st.Inputs, b.InputRequestID)
	}
	return st.Credential
}

// failedBefore is the error of a run that an earlier request with the same id
// started: a repeat must not read as a success.
func failedBefore(run *runs.Run, why fault.Reason) error {
	code := codes.Internal
	switch why {
	case fault.ModelUnavailable, fault.ToolUnavailable, fault.AuditUnavailable, fault.KeysetUnavailable:
		code = codes.Unavailable
	case fault.RateLimited, fault.BudgetExhausted:
		code = codes.ResourceExhausted
	case fault.CredentialInvalid:
		code = codes.Unauthenticated
	case fault.PolicyDenied, fault.ScopeMissing, fault.DelegationScope, fault.PrincipalLocked, fault.OwnerMismatch, fault.TenantMismatch:
		code = codes.PermissionDenied
	case "":
		why = fault.Internal
	}
	return fault.New(code, why, "the run of this request_id has failed; use a fresh one to try again").With("run_id", run.ID).With("session_id", run.SessionID)
}

// waiting tells a unary caller what the run waits for.
func waiting(run *runs.Run, e *agents.Event) error {
	f := fault.New(codes.FailedPrecondition, fault.InputRequired, "the run waits; follow it with WatchRun")
	switch b := e.Body.(type) {
	case agents.ApprovalRequested:
		f = fault.New(codes.FailedPrecondition, fault.ApprovalRequired, "a tool call needs an approval; the run waits for it, follow it with WatchRun").With("approval_id", b.ApprovalID).
			With("expires_at", b.Expires.UTC().Format(time.RFC3339))
	case agents.InputRequested:
		f = fault.New(codes.FailedPrecondition, fault.InputRequired, "the run waits for an answer; give it with SendInput").With("input_request_id", b.InputRequestID)
	case agents.CredentialRequired:
		f = fault.New(codes.FailedPrecondition, fault.CredentialExpired, "the run's credential has ended; come back with a fresh one through WatchRun")
	}
	return f.With("run_id", run.ID).With("session_id", run.SessionID)
}

// summary collects a run's events into one answer.
type summary struct {
	runID, sessionID string

	messages []*behalfv1.Event
	order    []*behalfv1.ToolCallSummary
	calls    map[string]*behalfv1.ToolCallSummary
	end      agents.RunFinished
}

// add takes messages and the end from the top, where a group chat keeps what its
// participants said, and calls from everywhere.
func (s *summary) add(e *agents.Event) {
	switch b := e.Body.(type) {
	case agents.Message:
		if e.Thread == "" {
			s.messages = append(s.messages, wire.Encode(e))
		}
	case agents.ToolCallRequested:
		c := &behalfv1.ToolCallSummary{CallId: e.CallID, Tool: b.Tool, Agent: e.Source}
		s.calls[e.CallID], s.order = c, append(s.order, c)
	case agents.ToolCallDecided:
		if c := s.calls[e.CallID]; c != nil {
			d := wire.Encode(e).GetToolCallDecided()
			c.Decision, c.Reason, c.PolicyIds = d.GetDecision(), d.GetReason(), d.GetPolicyIds()
		}
	case agents.ToolCallFinished:
		if c := s.calls[e.CallID]; c != nil {
			c.Failed = b.Failed
		}
	case agents.RunFinished:
		if e.Thread == "" {
			s.end = b
		}
	}
}

func usage(u agents.Usage) *behalfv1.Usage {
	return &behalfv1.Usage{
		PromptTokens: u.PromptTokens, CompletionTokens: u.CompletionTokens, TotalTokens: u.Total(), ModelCalls: int32(min(u.ModelCalls, 1<<30)),
	}
}
