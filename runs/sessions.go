package runs

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/grpc/codes"
)

// Watch yields the events of a run after a sequence: the stored ones, then stored
// and live ones as they come, through pauses, until its RunFinished. Any number
// may watch; leaving does not touch the run.
func (e *Engine) Watch(ctx context.Context, tenant, runID string, after uint64) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		rec, err := e.cfg.Index.RunByID(ctx, tenant, runID)
		if err != nil {
			yield(agents.Event{}, internal("find the run", err))
			return
		}
		e.follow(ctx, rec, after)(yield)
	}
}

// follow yields a run's events behind a sequence. The index names a run ended
// only after its RunFinished was stored: so an ended run is only read. Of an open
// one the event at after is read too, in case it is the end; so nobody waits for
// an event that has been.
func (e *Engine) follow(ctx context.Context, rec RunRecord, after uint64) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		k := Key{rec.Tenant, rec.SessionID}
		now, err := e.cfg.Index.RunByID(ctx, rec.Tenant, rec.RunID)
		if err != nil {
			yield(agents.Event{}, internal("find the run", err))
			return
		}
		events := e.cfg.Log.Read(ctx, k)
		if now.State == StateRunning || now.State == StateWaiting {
			events = e.cfg.Log.Watch(ctx, k, max(after, 1)-1)
		}
		seen := false
		var began time.Time // of the session
		for ev, err := range events {
			if err != nil {
				yield(agents.Event{}, purgedFault(err))
				return
			}
			if began.IsZero() && ev.Sequence == 1 {
				began = ev.Time
			}
			if ev.RunID != rec.RunID {
				if seen {
					return
				}
				continue
			}
			seen = true
			if (ev.Live() || ev.Sequence > after) && !yield(ev, nil) {
				return
			}
			if ended(&ev) {
				return
			}
		}
		if !seen {
			yield(agents.Event{}, e.unseen(ctx, now, began))
		}
	}
}

// unseen says why a run that has ended has no events in a log that was read to
// its end. To send a run again that did something would do it twice: that is
// advised only when the log is older than the run and does not have it, and what
// the index says is what it says of a run that did not begin.
func (e *Engine) unseen(ctx context.Context, rec RunRecord, began time.Time) error {
	s, err := e.cfg.Index.SessionByID(ctx, rec.Tenant, rec.SessionID)
	switch {
	case errors.Is(err, fault.NotFound), err == nil && s.Deleted:
		return purgedFault(ErrPurged)
	case err != nil:
		return internal("find the session", err)
	case !began.IsZero() && began.UnixNano() < rec.Created && (rec.State == StateFailed || rec.State == StateCancelled):
		return fault.New(codes.Unavailable, fault.Internal, "the run did not begin; send it again under a fresh request_id")
	}
	return fault.New(codes.Internal, fault.Internal, "the run's events cannot be found; what it did is in the audit log, so look there before you send it again")
}

// purgedFault makes the end of a deleted session a fault; any other error it leaves.
func purgedFault(err error) error {
	if errors.Is(err, ErrPurged) {
		return fault.New(codes.NotFound, fault.NotFound, "the session was deleted, and this run with it").Because(err)
	}
	return err
}

// Find gives a run of the tenant: its record, for whoever checks the caller.
func (e *Engine) Find(ctx context.Context, tenant, runID string) (RunRecord, error) {
	rec, err := e.cfg.Index.RunByID(ctx, tenant, runID)
	return rec, internal("find the run", err)
}

// FindSession gives a session of the tenant.
func (e *Engine) FindSession(ctx context.Context, tenant, sessionID string) (SessionRecord, error) {
	rec, err := e.cfg.Index.SessionByID(ctx, tenant, sessionID)
	return rec, internal("find the session", err)
}

// Status gives a run and what its events say about it.
func (e *Engine) Status(ctx context.Context, tenant, runID string) (RunRecord, Status, error) {
	rec, err := e.Find(ctx, tenant, runID)
	if err != nil {
		return rec, Status{}, err
	}
	s, err := e.status(ctx, Key{tenant, rec.SessionID}, runID)
	return rec, s, err
}

// Runs lists the owner's runs, newest first, those behind the run after.
func (e *Engine) Runs(ctx context.Context, tenant string, o Owner, after string, limit int) ([]RunRecord, error) {
	list, err := e.cfg.Index.ListRuns(ctx, tenant, o, after, limit)
	return list, internal("list runs", err)
}

// Sessions lists the owner's sessions, newest first, those behind the session after.
func (e *Engine) Sessions(ctx context.Context, tenant string, o Owner, after string, limit int) ([]SessionRecord, error) {
	list, err := e.cfg.Index.ListSessions(ctx, tenant, o, after, limit)
	return list, internal("list sessions", err)
}

// Session reads what the events of a session say about its newest run; Last is
// the session's newest sequence.
func (e *Engine) Session(ctx context.Context, tenant, sessionID string) (SessionRecord, Status, error) {
	rec, err := e.FindSession(ctx, tenant, sessionID)
	if err != nil {
		return rec, Status{}, err
	}
	s, err := e.load(ctx, Key{tenant, sessionID})
	if err != nil {
		return rec, Status{}, err
	}
	return rec, s.status, nil
}

// Messages yields what was said in a session: input, answers to input requests
// and agents' messages.
func (e *Engine) Messages(ctx context.Context, tenant, sessionID string) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		if _, err := e.FindSession(ctx, tenant, sessionID); err != nil {
			yield(agents.Event{}, err)
			return
		}
		for ev, err := range e.cfg.Log.Read(ctx, Key{tenant, sessionID}) {
			if err != nil {
				yield(agents.Event{}, err)
				return
			}
			switch ev.Body.(type) {
			case agents.Message, agents.InputReceived:
				if !yield(ev, nil) {
					return
				}
			}
		}
	}
}

// Cancel ends a run and gives its record when that is stored: the model call is
// cut, a write that has begun is waited for as long as ctx lasts. A run that has
// ended is RUN_NOT_ACTIVE.
func (e *Engine) Cancel(ctx context.Context, tenant, runID string) (RunRecord, error) {
	rec, err := e.Find(ctx, tenant, runID)
	if err != nil {
		return rec, err
	}
	for range attempts {
		if x, ok := e.running(runID); ok {
			x.stop(errCancelled)
			select {
			case <-x.done:
				return e.Find(ctx, tenant, runID)
			case <-ctx.Done():
				return rec, context.Cause(ctx)
			}
		}
		if err = e.cancelResting(ctx, rec); !errors.Is(err, ErrConflict) {
			break
		}
	}
	if err != nil {
		return rec, err
	}
	return e.Find(ctx, tenant, runID)
}

// cancelResting ends a run that this process does not execute. If another one
// does, the fence stops it there.
func (e *Engine) cancelResting(ctx context.Context, rec RunRecord) error {
	s, err := e.load(ctx, Key{rec.Tenant, rec.SessionID})
	if err != nil {
		return err
	}
	if s.status.RunID != rec.RunID || !s.status.Open() {
		if rec.State == StateRunning && s.status.RunID != rec.RunID { // it never began
			e.note(ctx, "index the run's state", rec, e.cfg.Index.UpdateRunState(ctx, rec.Tenant, rec.RunID, StateCancelled, agents.StopCancelled))
		}
		return notActive()
	}
	x := e.execution(rec, identity.Grant{}, nil, s)
	x.base = context.WithoutCancel(ctx)
	return x.finish(agents.StopCancelled, "")
}

// Delete forgets a session. A run that waits in it is cancelled; while one is at
// work it is SESSION_BUSY.
func (e *Engine) Delete(ctx context.Context, tenant, sessionID string) error {
	if _, err := e.FindSession(ctx, tenant, sessionID); err != nil {
		return err
	}
	k := Key{tenant, sessionID}
	s, err := e.load(ctx, k)
	if err != nil {
		return err
	}
	if s.status.Open() && !s.status.Waits() {
		return busy(s.status.RunID)
	}
	if s.status.Open() {
		if _, err := e.Cancel(ctx, tenant, s.status.RunID); err != nil && !errors.Is(err, fault.RunNotActive) {
			return err
		}
	}
	if err := e.cfg.Log.Purge(ctx, k); err != nil {
		return internal("forget the session's events", err)
	}
	return internal("forget the session", e.cfg.Index.DeleteSession(ctx, tenant, sessionID))
}
