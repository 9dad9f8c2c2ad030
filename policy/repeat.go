package policy

import (
	"context"
	"crypto/rand"
	"slices"

	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

var errOtherDuties = fault.New(codes.PermissionDenied, fault.PolicyDenied, "the policies have changed since this call was answered, and the answer may not be given again; make the call anew, without the request id")

// Repeat decides whether the answer to a call that was made before may be given
// again. It is on record as a read under a name of its own. Nothing is reserved and
// nobody is asked: the call is not made again. Its answer was redacted by the duties
// of then, so it may be given only under the same ones.
func (g *Guard) Repeat(ctx context.Context, query *Query, had []string) error {
	q := *query
	q.Call, q.Time = "read_"+rand.Text(), g.config.Clock()
	e := g.engine.Load()
	d := g.decide(e, &q)
	if !d.Allow {
		return g.deny(ctx, e, &q, d)
	}
	if !same(d.Duties, had) {
		return g.Refuse(ctx, &q, errOtherDuties)
	}
	row := recordOf(&q, q.Time)
	addDecision(row, d)
	if err := g.addArguments(row, q.Arguments, viewOf(e, &q)); err != nil {
		return g.cannotRecord(ctx, &q, err)
	}
	p := &Permit{guard: g, query: &q}
	if err := g.await(ctx, p.append(row, nil, nil)); err != nil {
		return g.cannotRecord(ctx, &q, err)
	}
	return nil
}

// Still decides again about what goes on and is not held any more. Only a denial is
// recorded, as a cut is.
func (g *Guard) Still(ctx context.Context, query *Query) error {
	q := *query
	q.Call, q.Time = "cut_"+rand.Text(), g.config.Clock()
	e := g.engine.Load()
	if d := g.decide(e, &q); !d.Allow {
		return g.deny(ctx, e, &q, d)
	}
	return nil
}

// same reports whether duties are those of then, as they were shown.
func same(duties []Duty, had []string) bool {
	return slices.EqualFunc(duties, had, func(d Duty, text string) bool { return d.String() == text })
}
