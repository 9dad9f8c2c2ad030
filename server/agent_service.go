package server

import (
	"context"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/interceptors"
	"github.com/behalf-dev/behalf/internal/wire"
	"github.com/behalf-dev/behalf/runs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// Catalog shows what is configured.
type Catalog interface {
	Agents() []Agent // sorted by name
	Agent(name string) (Agent, bool)
	GroupChat(name string) bool
}

// Agent is an agent as callers see it.
type Agent struct {
	Name        string
	Description string
	Tools       []string
	Scopes      *[]string // nil: no ceiling of its own
	Handoffs    []Handoff
	MaxTurns    int
}

// Handoff is an agent that may be handed over to.
type Handoff struct {
	To     string
	Scopes *[]string // nil: no narrowing by the hand-off
}

type agentService struct {
	behalfv1.UnimplementedAgentServiceServer
	runs    Runs
	catalog Catalog
}

func (s *agentService) ListAgents(_ context.Context, r *behalfv1.ListAgentsRequest) (*behalfv1.ListAgentsResponse, error) {
	var list []*behalfv1.Agent
	for _, a := range s.catalog.Agents() {
		list = append(list, agent(a))
	}
	part, next, err := page(list, r.GetPageSize(), r.GetPageToken(), (*behalfv1.Agent).GetName)
	return &behalfv1.ListAgentsResponse{Agents: part, NextPageToken: next}, err
}

func (s *agentService) GetAgent(_ context.Context, r *behalfv1.GetAgentRequest) (*behalfv1.GetAgentResponse, error) {
	a, ok := s.catalog.Agent(r.GetAgent())
	if !ok {
		return nil, notFound("agent")
	}
	return &behalfv1.GetAgentResponse{Agent: agent(a)}, nil
}

func agent(a Agent) *behalfv1.Agent {
	out := &behalfv1.Agent{
		Name: a.Name, Description: a.Description, Kind: behalfv1.AgentKind_AGENT_KIND_ASSISTANT, Tools: a.Tools,
		Scopes: optional(a.Scopes), MaxTurns: int32(min(a.MaxTurns, 1<<20)),
	}
	for _, h := range a.Handoffs {
		out.Handoffs = append(out.Handoffs, &behalfv1.Handoff{To: h.To, Scopes: optional(h.Scopes)})
	}
	return out
}

func optional(names *[]string) *behalfv1.Scopes {
	if names == nil {
		return nil
	}
	return scopes(*names)
}

// StreamAgent sends each event as it happens. The client's flow control holds
// up the model: nothing is buffered here.
func (s *agentService) StreamAgent(r *behalfv1.StreamAgentRequest, out grpc.ServerStreamingServer[behalfv1.StreamAgentResponse]) error {
	sp, err := spec(r.GetAgent(), behalfv1.AgentService_StreamAgent_FullMethodName, r)
	if err != nil {
		return err
	}
	// A run that outlives its client belongs to the engine from the start.
	sp.Detached = r.GetContinueOnDisconnect()
	run, err := s.runs.Start(out.Context(), sp)
	if err != nil {
		return err
	}
	for e, err := range run.Events(out.Context()) {
		if err != nil {
			return err
		}
		if err := out.Send(&behalfv1.StreamAgentResponse{Event: wire.Encode(&e)}); err != nil {
			return err
		}
	}
	return nil
}

// RunAgent waits for the end. It never waits for a person: a run that pauses is
// answered at once with what it waits for, and stays open.
func (s *agentService) RunAgent(ctx context.Context, r *behalfv1.RunAgentRequest) (*behalfv1.RunAgentResponse, error) {
	sp, err := spec(r.GetAgent(), behalfv1.AgentService_RunAgent_FullMethodName, r)
	if err != nil {
		return nil, err
	}
	run, err := s.runs.Start(ctx, sp)
	if err != nil {
		return nil, err
	}
	sum := summary{calls: map[string]*behalfv1.ToolCallSummary{}}
	for e, err := range run.Events(ctx) {
		if err != nil {
			return nil, err
		}
		if e.Pause() {
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
	return sum.response(run), nil
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
		f = fault.New(codes.FailedPrecondition, fault.ApprovalRequired, "a tool call needs an approval; the run waits for it, follow it with WatchRun").With("approval_id", b.ApprovalID)
	case agents.InputRequested:
		f = fault.New(codes.FailedPrecondition, fault.InputRequired, "the run waits for an answer; give it with SendInput").With("input_request_id", b.InputRequestID)
	case agents.CredentialRequired:
		f = fault.New(codes.FailedPrecondition, fault.CredentialExpired, "the run's credential has ended; come back with a fresh one through WatchRun")
	}
	return f.With("run_id", run.ID).With("session_id", run.SessionID)
}

// summary collects a run's events into one answer.
type summary struct {
	messages []*behalfv1.Event
	order    []*behalfv1.ToolCallSummary
	calls    map[string]*behalfv1.ToolCallSummary
	end      agents.RunFinished
}

func (s *summary) add(e *agents.Event) {
	switch b := e.Body.(type) {
	case agents.Message:
		s.messages = append(s.messages, wire.Encode(e))
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

func (s *summary) response(run *runs.Run) *behalfv1.RunAgentResponse {
	return &behalfv1.RunAgentResponse{
		RunId: run.ID, SessionId: run.SessionID, Output: s.end.Output, StructuredOutputJson: s.end.Structured,
		Messages: s.messages, StopReason: s.end.StopReason, Usage: usage(s.end.Usage), ToolCalls: s.order,
	}
}

func usage(u agents.Usage) *behalfv1.Usage {
	return &behalfv1.Usage{
		PromptTokens: u.PromptTokens, CompletionTokens: u.CompletionTokens, TotalTokens: u.Total(), ModelCalls: int32(min(u.ModelCalls, 1<<30)),
	}
}

func notFound(what string) error {
	return fault.New(codes.NotFound, fault.NotFound, "there is no such "+what)
}
