package policy

import (
	"slices"

	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// Coverage says what a set's tests show of each of its policies.
type Coverage struct {
	Policies     []Shown  // all, sorted by id
	Undetermined []string // policies that determine no case
	Unpaired     []string // forbids without a pair: one case that they determine, one of the same action and resource that is allowed without them
}

// Shown is a policy and the cases that show it.
type Shown struct {
	ID       string
	File     string // inside the policy folder
	Line     int
	Permit   bool
	Cases    int    // that it determines
	With     string // of a forbid's pair: file:line of the case that it determines
	Without  string // and of the one that is allowed without it
	everyOne bool   // it holds for every call that its head matches, so no pair can show it
}

// Gap says what is missing; empty for nothing.
func (s Shown) Gap() string {
	switch {
	case s.Cases == 0:
		return "no case is decided by it"
	case !s.Permit && s.Without == "" && !s.everyOne:
		return "no pair of cases shows it: one that it decides, and one of the same action and resource that is allowed without it"
	}
	return ""
}

// CoverageOf reports how well results cover the set.
func CoverageOf(set *Set, results []CaseResult) Coverage {
	var c Coverage
	for _, r := range set.rules {
		s := shownBy(r, results)
		s.File, s.Line = set.short(r.at.file), r.at.line
		c.Policies = append(c.Policies, s)
		if s.Cases == 0 {
			c.Undetermined = append(c.Undetermined, r.id)
		}
		if !s.Permit && s.Without == "" {
			c.Unpaired = append(c.Unpaired, r.id)
		}
	}
	return c
}

func shownBy(r *rule, results []CaseResult) Shown {
	s := Shown{ID: r.id, Permit: r.permit(), everyOne: r.unconditional()}
	for _, with := range results {
		if !slices.Contains(with.Decision.PolicyIDs, r.id) {
			continue
		}
		s.Cases++
		if s.Permit || s.Without != "" {
			continue
		}
		s.With = with.At
		if i := slices.IndexFunc(results, func(w CaseResult) bool { return w.without(r.id, with.Case.query) }); i >= 0 {
			s.Without = results[i].At
		}
	}
	return s
}

// without reports whether a case like q is allowed and the policy has no part in it.
func (r *CaseResult) without(id string, q *Query) bool {
	own := r.Case.query
	return r.Decision.Allow && !slices.Contains(r.Decision.PolicyIDs, id) && own.Action == q.Action && uidOf(own.Resource) == uidOf(q.Resource)
}

// unconditional reports whether the policy asks for nothing but what it is about:
// then there is no call like those it hits that it does not hit.
func (r *rule) unconditional() bool {
	p := r.head()
	_, anybody := p.Principal.(ast.ScopeTypeAll)
	return anybody && len(p.Conditions) == 0 && r.tenant == ""
}
