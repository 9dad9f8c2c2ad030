package engine

import (
	"errors"
	"maps"

	cedar "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"github.com/behalf-dev/behalf/fault"
)

// May reports whether a call of a tool could be allowed with some arguments. It is
// for lists: a tool that is denied whatever its arguments are is not in them. A duty,
// such as a rate, hides nothing. Whoever then calls is decided about by Decide.
func (e *Engine) May(q *Query) bool {
	return (q.Tool == "" || q.Tool == q.Resource.ID) && e.MayEach(q, []Entity{q.Resource})[0]
}

// MayEach is May for each of the tools, with all else as the query has it. It asks
// once for all tools that no policy can tell apart.
func (e *Engine) MayEach(q *Query, tools []Entity) []bool {
	l := &listing{engine: e, answers: map[kind]bool{}, others: make([]standing, len(e.set.rules)), known: map[*rule]map[kind]standing{}}
	may := make([]bool, len(tools))
	if u := q.Grant.Principal().User; u != nil && u.RolesUnknown {
		return may // as for the call
	}
	one := *q
	for i, tool := range tools {
		one.Tool, one.Resource = tool.ID, tool
		may[i] = l.may(&one)
	}
	return may
}

// listing is one question about many tools. All of a call but its tool is the same,
// its arguments are not known, and a tool has no attributes: so a policy can know one
// from another only by naming it or its toolset, and its answer is the same for all
// that it does not name.
type listing struct {
	engine  *Engine
	answers map[kind]bool               // by what all policies together tell apart
	others  []standing                  // by rule: of tools that it does not name
	known   map[*rule]map[kind]standing // of those that it does
}

func (l *listing) may(q *Query) bool {
	tool := l.engine.set.schema.tools[q.Resource.ID]
	if tool == nil || !tool.is(q.Resource) {
		return false // as for the call
	}
	k := l.engine.named.kind(tool)
	answer, ok := l.answers[k]
	if !ok {
		answer = l.ask(q, tool)
		l.answers[k] = answer
	}
	return answer
}

// is reports whether the query means the tool that the set knows.
func (t *toolSchema) is(r Entity) bool {
	for _, p := range r.Parents {
		if p.Type != string(TypeToolset) || p.ID != t.toolset || len(p.Parents) > 0 {
			return false
		}
	}
	return r.Type == string(TypeTool)
}

func (l *listing) ask(q *Query, tool *toolSchema) (may bool) {
	defer func() {
		if recover() != nil {
			may = false
		}
	}()
	t := l.engine.newTrial()
	defer t.end()
	p, _, err := t.place(q)
	if err != nil {
		return false
	}
	r := t.world.request(cedar.Record{}, p.fields)
	env := eval.Env{Entities: &t.world, Principal: r.Principal, Action: r.Action, Resource: r.Resource, Context: hide(r.Context, []string{"args"})}
	d, err := l.engine.around(t, q, func(r *rule) standing { return l.look(r, env, tool) })
	if err != nil {
		return errors.Is(err, ErrHidden)
	}
	return d.Reason != string(fault.PolicyDenied) && d.Reason != string(fault.PolicyError)
}

// look is what is known of a rule, which may have been asked about another tool that
// it cannot tell from this one.
func (l *listing) look(r *rule, env eval.Env, tool *toolSchema) standing {
	k := r.names.kind(tool)
	if k == (kind{}) {
		return l.rest(r, env)
	}
	s, ok := l.known[r][k]
	if !ok {
		s = look(r, env, [][]string{{}})
		if l.known[r] == nil {
			l.known[r] = map[kind]standing{}
		}
		l.known[r][k] = s
	}
	return s
}

// rest is what is known of a rule about all tools that it does not name.
func (l *listing) rest(r *rule, env eval.Env) standing {
	if l.others[r.n] == unasked {
		l.others[r.n] = look(r, env, [][]string{{}})
	}
	return l.others[r.n]
}

// kind stands for all tools that some policies cannot tell apart: a tool or a toolset
// that they name, or, when it is empty, what they do not name.
type kind struct {
	tool *toolSchema
	set  string
}

// names are the tools and toolsets that policies name.
type names struct {
	tools map[*toolSchema]bool
	sets  map[string]bool
	all   bool // there may be more than are seen
}

func (n *names) kind(t *toolSchema) kind {
	switch {
	case n.all || len(n.tools) > 0 && n.tools[t]:
		return kind{tool: t}
	case len(n.sets) > 0 && n.sets[t.toolset]:
		return kind{set: t.toolset}
	}
	return kind{}
}

// namesOf are those of one rule, its head included.
func (s *schema) namesOf(r *rule) names {
	n := names{tools: map[*toolSchema]bool{}, sets: map[string]bool{}}
	r.literals(func(uid types.EntityUID) {
		switch uid.Type {
		case TypeTool:
			n.tools[s.tools[string(uid.ID)]] = true
		case TypeToolset:
			n.sets[string(uid.ID)] = true
		}
	})
	r.inspect(func(node ast.IsNode) {
		if v, ok := node.(ast.NodeValue); ok {
			switch v.Value.(type) {
			case types.Set, types.Record: // literals does not look into these
				n.all = true
			}
		}
	})
	return n
}

// namesOfAll are those of all rules.
func namesOfAll(rules []*rule) names {
	n := names{tools: map[*toolSchema]bool{}, sets: map[string]bool{}}
	for _, r := range rules {
		n.all = n.all || r.names.all
		maps.Copy(n.tools, r.names.tools)
		maps.Copy(n.sets, r.names.sets)
	}
	return n
}
