package server

import (
	"context"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/interceptors"
	"github.com/behalf-dev/behalf/internal/wire"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/runs"
	"golang.org/x/sync/errgroup"
)

// conversation is one Converse stream. Two goroutines share it.
//
// The handler's own has the turns, one after the other, and it alone sends: a
// client that does not read holds up the model. The other one (hear) receives and
// does what cannot wait for a turn's end: cancels it, answers its input requests,
// takes a fresh credential. Each message is dealt with before the next is
// received, but answers, which a run at work takes when it can, go on beside it.
//
// The handler waits for all that hear has begun. Only Recv itself can be left
// behind: gRPC ends it when the handler has returned, and hear then touches
// nothing any more.
type conversation struct {
	*conversationService
	stream  conversationStream
	ctx     context.Context // of all that the conversation does; a stream's lifetime is not an argument
	cancel  context.CancelCauseFunc
	open    *behalfv1.OpenConversation
	to      target
	tenant  string
	turns   chan *turn // from hear to the handler; closed when the client has no more to say
	silent  *time.Timer
	refused chan *behalfv1.RefreshRefused // from hear to the handler, who sends

	acting  sync.Mutex     // held by hear while it deals with a message
	answers errgroup.Group // on their way

	mu      sync.Mutex // guards what follows
	grant   identity.Grant
	session string // empty before the first turn
	turn    *turn  // the newest
	err     error  // why the conversation ends
}

// maxRefused is how many refreshes may be refused while the handler is at work.
const maxRefused = 16

// maxAnswers is how many answers may be on their way to a run that is at work.
const maxAnswers = 16

// turn is one run in the conversation: one that an input starts, or one that
// was open before.
type turn struct {
	input   *behalfv1.ConversationInput // nil: it is followed
	after   uint64                      // what of a followed run the client has seen
	started chan struct{}               // closed when run is known, or never will be

	run string // written before started is closed

	// Guarded by the conversation's mu.
	over      bool // the client may begin another turn
	cancelled bool
}

func newTurn(in *behalfv1.ConversationInput) *turn {
	return &turn{input: in, started: make(chan struct{})}
}

// have has the conversation.
func (c *conversation) have() error {
	defer c.close()
	open := c.turn // before hear makes others
	go c.hear()    // see conversation for who stops it and who waits
	if open != nil {
		if err := c.follow(open); err != nil {
			return c.why(err)
		}
	}
	for {
		select {
		case t, more := <-c.turns:
			if !more {
				return c.why(nil)
			}
			if err := c.take(t); err != nil {
				return c.why(err)
			}
		case no := <-c.refused:
			if err := c.stream.Send(&behalfv1.ConverseResponse{Refused: no}); err != nil {
				return c.why(err)
			}
		case <-c.ctx.Done():
			return c.why(context.Cause(c.ctx))
		}
	}
}

// sayRefused sends what was refused meanwhile.
func (c *conversation) sayRefused() error {
	for {
		select {
		case no := <-c.refused:
			if err := c.stream.Send(&behalfv1.ConverseResponse{Refused: no}); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// close ends what still works for the conversation, and waits for it.
func (c *conversation) close() {
	c.cancel(nil)
	c.silent.Stop()
	c.acting.Lock()
	defer c.acting.Unlock()
	_ = c.answers.Wait() // they report by themselves
}

// end ends the conversation; the first reason stays. A run at work is cancelled,
// one that waits goes on waiting, whatever the reason is.
func (c *conversation) end(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.mu.Unlock()
	c.cancel(nil)
}

// why is the reason that somebody gave, else err.
func (c *conversation) why(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	return err
}

// take asks policy for the turn, and has it.
func (c *conversation) take(t *turn) error {
	defer c.finish(t)
	c.mu.Lock()
	g, session := c.grant, c.session
	c.mu.Unlock()
	sp, err := c.spec(t.input, session)
	if err != nil {
		return err
	}
	if err := c.joinTurn(g, session); err != nil {
		return err
	}
	sp.Tie = interceptors.Tie(c.ctx)
	q := &policy.Query{Grant: g, Action: c.to.action(), Resource: c.to.entity(), Session: session}
	return c.governed(q, func(ctx context.Context) error {
		run, err := c.runs.Start(ctx, sp)
		if err != nil {
			return err
		}
		if run.Repeated && session != "" && run.SessionID != session {
			return malformed("request_id", "it was used in another session; use a fresh one")
		}
		for e, err := range run.Follow(ctx) {
			if err := c.tell(t, &e, err); err != nil {
				return err
			}
		}
		return nil
	})
}

// joinTurn asks anew whether the caller may speak in a session that is another's.
func (c *conversation) joinTurn(g identity.Grant, session string) error {
	if session == "" {
		return nil
	}
	rec, err := c.runs.FindSession(c.ctx, c.tenant, session)
	if err != nil {
		return err
	}
	return joinTurn(c.ctx, c.guard, g, rec, c.to)
}

// spec is the run of an input. What makes an input the same as an earlier one is
// what is said to whom: the session may have been unknown then.
func (c *conversation) spec(in *behalfv1.ConversationInput, session string) (runs.Spec, error) {
	r := &behalfv1.CreateRunRequest{
		Input: in.GetText(), Parts: in.GetParts(), SessionId: session, Limits: c.open.GetLimits(), RequestId: in.GetRequestId(), Labels: c.open.GetLabels(),
	}
	c.to.put(r)
	sp, err := spec(c.to, behalfv1.ConversationService_Converse_FullMethodName, r)
	if err != nil || sp.RequestID == "" {
		return sp, err
	}
	r.SessionId, r.Limits, r.Labels = "", nil, nil
	sp.RequestDigest, err = digest(r)
	return sp, err
}

// governed does something between a durable decision and its recorded outcome,
// under the grant that was asked for.
func (c *conversation) governed(q *policy.Query, effect func(context.Context) error) error {
	ctx := identity.WithGrant(c.ctx, q.Grant)
	q.Trace = interceptors.Trace(ctx)
	permit, err := c.guard.Begin(ctx, q)
	if err != nil {
		return err
	}
	if err := permit.Wait(ctx); err != nil {
		return err
	}
	defer permit.Done(ctx, policy.Result{Outcome: policy.Failed, Reason: string(fault.Internal)}) // on a panic; else it is done already
	err = effect(ctx)
	ctx = context.WithoutCancel(ctx)
	permit.Done(ctx, interceptors.Outcome(err))
	if failed := permit.Settled(ctx); failed != nil && err == nil {
		return failed
	}
	return err
}

// follow has a turn that began before the conversation.
func (c *conversation) follow(t *turn) error {
	defer c.finish(t)
	for e, err := range c.runs.Watch(c.ctx, c.tenant, t.run, t.after) {
		if err := c.tell(t, &e, err); err != nil {
			return err
		}
	}
	return nil
}

// tell sends an event. That a turn is over is noted before the client can know.
func (c *conversation) tell(t *turn, e *agents.Event, err error) error {
	if err != nil {
		return err
	}
	_, end := e.Body.(agents.RunFinished)
	c.mu.Lock()
	begins := t.run == ""
	if begins { // never written again: hear reads it
		t.run, c.session = e.RunID, e.SessionID
	}
	t.over = t.over || end && e.Thread == ""
	c.mu.Unlock()
	if begins {
		close(t.started)
	}
	c.silent.Reset(c.silence)
	if err := c.sayRefused(); err != nil {
		return err
	}
	return c.stream.Send(&behalfv1.ConverseResponse{Event: wire.Encode(e)})
}

// finish lets go of a turn that has ended, or never began.
func (c *conversation) finish(t *turn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t.over = true
	if t.run == "" {
		close(t.started)
	}
}
