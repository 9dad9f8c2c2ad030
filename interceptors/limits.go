package interceptors

import (
	"context"
	"errors"
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
	UnaryDeadline time.Duration // when the client names none; default 60 s
	RunDeadline   time.Duration // of unary calls that wait for a run; default 10 min
	StreamLife    time.Duration // of a stream that is no conversation; default 15 min
	FirstMessage  time.Duration // of a stream; default 60 s
	BlockedSend   time.Duration // after which a client that reads nothing has left; default 10 s
	StoppedSend   time.Duration // the same when its run was told to stop; default 100 ms
}

func (l Limits) withDefaults() Limits {
	set(&l.Streams, 20)
	set(&l.UnaryDeadline, time.Minute)
	set(&l.RunDeadline, 10*time.Minute)
	set(&l.StreamLife, 15*time.Minute)
	set(&l.FirstMessage, time.Minute)
	set(&l.BlockedSend, 10*time.Second)
	set(&l.StoppedSend, 100*time.Millisecond)
	return l
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// streams counts open streams by person. It is bounded by the connections that
// the server accepts: a count that falls to zero is forgotten.
type streams struct {
	mu   sync.Mutex
	open map[string]int
}

func (s *streams) enter(who string, limit int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[who] >= limit {
		return false
	}
	s.open[who]++
	return true
}

func (s *streams) leave(who string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[who]--; s.open[who] <= 0 {
		delete(s.open, who)
	}
}

// limit gives each call a deadline and each person a number of streams.
func limit(l Limits) layer {
	l = l.withDefaults()
	open := &streams{open: map[string]int{}}
	return func(ctx context.Context, c *call, rest next) error {
		ctx, cancel := deadline(ctx, c, l)
		defer cancel()
		p, known := ctx.Value(principalKey{}).(identity.Principal)
		if !c.stream || !known {
			return rest(ctx)
		}
		who := p.Tenant() + "/" + p.Subject()
		if !open.enter(who, l.Streams) {
			return fault.New(codes.ResourceExhausted, fault.StreamLimit, "too many open streams; close one and try again").RetryIn(time.Second)
		}
		defer open.leave(who)
		c.silent, c.blocked, c.stopped = l.FirstMessage, l.BlockedSend, l.StoppedSend
		if c.conversation() {
			return rest(ctx)
		}
		return live(ctx, p, rest)
	}
}

// errExpired is why a stream ends with its caller's credential.
var errExpired = fault.New(codes.Unauthenticated, fault.CredentialExpired, "the credential has expired; come back with a fresh one")

// live ends a stream when the credential that opened it does (SECURITY 1.18).
// What works in it learns of it as the cause of its context's end.
func live(ctx context.Context, p identity.Principal, rest next) error {
	if p.Expires().IsZero() {
		return rest(ctx)
	}
	ctx, cancel := context.WithDeadlineCause(ctx, p.Expires(), errExpired)
	defer cancel()
	err := rest(ctx)
	if errors.Is(context.Cause(ctx), errExpired) {
		return errExpired
	}
	return err
}

func deadline(ctx context.Context, c *call, l Limits) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has && !c.stream || c.conversation() {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, life(c, l))
}

func life(c *call, l Limits) time.Duration {
	switch {
	case c.stream:
		return l.StreamLife
	case c.rule != nil && (c.rule.Action == "run_agent" || c.rule.Action == "run_group_chat"):
		return l.RunDeadline
	}
	return l.UnaryDeadline
}
