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
	d, err = e.around(t, q, env, hidden)
	d.Revision = e.set.revision
	return d, err
}

// May reports whether a call of a tool could be allowed with some arguments. It is
// for lists: a tool that is denied whatever its arguments are is not in them. A duty,
// such as a rate, hides nothing. Whoever then calls is decided about by Decide.
func (e *Engine) May(q *Query) (may bool) {
	defer func() {
		if recover() != nil {
			may = false
		}
	}()
	if u := q.Grant.Principal().User; u != nil && u.RolesUnknown {
		return false // as for the call
	}
	t := e.newTrial()
	defer t.end()
	p, _, err := t.place(q)
	if err != nil {
		return false
	}
	r := t.world.request(cedar.Record{}, p.fields)
	env := eval.Env{Entities: &t.world, Principal: r.Principal, Action: r.Action, Resource: r.Resource, Context: hide(r.Context, []string{"args"})}
	d, err := e.around(t, q, env, [][]string{{}})
	if err != nil {
		return errors.Is(err, ErrHidden)
	}
	return d.Reason != string(fault.PolicyDenied) && d.Reason != string(fault.PolicyError)
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
func (e *Engine) around(t *trial, q *Query, env eval.Env, hidden [][]string) (Decision, error) {
	hard := e.sort(t.find(hardOf), env, hidden)
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
	soft := e.sort(t.find(softOf), env, hidden)
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

func (e *Engine) sort(c *candidates, env eval.Env, hidden [][]string) (s sorted) {
	for id, p := range c.All() {
		r := e.rules[string(id)]
		switch look(r, p, env, hidden) {
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
	absent standing = iota // it does not hold
	holds
	fails
	depends
)

func look(r *rule, p *cedar.Policy, env eval.Env, hidden [][]string) standing {
	if slices.ContainsFunc(hidden, r.usesWhole) {
		return depends
	}
	rest, keep := eval.PartialPolicy(env, (*ast.Policy)(p.AST()))
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
