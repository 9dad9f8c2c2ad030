package config

import (
	"maps"
	"slices"
)

// later marks what this version understands and does not do yet.
const later = "not available yet in this version: "

// checker looks at what the tags cannot say: keys that belong together, and
// names across sections.
type checker struct {
	*reader
	*Config
}

func (c *checker) all() {
	c.server()
	c.workload()
	c.issuers()
	c.models()
	c.tools()
	c.agents()
	c.chats()
	c.operations()
}

// missing reports a key that is required, unless something below it was taken
// out.
func (c *checker) missing(p place, fix string) {
	if c.full() || c.isThin(p) {
		return
	}
	if c.has(p) {
		c.bad(p, "is empty", fix)
		return
	}
	c.bad(p, "is missing", fix)
}

// require reports the keys of p that have no value.
func (c *checker) require(p place, values map[string]string, fix string) {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if values[key] == "" {
			c.missing(p.key(key), fix)
		}
	}
}

// exactlyOne reports when not exactly one of the keys of p is there, and gives it.
func (c *checker) exactlyOne(p place, keys ...string) string {
	var there []string
	for _, k := range keys {
		if c.said(p.key(k)) {
			there = append(there, k)
		}
	}
	switch len(there) {
	case 0:
		c.bad(p, "has none of "+list(keys), "say exactly one of them")
		return ""
	case 1:
		return there[0]
	}
	c.bad(p, "has "+list(there)+" together", "say exactly one of them")
	return ""
}

// said reports whether the file has something there, right or wrong.
func (c *checker) said(p place) bool { return c.has(p) || c.spoilt[p] }

// refer reports a name that is not in a section. A section that could not be
// read is not held against those who refer to it.
func (c *checker) refer(p place, section, what, name string, names func() []string) bool {
	if c.spoilt[place(section)] || c.said(place(section).key(name)) || !c.full() && slices.Contains(names(), name) {
		return true
	}
	c.bad(p, "there is no "+what+" "+c.show(p)+" in "+section, c.suggest(name, names))
	return false
}

// unique reports values that are in a list twice.
func (c *checker) unique(p place, values []string) {
	seen := map[string]bool{}
	for i, v := range values {
		if seen[v] {
			c.bad(p.item(i), "is in the list twice", "keep one of them")
		}
		seen[v] = true
	}
}

// namesOf is names for when they are needed.
func namesOf[T any](m map[string]T) func() []string { return func() []string { return names(m) } }

func names[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }
