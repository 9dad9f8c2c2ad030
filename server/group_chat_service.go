package server

import (
	"context"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"google.golang.org/grpc"
)

// GroupChat is a group chat as callers see it. Its words are those of the config.
type GroupChat struct {
	Name         string
	Description  string
	Kind         string   // round_robin, selector, …
	Participants []string // in configured order
	Authority    string   // speaker, owner, intersection; empty: speaker
	Termination  string   // JSON text; empty: only limits stop it
	MaxTurns     int
	Graph        *Graph // of kind graph, else nil
}

// Graph says who speaks after whom.
type Graph struct {
	Entry string // empty: all that no edge leads to
	Edges []Edge
}

// Edge leads from one participant to the next.
type Edge struct {
	From, To string
	If       string // empty: always
	Group    string // empty: To's own
	Join     string // all or any; empty: all
}

type groupChatService struct {
	behalfv1.UnimplementedGroupChatServiceServer
	runs    Runs
	catalog Catalog
	rights  *rights
}

// ListGroupChats shows those that the caller may run.
func (s *groupChatService) ListGroupChats(ctx context.Context, r *behalfv1.ListGroupChatsRequest) (*behalfv1.ListGroupChatsResponse, error) {
	g, err := grant(ctx)
	if err != nil {
		return nil, err
	}
	var list []*behalfv1.GroupChat
	for _, c := range s.catalog.GroupChats() {
		if s.rights.run(g, target{c.Name, true}) {
			list = append(list, groupChat(c))
		}
	}
	part, next, err := page(list, r.GetPageSize(), r.GetPageToken(), (*behalfv1.GroupChat).GetName)
	return &behalfv1.ListGroupChatsResponse{GroupChats: part, NextPageToken: next}, err
}

func (s *groupChatService) GetGroupChat(_ context.Context, r *behalfv1.GetGroupChatRequest) (*behalfv1.GetGroupChatResponse, error) {
	c, ok := s.catalog.GroupChat(r.GetGroupChat())
	if !ok {
		return nil, notFound("group chat")
	}
	return &behalfv1.GetGroupChatResponse{GroupChat: groupChat(c)}, nil
}

func groupChat(c GroupChat) *behalfv1.GroupChat {
	out := &behalfv1.GroupChat{
		Name: c.Name, Description: c.Description, Participants: c.Participants, TerminationJson: c.Termination, MaxTurns: int32(min(c.MaxTurns, 1<<20)),
		Kind:      behalfv1.GroupChatKind(enum(behalfv1.GroupChatKind_value, "GROUP_CHAT_KIND_", c.Kind)),
		Authority: behalfv1.Authority(enum(behalfv1.Authority_value, "AUTHORITY_", c.Authority)),
	}
	if c.Graph == nil {
		return out
	}
	out.Graph = &behalfv1.GroupChatGraph{Entry: c.Graph.Entry}
	for _, e := range c.Graph.Edges {
		out.Graph.Edges = append(out.Graph.Edges, &behalfv1.GroupChatEdge{
			From: e.From, To: e.To, Condition: e.If, Group: e.Group,
			Join: behalfv1.GroupChatJoin(enum(behalfv1.GroupChatJoin_value, "GROUP_CHAT_JOIN_", e.Join)),
		})
	}
	return out
}

// StreamGroupChat runs a group chat and sends its events.
func (s *groupChatService) StreamGroupChat(r *behalfv1.StreamGroupChatRequest, out grpc.ServerStreamingServer[behalfv1.StreamGroupChatResponse]) error {
	sp, err := spec(target{name: r.GetGroupChat(), groupChat: true}, behalfv1.GroupChatService_StreamGroupChat_FullMethodName, r)
	if err != nil {
		return err
	}
	sp.Detached = r.GetContinueOnDisconnect()
	return stream(out.Context(), s.runs, sp, func(e *behalfv1.Event) error {
		return out.Send(&behalfv1.StreamGroupChatResponse{Event: e})
	})
}

// RunGroupChat runs a group chat and waits for the end.
func (s *groupChatService) RunGroupChat(ctx context.Context, r *behalfv1.RunGroupChatRequest) (*behalfv1.RunGroupChatResponse, error) {
	sp, err := spec(target{name: r.GetGroupChat(), groupChat: true}, behalfv1.GroupChatService_RunGroupChat_FullMethodName, r)
	if err != nil {
		return nil, err
	}
	sum, err := wait(ctx, s.runs, sp)
	if err != nil {
		return nil, err
	}
	return &behalfv1.RunGroupChatResponse{
		RunId: sum.runID, SessionId: sum.sessionID, Output: sum.end.Output, StructuredOutputJson: sum.end.Structured,
		Messages: sum.messages, StopReason: sum.end.StopReason, Usage: usage(sum.end.Usage), ToolCalls: sum.order,
	}, nil
}
