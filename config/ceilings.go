package config

import (
	"slices"
	"strings"
)

// Ceiling is what bounds an agent and everything that it hands on to.
type Ceiling struct {
	Agent   string
	Scopes  *[]string // nil: no ceiling of its own
	Tools   []string  // what it may call itself; toolset/* where the names are not known yet
	Writes  []string  // those of Tools that are not known to be reads
	Warning *Problem  // it can write and has no ceiling
}

// String gives the scopes, "nothing" or "no ceiling of its own".
func (c Ceiling) String() string {
	switch {
	case c.Scopes == nil:
		return "no ceiling of its own"
	case len(*c.Scopes) == 0:
		return "nothing"
	}
	return strings.Join(*c.Scopes, ", ")
}

// Ceilings lists each agent's ceiling, by name. known is as for CheckTools;
// reads reports whether a tool is known to only read. Both may be nil: what is
// not declared a read is a write.
func (c *Config) Ceilings(known map[string][]string, reads func(tool string) bool) []Ceiling {
	all := make([]Ceiling, 0, len(c.Agents))
	for _, name := range names(c.Agents) {
		a := c.Agents[name]
		if a.Kind == KindHuman {
			continue // calls nothing
		}
		one := Ceiling{Agent: name, Scopes: a.Scopes, Tools: expandTools(a.Tools, known)}
		for _, tool := range one.Tools {
			if reads == nil || !reads(tool) {
				one.Writes = append(one.Writes, tool)
			}
		}
		if a.Scopes == nil && len(one.Writes) > 0 {
			w := c.places.problem(place("agents").key(name), "it can write ("+strings.Join(one.Writes, ", ")+") and has no ceiling of its own", "add scopes: it then does less than the person it acts for")
			one.Warning = &w
		}
		all = append(all, one)
	}
	return all
}

func expandTools(refs []string, known map[string][]string) []string {
	var tools []string
	for _, ref := range refs {
		set, every := strings.CutSuffix(ref, "/*")
		if names, here := known[set]; every && here {
			tools = append(tools, names...)
		} else {
			tools = append(tools, ref)
		}
	}
	slices.Sort(tools)
	return slices.Compact(tools)
}
