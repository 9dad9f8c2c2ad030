package tools

import (
	"bytes"
	"context"
	"fmt"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/grpc/codes"
)

var errDiffer = fault.New(codes.PermissionDenied, fault.PolicyDenied, "the people in whose name this call is made may not send the same arguments")

// agree decides the call for each of the others who must be allowed it too. All
// are asked whether anybody is refused before what one of them has left of a rate
// is touched. Each decision has a row of its own, a question without an outcome:
// the rows of the call itself say whether it was made.
func (a *attempt) agree(ctx context.Context) *fault.Error {
	others := a.grant.Others()
	if len(others) == 0 {
		return nil
	}
	all := make([]*attempt, len(others))
	for i, g := range others {
		all[i] = a.forPerson(ctx, i+1, g)
	}
	e := a.gate.guard.Engine()
	if e == nil || !e.Decide(&a.query).Allow {
		return nil // Begin denies it
	}
	for _, o := range all {
		if f := o.may(ctx); f != nil {
			return f
		}
		if !e.Decide(&o.query).Allow {
			return o.begin(ctx)
		}
	}
	for _, o := range all {
		if f := o.begin(ctx); f != nil {
			return f
		}
	}
	a.others = all
	return nil
}

// forPerson is the same call as somebody else's.
func (a *attempt) forPerson(ctx context.Context, n int, g identity.Grant) *attempt {
	o := &attempt{gate: a.gate, call: a.call, tool: a.tool, args: a.args, grant: g, emit: func(agents.Body) bool { return true }}
	o.call.ID = fmt.Sprintf("read_%d_%s", n, a.call.ID)
	o.query = o.ask(ctx, a.query.Action)
	o.query.Arguments = a.query.Arguments
	return o
}

// may is what comes before policy, for the other person. Their scopes are in the
// grant's already.
func (a *attempt) may(ctx context.Context) *fault.Error {
	f := a.checkLive(ctx)
	if f == nil {
		f = a.checkOwner(ctx)
	}
	if f == nil {
		return nil
	}
	return fault.From(a.gate.guard.Refuse(ctx, &a.query, f))
}

// begin decides, and waits until that is on record.
func (a *attempt) begin(ctx context.Context) *fault.Error {
	permit, err := a.gate.guard.Begin(ctx, &a.query)
	if err == nil {
		err = permit.Wait(ctx)
	}
	if err != nil {
		return fault.From(err)
	}
	a.permit = permit
	return nil
}

// alike reports whether nobody's duties change the arguments in another way: what
// is sent is one text.
func (a *attempt) alike() bool {
	for _, o := range a.others {
		if !bytes.Equal(o.permit.SentArguments(), a.permit.SentArguments()) {
			return false
		}
	}
	return true
}

// hides reports whether parts of the result are hidden from anybody.
func (a *attempt) hides() bool {
	for _, o := range a.others {
		if o.permit.HidesResults() {
			return true
		}
	}
	return a.permit.HidesResults()
}
