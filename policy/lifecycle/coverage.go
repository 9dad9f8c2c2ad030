package lifecycle

import (
	"slices"

	"github.com/behalf-dev/behalf/policy/engine"
)

// Coverage says what a set's tests show of each of its policies.
type Coverage struct {
	Policies     []Shown  // all, sorted by id
	Undetermined []string // policies that determine no case
	Unpaired     []string // forbids without a pair: one case that they determine, one of the same action and resource that is allowed without them
}

// Shown is a policy and the cases that show it.
type Shown struct {
	engine.Policy
	Cases   int    // that it determines
	With    string // of a forbid's pair: file:line of the case that it determines
	Without string // and of the one that is allowed without it
}

// Gap says what is missing; empty for nothing.
func (s Shown) Gap() string {
	switch {
	case s.Cases == 0:
		return "no case is decided by it"
	case !s.Permit && s.Without == "" && !s.Always:
		return "no pair of cases shows it: one that it decides, and one of the same action and resource that is allowed without it"
	}
	return ""
}

// CoverageOf reports how well results cover the set.
func CoverageOf(set *engine.Set, results []CaseResult) Coverage {
	var c Coverage
	for _, p := range set.Policies() {
		s := shownBy(p, results)
		c.Policies = append(c.Policies, s)
		if s.Cases == 0 {
			c.Undetermined = append(c.Undetermined, p.ID)
		}
		if !s.Permit && s.Without == "" {
			c.Unpaired = append(c.Unpaired, p.ID)
		}
	}
	return c
}

func shownBy(p engine.Policy, results []CaseResult) Shown {
	s := Shown{Policy: p}
	for _, with := range results {
		if !slices.Contains(with.Decision.PolicyIDs, p.ID) {
			continue
		}
		s.Cases++
		if s.Permit || s.Without != "" {
			continue
		}
		s.With = with.At
		if i := slices.IndexFunc(results, func(w CaseResult) bool { return w.without(p.ID, with.Case.query) }); i >= 0 {
			s.Without = results[i].At
		}
	}
	return s
}

// without reports whether a case like q is allowed and the policy has no part in it.
func (r *CaseResult) without(id string, q *engine.Query) bool {
	own := r.Case.query
	return r.Decision.Allow && !slices.Contains(r.Decision.PolicyIDs, id) && own.Action == q.Action && own.Resource.Name() == q.Resource.Name()
}
