package config

import (
	"slices"
	"time"
)

const ledger = "magentic" //nolint:misspell // the kind is called so

// GroupChat is several agents, or group chats, that take turns.
type GroupChat struct {
	Kind         string       `yaml:"kind" enum:"round_robin|selector|swarm|graph|magentic"` //nolint:misspell // the kind is called so
	Description  string       `yaml:"description"`
	Participants []string     `yaml:"participants" is:"name"`
	Authority    string       `yaml:"authority" enum:"speaker|owner|intersection"`
	Scopes       *[]string    `yaml:"scopes" is:"scope"` // bound everybody in it; nil: no ceiling, empty: nothing
	Termination  *Termination `yaml:"termination"`
	MaxTurns     int          `yaml:"max_turns" range:"1..1000"`

	Model                string `yaml:"model" is:"name"` //nolint:misspell // of selector and magentic, which is called so
	Prompt               string `yaml:"prompt"`          // of selector
	AllowRepeatedSpeaker bool   `yaml:"allow_repeated_speaker"`
	MaxAttempts          int    `yaml:"max_attempts" range:"1..20"`
	MaxStalls            int    `yaml:"max_stalls" range:"1..100"` //nolint:misspell // of magentic, which is called so

	Entry string `yaml:"entry" is:"name"` // of graph
	Edges []Edge `yaml:"edges"`
}

// Edge leads from one participant of a graph to another.
type Edge struct {
	From  string `yaml:"from" is:"name"`
	To    string `yaml:"to" is:"name"`
	If    string `yaml:"if"`
	Group string `yaml:"group" is:"name"`
	Join  string `yaml:"join" enum:"all|any"`
}

// Termination is one condition; Any and All combine conditions.
type Termination struct {
	Any         []Termination `yaml:"any"`
	All         []Termination `yaml:"all"`
	MaxMessages int           `yaml:"max_messages" range:"1..100000"`
	Mention     string        `yaml:"mention"`
	StopMessage bool          `yaml:"stop_message"`
	TextMessage string        `yaml:"text_message"` // from this source
	Handoff     string        `yaml:"handoff" is:"name"`
	Source      []string      `yaml:"source"`
	Function    string        `yaml:"function" is:"tool"`
	Tokens      int           `yaml:"tokens" range:"1..1000000000"`
	Timeout     time.Duration `yaml:"timeout" range:"1s..720h"`
}

func (c *checker) chats() {
	for _, name := range names(c.GroupChats) {
		p, g := place("group_chats").key(name), c.GroupChats[name]
		c.bad(p, later+"group chats", "remove it; agents can hand off to each other")
		if c.said(place("agents").key(name)) {
			c.bad(p, "is the name of an agent too", "choose another one")
		}
		c.chat(p, name, g)
	}
}

func (c *checker) chat(p place, name string, g GroupChat) {
	c.require(p, map[string]string{"kind": g.Kind}, "say round_robin, selector, swarm, graph or "+ledger)
	if len(g.Participants) == 0 {
		c.missing(p.key("participants"), "name agents or group chats")
	}
	c.unique(p.key("participants"), g.Participants)
	c.uniqueScopes(p.key("scopes"), g.Scopes)
	for i, who := range g.Participants {
		c.participant(p.key("participants").item(i), name, who)
	}
	if g.Model != "" {
		c.refer(p.key("model"), "models", "model", g.Model, names(c.Models))
	} else if g.Kind == "selector" || g.Kind == ledger {
		c.missing(p.key("model"), "name the model that chooses the next speaker")
	}
	c.chatKeys(p, g)
	c.edges(p, g)
	if g.Termination != nil {
		c.termination(p.key("termination"), *g.Termination)
	}
}

func (c *checker) participant(p place, chat, who string) {
	if _, nested := c.GroupChats[who]; nested {
		if who == chat || reaches(who, chat, func(name string) []string { return c.GroupChats[name].Participants }) {
			c.bad(p, "contains this group chat in turn", "remove one of them")
		}
		return
	}
	if !c.said(place("group_chats").key(who)) {
		c.refer(p, "agents", "agent or group chat", who, append(names(c.Agents), names(c.GroupChats)...))
	}
}

// chatKeys reports keys of another kind: they would have no effect.
func (c *checker) chatKeys(p place, g GroupChat) {
	owners := map[string][]string{
		"model": {"selector", ledger}, "prompt": {"selector"}, "allow_repeated_speaker": {"selector"},
		"max_attempts": {"selector", ledger}, "max_stalls": {ledger}, "entry": {"graph"}, "edges": {"graph"},
	}
	for _, key := range names(owners) {
		if g.Kind != "" && c.said(p.key(key)) && !slices.Contains(owners[key], g.Kind) {
			c.bad(p.key(key), "belongs to the kind "+list(owners[key]), "remove it")
		}
	}
}

func (c *checker) edges(p place, g GroupChat) {
	if g.Kind == "graph" && len(g.Edges) == 0 {
		c.missing(p.key("edges"), "say who speaks after whom")
	}
	if g.Entry != "" {
		c.member(p.key("entry"), g.Entry, g.Participants)
	}
	for i, e := range g.Edges {
		at := p.key("edges").item(i)
		for key, who := range map[string]string{"from": e.From, "to": e.To} {
			if who == "" {
				c.missing(at.key(key), "name a participant")
			} else {
				c.member(at.key(key), who, g.Participants)
			}
		}
	}
}

func (c *checker) member(p place, who string, participants []string) {
	if !slices.Contains(participants, who) {
		c.bad(p, c.show(p)+" is not a participant", didYouMean(who, participants))
	}
}

func (c *checker) termination(p place, t Termination) {
	c.exactlyOne(p, "any", "all", "max_messages", "mention", "stop_message", "text_message", "handoff", "source", "function", "tokens", "timeout")
	for key, parts := range map[string][]Termination{"any": t.Any, "all": t.All} {
		if len(parts) == 0 && c.said(p.key(key)) {
			c.bad(p.key(key), "is empty", "list conditions")
		}
		for i, part := range parts {
			c.termination(p.key(key).item(i), part)
		}
	}
}
