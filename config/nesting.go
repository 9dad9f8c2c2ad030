package config

import "strings"

// maxDepth is how many agents a chain may hold (SECURITY 9).
const maxDepth = 8

// contents lists whom an agent or group chat makes act below itself:
// participants, the chat of a society, agents that it calls as tools. Hand-offs
// are not below.
func (c *Config) contents(name string) []string {
	if g, ok := c.GroupChats[name]; ok {
		return g.Names()
	}
	a := c.Agents[name]
	var below []string
	if a.GroupChat != "" {
		below = append(below, a.GroupChat)
	}
	for _, ref := range a.Tools {
		if callee := c.callee(ref); callee != "" {
			below = append(below, callee)
		}
	}
	return below
}

// callee is the agent or group chat behind a reference to tools, if it is one.
func (c *Config) callee(ref string) string {
	return c.Tools[strings.TrimSuffix(ref, "/*")].Callee()
}

// leads reports whether one contains the other, directly or not.
func (c *Config) leads(from, to string) bool { return reaches(from, to, c.contents) }

// callees reports agents that call themselves in turn.
func (c *checker) callees(p place, name string, refs []string) {
	for i, ref := range refs {
		callee := c.callee(ref)
		if callee != "" && (callee == name || c.leads(callee, name)) {
			c.bad(p.item(i), "calls an agent that leads back to this one", "remove one of them")
		}
	}
}

// depth is the longest chain below a name, itself not included: a chat that is
// asked directly is no part of its participants' chain. What contains itself is
// reported elsewhere.
func (c *Config) depth(name string) int { return (&plumb{c, map[string]int{}}).below(name) }

// plumb measures depth, each name once.
type plumb struct {
	*Config
	known map[string]int
}

func (d *plumb) below(name string) int {
	if n, ok := d.known[name]; ok {
		return n
	}
	d.known[name] = 0 // for names that contain themselves
	deepest := 0
	for i, next := range d.contents(name) {
		one := 1 + d.below(next)
		if g, ok := d.GroupChats[name]; ok && len(g.Participants[i].Filter) > 0 {
			one++ // a filter acts around its participant
		}
		deepest = max(deepest, one)
	}
	d.known[name] = deepest
	return deepest
}
