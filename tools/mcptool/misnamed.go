package mcptool

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/behalf-dev/behalf/internal/typo"
	"github.com/behalf-dev/behalf/tools"
)

// Misnamed are the tools that the operator speaks of and the server never had, with the
// accepted one that each can be a misspelling of. What was said of it (its scopes, its
// owners) would hold for nothing.
func (s *Source) Misnamed() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return misnamed(&s.c, s.pins)
}

// misnamed looks among the names of there for what was meant by those that are not.
func misnamed[T any](c *Config, there map[string]T) map[string]string {
	var unsaid []string
	for own := range there {
		if _, said := c.Tools[own]; !said {
			unsaid = append(unsaid, own)
		}
	}
	slices.Sort(unsaid)
	out := map[string]string{}
	for own := range c.Tools {
		if _, here := there[own]; here {
			continue
		}
		if meant := cmp.Or(alike(own, unsaid), typo.Meant(own, unsaid)); meant != "" {
			out[own] = meant
		}
	}
	return out
}

// alike is a name that differs in capitals and separators only.
func alike(own string, names []string) string {
	name := NameOf("", own)
	for _, n := range names {
		if name != "" && NameOf("", n) == name {
			return n
		}
	}
	return ""
}

// doubt makes a tool unusable that the operator seems to speak of by another name: else
// it would be used without what they say of it.
func (c *Config) doubt(found map[string]*definition) {
	meant := misnamed(c, found)
	for _, own := range slices.Sorted(maps.Keys(meant)) {
		if d := found[meant[own]]; d.flaw == "" {
			d.flaw = fmt.Sprintf("the config speaks of tools.%s.tools.%s, which the server does not have; did you mean %s? If not, name that one there too: { }",
				c.Name, tools.Clean(own, 64), tools.Clean(d.Name, 64))
		}
	}
}
