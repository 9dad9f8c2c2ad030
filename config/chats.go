package config

import "slices"

// Magentic is the kind with an orchestrator that keeps a plan and a ledger.
const Magentic = "magentic"

// Kinds of group chats.
const (
	RoundRobin = "round_robin"
	Selector   = "selector"
	Swarm      = "swarm"
	Graph      = "graph"
)

// GroupChat is several agents, or group chats, that take turns.
type GroupChat struct {
	Kind         string        `yaml:"kind" enum:"round_robin|selector|swarm|graph|magentic"`
	Description  string        `yaml:"description"`
	Participants []Participant `yaml:"participants"`
	Authority    string        `yaml:"authority" enum:"speaker|owner|intersection"`
	Scopes       *[]string     `yaml:"scopes" is:"scope"` // bound everybody in it; nil: no ceiling, empty: nothing
	Termination  *Termination  `yaml:"termination"`
	MaxTurns     int           `yaml:"max_turns" range:"1..1000"`

	Model                string `yaml:"model" is:"name"`
	Prompt               string `yaml:"prompt"` // of selector
	PromptAsUser         bool   `yaml:"prompt_as_user"`
	AllowRepeatedSpeaker bool   `yaml:"allow_repeated_speaker"`
	MaxAttempts          int    `yaml:"max_attempts" range:"1..20"`
	Choose               string `yaml:"choose"`                    // of selector: CEL over the last message, see CompileChoice
	Stream               bool   `yaml:"stream"`                    // what selector's model says while it chooses is shown
	History              int    `yaml:"history" range:"1..100000"` // messages that selector's model reads; 0: all
	MaxStalls            int    `yaml:"max_stalls" range:"1..100"`
	MaxReplans           int    `yaml:"max_replans" range:"1..100"`
	FinalPrompt          string `yaml:"final_prompt"`

	Entry string `yaml:"entry" is:"name"` // of graph
	Edges []Edge `yaml:"edges"`
}

// Participant is an agent or group chat in a group chat. In the file it may be
// just the name.
type Participant struct {
	Name   string    `yaml:"name" is:"name"`
	Scopes *[]string `yaml:"scopes" is:"scope"` // what it may use here at most; nil: not narrowed
	Filter []Filter  `yaml:"filter"`            // what it hears; absent: all
}

// Filter lets through what one source said. Sources that no filter names are not
// heard.
type Filter struct {
	Source string `yaml:"source" is:"name"` // a participant, or user
	First  int    `yaml:"first" range:"1..100000"`
	Last   int    `yaml:"last" range:"1..100000"`
}

// person is the source of what people say to a chat.
const person = "user"

// chatKeys are the keys of a group chat that belong to some kinds only.
var chatKeys = map[string][]string{
	"model": {Selector, Magentic}, "prompt": {Selector}, "prompt_as_user": {Selector}, "allow_repeated_speaker": {Selector},
	"max_attempts": {Selector, Magentic}, "history": {Selector}, "stream": {Selector}, "choose": {Selector},
	"max_stalls": {Magentic}, "max_replans": {Magentic}, "final_prompt": {Magentic}, "entry": {Graph}, "edges": {Graph},
}

// Names lists the participants in their order.
func (g *GroupChat) Names() []string {
	list := make([]string, len(g.Participants))
	for i, p := range g.Participants {
		list[i] = p.Name
	}
	return list
}

func (c *checker) chats() {
	for _, name := range names(c.GroupChats) {
		p, g := place("group_chats").key(name), c.GroupChats[name]
		if c.said(place("agents").key(name)) {
			c.bad(p, "is the name of an agent too", "choose another one")
		}
		c.chat(p, name, g)
	}
}

func (c *checker) chat(p place, name string, g GroupChat) {
	c.require(p, map[string]string{"kind": g.Kind}, "say round_robin, selector, swarm, graph or "+Magentic)
	c.onlyOf(p, g.Kind, chatKeys)
	c.uniqueScopes(p.key("scopes"), g.Scopes)
	c.participants(p.key("participants"), name, g)
	switch g.Kind {
	case Selector:
		c.selector(p, g)
	case Swarm:
		c.swarm(p, g)
	case Graph:
		(&graph{checker: c, at: p, chat: g}).check()
	case Magentic:
		c.modelOf(p, g.Model)
	}
	if g.Termination != nil {
		c.termination(p.key("termination"), name, *g.Termination)
	}
	if n := c.depth(name); n > maxDepth {
		c.bad(p, "is nested too deeply: a chain of agents has at most 8", "take out a level")
	}
}

// participants are checked one by one, then against each other.
func (c *checker) participants(p place, chat string, g GroupChat) {
	if len(g.Participants) == 0 {
		c.missing(p, "name agents or group chats")
	}
	members := g.Names()
	for i, who := range g.Participants {
		at := p.item(i)
		switch {
		case who.Name == "":
			c.missing(at.key("name"), "name an agent or a group chat")
			continue
		case slices.Index(members, who.Name) < i:
			c.bad(at.key("name"), "is in the list twice", "keep one of them")
		}
		c.participant(at.key("name"), chat, who.Name)
		c.uniqueScopes(at.key("scopes"), who.Scopes)
		c.filter(at.key("filter"), who, members)
	}
}

func (c *checker) participant(p place, chat, who string) {
	if c.speaker(p, who) && (who == chat || c.leads(who, chat)) {
		c.bad(p, "contains this group chat in turn", "remove one of them")
	}
}

func (c *checker) filter(p place, who Participant, members []string) {
	if len(who.Filter) == 0 && c.said(p) {
		c.bad(p, "is empty: it would hear nothing", "remove it, or name sources")
	}
	for i, f := range who.Filter {
		at := p.item(i)
		switch {
		case f.Source == "":
			c.missing(at.key("source"), "name a participant, or user")
		case f.Source == who.Name:
			c.bad(at.key("source"), "is the participant itself", "name another one, or user")
		case f.Source != person:
			c.member(at.key("source"), f.Source, append(slices.Clone(members), person))
		}
		if f.First > 0 && f.Last > 0 {
			c.bad(at, "has first and last together", "say one of them, or none for all")
		}
	}
}

func (c *checker) selector(p place, g GroupChat) {
	c.modelOf(p, g.Model)
	if g.Choose != "" {
		if _, err := CompileChoice(g.Choose); err != nil {
			c.bad(p.key("choose"), err.Error(), `write an expression over text and source that gives a name, or "" to ask the model`)
		}
	}
	if len(g.Participants) == 1 {
		c.bad(p.key("participants"), "is only one: there is nobody to select from", "name two or more")
	}
}

// swarm reports participants from which the conversation cannot go on.
func (c *checker) swarm(p place, g GroupChat) {
	members := g.Names()
	if len(members) == 0 {
		return
	}
	first, at := members[0], p.key("participants").item(0).key("name")
	a, known := c.Agents[first]
	if !known || a.Kind == KindHuman || c.spoilt[place("agents").key(first).key("handoffs")] {
		return // a person hands back, and a team may hand off from inside
	}
	ways := g.ways()
	if !slices.ContainsFunc(a.Handoffs, func(h Handoff) bool { return slices.Contains(ways, h.To) }) {
		c.bad(at, "begins, and can hand off to no other participant", "give it handoffs, or put another one first")
	}
}

// ways are the hand-offs that mean something in a chat: to its participants, and
// to whom its termination waits for.
func (g *GroupChat) ways() []string {
	all := g.Names()
	for open := []*Termination{g.Termination}; len(open) > 0; open = open[1:] {
		t := open[0]
		if t == nil {
			continue
		}
		if t.Handoff != "" {
			all = append(all, t.Handoff)
		}
		for i := range t.Any {
			open = append(open, &t.Any[i])
		}
		for i := range t.All {
			open = append(open, &t.All[i])
		}
	}
	return all
}

// Offers lists the hand-offs of an agent that lead somewhere: to other assistants
// when it is run by itself, else to participants of the chats that it is in, from
// the outermost to its own.
func (c *Config) Offers(agent string, chats ...string) []Handoff {
	leads := func(to string) bool { return c.Agents[to].joins() }
	if len(chats) > 0 {
		var ways []string
		for _, chat := range chats {
			g := c.GroupChats[chat]
			ways = append(ways, g.ways()...)
		}
		leads = func(to string) bool { return slices.Contains(ways, to) }
	}
	return slices.DeleteFunc(slices.Clone(c.Agents[agent].Handoffs), func(h Handoff) bool { return !leads(h.To) })
}

func (c *checker) member(p place, who string, participants []string) {
	if !slices.Contains(participants, who) {
		c.bad(p, c.show(p)+" is not a participant", c.suggest(who, these(participants)))
	}
}

// within lists whom a chat may hear: its participants at any depth, and people.
func (c *checker) within(chat string) []string {
	all := []string{person}
	for open := []string{chat}; len(open) > 0; open = open[1:] {
		g := c.GroupChats[open[0]]
		for _, who := range g.Names() {
			if !slices.Contains(all, who) {
				all, open = append(all, who), append(open, who)
			}
		}
	}
	return all
}
