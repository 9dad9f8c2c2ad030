package engine

import (
	"cmp"
	"iter"
	"slices"

	cedar "github.com/cedar-policy/cedar-go"
)

// maxFindings bounds an explanation. What determines the decision comes first,
// so that it is never what is left out.
const maxFindings = 256

// Finding is one policy that could have mattered to a question, and whether it
// did.
type Finding struct {
	Policy
	Holds      bool // its conditions hold
	Determines bool // it is one of the decision's PolicyIDs
	Failed     bool // it could not be evaluated
}

// Findings looks at the policies that the index finds for the query, one by one:
// Cedar names those that determine a decision, and an author also asks why
// another one did not. A query that cannot be evaluated has none.
func (e *Engine) Findings(q *Query, d Decision) []Finding {
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
	return Finding{Policy: e.set.policy(e.rules[id])}
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

// one is a single policy, as Cedar's PolicyIterator.
type one struct {
	id     cedar.PolicyID
	policy *cedar.Policy
}

// All yields the policy.
func (o one) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) { yield(o.id, o.policy) }
}
