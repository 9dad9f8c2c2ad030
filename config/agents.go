package config

import (
	"slices"
	"strings"
)

// Agent is an assistant, a person, a group chat that answers with one voice, or
// one that has code run.
// Which keys go with which kind is in kindKeys.
type Agent struct {
	Kind         string `yaml:"kind" enum:"assistant|human|society|code"` // absent: assistant
	Description  string `yaml:"description"`
	Model        string `yaml:"model" is:"name"`
	Instructions string `yaml:"instructions"`

	// Scopes bound the agent and everything it hands on to. nil is no ceiling
	// of its own; empty is nothing.
	Scopes *[]string `yaml:"scopes" is:"scope"`

	// External are the workloads that may act under this agent's name elsewhere.
	External []string `yaml:"external" is:"spiffe"`

	Tools         []string  `yaml:"tools" is:"toolref"` // what it may call itself: names or toolset/*
	Handoffs      []Handoff `yaml:"handoffs"`
	MaxTurns      int       `yaml:"max_turns" range:"1..1000"`
	ParallelCalls int       `yaml:"parallel_calls" range:"1..128"` // tool calls of one reply at once; 0: the default

	MaxToolRounds int      `yaml:"max_tool_rounds" range:"1..1000"` // replies with tool calls in one turn; 0: no limit of their own
	Reflect       bool     `yaml:"reflect"`                         // after the last round: ask once more, without tools
	Summary       string   `yaml:"summary"`                         // else: how the last results are put into words
	Output        *Output  `yaml:"output"`
	Memory        []string `yaml:"memory"`                          // what it is reminded of
	Remembers     []string `yaml:"remembers" enum:"person|session"` // what people had remembered that it is reminded of
	Opening       []Said   `yaml:"opening"`                         // what each conversation begins with
	Context       *Window  `yaml:"context"`

	Prompt string `yaml:"prompt"` // what a person is asked
	Who    *Who   `yaml:"who"`    // which person; absent: whoever opened the session

	GroupChat string `yaml:"group_chat" is:"name"` // that a society speaks for
	Response  string `yaml:"response"`             // what its model is asked after the chat

	Sources   []string `yaml:"sources" is:"name"`      // whose code is run, without a model; absent: everybody's
	Languages []string `yaml:"languages" is:"name"`    // of the code that is run; absent: python and sh
	Retries   int      `yaml:"retries" range:"0..100"` // corrections of code that failed
}

// Said is a message that is taken as said before a conversation begins.
type Said struct {
	Role string `yaml:"role" enum:"user|assistant"`
	Text string `yaml:"text"`
}

// Who says which person of the session's tenant may answer: exactly one of both.
type Who struct {
	User string `yaml:"user"` // subject
	Role string `yaml:"role"`
}

// Handoff is an agent to pass the conversation to. In the file it may be just
// the name.
type Handoff struct {
	To          string    `yaml:"to" is:"name"`
	Scopes      *[]string `yaml:"scopes" is:"scope"` // nil: no narrowing by the hand-off; empty: nothing
	Name        string    `yaml:"name" is:"tool"`    // of the tool; absent: transfer_to_<to>
	Description string    `yaml:"description"`
	Message     string    `yaml:"message"` // what everybody is told of it
}

// What an agent remembers of what people had remembered.
const (
	RemembersPerson  = "person"  // about the person for whom it acts
	RemembersSession = "session" // by that person, about the session
)

// Kinds of agents.
const (
	KindAssistant = "assistant"
	KindHuman     = "human"
	KindSociety   = "society"
	KindCode      = "code"
)

// joins reports whether an agent can be handed a conversation outside of a group
// chat.
func (a Agent) joins() bool { return a.Kind == KindAssistant || a.Kind == KindCode }

// kindKeys are the keys of an agent that belong to some kinds only. What has no
// effect is refused: who writes it must not believe that it has one.
var kindKeys = map[string][]string{
	"model": {KindAssistant, KindSociety, KindCode}, "instructions": {KindAssistant, KindSociety, KindCode},
	"external": {KindAssistant, KindSociety, KindCode},
	"tools":    {KindAssistant, KindCode}, "handoffs": {KindAssistant}, "max_turns": {KindAssistant}, "parallel_calls": {KindAssistant},
	"max_tool_rounds": {KindAssistant}, "reflect": {KindAssistant}, "summary": {KindAssistant}, "output": {KindAssistant},
	"memory": {KindAssistant}, "remembers": {KindAssistant}, "opening": {KindAssistant}, "context": {KindAssistant, KindSociety, KindCode},
	"prompt": {KindHuman}, "who": {KindHuman},
	"group_chat": {KindSociety}, "response": {KindSociety},
	"sources": {KindCode}, "languages": {KindCode}, "retries": {KindCode},
}

// longestTarget leaves room for "transfer_to_" in the name of a tool.
const longestTarget = 64 - len("transfer_to_")

func (c *checker) agents() {
	for _, name := range names(c.Agents) {
		c.agent(place("agents").key(name), name, c.Agents[name])
	}
}

func (c *checker) agent(p place, name string, a Agent) {
	c.uniqueScopes(p.key("scopes"), a.Scopes)
	c.unique(p.key("external"), a.External)
	if c.spoilt[p.key("kind")] {
		return
	}
	c.onlyOf(p, a.Kind, kindKeys)
	if n := 1 + c.depth(name); n > maxDepth {
		c.bad(p, "leads too deep: a chain of agents has at most 8", "take out a level")
	}
	switch a.Kind {
	case KindAssistant:
		c.assistant(p, name, a)
	case KindHuman:
		c.human(p)
	case KindSociety:
		c.society(p, name, a)
	case KindCode:
		c.code(p, a)
	}
}

// onlyOf reports keys of another kind.
func (c *checker) onlyOf(p place, kind string, owners map[string][]string) {
	for _, key := range names(owners) {
		if kind != "" && c.said(p.key(key)) && !slices.Contains(owners[key], kind) {
			c.bad(p.key(key), "belongs to the kind "+list(owners[key]), "remove it")
		}
	}
}

func (c *checker) assistant(p place, name string, a Agent) {
	c.modelOf(p, a.Model)
	c.able(p, a)
	if a.Instructions == "" {
		c.missing(p.key("instructions"), "tell the agent what to do")
	}
	for i, ref := range a.Tools {
		if set, all := strings.CutSuffix(ref, "/*"); all {
			c.toolset(p.key("tools").item(i), set)
		}
	}
	c.unique(p.key("tools"), a.Tools)
	c.callees(p.key("tools"), name, a.Tools)
	c.handoffs(p.key("handoffs"), name, a.Handoffs)
	for i, m := range a.Opening {
		c.require(p.key("opening").item(i), map[string]string{"role": m.Role, "text": m.Text}, "say who said what: role (user or assistant) and text")
	}
	c.options(p, a)
}

func (c *checker) modelOf(p place, model string) {
	if model == "" {
		c.missing(p.key("model"), "name one of models")
		return
	}
	c.refer(p.key("model"), "models", "model", model, namesOf(c.Models))
}

func (c *checker) human(p place) {
	if c.said(p.key("who")) {
		c.exactlyOne(p.key("who"), "user", "role")
	}
}

func (c *checker) society(p place, name string, a Agent) {
	c.modelOf(p, a.Model)
	c.window(p.key("context"), a.Context)
	at := p.key("group_chat")
	switch {
	case a.GroupChat == "":
		c.missing(at, "name the group chat that it speaks for")
	case c.refer(at, "group_chats", "group chat", a.GroupChat, namesOf(c.GroupChats)) && c.leads(a.GroupChat, name):
		c.bad(at, "contains this agent in turn", "remove one of them")
	}
}

// code checks an agent that has code run. Without a model it passes on what it is
// told.
func (c *checker) code(p place, a Agent) {
	c.executor(p.key("tools"), a.Tools)
	c.window(p.key("context"), a.Context)
	c.unique(p.key("sources"), a.Sources)
	c.unique(p.key("languages"), a.Languages)
	if c.said(p.key("model")) {
		c.modelOf(p, a.Model)
		if c.said(p.key("sources")) {
			c.bad(p.key("sources"), "has no effect with a model, which writes the code itself", "remove one of them")
		}
		return
	}
	for _, key := range []string{"instructions", "context", "retries"} {
		if c.said(p.key(key)) {
			c.bad(p.key(key), "has no effect without a model", "add model, or remove it")
		}
	}
}

// executor checks the reference to the tool that runs code.
func (c *checker) executor(p place, refs []string) {
	const fix = "name the one tool that runs code"
	switch {
	case len(refs) == 0:
		c.missing(p, fix)
	case len(refs) > 1:
		c.bad(p, "has more than one tool", fix)
	case strings.HasSuffix(refs[0], "/*"):
		c.bad(p.item(0), "is a whole toolset", fix)
	case c.callee(refs[0]) != "":
		c.bad(p.item(0), "is an agent or group chat", fix)
	}
}

func (c *checker) toolset(p place, set string) {
	if !c.spoilt["tools"] && !c.said(place("tools").key(set)) {
		c.bad(p, "there is no toolset "+quote(set)+" in tools", c.suggest(set, namesOf(c.Tools)))
	}
}

func (c *checker) uniqueScopes(p place, scopes *[]string) {
	if scopes != nil {
		c.unique(p, *scopes)
	}
}

func (c *checker) handoffs(p place, name string, list []Handoff) {
	seen, tools := map[string]bool{}, map[string]bool{}
	for i, h := range list {
		at := p.item(i).key("to")
		switch {
		case h.To == "":
			c.missing(at, "say to whom")
		case h.To == name:
			c.bad(at, "is the agent itself", "name another one")
		case seen[h.To]:
			c.bad(at, "is in the list twice", "keep one of them")
		case len(h.To) > longestTarget && h.Name == "":
			c.bad(at, "is too long a name for a hand-off", "take at most 52 characters")
		default:
			c.speaker(at, h.To)
		}
		seen[h.To] = true
		if h.Name != "" && tools[h.Name] {
			c.bad(p.item(i).key("name"), "is the name of another hand-off too", "choose another one")
		}
		tools[h.Name] = true
		c.uniqueScopes(p.item(i).key("scopes"), h.Scopes)
	}
}

// speaker reports a name that is neither an agent's nor a group chat's.
func (c *checker) speaker(p place, who string) bool {
	if c.spoilt["group_chats"] || c.said(place("group_chats").key(who)) {
		return true
	}
	return c.refer(p, "agents", "agent or group chat", who, func() []string { return append(names(c.Agents), names(c.GroupChats)...) })
}
