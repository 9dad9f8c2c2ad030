package interceptors

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// watchdog ends a send that waits too long for its client. What waits in the
// transport knows no deadline of ours, and whoever wants to cancel the run would
// wait with it.
//
// One goroutine sends, between begin and end; hurry and rest may come from any.
type watchdog struct {
	limit  time.Duration      // how long one send may wait
	moment time.Duration      // the same when its work was told to stop
	hangUp func(*fault.Error) // ends the stream, which wakes the send

	mu      sync.Mutex // guards what follows
	timer   *time.Timer
	sending bool
	hurried *fault.Error // why a send may only take a moment; nil: it may take limit
	final   *fault.Error // the same, for all sends to come
}

func (w *watchdog) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sending = true
	w.watch()
}

// watch counts anew, with the lock held.
func (w *watchdog) watch() {
	d := w.limit
	if w.hurried != nil {
		d = w.moment
	}
	if w.timer == nil {
		w.timer = time.AfterFunc(d, w.bite)
		return
	}
	w.timer.Reset(d)
}

func (w *watchdog) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sending = false
	w.timer.Stop()
}

func (w *watchdog) bite() {
	w.mu.Lock()
	why, sending := w.hurried, w.sending
	w.mu.Unlock()
	if why == nil {
		why = errBlocked
	}
	if sending {
		w.hangUp(why)
	}
}

// hurry lets sends take only a moment from now on, also one that waits already.
func (w *watchdog) hurry(why *fault.Error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hurried = why
	if w.sending {
		w.watch()
	}
}

func (w *watchdog) rest() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hurried = w.final
}

// last is hurry without a rest after it.
func (w *watchdog) last(why *fault.Error) {
	w.mu.Lock()
	w.final = why
	w.mu.Unlock()
	w.hurry(why)
}

var (
	errSilent  = fault.New(codes.DeadlineExceeded, fault.DeadlineExceeded, "the first message did not come in time")
	errBlocked = fault.New(codes.Canceled, fault.Canceled, "nothing was read for too long; come back with WatchRun")
	errStopped = fault.New(codes.Canceled, fault.Canceled, "the run was stopped while the client was behind; WatchRun has its end")
)

// streamKey holds the call's serverStream for Tie.
type streamKey struct{}

// condemn ends the call's stream when held does, for the reason that held has:
// what has a moment to end by itself shows the end of its run. What does not end
// then is hung up on, because a write that has begun is not cancelled and may take
// long. The stream's handler lets go of it when it has ended.
func condemn(held context.Context, d time.Duration) (letGo func()) {
	s, _ := held.Value(streamKey{}).(*serverStream)
	if s == nil {
		return func() {}
	}
	var hang *time.Timer // written before done is closed
	done := make(chan struct{})
	stop := context.AfterFunc(held, func() {
		defer close(done)
		if why := cutBy(held); why != nil {
			s.watchdog.last(why)
			hang = time.AfterFunc(d, func() { s.hangUp(why) })
		}
	})
	return func() {
		if stop() {
			return
		}
		<-done
		if hang != nil {
			hang.Stop()
		}
	}
}

// cutBy is why a held context was cut; nil if it was not.
func cutBy(held context.Context) *fault.Error {
	if held == nil {
		return nil
	}
	why, _ := errors.AsType[*fault.Error](context.Cause(held))
	return why
}

// Tie gives what ties the stream of the call in ctx to a run: while the run
// works, the end of its context lets no send wait for the client longer than
// Limits.StoppedSend. What stores the run's end is the goroutine that sends, so a
// client that reads nothing would hold up a cancellation, a lock or an expiry. One
// that reads, but is more than that behind, loses the end of its stream too and finds
// it with WatchRun: that the run stops at once counts for more. nil for a call that
// is no stream.
func Tie(ctx context.Context) func(work context.Context) (untie func()) {
	s, _ := ctx.Value(streamKey{}).(*serverStream)
	if s == nil {
		return nil
	}
	return func(work context.Context) func() {
		hurried := make(chan struct{})
		stop := context.AfterFunc(work, func() {
			defer close(hurried)
			s.watchdog.hurry(stopped(work))
		})
		return func() {
			if !stop() {
				<-hurried // else it could hurry what the stream sends next
			}
			s.watchdog.rest()
		}
	}
}

// stopped is what a client reads that missed the end: the reason, if somebody
// gave one that is meant for it.
func stopped(work context.Context) *fault.Error {
	if why, ok := errors.AsType[*fault.Error](context.Cause(work)); ok {
		return why
	}
	return errStopped
}
