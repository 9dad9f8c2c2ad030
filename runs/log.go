package runs

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/behalf-dev/behalf/agents"
)

// Key names a session's log.
type Key struct{ Tenant, Session string }

// Log keeps the stored events of sessions and shows them, with the live ones, to
// whoever watches. All methods may be called by many goroutines. Events are
// shared, not copied: nobody changes what a slice in an event points to.
type Log interface {
	// Append stores events as one message. Their sequences are gapless from
	// after+1, where after is the sequence of the newest stored event (0: none);
	// if that is no longer so, somebody else appended and the answer is
	// ErrConflict. Any other error leaves open whether they were stored.
	Append(ctx context.Context, k Key, after uint64, events []agents.Event) error
	// Read gives the stored events in order. A session without any is empty.
	Read(ctx context.Context, k Key) iter.Seq2[agents.Event, error]
	// Watch gives the stored events after a sequence and then, as they come,
	// stored and live ones: without gap or repetition, each delta before the
	// message it belongs to. A watcher that joins in the middle of a message
	// first gets what was said so far as one delta. One that is too slow loses
	// the rest of a message's deltas, never a stored event, and never holds up a
	// run. Watch ends with an error only: the cause of ctx, or ErrPurged.
	Watch(ctx context.Context, k Key, after uint64) iter.Seq2[agents.Event, error]
	// Publish shows a live event to the watchers. It never blocks and keeps
	// nothing that would outlive the session's next run.
	Publish(k Key, e *agents.Event)
	// Purge forgets the session. Who still appends to it gets ErrConflict.
	Purge(ctx context.Context, k Key) error
}

var (
	// ErrConflict says that somebody else appended to the session.
	ErrConflict = errors.New("the session has moved on")
	// ErrPurged ends the watching of a session that was deleted.
	ErrPurged = errors.New("the session was deleted")
	// ErrClosed says that the log was shut down.
	ErrClosed = errors.New("the log is closed")
)

// gapless refuses a step whose sequences do not follow after: a log with a hole
// cannot be folded, so this is found before it is stored.
func gapless(after uint64, events []agents.Event) error {
	if len(events) == 0 {
		return errors.New("append: no events")
	}
	for i := range events {
		if want := after + 1 + uint64(i); events[i].Sequence != want {
			return fmt.Errorf("append: event has sequence %d, want %d", events[i].Sequence, want)
		}
		if events[i].Live() {
			return fmt.Errorf("append: event %d is live and is never stored", events[i].Sequence)
		}
	}
	return nil
}
