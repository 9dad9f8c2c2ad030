package tools

import (
	"context"
	"time"

	"github.com/behalf-dev/behalf/identity"
)

// Facts are what an allowed call is made under. A tool whose backend is another
// process tells them to it, see [Tokens].
type Facts struct {
	CallID     string // the decision, as in the audit log
	Tool       string
	Version    string // hash of the descriptor
	Grant      identity.Grant
	Scopes     []string // what the tool needs, all of which the grant has
	Revision   string   // of the policies that allowed it
	ApprovalID string   // empty: nobody had to agree
	Approver   string
	Agreed     time.Time // until when it is approved; zero: nobody had to agree
	Trace      string    // joins the calls of a request; empty: none

	still func() error // nil: nobody watches
}

// Still says why the call must not be made any more, if so: a lock, an end or another
// policy came while its token or its connection was waited for. Whoever issues a token
// asks last of all, since a write that has begun to leave is not cut.
func (f Facts) Still() error {
	if f.still == nil {
		return nil
	}
	return f.still()
}

type factsKey struct{}

// FactsFrom gives the facts of the call that ctx is of.
func FactsFrom(ctx context.Context) (Facts, bool) {
	f, ok := ctx.Value(factsKey{}).(Facts)
	return f, ok
}

// withFacts is for a call in ctx, which lives as long as live does or longer.
func (a *attempt) withFacts(ctx, live context.Context) context.Context {
	f := a.facts()
	f.still = func() error { return a.stillAllowed(live) }
	return context.WithValue(ctx, factsKey{}, f)
}

func (a *attempt) facts() Facts {
	id, approver := a.permit.Approval()
	return Facts{
		CallID: a.call.ID, Tool: a.tool.Name, Version: a.tool.hash, Grant: a.grant, Scopes: a.tool.Scopes, Revision: a.permit.Decision().Revision,
		ApprovalID: id, Approver: approver, Agreed: a.permit.ApprovalEnds(), Trace: a.query.Trace,
	}
}
