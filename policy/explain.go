package policy

import (
	"cmp"
	"encoding/json"
	"iter"
	"slices"
	"strings"

	cedar "github.com/cedar-policy/cedar-go"

	"github.com/behalf-dev/behalf/fault"
)

// maxFindings bounds an explanation. What determines the decision comes first,
// so that it is never what is left out.
const maxFindings = 256

// Finding is one policy that could have mattered to a question, and whether it
// did.
type Finding struct {
	ID         string
	Permit     bool
	Duties     []Duty // what lifts the forbid
	File       string // inside the policy folder
	Line       int
	Holds      bool // its conditions hold
	Determines bool // it is one of the decision's PolicyIDs
	Failed     bool // it could not be evaluated
}

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
	out := Explanation{Decision: waitable(q, g.decide(e, q))}
	if e != nil {
		out = e.explain(q, out.Decision)
	}
	if !out.Decision.Allow {
		out.Refused = refusal(q, out.Decision)
	}
	return out
}

// Would gives the answer that Read would give, and records nothing.
func (g *Guard) Would(q *Query) error {
	e := g.engine.Load()
	d := waitable(q, g.decide(e, q))
	if d.Allow && !e.redaction(d.Duties).Empty() {
		d = failed(d, errUnmet)
	}
	if !d.Allow {
		return refusal(q, d)
	}
	return nil
}

// waitable denies what would wait for somebody and cannot: only calls of tools do.
func waitable(q *Query, d Decision) Decision {
	if q.Action == ActionCallTool || !slices.ContainsFunc(d.Duties, Duty.Waits) {
		return d
	}
	no := denied(fault.PolicyDenied, d.PolicyIDs)
	no.Revision = d.Revision
	return no
}

// failed is a decision that turned out not to be one.
func failed(d Decision, err error) Decision {
	return Decision{Reason: string(fault.PolicyError), PolicyIDs: d.PolicyIDs, Revision: d.Revision, Err: err}
}

func (e *Engine) explain(q *Query, d Decision) Explanation {
	out := Explanation{Decision: d, Findings: e.findings(q, d)}
	if !d.Allow || q.Action != ActionCallTool {
		return out
	}
	sent, _, err := e.redaction(d.Duties).Args(q.Arguments)
	if err != nil { // a call would be denied for it
		out.Decision = failed(d, err)
		return out
	}
	out.Sent = sent
	return out
}

// findings looks at the policies that the index finds for the query, one by one:
// Cedar names those that determine a decision, and an author also asks why
// another one did not. A query that cannot be evaluated has none.
func (e *Engine) findings(q *Query, d Decision) []Finding {
	t := e.newTrial()
	defer t.end()
	if t.tryPrepare(q) != nil {
		return nil
	}
	var all []Finding
	for _, of := range []func(*shelf) *pile{hardOf, softOf} {
		for id, p := range t.find(of).All() {
			f := e.finding(string(id))
			f.Determines = slices.Contains(d.PolicyIDs, f.ID)
			_, diag := cedar.Authorize(one{id, p}, &t.world, t.request)
			f.Holds, f.Failed = len(diag.Reasons) > 0, len(diag.Errors) > 0
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b Finding) int { return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.ID, b.ID)) })
	return all[:min(len(all), maxFindings)]
}

func hardOf(s *shelf) *pile { return &s.hard }
func softOf(s *shelf) *pile { return &s.soft }

func (t *trial) tryPrepare(q *Query) (err error) {
	defer recoverTo(&err)
	return t.prepare(q)
}

func (e *Engine) finding(id string) Finding {
	r := e.rules[id]
	return Finding{ID: id, Permit: r.permit(), Duties: slices.Clone(r.duties), File: e.set.short(r.at.file), Line: r.at.line}
}

func (f *Finding) rank() int {
	switch {
	case f.Determines:
		return 0
	case f.Holds || f.Failed:
		return 1
	}
	return 2
}

// short is a file as seen from the policy folder.
func (s *Set) short(file string) string { return strings.TrimPrefix(file, s.dir) }

// one is a single policy, as Cedar's PolicyIterator.
type one struct {
	id     cedar.PolicyID
	policy *cedar.Policy
}

// All yields the policy.
func (o one) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) { yield(o.id, o.policy) }
}
