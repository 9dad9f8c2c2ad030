package runs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
)

// Run brings order into what an earlier process left open, then executes
// detached and woken runs until ctx ends. It owns its goroutines and returns
// when they have: each run at work stops at its next event and stays open, for
// whoever starts next.
func (e *Engine) Run(ctx context.Context) error {
	if !e.cfg.Shared {
		if err := e.recover(ctx); err != nil && ctx.Err() != nil {
			return nil // whoever starts next begins anew
		} else if err != nil {
			return fmt.Errorf("recover runs: %w", err)
		}
	}
	// Workers must outlive ctx a little: they stop with a cause of their own.
	work, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	end := context.AfterFunc(ctx, func() { stop(errShutdown) })
	defer end()
	hands := &hands{taken: map[*Delivery]struct{}{}}
	var group sync.WaitGroup
	group.Go(func() { hands.touch(work) })
	slots, shares := make(chan struct{}, e.cfg.Workers), newShares(e.cfg.WorkersPerPerson)
	for e.slot(ctx, slots) {
		d, err := e.cfg.Queue.Take(ctx)
		if err != nil {
			<-slots
			e.pause(ctx, err)
			continue
		}
		group.Go(func() {
			defer func() { <-slots }()
			e.serve(work, hands, shares, d)
		})
	}
	group.Wait()
	shares.giveBack()
	return nil
}

// slot waits until a worker is free: a job that is taken is worked on at once.
func (e *Engine) slot(ctx context.Context, slots chan struct{}) bool {
	if ctx.Err() != nil {
		return false
	}
	select {
	case slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// pause waits a second after a queue that fails, so that it does not spin.
func (e *Engine) pause(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	e.cfg.Logger.ErrorContext(ctx, "take a run from the queue", slog.Any("error", err))
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
	}
}

// hands are the deliveries being worked on. One goroutine touches them all.
type hands struct {
	mu    sync.Mutex
	taken map[*Delivery]struct{}
}

func (h *hands) hold(d *Delivery) (release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.taken[d] = struct{}{}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.taken, d)
	}
}

func (h *hands) touch(ctx context.Context) {
	tick := time.NewTicker(TouchEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			h.mu.Lock()
			for d := range h.taken {
				d.Touch()
			}
			h.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

// serve executes a job, if its person has a share left, and then those that wait
// for this share.
func (e *Engine) serve(ctx context.Context, h *hands, s *shares, d Delivery) {
	rec, err := e.cfg.Index.RunByID(ctx, d.Job.Tenant, d.Job.Run)
	if err != nil {
		e.work(ctx, h, d) // which says so
		return
	}
	who := rec.Tenant + "\x00" + rec.Owner.Issuer + "\x00" + rec.Owner.Subject
	if !s.begin(who, &d, h) {
		return
	}
	for more := true; more; d, more = s.next(who, ctx.Err() == nil) {
		e.work(ctx, h, d)
	}
}

// work executes one job. What it neither settles nor gives back comes again.
func (e *Engine) work(ctx context.Context, h *hands, d Delivery) {
	defer h.hold(&d)()
	x, err := e.resume(ctx, d.Job)
	if x == nil {
		if err != nil {
			e.note(ctx, "take up a run", RunRecord{RunID: d.Job.Run, SessionID: d.Job.Session}, err)
			return
		}
		d.Done()
		return
	}
	if !e.claim(x) {
		return // this process is at it already, by another delivery
	}
	err = e.perform(ctx, x)
	e.release(x)
	switch {
	case errors.Is(err, errShutdown):
		d.Back()
	case x.status.Open() && !x.status.Waits():
		e.note(ctx, "a run could not be brought to an end", x.rec, err)
	default:
		d.Done()
	}
}

// resume reads a run that is to be executed; nil when there is nothing to do.
func (e *Engine) resume(ctx context.Context, j Job) (*execution, error) {
	rec, err := e.cfg.Index.RunByID(ctx, j.Tenant, j.Run)
	if errors.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find the run: %w", err)
	}
	s, err := e.load(ctx, Key{rec.Tenant, rec.SessionID})
	if err != nil {
		return nil, err
	}
	if s.status.RunID != rec.RunID || !s.status.Open() {
		return nil, nil
	}
	return e.execution(rec, identity.Grant{}, nil, s), nil
}

// perform executes a run without its caller: under the stored grant, if it still
// holds and policy still agrees.
func (e *Engine) perform(ctx context.Context, x *execution) error {
	x.base, x.alone = context.WithoutCancel(ctx), true
	kept, err := e.cfg.Grants.Grant(ctx, x.status.Started.GrantID)
	if err != nil {
		return errors.Join(x.finish(agents.StopFailed, fault.From(err).Reason), err)
	}
	if x.grant, err = e.admit(ctx, x, kept); err != nil {
		return x.refuseToGoOn(err)
	}
	if x.agent, err = e.target(x.rec.Target, x.rec.Kind); err != nil {
		return errors.Join(x.finish(agents.StopFailed, fault.From(err).Reason), err)
	}
	x.indexWorking()
	return x.run(identity.WithGrant(ctx, x.grant), nil)
}

// errExpired says that the stored grant has ended and nobody extended it.
var errExpired = errors.New("the stored grant has expired")

func (e *Engine) admit(ctx context.Context, x *execution, kept GrantRecord) (identity.Grant, error) {
	g, now := e.left.take(kept.Restore()), e.cfg.Clock()
	if !g.Expires().IsZero() && !now.Before(g.Expires()) {
		until := fromNano(kept.CreatedAt).Add(e.cfg.OfflineMax)
		if e.cfg.Offline == nil || !now.Before(until) {
			return g, errExpired
		}
		kept.Expires = until.UnixNano()
		longer := kept.Restore() // what policy is asked for: the grant as it would be
		if !e.cfg.Offline(identity.WithGrant(ctx, longer), x.rec, longer) {
			return g, errExpired
		}
		g = longer
	}
	if e.cfg.Resume == nil {
		return g, nil
	}
	return g, e.cfg.Resume(identity.WithGrant(ctx, g), x.rec, g)
}

func (x *execution) refuseToGoOn(err error) error {
	if !errors.Is(err, errExpired) {
		return errors.Join(x.finish(agents.StopFailed, fault.From(err).Reason), err)
	}
	if !x.status.Credential {
		x.add(agents.Event{Body: agents.CredentialRequired{}})
	}
	return x.settleWaiting()
}

// recover settles what an earlier process left open. A detached run goes on. An
// attached one has lost its client and is cancelled, so that its session is
// usable; one that waits goes on waiting.
func (e *Engine) recover(ctx context.Context) error {
	open, err := e.cfg.Index.OpenRuns(ctx)
	if err != nil {
		return fmt.Errorf("list open runs: %w", err)
	}
	for _, rec := range open {
		if rec.Created >= e.born {
			continue // ours
		}
		if err := e.recoverRun(ctx, rec); err != nil {
			return fmt.Errorf("run %s: %w", rec.RunID, err)
		}
	}
	e.cfg.Logger.DebugContext(ctx, "runs of before are settled", slog.Int("open", len(open)))
	return nil
}

// recoverOlder indexes a run that is not its session's newest: how it ended is in the
// log. One that is not there never began, or its session was deleted.
func (e *Engine) recoverOlder(ctx context.Context, x *execution, rec RunRecord) error {
	st, err := e.status(ctx, Key{rec.Tenant, rec.SessionID}, rec.RunID)
	if err != nil {
		return err
	}
	if st.RunID != rec.RunID || st.Open() {
		return e.cfg.Index.UpdateRunState(ctx, rec.Tenant, rec.RunID, StateCancelled, agents.StopCancelled)
	}
	x.indexAs(st.State(), st.Finished.StopReason)
	return nil
}

func (e *Engine) recoverRun(ctx context.Context, rec RunRecord) error {
	s, err := e.load(ctx, Key{rec.Tenant, rec.SessionID})
	if err != nil {
		return err
	}
	x := e.execution(rec, identity.Grant{}, nil, s)
	x.base = ctx
	switch {
	case s.status.RunID != rec.RunID:
		return e.recoverOlder(ctx, x, rec)
	case !s.status.Open():
		x.indexState()
		return nil
	case rec.Detached && rec.State == StateRunning:
		return e.cfg.Queue.Put(ctx, Job{rec.Tenant, rec.SessionID, rec.RunID})
	case s.status.Waits():
		x.indexState()
		return nil
	}
	return x.finish(agents.StopCancelled, "")
}
