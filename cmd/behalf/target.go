package main

import (
	"context"
	"fmt"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/internal/typo"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// target is what can be run: an agent or a group chat.
type target struct {
	name      string
	groupChat bool
}

// everything is a page of a list that has no limit of its own here.
const everything = 1000

// findTarget asks the server what a name is; agents and group chats never share
// one. The lists have what the caller may run.
func findTarget(ctx context.Context, conn *grpc.ClientConn, name string) (target, error) {
	chats, err := behalfv1.NewGroupChatServiceClient(conn).ListGroupChats(ctx, &behalfv1.ListGroupChatsRequest{PageSize: everything})
	if err != nil {
		return target{}, err
	}
	var known []string
	for _, g := range chats.GetGroupChats() {
		if g.GetName() == name {
			return target{name, true}, nil
		}
		known = append(known, g.GetName())
	}
	agents, err := behalfv1.NewAgentServiceClient(conn).ListAgents(ctx, &behalfv1.ListAgentsRequest{PageSize: everything})
	if err != nil {
		return target{}, err
	}
	for _, a := range agents.GetAgents() {
		if a.GetName() == name {
			return target{name, false}, nil
		}
		known = append(known, a.GetName())
	}
	return unlisted(ctx, conn, name, known)
}

// unlisted finds what a name is that the caller may not run. If there is such a
// thing the server shall say no, with its reason and on record.
func unlisted(ctx context.Context, conn *grpc.ClientConn, name string, known []string) (target, error) {
	_, noAgent := behalfv1.NewAgentServiceClient(conn).GetAgent(ctx, &behalfv1.GetAgentRequest{Agent: name})
	if !absent(noAgent) {
		return target{name, false}, nil
	}
	_, noChat := behalfv1.NewGroupChatServiceClient(conn).GetGroupChat(ctx, &behalfv1.GetGroupChatRequest{GroupChat: name})
	if !absent(noChat) {
		return target{name, true}, nil
	}
	return target{}, wrongInput(fmt.Errorf("there is no agent or group chat %q%s\n  next      `%[3]s agents` and `%[3]s chats` list what you may run", name, typo.DidYouMean(name, known), self()))
}

// absent reports that a name is nobody's, or cannot be anybody's.
func absent(err error) bool {
	return status.Code(err) == codes.NotFound || status.Code(err) == codes.InvalidArgument
}

// input is what a person says, in which session (empty: a new one), and what the
// run may do (nil: not narrowed).
type input struct {
	text    string
	session string
	scopes  *behalfv1.Scopes
}

func (t target) start(ctx context.Context, conn *grpc.ClientConn, in input) (events, error) {
	if t.groupChat {
		return streamChat(ctx, conn, &behalfv1.StreamGroupChatRequest{GroupChat: t.name, Input: in.text, SessionId: in.session, Scopes: in.scopes})
	}
	return streamAgent(ctx, conn, &behalfv1.StreamAgentRequest{Agent: t.name, Input: in.text, SessionId: in.session, Scopes: in.scopes})
}

// goOn is the command that continues a session of the target. again are the flags
// that it needs besides.
func (t target) goOn(session, again string) string {
	return fmt.Sprintf("%s chat %s --session %s%s", self(), t.name, clean(session), again)
}
