package server

import (
	"context"
	"errors"
	"io"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/interceptors"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/runs"
	"google.golang.org/grpc/codes"
)

// This file is the receiving half of a conversation; see there for what it owns.

// hear receives until the client has no more to say or the conversation ends.
func (c *conversation) hear() {
	for more := true; more; {
		m, err := c.stream.Recv()
		more = c.heard(m, err)
	}
}

// heard deals with one message, and says whether there is to be another. Nobody
// else recovers here: a bug must end the conversation and not the process.
func (c *conversation) heard(m *behalfv1.ConverseRequest, err error) bool {
	c.acting.Lock()
	defer c.acting.Unlock()
	if c.ctx.Err() != nil {
		return false
	}
	if errors.Is(err, io.EOF) {
		close(c.turns)
		return false
	}
	if err == nil {
		c.silent.Reset(c.silence)
		err = recovered(func() error { return c.act(m) })
	}
	if err != nil {
		c.end(err)
	}
	return err == nil
}

func recovered(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = interceptors.Recovered(p)
		}
	}()
	return f()
}

func (c *conversation) act(m *behalfv1.ConverseRequest) error {
	switch r := m.GetRequest().(type) {
	case *behalfv1.ConverseRequest_Input:
		if r.Input.GetInputRequestId() != "" {
			return c.answer(r.Input)
		}
		return c.say(r.Input)
	case *behalfv1.ConverseRequest_CancelTurn:
		return c.cancelTurn()
	case *behalfv1.ConverseRequest_Refresh:
		return c.refresh(r.Refresh.GetAccessToken())
	case *behalfv1.ConverseRequest_Decision:
		return c.decide(r.Decision)
	case *behalfv1.ConverseRequest_Open:
		return fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "the conversation is open already; use another stream for another one")
	}
	return fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "the server does not know this kind of message")
}

// say begins a turn.
func (c *conversation) say(in *behalfv1.ConversationInput) error {
	t := newTurn(in)
	c.mu.Lock()
	if now := c.turn; now != nil && !now.over {
		defer c.mu.Unlock()
		return fault.New(codes.FailedPrecondition, fault.SessionBusy, "the session has an open run; wait for it or cancel the turn").With("run_id", now.run)
	}
	c.turn = t
	c.mu.Unlock()
	select {
	case c.turns <- t:
	case <-c.ctx.Done():
	}
	return nil
}

// current is the open turn, once its run is known; nil when there is none.
func (c *conversation) current() *turn {
	c.mu.Lock()
	t := c.turn
	c.mu.Unlock()
	if t == nil {
		return nil
	}
	select {
	case <-t.started:
	case <-c.ctx.Done():
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.over {
		return nil
	}
	return t
}

// cancelTurn ends the open run. What was said after it belongs to the next turn.
func (c *conversation) cancelTurn() error {
	t := c.current()
	if t == nil {
		return nil
	}
	c.mu.Lock()
	t.cancelled = true
	c.mu.Unlock()
	_, err := c.runs.Cancel(c.ctx, c.tenant, t.run)
	if err = ignore(err, fault.RunNotActive); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t.over = true
	return nil
}

// answer gives the open run what a person said. It is decided as
// RunService.SendInput is. The run may be at work still, and take it when it
// rests; meanwhile the client may want to cancel.
func (c *conversation) answer(in *behalfv1.ConversationInput) error {
	t := c.current()
	if t == nil {
		return fault.New(codes.FailedPrecondition, fault.RunNotActive, "no run waits for an answer; leave input_request_id empty to begin a turn")
	}
	parts, err := parts(in.GetParts())
	if err != nil {
		return err
	}
	c.mu.Lock()
	g := c.grant
	q := &policy.Query{
		Grant: g, Action: "send_input", Session: c.session, Run: t.run,
		Resource: runEntity(runs.RunRecord{Tenant: c.tenant, Owner: runs.OwnerOf(g), RunID: t.run, SessionID: c.session, Target: c.to.name}),
	}
	c.mu.Unlock()
	body := agents.InputReceived{InputRequestID: in.GetInputRequestId(), Text: in.GetText(), Parts: parts}
	c.answers.Go(func() error {
		err := recovered(func() error {
			return c.governed(q, func(ctx context.Context) error {
				rec, err := c.runs.FindSession(ctx, c.tenant, q.Session)
				if err != nil {
					return err
				}
				if err := join(ctx, c.guard, g, rec, q.Run); err != nil {
					return err
				}
				_, err = c.runs.Answer(ctx, c.tenant, q.Run, body)
				return err
			})
		})
		if err != nil && !c.superseded(t, err) {
			c.end(err)
		}
		return nil
	})
	return nil
}

// decide answers an approval, as ApprovalService.DecideApproval does. The person
// of a conversation is often the one who asked, and then may not.
func (c *conversation) decide(d *behalfv1.ConversationDecision) error {
	c.mu.Lock()
	g := c.grant
	c.mu.Unlock()
	q := &policy.Query{Grant: g, Action: policy.ActionDecideApproval, Resource: policy.Entity{Type: "Approval", ID: d.GetApprovalId()}, Trace: interceptors.Trace(c.ctx)}
	a, err := c.approvals.Approval(c.ctx, c.tenant, d.GetApprovalId())
	if err == nil && !concerns(g, &a) {
		err = notFound("approval")
	}
	if errors.Is(err, fault.NotFound) {
		return c.guard.Refuse(c.ctx, q, fault.From(err))
	}
	if err != nil {
		return err
	}
	q.Resource, q.Run, q.Session = policy.ApprovalEntity(&a), a.RunID, a.SessionID
	return c.governed(q, func(ctx context.Context) error {
		_, err := c.approvals.DecideApproval(ctx, a.ID, d.GetDecision() == behalfv1.ApprovalDecision_APPROVAL_DECISION_APPROVE, d.GetComment())
		return err
	})
}

// superseded reports whether an answer came to nothing because the client
// cancelled the turn.
func (c *conversation) superseded(t *turn, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return t.cancelled && errors.Is(err, fault.RunNotActive)
}

// refuse answers a refresh that came to nothing. What says that nothing works any
// more ends the conversation.
func (c *conversation) refuse(err error) error {
	f := fault.From(err)
	if f.Reason == fault.AuditUnavailable || f.Reason == fault.Internal || c.ctx.Err() != nil {
		return err
	}
	no := &behalfv1.RefreshRefused{Reason: behalfv1.ErrorReason(enum(behalfv1.ErrorReason_value, "ERROR_REASON_", string(f.Reason))), Message: f.Message}
	select {
	case c.refused <- no:
		return nil
	default:
		return err // the client goes on sending what is refused
	}
}

// refresh takes a fresh credential of the same person: for the turn at work and
// those to come, and for a run that waits.
func (c *conversation) refresh(token string) error {
	p, err := c.identify.IdentifyToken(c.ctx, interceptors.Connection(c.ctx), identity.NewSecret(token))
	if err != nil {
		return c.refuse(err)
	}
	g, err := c.guard.Refresh(c.ctx, p)
	if err != nil {
		return c.refuse(err)
	}
	c.mu.Lock()
	c.grant = g
	c.mu.Unlock()
	t := c.current()
	if t == nil {
		return nil
	}
	return ignore(freshen(identity.WithGrant(c.ctx, g), c.runs, t.run), fault.RunNotActive)
}
