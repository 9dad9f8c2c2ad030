package runs

import (
	"context"
	"errors"
	"slices"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// settle brings a drive to its end in the log: finished, or waiting. Its error
// is for the listener.
func (x *execution) settle(ctx context.Context, err error) error {
	if _, lost := errors.AsType[*lostError](err); lost {
		return x.settleLost(err)
	}
	if !x.status.Open() {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil && (!x.status.Waits() || !onlyLeft(cause)) {
		return x.settleStopped(cause)
	}
	switch {
	case errors.Is(err, errOwnerAway):
		x.keepPartial()
		x.add(agents.Event{Body: agents.CredentialRequired{}})
		return x.settleWaiting()
	case err != nil && ctx.Err() == nil:
		return errors.Join(x.finish(agents.StopFailed, fault.From(err).Reason), err)
	case x.status.Waits():
		return x.settleWaiting() // also when the client left at the pause: a waiting run goes on
	}
	err = errors.New("the agent ended without finish, error or pause")
	return errors.Join(x.finish(agents.StopFailed, fault.Internal), err)
}

// onlyLeft reports whether a cause says that nobody listens any more, rather
// than that the run shall or may not go on.
func onlyLeft(cause error) bool {
	why, isFault := errors.AsType[*fault.Error](cause)
	return !errors.Is(cause, errCancelled) && (!isFault || why.Code == codes.Canceled)
}

// settleStopped ends a run that was told to stop.
func (x *execution) settleStopped(cause error) error {
	why, isFault := errors.AsType[*fault.Error](cause)
	switch {
	case errors.Is(cause, errTimeout):
		return x.finish(agents.StopTimeout, "")
	case errors.Is(cause, errShutdown):
		return errors.Join(x.flush(), errShutdown) // open: whoever starts next goes on
	case isFault && why.Reason == fault.CredentialExpired:
		x.keepPartial()
		if x.extend() {
			return errExtended
		}
		x.add(agents.Event{Body: agents.CredentialRequired{}})
		return x.settleWaiting()
	case isFault && why.Code != codes.Canceled:
		return errors.Join(x.finish(agents.StopFailed, why.Reason), cause)
	}
	return x.finish(agents.StopCancelled, "")
}

// extend takes up a run that is nobody's any more when its credential has ended:
// under one that its person has left meanwhile, or as policy permits it offline.
func (x *execution) extend() bool {
	if !x.alone {
		return false
	}
	ctx, cancel := limited(x.base)
	defer cancel()
	kept, err := x.e.cfg.Grants.Grant(ctx, x.status.Started.GrantID)
	if err != nil {
		x.e.note(ctx, "find the run's grant", x.rec, err)
		return false
	}
	g, err := x.e.admit(ctx, x, kept)
	if err == nil {
		x.grant = g
	}
	return err == nil
}

// settleLost ends a run whose step could not be stored. What was not stored did
// not happen; if somebody else stored something, the run is theirs.
func (x *execution) settleLost(err error) error {
	if errors.Is(err, ErrConflict) {
		return errMoved.Because(err)
	}
	ctx, cancel := limited(x.base)
	defer cancel()
	fresh, loadErr := x.e.load(ctx, x.key)
	if loadErr != nil || fresh.status.RunID != x.rec.RunID {
		return errors.Join(err, loadErr)
	}
	x.step, x.session = nil, fresh
	if !x.status.Open() { // the end was stored after all
		x.indexState()
		return nil
	}
	if finishErr := x.finish(agents.StopFailed, fault.From(err).Reason); finishErr != nil {
		return errors.Join(err, finishErr)
	}
	return err
}

func (x *execution) settleWaiting() error {
	if err := x.flush(); err != nil {
		return x.settleLost(err)
	}
	x.indexState()
	return nil
}

// finish keeps what was being said and ends the run. It also works when nothing
// else does any more: it needs only the log.
func (x *execution) finish(stopReason string, reason fault.Reason) error {
	x.keepPartial()
	x.add(agents.Event{Body: agents.RunFinished{StopReason: stopReason, Reason: string(reason)}})
	if err := x.flush(); err != nil {
		if errors.Is(err, ErrConflict) {
			return errMoved.Because(err)
		}
		return err
	}
	return nil
}

func (x *execution) keepPartial() {
	for _, p := range slices.Clone(x.saying) {
		if ev, ok := p.incomplete(); ok {
			x.add(ev)
		}
	}
	x.saying = nil
}

// add stamps and takes an event of the run itself.
func (x *execution) add(ev agents.Event) {
	ev.Time, ev.SessionID, ev.RunID = x.e.cfg.Clock().UTC(), x.rec.SessionID, x.rec.RunID
	x.transcript.Stamp(&ev)
	x.take(ev)
}
