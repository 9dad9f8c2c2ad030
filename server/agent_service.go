package server

import (
	"context"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"google.golang.org/grpc"
)

// Catalog shows what is configured.
type Catalog interface {
	Agents() []Agent // sorted by name
	Agent(name string) (Agent, bool)
	GroupChats() []GroupChat // sorted by name
	GroupChat(name string) (GroupChat, bool)
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
	rights  *rights
}

// ListAgents shows those that the caller may run.
func (s *agentService) ListAgents(ctx context.Context, r *behalfv1.ListAgentsRequest) (*behalfv1.ListAgentsResponse, error) {
	g, err := grant(ctx)
	if err != nil {
		return nil, err
	}
	var list []*behalfv1.Agent
	for _, a := range s.catalog.Agents() {
		if s.rights.run(g, target{name: a.Name}) {
			list = append(list, agent(a))
		}
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

// StreamAgent runs an agent and sends its events.
func (s *agentService) StreamAgent(r *behalfv1.StreamAgentRequest, out grpc.ServerStreamingServer[behalfv1.StreamAgentResponse]) error {
	sp, err := spec(target{name: r.GetAgent()}, behalfv1.AgentService_StreamAgent_FullMethodName, r)
	if err != nil {
		return err
	}
	sp.Detached = r.GetContinueOnDisconnect()
	return stream(out.Context(), s.runs, sp, func(e *behalfv1.Event) error {
		return out.Send(&behalfv1.StreamAgentResponse{Event: e})
	})
}

// RunAgent runs an agent and waits for the end.
func (s *agentService) RunAgent(ctx context.Context, r *behalfv1.RunAgentRequest) (*behalfv1.RunAgentResponse, error) {
	sp, err := spec(target{name: r.GetAgent()}, behalfv1.AgentService_RunAgent_FullMethodName, r)
	if err != nil {
		return nil, err
	}
	sum, err := wait(ctx, s.runs, sp)
	if err != nil {
		return nil, err
	}
	return &behalfv1.RunAgentResponse{
		RunId: sum.runID, SessionId: sum.sessionID, Output: sum.end.Output, StructuredOutputJson: sum.end.Structured,
		Messages: sum.messages, StopReason: sum.end.StopReason, Usage: usage(sum.end.Usage), ToolCalls: sum.order,
	}, nil
}
