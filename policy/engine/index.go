package engine

import (
	"iter"
	"slices"
	"time"

	cedar "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
)

// index finds the rules that can match a request: by tenant and action, and then
// by the most telling part of the rule's head. Rules that it leaves out could
// not have matched, so they could not have erred either.
type index map[string]map[string]*shelf // tenant ("" for everybody) → action

// shelf holds the rules for one action.
type shelf struct {
	hard, soft pile
}

type pile struct {
	any                 []*rule
	resource, principal drawers // by the entity that the head names there
}

// drawers hold rules by the entity that one part of the request must be, or must
// be or be in.
type drawers struct {
	is, in map[types.EntityUID][]*rule
}

func newIndex(rules []*rule, actions map[string]bool) index {
	ix := index{}
	for _, r := range rules {
		if r.resting {
			continue
		}
		for action := range actions {
			if matchesAction(r.head().Action, action) {
				ix.shelf(r.tenant, action).add(r)
			}
		}
	}
	return ix
}

func (ix index) shelf(tenant, action string) *shelf {
	if ix[tenant] == nil {
		ix[tenant] = map[string]*shelf{}
	}
	if ix[tenant][action] == nil {
		ix[tenant][action] = &shelf{}
	}
	return ix[tenant][action]
}

func (s *shelf) add(r *rule) {
	if r.soft() {
		s.soft.add(r)
		return
	}
	s.hard.add(r)
}

func (p *pile) add(r *rule) {
	if !p.resource.add(r.head().Resource, r) && !p.principal.add(r.head().Principal, r) {
		p.any = append(p.any, r)
	}
}

func (d *drawers) add(scope ast.IsScopeNode, r *rule) bool {
	uid, ok := anchor(scope)
	if !ok {
		return false
	}
	drawer := &d.in
	if _, exact := scope.(ast.ScopeTypeEq); exact {
		drawer = &d.is
	}
	put(drawer, uid, r)
	return true
}

// bare is what is left to evaluate of a policy that the index found: it has
// matched the action and the part of the head by which the policy is filed.
func bare(p *cedar.Policy) *cedar.Policy {
	head := *p.AST()
	head.Action = ast.ScopeTypeAll{}
	if _, ok := anchor(head.Resource); ok {
		head.Resource = rest(head.Resource)
	} else if _, ok := anchor(head.Principal); ok {
		head.Principal = rest(head.Principal)
	}
	return cedar.NewPolicyFromAST(&head)
}

// scope is what both a principal and a resource may be required to be.
type scope interface {
	ast.IsPrincipalScopeNode
	ast.IsResourceScopeNode
}

// rest is what a scope still asks once its entity has matched.
func rest(s ast.IsScopeNode) scope {
	if s, ok := s.(ast.ScopeTypeIsIn); ok {
		return ast.ScopeTypeIs{Type: s.Type}
	}
	return ast.ScopeTypeAll{}
}

// rules lists all rules of the pile.
func (p *pile) rules() []*rule {
	all := slices.Clone(p.any)
	for _, drawer := range []map[types.EntityUID][]*rule{p.resource.is, p.resource.in, p.principal.is, p.principal.in} {
		for _, list := range drawer {
			all = append(all, list...)
		}
	}
	return all
}

func put(m *map[types.EntityUID][]*rule, uid types.EntityUID, r *rule) {
	if *m == nil {
		*m = map[types.EntityUID][]*rule{}
	}
	(*m)[uid] = append((*m)[uid], r)
}

// anchor is the entity that a request must be, or be in, for the scope to match.
func anchor(scope ast.IsScopeNode) (types.EntityUID, bool) {
	uids := scopeEntities(scope)
	if len(uids) != 1 {
		return types.EntityUID{}, false
	}
	return uids[0], true
}

// plan says what a request for an action or a tool consists of.
type plan struct {
	fields needs
	check  *checker
}

// plans looks ahead at all rules that could match an action or a tool.
func plans(s *Set) (rpc, tools map[string]plan) {
	rpc, tools = map[string]plan{}, map[string]plan{}
	for name := range s.schema.actions {
		fields := needsFor(s.rules, func(r *rule) bool { return matchesAction(r.head().Action, name) })
		one := map[types.EntityUID]resolved.Action{actionUID(name): s.schema.rpcAction(name, fields)}
		rpc[name] = plan{fields, newChecker(one)}
	}
	for name, t := range s.schema.tools {
		fields := needsFor(s.rules, func(r *rule) bool { return matchesTool(r.head().Resource, t) })
		tools[name] = plan{fields, newChecker(onlyToolActions(t.args, fields))}
	}
	return rpc, tools
}

func needsFor(rules []*rule, matches func(*rule) bool) needs {
	var n needs
	for _, r := range rules {
		if !r.resting && matches(r) {
			n |= r.needs
		}
	}
	return n
}

// candidates are the rules to evaluate, as Cedar's PolicyIterator. It stops
// yielding when the time is over and says so. It belongs to one evaluation.
type candidates struct {
	lists [][]*rule
	now   func() time.Time
	late  bool
}

// find collects the rules of a pile for the request.
func (c *candidates) find(p *pile, w *world) {
	c.put(p.any)
	c.open(&p.resource, w.resource)
	if p.resource.in != nil {
		for _, rel := range w.over {
			c.put(p.resource.in[rel.uid])
		}
	}
	c.open(&p.principal, w.principal)
	if p.principal.in != nil {
		for _, uid := range w.above {
			c.put(p.principal.in[uid])
		}
	}
}

// open puts what is filed under an entity itself.
func (c *candidates) open(d *drawers, uid types.EntityUID) {
	if d.is != nil {
		c.put(d.is[uid])
	}
	if d.in != nil {
		c.put(d.in[uid])
	}
}

func (c *candidates) put(rules []*rule) {
	if len(rules) > 0 {
		c.lists = append(c.lists, rules)
	}
}

// Bounds of one evaluation (SECURITY 9). Only an evaluation that still goes on
// can be late: one that was merely interrupted has its answer.
const (
	maxEvaluation = 50 * time.Millisecond
	checkEvery    = 32 // rules between two looks at the clock
)

// All yields the rules.
func (c *candidates) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] { return c.yield }

func (c *candidates) yield(yield func(cedar.PolicyID, *cedar.Policy) bool) {
	c.each(func(r *rule) bool { return yield(cedar.PolicyID(r.id), r.bare) })
}

func (c *candidates) each(yield func(*rule) bool) {
	var start time.Time
	n := 0
	for _, list := range c.lists {
		for _, r := range list {
			if n++; n%checkEvery == 0 && c.over(&start) {
				return
			}
			if !yield(r) {
				return
			}
		}
	}
}

func (c *candidates) over(start *time.Time) bool {
	if start.IsZero() {
		*start = c.now()
	}
	c.late = c.now().Sub(*start) > maxEvaluation
	return c.late
}
