package tools

import (
	"context"
	"fmt"

	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/identity"
)

// Ticket is what the backend of a tool asks of whoever calls it; empty where it asks
// for nothing, or where none may be made: for a caller without a client certificate
// the token would be anybody's who finds it, for a tool whose messages only the tool
// can write, as those of MCP, it would not be of this call, and where something is to
// be taken out of the result its bearer would have it from the backend as it is.
type Ticket struct {
	Token   identity.Secret // for the caller's own certificate, once
	Payload []byte          // the message to send, byte for byte; nil: the arguments are the message
}

// ticket is for a call that was allowed and that its caller makes.
func (e *Elsewhere) ticket(ctx context.Context, a *attempt) Ticket {
	w := a.grant.Principal().Workload
	if e.tokens == nil || a.tool.Sends == nil || a.permit.RedactsResults() || w == nil || w.Thumbprint == "" {
		return Ticket{}
	}
	t, err := e.tokens.ticket(a, *w)
	if err != nil { // the call is decided, and may be made without
		a.tell(ctx, fmt.Errorf("no token: %w", err))
		return Ticket{}
	}
	return t
}

func (t *Tokens) ticket(a *attempt, w identity.Workload) (out Ticket, err error) {
	sent := []byte(a.permit.SentArguments())
	if encode := a.tool.Sends.Payload; encode != nil {
		if sent, err = encode(sent); err != nil {
			return Ticket{}, err
		}
		out.Payload = sent
	}
	out.Token, err = t.mint(a.facts(), w.ID, a.tool.Sends.Backend, Sent{Digest: calltoken.Digest(sent), Thumbprint: w.Thumbprint, Ends: w.NotAfter})
	if err != nil {
		return Ticket{}, err
	}
	return out, nil
}
