package policy

import (
	"encoding/json"

	"github.com/behalf-dev/behalf/fault"
)

// Explanation is what would be decided about a query.
type Explanation struct {
	Decision Decision
	Refused  *fault.Error // as who makes the call reads it; nil: it is allowed
	Findings []Finding
	Sent     json.RawMessage // the arguments as they would leave; nil unless a tool's call is allowed
}

// Explain decides a query as it is, with its own time, and leaves it at that:
// no record, no reservation, no alarm.
func (g *Guard) Explain(q *Query) Explanation {
	e := g.engine.Load()
	out := Explanation{Decision: g.decide(e, q)}
	if e != nil {
		out = explain(e, q, out.Decision)
	}
	if !out.Decision.Allow {
		out.Refused = refusal(q, out.Decision)
	}
	return out
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
