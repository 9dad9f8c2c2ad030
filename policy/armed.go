package policy

import (
	"slices"
	"strconv"
	"strings"

	"github.com/behalf-dev/behalf/policy/pii"
)

// redaction arms what this engine's own decision said, from the paths that were
// parsed at load. A nil engine decided nothing.
func (e *Engine) redaction(duties []Duty) *Redaction {
	r := &Redaction{}
	for _, d := range duties {
		if d.Kind == kindRedact {
			r.arm(e.rules[d.PolicyID].paths)
		}
	}
	return r
}

// possibleRedaction arms every args: redaction that could apply to the query
// whatever the conditions say. It is for the record of calls that did not get as
// far as having duties.
func (e *Engine) possibleRedaction(q *Query) *Redaction {
	r := &Redaction{}
	tool := e.set.schema.tools[q.Resource.ID]
	if tool == nil || q.Resource.Type != string(typeTool) {
		return r
	}
	for _, tenant := range []string{"", q.Grant.Tenant()} {
		s := e.index[tenant][ActionCallTool]
		if s != nil {
			r.armMatching(&s.soft, tool)
		}
	}
	return r
}

func (r *Redaction) armMatching(p *pile, tool *toolSchema) {
	for _, rule := range p.rules() {
		if matchesTool(rule.head().Resource, tool) {
			r.arm(rule.paths)
		}
	}
}

// veiled lists the tools whose policies may take something out of arguments.
func veiled(s *Set) map[string]bool {
	found := map[string]bool{}
	for _, r := range s.rules {
		if !slices.ContainsFunc(r.paths, func(p redactPath) bool { return p.place == placeArgs || p.place == placeBoth }) {
			continue
		}
		for name, t := range s.schema.tools {
			found[name] = found[name] || matchesTool(r.head().Resource, t)
		}
	}
	return found
}

// Veils reports whether Shown may be something else than the arguments of a call of
// the tool.
func (g *Guard) Veils(tool string) bool {
	e := g.engine.Load()
	return e == nil || e.veiled[tool]
}

// Shown is what may be shown of the arguments of a call that is still to be
// decided: to the client, to the log and to models. It is what would be sent, or,
// of a call that would be denied, what a record of the denial shows. Nothing is
// recorded.
func (g *Guard) Shown(query *Query) []byte {
	e, q := g.engine.Load(), *query
	if e == nil {
		return []byte(`"` + Redacted + `"`)
	}
	r := e.possibleRedaction(&q)
	if !r.ofArgs() {
		return q.Arguments
	}
	q.Time = g.config.Clock()
	if d := g.decide(e, &q); d.Allow {
		r = e.redaction(d.Duties)
	}
	view, _, err := r.Args(q.Arguments)
	if err != nil {
		return []byte(`"` + Redacted + `"`)
	}
	return view
}

// Speech is what has to be taken out of whatever models say in a run, by the
// duties of the decision on it. The engine that decides now is asked; an error
// says that it does not allow the run any more. Nothing is recorded: the run's own
// decision has its duties.
func (g *Guard) Speech(query *Query) (pii.Set, error) {
	e, q := g.engine.Load(), *query
	if e != nil && !e.streams[q.Action] {
		return 0, nil
	}
	q.Time = g.config.Clock()
	d := g.decide(e, &q)
	if !d.Allow {
		return 0, refusal(&q, d)
	}
	return e.redaction(d.Duties).stream, nil
}

// SpeechAfter is what the duties of a tool call, as its decision's event has them,
// take out of what models say from then on. Of a duty that cannot be read it is
// everything.
func SpeechAfter(duties []string) (set pii.Set) {
	for _, duty := range duties {
		text, ok := strings.CutPrefix(duty, "@"+kindRedact+"(")
		if !ok || !strings.Contains(text, placeStream) {
			continue
		}
		set |= speechOf(strings.TrimSuffix(text, ")"))
	}
	return set
}

func speechOf(quoted string) pii.Set {
	text, err := strconv.Unquote(quoted)
	if err != nil {
		return pii.All
	}
	paths, err := parseRedact(text)
	if err != nil {
		return pii.All
	}
	r := &Redaction{}
	r.arm(paths)
	return r.stream
}
