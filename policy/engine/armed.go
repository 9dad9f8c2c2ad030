package engine

import (
	"slices"

	"github.com/behalf-dev/behalf/policy/redact"
)

// Redaction arms what this engine's own decision said, from the paths that were
// parsed at load. A nil engine decided nothing.
func (e *Engine) Redaction(duties []Duty) *redact.Redaction {
	r := &redact.Redaction{}
	for _, d := range duties {
		if d.Kind == KindRedact {
			r.Arm(e.rules[d.PolicyID].paths)
		}
	}
	return r
}

// PossibleRedaction arms every args: redaction that could apply to the query
// whatever the conditions say. It is for the record of calls that did not get as
// far as having duties.
func (e *Engine) PossibleRedaction(q *Query) *redact.Redaction {
	r := &redact.Redaction{}
	tool := e.set.schema.tools[q.Resource.ID]
	if tool == nil || q.Resource.Type != string(TypeTool) {
		return r
	}
	for _, tenant := range []string{"", q.Grant.Tenant()} {
		s := e.index[tenant][ActionCallTool]
		if s != nil {
			armMatching(r, &s.soft, tool)
		}
	}
	return r
}

func armMatching(r *redact.Redaction, p *pile, tool *toolSchema) {
	for _, rule := range p.rules() {
		if matchesTool(rule.head().Resource, tool) {
			r.Arm(rule.paths)
		}
	}
}

// Veils reports whether the policies may take something out of the arguments of a
// call of the tool.
func (e *Engine) Veils(tool string) bool { return e.veiled[tool] }

// Streams reports whether the policies on the action may filter what models say.
func (e *Engine) Streams(action string) bool { return e.streams[action] }

// veiled lists the tools whose policies may take something out of arguments.
func veiled(s *Set) map[string]bool {
	found := map[string]bool{}
	for _, r := range s.rules {
		if !slices.ContainsFunc(r.paths, func(p redact.Item) bool { return p.Place == redact.PlaceArgs || p.Place == redact.PlaceBoth }) {
			continue
		}
		for name, t := range s.schema.tools {
			found[name] = found[name] || matchesTool(r.head().Resource, t)
		}
	}
	return found
}
