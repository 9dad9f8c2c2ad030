package engine

import (
	"errors"
	"maps"
	"slices"

	cedar "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"github.com/behalf-dev/behalf/fault"
)

// ErrHidden says that an answer depends on a value that is not known.
var ErrHidden = errors.New("it depends on what was redacted")

// DecideAround answers a query some of whose arguments are not known, only their
// places: with ErrHidden if the answer depends on one of them. It evaluates each
// policy as far as that goes without them.
func (e *Engine) DecideAround(q *Query, hidden [][]string) (d Decision, err error) {
	defer recoverTo(&err)
	t := e.newTrial()
	defer t.end()
	if err := t.prepare(q); err != nil {
		return Decision{}, err
	}
	context := t.request.Context
	for _, path := range hidden {
		context = hide(context, append([]string{"args"}, path...))
	}
	env := eval.Env{Entities: &t.world, Principal: t.request.Principal, Action: t.request.Action, Resource: t.request.Resource, Context: context}
	d, err = e.around(t, q, func(r *rule) standing { return look(r, env, hidden) })
	d.Revision = e.set.revision
	return d, err
}

// Knows says why the engine cannot be asked: the set knows nothing of what the query
// is about.
func (e *Engine) Knows(q *Query) error {
	switch {
	case e.rpc[q.Action].check == nil:
		return errAction
	case OnTool(q.Action) && e.set.schema.tools[q.Resource.ID] == nil:
		return errNoTool
	}
	return nil
}

// around is Engine.decide with a third answer. What is not known of a policy
// cannot hurt where the others settle the matter: a hard forbid that holds, or no
// permit that could.
func (e *Engine) around(t *trial, q *Query, look looking) (Decision, error) {
	hard := survey(t.find(hardOf), look)
	if t.candidates.late {
		return Decision{}, errTooSlow
	}
	switch {
	case len(hard.failed) > 0:
		return Decision{Reason: string(fault.PolicyError), PolicyIDs: hard.failed}, nil
	case len(hard.forbids) > 0:
		return Deny(fault.PolicyDenied, hard.forbids), nil
	case len(hard.permits) == 0 && !hard.mayPermit:
		return Deny(fault.PolicyDenied, nil), nil
	case len(hard.permits) == 0 || hard.mayForbid:
		return Decision{}, ErrHidden
	}
	soft := survey(t.find(softOf), look)
	switch {
	case t.candidates.late:
		return Decision{}, errTooSlow
	case len(soft.failed) > 0:
		return Decision{Reason: string(fault.PolicyError), PolicyIDs: soft.failed}, nil
	case soft.mayForbid:
		return Decision{}, ErrHidden
	}
	return e.fulfil(q, hard.permits, soft.forbids), nil
}

// sorted are policies by what is known of them.
type sorted struct {
	permits, forbids, failed []string // sorted ids
	mayPermit, mayForbid     bool
}

func survey(c *candidates, look looking) (s sorted) {
	for r := range c.each {
		switch look(r) {
		case holds:
			if r.permit() {
				s.permits = append(s.permits, r.id)
			} else {
				s.forbids = append(s.forbids, r.id)
			}
		case fails:
			s.failed = append(s.failed, r.id)
		case depends:
			s.mayPermit, s.mayForbid = s.mayPermit || r.permit(), s.mayForbid || !r.permit()
		}
	}
	for _, ids := range [][]string{s.permits, s.forbids, s.failed} {
		slices.Sort(ids)
	}
	return s
}

// standing is what is known of one policy.
type standing uint8

const (
	unasked standing = iota
	absent           // it does not hold
	holds
	fails
	depends
)

// looking finds what is known of a rule.
type looking func(*rule) standing

func look(r *rule, env eval.Env, hidden [][]string) standing {
	if slices.ContainsFunc(hidden, r.usesWhole) {
		return depends
	}
	rest, keep := eval.PartialPolicy(env, (*ast.Policy)(r.bare.AST()))
	switch {
	case !keep:
		return absent
	case len(rest.Conditions) == 0:
		return holds
	}
	if _, failed := eval.ToPartialError(rest.Conditions[0].Body); failed && len(rest.Conditions) == 1 {
		return fails
	}
	return depends
}

// usesWhole reports whether the policy looks at something that a hidden value is
// inside of, other than to look inside. There partial evaluation would compare
// the place holder.
func (r *rule) usesWhole(path []string) bool {
	full := append([]string{"args"}, path...)
	for i := range full { // context, context.args, …
		all, parts := 0, 0
		r.inspect(func(n ast.IsNode) {
			if isPath(n, full[:i]) {
				all++
			}
			if of := insideOf(n); of != nil && isPath(of, full[:i]) {
				parts++
			}
		})
		if all > parts {
			return true
		}
	}
	return false
}

// insideOf is what n looks inside of, nil if n is no such look.
func insideOf(n ast.IsNode) ast.IsNode {
	switch n := n.(type) {
	case ast.NodeTypeAccess:
		return n.Arg
	case ast.NodeTypeHas:
		return n.Arg
	}
	return nil
}

// isPath reports whether n is context.a.b for the path a, b.
func isPath(n ast.IsNode, path []string) bool {
	if len(path) == 0 {
		return isContext(n)
	}
	a, ok := n.(ast.NodeTypeAccess)
	return ok && string(a.Value) == path[len(path)-1] && isPath(a.Arg, path[:len(path)-1])
}

// hide puts a place holder where the path leads, or where it stops being one of
// names. What no policy sees is not there.
func hide(rec cedar.Record, path []string) cedar.Record {
	name := types.String(path[0]) //nolint:gosec // a path has at least one name
	v, ok := rec.Get(name)
	if !ok {
		return rec
	}
	inner, isRecord := v.(cedar.Record)
	m := maps.Collect(rec.All())
	if m[name] = eval.Variable("hidden"); isRecord && len(path) > 1 {
		m[name] = hide(inner, path[1:])
	}
	return cedar.NewRecord(m)
}
