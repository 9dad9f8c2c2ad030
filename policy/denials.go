package policy

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/grpc/codes"
)

// This file bounds refusals. A refused call takes no rate and no budget, so without
// a bound of its own somebody, or a model that does not listen, could fill the
// record with them. What is allowed is not touched by it: whoever is over the limit
// still does what they may. So nobody gains by driving another over theirs.

const (
	// denialWindow is how long refusals are counted together, from the first.
	denialWindow = time.Minute
	// maxDenied is how many people are counted at once. The refusals of further ones
	// are recorded one by one: that costs room, while to forget somebody would lift
	// their limit, and to share one would lay it on others.
	maxDenied = 1 << 16
)

// denials counts the refused calls of each person over all agents, sessions,
// streams and RPCs. Its methods may be called by many goroutines.
type denials struct {
	most int
	mu   sync.Mutex
	of   map[personOf]*denied
}

// personOf is whose refusals are counted together.
type personOf struct{ tenant, issuer, subject string }

// denied is what one person was refused in one window.
type denied struct {
	began    time.Time
	count    int
	unspoken int64         // refusals that have no row of their own
	about    *audit.Record // who they are, for the row that sums these up
}

// toRecord says what is to be done about a refusal.
type toRecord uint8

const (
	asItIs    toRecord = iota // one of those that a person may have
	asTooMany                 // the first beyond
	notAtAll                  // it is counted
)

// count counts one refusal. It gives when the window ends, and the row that sums up
// the window before it, if there is one to write.
func (d *denials) count(q *Query) (what toRecord, ends time.Time, before *audit.Record) {
	who := whoOf(q)
	d.mu.Lock()
	defer d.mu.Unlock()
	one := d.of[who]
	if one != nil && !q.Time.Before(one.began.Add(denialWindow)) {
		before = one.summary(q.Time)
		delete(d.of, who)
		one = nil
	}
	if one == nil {
		if len(d.of) >= maxDenied {
			return asItIs, q.Time, before
		}
		one = &denied{began: q.Time}
		d.of[who] = one
	}
	one.count++
	ends = one.began.Add(denialWindow)
	switch {
	case one.count <= d.most:
		return asItIs, ends, before
	case one.about == nil:
		one.about = strangerOf(q)
		return asTooMany, ends, before
	}
	one.unspoken++
	return notAtAll, ends, before
}

func whoOf(q *Query) personOf {
	p := q.Grant.Principal()
	who := personOf{tenant: recordTenant(q), subject: p.Subject()}
	if p.User != nil {
		who.issuer = p.User.Issuer
	}
	return who
}

// strangerOf is a row that says who somebody is, and nothing of what they did.
func strangerOf(q *Query) *audit.Record {
	who := Query{Grant: identity.Root(q.Grant.ID(), q.Grant.Principal(), nil, q.Grant.Tier()), Action: ActionRefused}
	return recordOf(&who, q.Time)
}

// ActionRefused is the action of a row that sums up refused calls.
const ActionRefused = "refused_calls"

// summary is the row that sums up what has none, nil if all have.
func (d *denied) summary(now time.Time) *audit.Record {
	if d.unspoken == 0 {
		return nil
	}
	r := d.about
	r.Time, r.Phase, r.Decision, r.Reason = now.UnixNano(), audit.Decision, audit.Deny, string(fault.RateLimited)
	r.RedactedArguments = fmt.Sprintf(`{"refused":%d,"since":%d}`, d.unspoken, d.began.UnixNano())
	return r
}

// over gives the rows of the windows that are over, and forgets them.
func (d *denials) over(now time.Time) (rows []*audit.Record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for who, one := range d.of {
		if now.Before(one.began.Add(denialWindow)) {
			continue
		}
		if r := one.summary(now); r != nil {
			rows = append(rows, r)
		}
		delete(d.of, who)
	}
	return rows
}

// tooMany counts a refusal. If its person has had too many it gives, instead of the
// refusal, the one that says so: the first of a window is on record when it returns,
// the others are in the row that sums them up.
func (g *Guard) tooMany(ctx context.Context, e *Engine, q *Query) error {
	what, ends, before := g.denials.count(q)
	if before != nil {
		g.config.Sink.Append(audit.Entry{Record: before})
	}
	if what == asItIs {
		return nil
	}
	f := errTooMany.RetryIn(max(ends.Sub(q.Time), time.Second))
	if what == notAtAll {
		return f
	}
	if err := g.recordDenial(ctx, e, q, Decision{Reason: string(fault.RateLimited), Revision: g.Revision()}, nil); err != nil {
		return err
	}
	return f.With("decision_id", q.Call)
}

var errTooMany = fault.New(codes.ResourceExhausted, fault.RateLimited, "too many of your calls were refused, so this one is only counted; do not repeat what was refused, what you may do goes on as before")

// spare refuses a call for which there is no room in its rates or budgets, if its
// person has had too many refusals: else each would be one more row. It takes
// nothing, and whoever is not over the limit does not wait for it.
func (g *Guard) spare(ctx context.Context, p *Permit) error {
	if len(p.reserved) == 0 || g.config.Buckets == nil || !g.denials.exceeded(p.query) {
		return nil
	}
	levels, err := g.config.Buckets.Levels(ctx, p.reserved)
	if err != nil {
		return g.cannotRecord(ctx, p.query, err)
	}
	if slices.ContainsFunc(levels, func(l audit.Level) bool { return l.Wait > 0 }) {
		return g.bound(ctx, p.engine, p.query)
	}
	return nil
}

// exceeded says whether a person has had too many refusals.
func (d *denials) exceeded(q *Query) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	one := d.of[whoOf(q)]
	return one != nil && one.count > d.most && q.Time.Before(one.began.Add(denialWindow))
}

// SumUp writes the rows that sum up refused calls once a minute, and what is left
// when ctx ends. It blocks until then.
func (g *Guard) SumUp(ctx context.Context) error {
	tick := time.NewTicker(denialWindow)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return g.sumUp(context.WithoutCancel(ctx), time.Unix(0, math.MaxInt64))
		case <-tick.C:
			if err := g.sumUp(ctx, g.config.Clock()); err != nil {
				g.config.OnAlarm(ctx, Alarm{Reason: fault.AuditUnavailable, Action: ActionRefused, Err: err})
			}
		}
	}
}

func (g *Guard) sumUp(ctx context.Context, until time.Time) error {
	var last *audit.Receipt
	for _, r := range g.denials.over(until) {
		r.Time = g.config.Clock().UnixNano()
		last = g.config.Sink.Append(audit.Entry{Record: r})
	}
	if last == nil {
		return nil
	}
	return g.await(ctx, last)
}
