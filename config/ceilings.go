package config

import (
	"slices"
	"strings"

	"github.com/behalf-dev/behalf/internal/typo"
)

// Ceiling is what bounds an agent and everything that it hands on to.
type Ceiling struct {
	Agent   string
	Scopes  *[]string // nil: no ceiling of its own
	Tools   []string  // what it may call itself; toolset/* where the names are not known yet
	Writes  []string  // those of Tools that are not known to be reads
	Warning *Problem  // it can write and has no ceiling, or has tools that its ceiling forbids
}

// ToolFacts is what a look at the config asks about a tool. The zero value is a
// tool that nothing is known of.
type ToolFacts struct {
	Reads  bool     // it is known to only read
	Scopes []string // all of them are needed
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

// Ceilings lists each agent's ceiling, by name. known is as for CheckTools; facts
// tells about a tool. Both may be nil: what is not declared a read is a write.
func (c *Config) Ceilings(known map[string][]string, facts func(tool string) ToolFacts) []Ceiling {
	if facts == nil {
		facts = func(string) ToolFacts { return ToolFacts{} }
	}
	all := make([]Ceiling, 0, len(c.Agents))
	for _, name := range names(c.Agents) {
		a := c.Agents[name]
		if a.Kind == KindHuman {
			continue // calls nothing
		}
		all = append(all, c.ceiling(name, a, expandTools(a.Tools, known), facts))
	}
	return all
}

// ceiling splits an agent's tools into those that its ceiling lets it call and
// those that it could never use.
func (c *Config) ceiling(name string, a Agent, tools []string, facts func(string) ToolFacts) Ceiling {
	one, lacks, missing := Ceiling{Agent: name, Scopes: a.Scopes}, []string(nil), []string(nil)
	for _, tool := range tools {
		f := facts(tool)
		if needs := f.Scopes; a.Scopes != nil {
			if extra := beyond(&needs, a.Scopes); len(extra) > 0 {
				lacks, missing = append(lacks, tool+" needs "+list(extra)), append(missing, extra...)
				continue
			}
		}
		one.Tools = append(one.Tools, tool)
		if !f.Reads {
			one.Writes = append(one.Writes, tool)
		}
	}
	at := place("agents").key(name)
	switch {
	case len(lacks) > 0:
		w := c.places.problem(at, list(lacks)+", which its ceiling leaves out", leftOut(missing, *a.Scopes))
		one.Warning = &w
	case a.Scopes == nil && len(one.Writes) > 0:
		w := c.places.problem(at, "it can write ("+strings.Join(one.Writes, ", ")+") and has no ceiling of its own", "add scopes: it then does less than the person it acts for")
		one.Warning = &w
	}
	return one
}

// leftOut says what to do about scopes that a ceiling lacks: most often one of its
// words is misspelt.
func leftOut(missing, scopes []string) string {
	for _, scope := range scopes {
		if meant := typo.Meant(scope, missing); meant != "" && !slices.Contains(missing, scope) {
			return "did you mean " + meant + " where it says " + scope + "?"
		}
	}
	return "add what is missing to its scopes, or remove the tools"
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
