package policy

import (
	"context"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/policy/redact"
	"google.golang.org/grpc/codes"
)

// deny records a denial and gives it back once it is durable, unless there were too
// many.
func (g *Guard) deny(ctx context.Context, e *Engine, q *Query, d Decision) error {
	if err := g.bound(ctx, e, q); err != nil {
		return err
	}
	return g.denied(ctx, e, q, d)
}

// bound is tooMany for what may be counted only. A call that an earlier process
// began may have had its effect: what is said of it has a row in any case.
func (g *Guard) bound(ctx context.Context, e *Engine, q *Query) error {
	if q.Again {
		return nil
	}
	return g.tooMany(ctx, e, q)
}

// denied is deny for a refusal that has a row in any case.
func (g *Guard) denied(ctx context.Context, e *Engine, q *Query, d Decision, back ...audit.Reservation) error {
	if d.Reason == string(fault.PolicyError) {
		g.alarm(ctx, q, fault.PolicyError, d.Err)
	}
	if err := g.recordDenial(ctx, e, q, d, back); err != nil {
		return err
	}
	return refusal(q, d)
}

// Refuse records a denial that is not policy's (a missing scope, another owner,
// an unknown tool, bad arguments, a lock) and gives f back once it is durable.
func (g *Guard) Refuse(ctx context.Context, query *Query, f *fault.Error) error {
	q, e := g.stamp(query, "call_"), g.engine.Load()
	if f.Reason != fault.OutcomeUnknown {
		if err := g.bound(ctx, e, q); err != nil {
			return err
		}
	}
	if err := g.recordDenial(ctx, e, q, Decision{Reason: string(f.Reason), Revision: g.Revision()}, nil); err != nil {
		return err
	}
	return about(q, f, g.Revision())
}

// about says in a refusal what it is about (SECURITY 6).
func about(q *Query, f *fault.Error, revision string) *fault.Error {
	f = f.With("decision_id", q.Call)
	if f.Code != codes.PermissionDenied {
		return f
	}
	if f = f.With("policy_revision", revision); q.Tool != "" {
		f = f.With("tool", q.Tool)
	}
	return f
}

// recordDenial records a denial, and gives back what was reserved for the call.
func (g *Guard) recordDenial(ctx context.Context, e *Engine, q *Query, d Decision, back []audit.Reservation) error {
	row := recordOf(q, q.Time)
	addDecision(row, d)
	if err := g.addArguments(row, q.Arguments, viewOf(e, q)); err != nil {
		return g.cannotRecord(ctx, q, err)
	}
	// A caller who hangs up must not get rid of the record.
	if err := g.await(context.WithoutCancel(ctx), g.config.Sink.Append(audit.Entry{Record: row, Reserve: back, Journal: g.journals(q) && len(back) == 0})); err != nil {
		return g.cannotRecord(ctx, q, err)
	}
	return nil
}

// viewOf is what a record shows of the arguments of a call that was denied
// before its duties were known: less whatever any policy might take out.
func viewOf(e *Engine, q *Query) []byte {
	if e == nil {
		return q.Arguments
	}
	view, _, err := e.PossibleRedaction(q).Args(q.Arguments)
	if err != nil {
		return []byte(`"` + redact.Mark + `"`)
	}
	return view
}
