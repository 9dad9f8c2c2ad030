package runs

import (
	"context"
	"errors"
	"slices"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/grpc/codes"
)

// answer is what somebody said or decided while the run was still at work.
type answer struct {
	body  agents.Body
	taken chan taken // holds one
}

type taken struct {
	sequence uint64
	err      error
}

// attempts bounds how often a fence is tried again: each loss means that
// somebody else got on.
const attempts = 5

// Answer gives a waiting run what it waits for: an ApprovalDecided or an
// InputReceived, whose empty id means the only open one. It is stored when Answer
// returns, with its sequence; the run then goes on by itself. Who answers is the
// grant in ctx; when it is the run's own person, their fresh credential replaces
// the stored one, and when it is somebody else, what the run does from then on must
// be allowed to them too, unless the session acts for its owner.
//
// Faults: NOT_FOUND, RUN_NOT_ACTIVE (it does not wait for this),
// ARGUMENT_INVALID (several wait and no id was given).
func (e *Engine) Answer(ctx context.Context, tenant, runID string, body agents.Body) (uint64, error) {
	rec, err := e.cfg.Index.RunByID(ctx, tenant, runID)
	if err != nil {
		return 0, internal("find the run", err)
	}
	if err := e.hear(ctx, rec, body); err != nil {
		return 0, err
	}
	body = signed(ctx, body)
	for range attempts {
		if x, ok := e.running(runID); ok {
			sequence, err := x.offer(ctx, body)
			if !errors.Is(err, errOver) {
				return sequence, err
			}
			continue // it has come to rest meanwhile
		}
		sequence, err := e.wake(ctx, rec, body)
		if !errors.Is(err, ErrConflict) {
			return sequence, err
		}
	}
	return 0, errMoved
}

// Refresh gives a waiting run its own person's fresh credential, from ctx, or that
// of its session's owner if it acts with theirs. A run that waits for just that
// goes on.
func (e *Engine) Refresh(ctx context.Context, tenant, runID string) error {
	rec, err := e.cfg.Index.RunByID(ctx, tenant, runID)
	if err != nil {
		return internal("find the run", err)
	}
	s, err := e.load(ctx, Key{tenant, rec.SessionID})
	if err != nil {
		return err
	}
	if s.status.RunID != runID || !s.status.Open() {
		return notActive()
	}
	if fresh, err := e.refresh(ctx, rec, s.status.Started.GrantID); err != nil || !fresh {
		return err
	}
	if _, at := e.running(runID); at || !s.status.Credential {
		return nil
	}
	return e.requeue(ctx, rec)
}

func (e *Engine) refresh(ctx context.Context, rec RunRecord, grantID string) (bool, error) {
	if fresh, err := e.refreshOwner(ctx, rec); err != nil || fresh {
		return fresh, err
	}
	return e.refreshGrant(ctx, grantID)
}

// wake stores the answer for a run that rests, and has it executed.
func (e *Engine) wake(ctx context.Context, rec RunRecord, body agents.Body) (uint64, error) {
	k := Key{rec.Tenant, rec.SessionID}
	s, err := e.load(ctx, k)
	if err != nil {
		return 0, err
	}
	if s.status.RunID != rec.RunID {
		return 0, notActive()
	}
	ev, err := s.status.bind(body)
	if err != nil {
		return 0, err
	}
	if _, err := e.refreshGrant(ctx, s.status.Started.GrantID); err != nil {
		return 0, err
	}
	x := e.execution(rec, identity.Grant{}, nil, s)
	x.base = context.WithoutCancel(ctx)
	x.add(ev)
	if err := x.flush(); err != nil {
		return 0, err
	}
	return x.last, e.requeue(ctx, rec)
}

// requeue hands a run to the workers: from now on no connection owns it.
func (e *Engine) requeue(ctx context.Context, rec RunRecord) error {
	rec.State, rec.StopReason, rec.Detached = StateRunning, "", true
	rec.Updated, rec.RequestID = e.cfg.Clock().UnixNano(), "" // its claim stands
	if err := e.cfg.Index.PutRun(ctx, rec); err != nil {
		return internal("index the run", err)
	}
	return internal("queue the run", e.cfg.Queue.Put(ctx, Job{rec.Tenant, rec.SessionID, rec.RunID}))
}

// refreshGrant replaces the stored credential if the caller is its person.
func (e *Engine) refreshGrant(ctx context.Context, grantID string) (bool, error) {
	caller, ok := identity.FromContext(ctx)
	if !ok {
		return false, nil
	}
	rec, err := e.cfg.Grants.Grant(ctx, grantID)
	if err != nil {
		return false, internal("find the run's grant", err)
	}
	kept := rec.Restore()
	if !kept.Principal().Same(caller.Principal()) {
		return false, nil // somebody else: the stored grant stays as it is
	}
	fresh, err := refreshed(rec, caller)
	if err != nil {
		return false, err
	}
	if err := e.cfg.Grants.PutGrant(ctx, fresh); err != nil {
		return false, internal("keep the grant", err)
	}
	e.left.leave(grantID, caller, e.cfg.Clock())
	return true, nil
}

// refreshed is a kept grant under its person's fresh credential.
func refreshed(rec GrantRecord, caller identity.Grant) (GrantRecord, error) {
	g, err := rec.Restore().Refresh(caller.Principal())
	if err != nil {
		return rec, err
	}
	fresh := RecordOf(g, fromNano(rec.CreatedAt))
	fresh.Tier, fresh.Workload = rec.Tier, rec.Workload
	return fresh, nil
}

// signed puts the verified caller under what they say.
func signed(ctx context.Context, body agents.Body) agents.Body {
	g, ok := identity.FromContext(ctx)
	if !ok {
		return body
	}
	switch b := body.(type) {
	case agents.InputReceived:
		b.Speaker = speaker(g)
		return b
	case agents.ApprovalDecided:
		b.Approver = speaker(g)
		return b
	}
	return body
}

// bind finds what an answer answers and puts it into the same thread and call.
func (s *Status) bind(body agents.Body) (agents.Event, error) {
	ev := agents.Event{Body: body}
	var id string
	var open []string
	switch b := body.(type) {
	case agents.ApprovalDecided:
		id, open = b.ApprovalID, s.Approvals
	case agents.InputReceived:
		id, open, ev.Source = b.InputRequestID, s.Inputs, "user"
	default:
		return ev, fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "a run waits for decisions and input only")
	}
	if id == "" && len(open) > 1 {
		return ev, fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "the run waits for several answers; name the one you answer")
	}
	if id == "" && len(open) == 1 {
		id = open[0]
	}
	if !slices.Contains(open, id) { // also when id is of the other kind: input is no approval
		return ev, notActive()
	}
	asked := s.requests[id]
	ev.Body = named(body, id)
	ev.Thread, ev.CallID = asked.Thread, asked.CallID
	return ev, nil
}

func named(body agents.Body, id string) agents.Body {
	switch b := body.(type) {
	case agents.ApprovalDecided:
		b.ApprovalID = id
		return b
	case agents.InputReceived:
		b.InputRequestID = id
		return b
	}
	return body
}

func notActive() error {
	return fault.New(codes.FailedPrecondition, fault.RunNotActive, "the run does not wait for this, or has ended; look at its state")
}

// errOver says that an execution has stopped taking answers.
var errOver = errors.New("the execution is over")

// offer hands an answer to a run at work and waits until it is stored.
func (x *execution) offer(ctx context.Context, body agents.Body) (uint64, error) {
	a := &answer{body, make(chan taken, 1)}
	x.mu.Lock()
	closed := x.closed
	if !closed {
		x.answers = append(x.answers, a)
	}
	x.mu.Unlock()
	if closed {
		select {
		case <-x.done:
			return 0, errOver
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	select {
	case t := <-a.taken:
		return t.sequence, t.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// takeAnswers stores what was offered and reports whether the run can go on.
func (x *execution) takeAnswers() (bool, error) {
	x.mu.Lock()
	all := x.answers
	x.answers, x.closed = nil, len(all) == 0
	x.mu.Unlock()
	more := false
	for _, a := range all {
		ev, err := x.status.bind(a.body)
		if err == nil {
			x.add(ev)
			err = x.flush()
		}
		a.taken <- taken{x.last, err}
		if _, lost := errors.AsType[*lostError](err); lost {
			return false, x.settleLost(err)
		}
		more = more || err == nil
	}
	if !more && len(all) > 0 {
		return x.takeAnswers()
	}
	if more {
		x.indexWorking()
	}
	return more, nil
}

// refuse ends the taking of answers.
func (x *execution) refuse() {
	x.mu.Lock()
	all := x.answers
	x.answers, x.closed = nil, true
	x.mu.Unlock()
	for _, a := range all {
		a.taken <- taken{err: errOver}
	}
}

func (x *execution) indexWorking() { x.indexAs(StateRunning, "") }
