package policy

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
)

// Buckets keeps what rates and budgets have lost.
type Buckets interface {
	// Reserve makes reservations that belong to no record: those of model calls,
	// whose run has one. What does not fit is *audit.Exhausted. When it returns they
	// are durable.
	Reserve(ctx context.Context, rs []audit.Reservation) error
	// Levels says how full the buckets are, and takes nothing.
	Levels(ctx context.Context, rs []audit.Reservation) ([]audit.Level, error)
}

// runKey holds the query of the run that model calls belong to.
type runKey struct{}

// WithRun binds the question that a run was decided by to its context, so that its
// model calls are charged to the budgets that apply to it.
func WithRun(ctx context.Context, q *Query) context.Context {
	return context.WithValue(ctx, runKey{}, q)
}

// Spending is what one model call has reserved from the budgets of its person. It
// belongs to one goroutine.
type Spending struct {
	guard    *Guard
	budgets  []audit.Reservation
	reserved int64
}

// Spend reserves tokens from every token budget that applies to the run in ctx, all
// or none: BUDGET_EXHAUSTED says when to come back. Settle must be called once.
func (g *Guard) Spend(ctx context.Context, tokens int64) (*Spending, error) {
	s := &Spending{guard: g}
	run, _ := ctx.Value(runKey{}).(*Query)
	e := g.engine.Load()
	if run == nil || e == nil {
		return s, nil // without an engine nothing was allowed to run
	}
	q := *run
	q.Time = g.config.Clock()
	var err error
	if s.budgets, err = e.TokenBudgets(&q); err != nil {
		g.alarm(ctx, &q, fault.PolicyError, err)
		return nil, refusalFor(fault.PolicyError).Because(err)
	}
	if len(s.budgets) > 0 && g.config.Buckets == nil {
		return nil, refusalFor(fault.PolicyDenied).Because(errNoBuckets)
	}
	return s, s.More(ctx, tokens)
}

var errNoBuckets = errors.New("a token budget is due where nothing keeps account")

// More reserves more tokens for the same call.
func (s *Spending) More(ctx context.Context, tokens int64) error {
	if len(s.budgets) == 0 {
		return nil
	}
	err := s.take(ctx, tokens, false)
	if full, ok := errors.AsType[*audit.Exhausted](err); ok {
		return exhausted(full)
	}
	if err != nil {
		return unrecorded(err)
	}
	s.reserved += tokens
	return nil
}

// Settle charges what was used instead of what was reserved: the rest goes back,
// and what was used beyond is charged whether or not it fits.
func (s *Spending) Settle(ctx context.Context, used int64) {
	if len(s.budgets) == 0 || used == s.reserved {
		return
	}
	if err := s.take(context.WithoutCancel(ctx), used-s.reserved, true); err != nil {
		// It stays reserved: too strict is the better mistake.
		s.guard.config.OnAlarm(ctx, Alarm{Reason: fault.AuditUnavailable, Err: fmt.Errorf("settle a budget: %w", err)})
	}
	s.budgets = nil
}

func (s *Spending) take(ctx context.Context, cost int64, anyway bool) error {
	rs := make([]audit.Reservation, len(s.budgets))
	for i, r := range s.budgets {
		r.Cost, r.Probe = cost, false
		if anyway {
			r.Limit = math.MaxInt64
		}
		rs[i] = r
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.guard.config.Timeout, errSinkHangs)
	defer cancel()
	return s.guard.config.Buckets.Reserve(ctx, rs)
}

// given is what gives reservations back.
func given(rs []audit.Reservation) (back []audit.Reservation) {
	for _, r := range rs {
		if !r.Probe {
			r.Cost = -r.Cost
			back = append(back, r)
		}
	}
	return back
}

// reservations are what the decision takes with its row.
func (g *Guard) reservations(d Decision, q *Query) ([]audit.Reservation, error) {
	rs, err := d.Reservations(q)
	if g.config.Buckets == nil && slices.ContainsFunc(rs, func(r audit.Reservation) bool { return r.Probe }) {
		return nil, errNoBuckets
	}
	return rs, err
}
