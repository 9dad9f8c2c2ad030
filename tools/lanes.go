package tools

import (
	"context"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc/codes"
)

// Lanes bound the tool calls that one person has in flight, over all agents, runs
// and direct calls. Gates that share one share the bound. A lane is held from
// before the decision to after the outcome, not while a call waits for a person.
// Calls of agents hold none: they wait for their own calls.
type Lanes struct {
	limit int64

	mu     sync.Mutex
	people map[string]*lanes
}

// lanes are one person's.
type lanes struct {
	*semaphore.Weighted
	users int // who hold or want one
}

// NewLanes makes lanes, limit for each person; 0 means 16.
func NewLanes(limit int) *Lanes {
	if limit <= 0 {
		limit = 16
	}
	return &Lanes{limit: int64(limit), people: map[string]*lanes{}}
}

// Limit is how many lanes one person has.
func (l *Lanes) Limit() int { return int(l.limit) }

var errLanes = fault.New(codes.ResourceExhausted, fault.RateLimited, "too many of your tool calls are being made at once; repeat this one when another has ended").RetryIn(time.Second)

// enter waits for a lane, in the order of those who came.
func (l *Lanes) enter(ctx context.Context, who string) (leave func(), err error) {
	p := l.of(who)
	if err := p.Acquire(ctx, 1); err != nil {
		l.forget(who, p)
		return nil, context.Cause(ctx)
	}
	return l.leave(who, p), nil
}

// try takes a lane if one is free.
func (l *Lanes) try(who string) (leave func(), ok bool) {
	p := l.of(who)
	if !p.TryAcquire(1) {
		l.forget(who, p)
		return nil, false
	}
	return l.leave(who, p), true
}

func (l *Lanes) of(who string) *lanes {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.people[who]
	if p == nil {
		p = &lanes{Weighted: semaphore.NewWeighted(l.limit)}
		l.people[who] = p
	}
	p.users++
	return p
}

func (l *Lanes) leave(who string, p *lanes) func() {
	return func() {
		p.Release(1)
		l.forget(who, p)
	}
}

func (l *Lanes) forget(who string, p *lanes) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.users--; p.users == 0 {
		delete(l.people, who)
	}
}
