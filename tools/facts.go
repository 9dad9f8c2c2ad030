package tools

import (
	"context"

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
	Trace      string // joins the calls of a request; empty: none
}

type factsKey struct{}

// FactsFrom gives the facts of the call that ctx is of.
func FactsFrom(ctx context.Context) (Facts, bool) {
	f, ok := ctx.Value(factsKey{}).(Facts)
	return f, ok
}

func (a *attempt) withFacts(ctx context.Context) context.Context {
	return context.WithValue(ctx, factsKey{}, a.facts())
}

func (a *attempt) facts() Facts {
	id, approver := a.permit.Approval()
	return Facts{
		CallID: a.call.ID, Tool: a.tool.Name, Version: a.tool.hash, Grant: a.grant, Scopes: a.tool.Scopes, Revision: a.permit.Decision().Revision,
		ApprovalID: id, Approver: approver, Trace: a.query.Trace,
	}
}
