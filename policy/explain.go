package policy

import (
	"context"
	"encoding/json"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// Explanation is what would be decided about a query.
type Explanation struct {
	Decision Decision
	Refused  *fault.Error // as who makes the call reads it; nil: it is allowed
	Findings []Finding
	Sent     json.RawMessage // the arguments as they would leave; nil unless a tool's call is allowed
	Limits   []Limit         // what it would draw from, as that stands now
	UsedUp   *fault.Error    // the refusal by the first of them that is used up; nil: none
}

// Limit is a rate or a budget of the person who asks.
type Limit struct {
	Duty    Duty
	Used    int64 // in the window that ends now
	Most    int64
	Refills time.Time // when there is room again; zero: there is
}

// Explain decides a query as it is, with its own time, and leaves it at that:
// no record, no reservation, no alarm. How full limits are is read now, whatever the
// query's time; an error says that it cannot be.
func (g *Guard) Explain(ctx context.Context, q *Query) (out Explanation, err error) {
	e := g.engine.Load()
	out = Explanation{Decision: g.decide(e, q)}
	if e != nil {
		out = explain(e, q, out.Decision)
	}
	if !out.Decision.Allow {
		out.Refused = refusal(q, out.Decision)
		return out, nil
	}
	return out, g.measure(ctx, &out, q)
}

// measure adds how full the limits are. Where nobody keeps account there is nothing
// to say of them.
func (g *Guard) measure(ctx context.Context, x *Explanation, q *Query) error {
	rs, err := x.Decision.Reservations(q)
	if err != nil || len(rs) == 0 || g.config.Buckets == nil {
		return err
	}
	levels, err := g.config.Buckets.Levels(ctx, rs)
	if err != nil {
		return fault.New(codes.Unavailable, fault.AuditUnavailable, "how much is left of the limits cannot be read; ask again later").Because(err)
	}
	for i, duty := range x.Decision.Limits() {
		l := Limit{Duty: duty, Used: levels[i].Used, Most: rs[i].Limit}
		if wait := levels[i].Wait; wait > 0 {
			l.Refills = g.config.Clock().Add(wait)
			x.use(&audit.Exhausted{Bucket: rs[i].Bucket, Reason: rs[i].Reason, RetryAfter: wait})
		}
		x.Limits = append(x.Limits, l)
	}
	return nil
}

func (x *Explanation) use(full *audit.Exhausted) {
	if x.UsedUp == nil {
		x.UsedUp = exhausted(full)
	}
}

// Would gives the answer that Read would give, and records nothing.
func (g *Guard) Would(q *Query) error {
	e := g.engine.Load()
	d := g.decide(e, q)
	if d.Allow && !e.Redaction(d.Duties).Empty() {
		d = failed(d, errUnmet)
	}
	if !d.Allow {
		return refusal(q, d)
	}
	return nil
}

// failed is a decision that turned out not to be one.
func failed(d Decision, err error) Decision {
	return Decision{Reason: string(fault.PolicyError), PolicyIDs: d.PolicyIDs, Revision: d.Revision, Err: err}
}

func explain(e *Engine, q *Query, d Decision) Explanation {
	out := Explanation{Decision: d, Findings: e.Findings(q, d)}
	if !d.Allow || q.Action != ActionCallTool {
		return out
	}
	sent, _, err := e.Redaction(d.Duties).Args(q.Arguments)
	if err != nil { // a call would be denied for it
		out.Decision = failed(d, err)
		return out
	}
	out.Sent = sent
	return out
}
