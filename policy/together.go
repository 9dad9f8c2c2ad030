package policy

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/identity"
)

// This file is calls in the name of several people: a grant may have others who
// must be allowed what it is used for (see identity.Grant.With). Each is asked as
// if they alone had come. Only what all are allowed is allowed, with the duties of
// all.

// ballot is what one of several people was told.
type ballot struct {
	query    *Query
	decision Decision
}

// othersOf are the query as it is asked of each of the others. Its rows have names
// of their own, as questions have: the call's own rows say whether it was made.
func othersOf(q *Query) []*Query {
	grants := q.Grant.Others()
	if len(grants) == 0 {
		return nil
	}
	all := make([]*Query, len(grants))
	for i := range grants {
		o := *q
		o.Grant, o.Call, o.Approval = grants[i], fmt.Sprintf("read_%d_%s", i+1, q.Call), ""
		all[i] = &o
	}
	return all
}

// poll is decide, with what each person was told where there are several: the
// query's own first, and nobody after the first who is refused.
func (g *Guard) poll(e *Engine, q *Query) (Decision, []ballot) {
	d := g.decideOne(e, q)
	if by, lent := q.Grant.Speaker(); lent && d.Allow { // who hears what comes of it
		hears := *q
		hears.Grant = by
		d = e.Unseen(d, &hears)
	}
	others := othersOf(q)
	if len(others) == 0 {
		return d, nil
	}
	all := []ballot{{q, d}}
	for _, o := range others {
		if !d.Allow {
			break
		}
		told := g.decideOne(e, o)
		all = append(all, ballot{o, told})
		d = d.And(told)
	}
	return d, all
}

// reserving is what everybody's rates and budgets give for the call: all or none,
// with the row of the call.
func (p *Permit) reserving(ballots []ballot) (all []audit.Reservation, err error) {
	if len(ballots) == 0 {
		return p.guard.reservations(p.decision, p.query)
	}
	for _, b := range ballots {
		some, err := p.guard.reservations(b.decision, b.query)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// recordRefused puts on record who of the others refused a call, if one did.
func (g *Guard) recordRefused(ctx context.Context, e *Engine, ballots []ballot) error {
	if len(ballots) < 2 {
		return nil
	}
	last := ballots[len(ballots)-1]
	if last.decision.Allow {
		return nil
	}
	return g.recordDenial(ctx, e, last.query, last.decision, nil)
}

// recordOthers queues the rows of the others who were asked for an allowed call.
func (p *Permit) recordOthers(ballots []ballot) error {
	for _, b := range ballots[min(1, len(ballots)):] {
		row := recordOf(b.query, b.query.Time)
		addDecision(row, b.decision)
		if err := p.guard.addArguments(row, p.sent, p.sent); err != nil {
			return err
		}
		p.beside = append(p.beside, p.append(row, nil, nil))
	}
	return nil
}

// awaitOthers waits for the rows of the others: without them the call's own is not
// all that was decided.
func (p *Permit) awaitOthers(ctx context.Context) error {
	for _, r := range p.beside {
		if err := p.guard.await(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// parties are the people in whose name a call is made beside the grant's own, and
// in whose turn: none of them approves it.
func parties(g identity.Grant) (all []audit.User) {
	add := func(o identity.Grant) {
		if u := o.Principal().User; u != nil {
			all = append(all, audit.User{Issuer: u.Issuer, Subject: u.Subject, Email: u.Email})
		}
	}
	for _, o := range g.Others() {
		add(o)
	}
	if s, lent := g.Speaker(); lent {
		add(s)
	}
	slices.SortFunc(all, func(a, b audit.User) int {
		return cmp.Or(cmp.Compare(a.Issuer, b.Issuer), cmp.Compare(a.Subject, b.Subject))
	})
	return all
}

// anybodyLocked gives a lock that stops one of those in whose name the query is.
func (s lockSet) anybodyLocked(q *Query, operators string, now time.Time) bool {
	if s.find(q, operators, now) != nil {
		return true
	}
	if len(s) == 0 {
		return false
	}
	return slices.ContainsFunc(othersOf(q), func(o *Query) bool { return s.find(o, operators, now) != nil })
}

// actBeside holds what is done for the others too: it ends when one of them may
// not act any more.
func (g *Guard) actBeside(ctx context.Context, q *Query, leave func()) (context.Context, func()) {
	own := ctx.Value(holdingKey{})
	for _, o := range othersOf(q) {
		held, h := g.begun(ctx, o)
		before := leave
		leave = func() { h.release(held); before() }
		ctx = context.WithValue(held, holdingKey{}, own)
	}
	return ctx, leave
}
