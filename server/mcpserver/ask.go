package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/behalf-dev/behalf/fault"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"google.golang.org/grpc/codes"
)

// ask runs an agent to its end, or until the run waits for a person. It then goes on
// without us: to leave a stream at a pause does not cancel the run.
func (f *face) ask(ctx context.Context, agent, args string, t *teller) *mcp.CallToolResult {
	defer t.close()
	var in struct {
		Input     string `json:"input"`
		SessionID string `json:"session_id"`
	}
	if !strictly(args, &in) {
		return answered("the arguments are input and session_id, both text", nil, true)
	}
	end, err := f.follow(ctx, &behalfv1.StreamAgentRequest{Agent: agent, Input: in.Input, SessionId: in.SessionID}, t)
	if err != nil {
		return refused(err)
	}
	output := end.GetRunFinished().GetOutput()
	about, err := json.Marshal(map[string]string{"output": output, "session_id": end.GetSessionId(), "run_id": end.GetRunId()})
	if err != nil {
		return refused(err)
	}
	return answered(output, about, false)
}

// follow gives the run's last event. The stream's place is free again when it returns.
func (f *face) follow(ctx context.Context, r *behalfv1.StreamAgentRequest, t *teller) (end *behalfv1.Event, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := f.agents.StreamAgent(ctx, r)
	if err != nil {
		return nil, err
	}
	last := &behalfv1.Event{}
	for {
		m, err := s.Recv()
		switch {
		case errors.Is(err, io.EOF) && end != nil:
			return end, nil
		case errors.Is(err, io.EOF):
			return nil, errNoEnd.With("run_id", last.GetRunId()).With("session_id", last.GetSessionId())
		case err != nil:
			return nil, err
		}
		e := m.GetEvent()
		last = e
		if err := waits(e); err != nil {
			return nil, err
		}
		if t.hear(e); e.GetRunFinished() != nil && e.GetThread() == "" {
			end = e
		}
	}
}

var errNoEnd = fault.New(codes.Unavailable, fault.Internal, "the run's events ended before it did, and it may go on; look at it before you ask again")

// waits is the refusal of a run that waits for a person.
func waits(e *behalfv1.Event) error {
	var f *fault.Error
	switch b := e.GetBody().(type) {
	case *behalfv1.Event_ApprovalRequested:
		f = fault.New(codes.FailedPrecondition, fault.ApprovalRequired, "a tool call needs an approval").With("approval_id", b.ApprovalRequested.GetApprovalId())
	case *behalfv1.Event_InputRequested:
		f = fault.New(codes.FailedPrecondition, fault.InputRequired, "the run waits for an answer; give it with SendInput").With("input_request_id", b.InputRequested.GetInputRequestId())
	case *behalfv1.Event_CredentialRequired:
		f = fault.New(codes.FailedPrecondition, fault.CredentialExpired, "the run's credential has ended; come back with a fresh one through WatchRun")
	default:
		return nil
	}
	return f.With("run_id", e.GetRunId()).With("session_id", e.GetSessionId())
}

// telling is who hears how far a call is; nil without a token for that.
func telling(ctx context.Context, p *mcp.CallToolParamsRaw, who mcp.Session) *teller {
	s, ok := who.(*mcp.ServerSession)
	if !ok || !isToken(p.GetProgressToken()) {
		return nil
	}
	return newTeller(p.GetProgressToken(), func(n *mcp.ProgressNotificationParams) error { return s.NotifyProgress(ctx, n) })
}

// isToken: it is sent with each notification, so it is a small one.
func isToken(token any) bool {
	switch token := token.(type) {
	case string:
		return len(token) <= maxToken
	case float64:
		return true
	}
	return false
}
