package runs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/grpc/codes"
)

// execution is one run at work in this process. Its loop is the commit of the
// agent's contract: it stamps each event, stores each step before the agent goes
// on past a barrier, and shows what is stored. One goroutine owns it; others may
// call stop and answer.
type execution struct {
	e     *Engine
	rec   RunRecord
	key   Key
	grant identity.Grant
	agent agents.Agent
	*session

	yield  func(agents.Event, error) bool // nil: only watchers listen
	tie    func(context.Context) func()   // tells whoever holds up yield that the run shall stop
	left   bool                           // the listener broke off
	kept   bool                           // the grant is stored
	alone  bool                           // it is executed without its caller
	base   context.Context                // for what must be stored also after a cancel
	step   []agents.Event                 // committed, not yet stored
	saying []partial
	stale  int // deltas that came after the end was called

	cancel context.CancelCauseFunc
	done   chan struct{}

	mu      sync.Mutex
	closed  bool // answers come too late
	cause   error
	answers []*answer
}

// overrun is how many deltas an agent may still send after it was cancelled
// before it is cut off in the middle.
const overrun = 256

func (e *Engine) execution(r RunRecord, g identity.Grant, a agents.Agent, s *session) *execution {
	return &execution{
		e: e, rec: r, key: Key{r.Tenant, r.SessionID}, grant: g, agent: a, session: s,
		base: context.Background(), done: make(chan struct{}), cancel: func(error) {},
		tie: func(context.Context) func() { return func() {} },
	}
}

// stop ends the execution with a cause, also one that is about to begin.
func (x *execution) stop(cause error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cause = cause
	x.cancel(cause)
}

// run executes until the run has finished or waits, shows opening first, and
// returns what the listener is to be told after the last event.
func (x *execution) run(ctx context.Context, opening []agents.Event) error {
	x.base = context.WithoutCancel(ctx)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	x.mu.Lock()
	x.cancel = cancel
	if x.cause != nil {
		cancel(x.cause)
	}
	x.mu.Unlock()
	defer x.refuse()
	ctx, stop := context.WithTimeoutCause(ctx, x.e.timeout(x.status.Started.Limits), errTimeout)
	defer stop()
	for {
		err := x.work(ctx, opening)
		if !errors.Is(err, errExtended) {
			return err
		}
		ctx, opening = identity.WithGrant(ctx, x.grant), nil
	}
}

// errExtended says that a run goes on under a grant that was extended.
var errExtended = errors.New("the grant was extended")

// work executes for as long as one credential holds.
func (x *execution) work(ctx context.Context, opening []agents.Event) error {
	held, release, refused := x.hold(ctx)
	defer release()
	defer x.tie(held)()
	for i := range opening {
		x.show(&opening[i])
	}
	if refused != nil {
		return x.settleStopped(refused)
	}
	for {
		err := x.settle(held, x.drive(held))
		if err != nil || !x.status.Waits() {
			return err
		}
		if more, err := x.takeAnswers(); err != nil || !more {
			return err
		}
	}
}

// hold gives the context in which the run may act; the run's own with the reason
// if it may not.
func (x *execution) hold(ctx context.Context) (context.Context, func(), error) {
	if x.e.cfg.Hold == nil {
		return ctx, func() {}, nil
	}
	held, release, err := x.e.cfg.Hold(ctx, x.rec, x.grant)
	if err != nil {
		return ctx, func() {}, err
	}
	return held, release, nil
}

// drive ranges over the agent once. An agent that panics fails its own run and
// no other.
func (x *execution) drive(ctx context.Context) (err error) {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	defer func() {
		if p := recover(); p != nil {
			x.e.cfg.Logger.ErrorContext(ctx, "an agent panicked", slog.String("run_id", x.rec.RunID), slog.String("stack", string(debug.Stack())))
			err = errPanic
		}
	}()
	g, err := x.acting(ctx)
	if err != nil {
		return err
	}
	ctx, giveBack, err := x.borrow(ctx, g)
	if err != nil {
		return err
	}
	defer func() {
		if cut := giveBack(); cut != nil {
			err = cut
		}
	}()
	for ev, err := range x.agent.Run(identity.WithGrant(ctx, g), x.transcript) {
		if err != nil {
			return err
		}
		if err := x.commit(ctx, &ev); err != nil {
			return err
		}
		if !x.status.Open() {
			return nil
		}
	}
	return nil
}

// commit takes one event. An error means that the agent must not go on.
func (x *execution) commit(ctx context.Context, ev *agents.Event) error {
	ev.Time, ev.SessionID, ev.RunID = x.e.cfg.Clock().UTC(), x.rec.SessionID, x.rec.RunID
	if ev.Live() {
		return x.relay(ctx, ev)
	}
	if ctx.Err() != nil && begins(ev) {
		return context.Cause(ctx)
	}
	x.transcript.Stamp(ev)
	x.take(*ev)
	if !ev.Barrier() {
		return nil
	}
	if err := x.flush(); err != nil {
		return err
	}
	if ctx.Err() != nil && begins(ev) {
		return context.Cause(ctx) // cancelled while the decision was stored: its effect must not follow
	}
	return nil
}

// begins reports whether an event is the beginning of something, and not the
// end of something that a cancelled run waits for.
func begins(ev *agents.Event) bool {
	if d, ok := ev.Body.(agents.ToolCallDecided); ok {
		return d.Decision == agents.Allowed
	}
	_, turn := ev.Body.(agents.TurnStarted)
	return turn
}

// take adds a stamped event to the transcript and to the step. The run's end says
// what all threads used: an agent knows only of its own.
func (x *execution) take(ev agents.Event) {
	if end, ok := ev.Body.(agents.RunFinished); ok && ev.Thread == "" {
		end.Usage = x.status.Usage
		ev.Body = end
	}
	x.transcript.Append(ev)
	x.status.apply(&ev)
	x.saying = said(x.saying, &ev)
	x.step = append(x.step, ev)
}

// relay shows a delta. The events before it are stored first: nobody sees text
// of a turn that has not begun, and nobody sees a sequence that may not last.
func (x *execution) relay(ctx context.Context, ev *agents.Event) error {
	if ctx.Err() != nil && progress(ev) {
		return nil // of a write that goes on
	}
	if ctx.Err() != nil {
		if x.stale++; x.stale > overrun {
			return context.Cause(ctx)
		}
		return nil
	}
	if len(x.step) > 0 {
		if err := x.flush(); err != nil {
			return err
		}
	}
	x.saying = say(x.saying, ev)
	x.e.cfg.Log.Publish(x.key, ev)
	x.show(ev)
	return nil
}

// storeLimit is how long one call to a store may take that a cancel does not
// cut: without it a store that hangs would hold the run, and who cancels it, for
// ever.
const storeLimit = 30 * time.Second

var errStore = fmt.Errorf("a store did not answer within %v", storeLimit)

func limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, storeLimit, errStore)
}

// store stores a step.
func (x *execution) store(step []agents.Event) error {
	ctx, cancel := limited(x.base)
	defer cancel()
	return x.e.cfg.Log.Append(ctx, x.key, x.last, step)
}

// flush stores the step, then shows it.
func (x *execution) flush() error {
	step := x.step
	if len(step) == 0 {
		return nil
	}
	if err := x.keepGrant(); err != nil {
		return &lostError{err}
	}
	if err := x.store(step); err != nil {
		return &lostError{err}
	}
	x.step, x.last = nil, step[len(step)-1].Sequence
	if !x.status.Open() {
		x.indexState() // before the client hears of it and asks
	}
	for i := range step {
		x.show(&step[i])
	}
	return nil
}

// keepGrant keeps what the run acts with before it waits: from then on it may go
// on without its caller. The grant of an attached run that never waits is
// nobody's business afterwards, and most runs are such.
func (x *execution) keepGrant() error {
	if x.rec.Detached || x.kept || !x.status.Waits() || x.grant.ID() == "" {
		return nil
	}
	x.kept = true
	ctx, cancel := limited(x.base)
	defer cancel()
	err := x.e.cfg.Grants.PutGrant(ctx, RecordOf(x.grant.Current(), x.e.cfg.Clock()))
	if _, known := errors.AsType[*fault.Error](err); err == nil || known {
		return err
	}
	return fault.New(codes.Unavailable, fault.AuditUnavailable, "the run had to wait, which could not be recorded, so it has ended; begin it again later").Because(err)
}

// show gives an event to the listener, who may break off.
func (x *execution) show(ev *agents.Event) {
	if x.yield == nil || x.left || x.yield(*ev, nil) {
		return
	}
	x.left = true
	x.stop(errLeft)
}

func (x *execution) indexState() {
	stop := ""
	if f := x.status.Finished; f != nil {
		stop = f.StopReason
	}
	x.indexAs(x.status.State(), stop)
}

func (x *execution) indexAs(state, stop string) {
	ctx, cancel := limited(x.base)
	defer cancel()
	err := x.e.cfg.Index.UpdateRunState(ctx, x.rec.Tenant, x.rec.RunID, state, stop)
	x.e.note(x.base, "index the run's state", x.rec, err)
}

// errPanic stands for a panic; its text may hold anything and stays in the log.
var errPanic = errors.New("the agent panicked")

// lostError says that a step could not be stored, or that nobody knows.
type lostError struct{ err error }

func (e *lostError) Error() string { return "store the step: " + e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }
