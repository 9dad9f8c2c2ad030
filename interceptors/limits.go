package interceptors

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/grpc/codes"
)

// Limits bound what one caller may hold open and how long a call may take
// (SECURITY 9). Zero values take the defaults.
type Limits struct {
	Streams       int           // open streams of one person; default 20
	Calls         int           // unary calls of one person whose answer has not left; default 32
	UnaryDeadline time.Duration // at most, also when the client names a later one; default 60 s
	RunDeadline   time.Duration // the same of unary calls that wait for a run; default 10 min
	StreamLife    time.Duration // of a stream that is no conversation; default 15 min
	FirstMessage  time.Duration // of a stream; default 60 s
	BlockedSend   time.Duration // after which a client that reads nothing has left; default 10 s
	StoppedSend   time.Duration // the same when its run was told to stop; default 100 ms
	Farewell      time.Duration // of a stream whose authority has ended; default 500 ms
}

func (l Limits) withDefaults() Limits {
	set(&l.Streams, 20)
	set(&l.Calls, 32)
	set(&l.UnaryDeadline, time.Minute)
	set(&l.RunDeadline, 10*time.Minute)
	set(&l.StreamLife, 15*time.Minute)
	set(&l.FirstMessage, time.Minute)
	set(&l.BlockedSend, 10*time.Second)
	set(&l.StoppedSend, 100*time.Millisecond)
	set(&l.Farewell, 500*time.Millisecond)
	return l
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Counts is how many of a thing each has open. A count that falls to zero is
// forgotten. It may be used by many goroutines.
type Counts struct {
	most int // of one
	mu   sync.Mutex
	open map[string]int
}

// NewCounts lets each have so many.
func NewCounts(most int) *Counts { return &Counts{most: most, open: map[string]int{}} }

// Enter takes one, which Leave gives back; false if there is none left.
func (s *Counts) Enter(who string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[who] >= s.most {
		return false
	}
	s.open[who]++
	return true
}

// Leave gives back what Enter took.
func (s *Counts) Leave(who string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[who]--; s.open[who] <= 0 {
		delete(s.open, who)
	}
}

var (
	errManyStreams = fault.New(codes.ResourceExhausted, fault.StreamLimit, "too many open streams; close one and try again").RetryIn(time.Second)
	errManyCalls   = fault.New(codes.ResourceExhausted, fault.RateLimited, "too many calls at once; read the answers of those that are open and try again").RetryIn(time.Second)
)

// limit gives each call a deadline and each person a number of streams and calls.
func limit(l Limits) layer {
	l = l.withDefaults()
	streams, calls := NewCounts(l.Streams), NewCounts(l.Calls)
	return func(ctx context.Context, c *call, rest next) error {
		ctx, cancel, err := deadline(ctx, c, l)
		if err != nil {
			return err
		}
		defer cancel()
		p, known := ctx.Value(principalKey{}).(identity.Principal)
		if !known {
			return rest(ctx)
		}
		who := p.Tenant() + "/" + p.Subject()
		if !c.stream {
			return calls.unary(ctx, c, who, rest)
		}
		if !streams.Enter(who) {
			return errManyStreams
		}
		defer streams.Leave(who)
		c.silent, c.blocked, c.stopped, c.farewell = l.FirstMessage, l.BlockedSend, l.StoppedSend, l.Farewell
		return rest(ctx)
	}
}

// unary counts a call until its answer has left.
func (s *Counts) unary(ctx context.Context, c *call, who string, rest next) error {
	if !s.Enter(who) {
		return errManyCalls
	}
	leave := func() { s.Leave(who) }
	answered := false
	defer func() { // also when it panics
		if !answered {
			leave()
		}
	}()
	if err := rest(ctx); err != nil {
		return whose(ctx, err)
	}
	answered = true
	c.answer = held(c.answer, leave)
	return nil
}

const (
	// shortest is what a call needs to be worth beginning.
	shortest = 100 * time.Millisecond
	// shaved off a client's deadline is the time to still say why it was missed.
	shaved = 20 * time.Millisecond
)

var errTooLate = fault.New(codes.DeadlineExceeded, fault.DeadlineExceeded, "the deadline leaves less than 100 ms; give the call more time")

// deadline is the smaller of what the client and what the method's rule allows:
// nobody keeps a call by naming a late deadline (SECURITY 9).
func deadline(ctx context.Context, c *call, l Limits) (context.Context, context.CancelFunc, error) {
	client, has := ctx.Deadline()
	left, own := time.Until(client), life(c, l)
	if has && left < shortest {
		return nil, nil, errTooLate
	}
	if has {
		own = min(own, left-shaved)
	}
	if own == endless {
		ctx, cancel := context.WithCancel(ctx)
		return ctx, cancel, nil
	}
	if own < l.UnaryDeadline || c.stream || c.runs() {
		ctx, cancel := context.WithTimeout(ctx, own)
		return ctx, cancel, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, own, ended(own))
	return ctx, cancel, nil
}

// ended is why a call ends that may be longer neither by its client nor here. Without
// it the client looks for a deadline of its own.
func ended(after time.Duration) error {
	return fault.New(codes.DeadlineExceeded, fault.DeadlineExceeded,
		fmt.Sprintf("this server ends a call after %v; ask for less, or let a run do it", after)).Because(context.DeadlineExceeded)
}

// whose is a missed deadline with whose it was, where it was this server's.
func whose(ctx context.Context, err error) error {
	if ours, ok := errors.AsType[*fault.Error](context.Cause(ctx)); ok && fault.From(err).Reason == fault.DeadlineExceeded {
		return ours.Because(err)
	}
	return err
}

// endless is the life of a conversation, which has no end of its own.
const endless = time.Duration(math.MaxInt64)

func life(c *call, l Limits) time.Duration {
	switch {
	case c.conversation():
		return endless
	case c.stream:
		return l.StreamLife
	case c.runs():
		return l.RunDeadline
	}
	return l.UnaryDeadline
}

// runs reports whether the call is as long as a run.
func (c *call) runs() bool {
	return c.rule != nil && (c.rule.Action == "run_agent" || c.rule.Action == "run_group_chat")
}
