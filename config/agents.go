package config

import "strings"

// Agent is an assistant.
type Agent struct {
	Model        string   `yaml:"model" is:"name"`
	Description  string   `yaml:"description"`
	Instructions string   `yaml:"instructions"`
	Tools        []string `yaml:"tools" is:"toolref"` // what it may call itself: names or toolset/*

	// Scopes bound the agent and everything it hands on to. nil is no ceiling
	// of its own; empty is nothing.
	Scopes *[]string `yaml:"scopes" is:"scope"`

	Handoffs      []Handoff `yaml:"handoffs"`
	MaxTurns      int       `yaml:"max_turns" range:"1..1000"`
	ParallelCalls int       `yaml:"parallel_calls" range:"1..128"` // tool calls of one reply at once; 0: the default
}

// Handoff is an agent to pass the conversation to. In the file it may be just
// the name.
type Handoff struct {
	To          string    `yaml:"to" is:"name"`
	Scopes      *[]string `yaml:"scopes" is:"scope"` // nil: no narrowing by the hand-off; empty: nothing
	Description string    `yaml:"description"`
}

// longestTarget leaves room for "transfer_to_" in the name of a tool.
const longestTarget = 64 - len("transfer_to_")

func (c *checker) agents() {
	for _, name := range names(c.Agents) {
		c.agent(place("agents").key(name), name, c.Agents[name])
	}
}

func (c *checker) agent(p place, name string, a Agent) {
	if a.Model == "" {
		c.missing(p.key("model"), "name one of models")
	} else {
		c.refer(p.key("model"), "models", "model", a.Model, names(c.Models))
	}
	if a.Instructions == "" {
		c.missing(p.key("instructions"), "tell the agent what to do")
	}
	for i, ref := range a.Tools {
		if set, all := strings.CutSuffix(ref, "/*"); all {
			c.toolset(p.key("tools").item(i), set)
		}
	}
	c.unique(p.key("tools"), a.Tools)
	c.uniqueScopes(p.key("scopes"), a.Scopes)
	c.handoffs(p.key("handoffs"), name, a.Handoffs)
}

func (c *checker) toolset(p place, set string) {
	if !c.spoilt["tools"] && !c.said(place("tools").key(set)) {
		c.bad(p, "there is no toolset "+quote(set)+" in tools", didYouMean(set, names(c.Tools)))
	}
}

func (c *checker) uniqueScopes(p place, scopes *[]string) {
	if scopes != nil {
		c.unique(p, *scopes)
	}
}

func (c *checker) handoffs(p place, name string, list []Handoff) {
	seen := map[string]bool{}
	for i, h := range list {
		at := p.item(i).key("to")
		switch {
		case h.To == "":
			c.missing(at, "say to whom")
		case h.To == name:
			c.bad(at, "is the agent itself", "name another one")
		case seen[h.To]:
			c.bad(at, "is in the list twice", "keep one of them")
		case len(h.To) > longestTarget:
			c.bad(at, "is too long a name for a hand-off", "take at most 52 characters")
		default:
			c.refer(at, "agents", "agent", h.To, names(c.Agents))
		}
		seen[h.To] = true
		c.uniqueScopes(p.item(i).key("scopes"), h.Scopes)
	}
}
