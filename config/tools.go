package config

import (
	"slices"
	"strings"
	"time"
)

// Toolset is where tools come from: exactly one of GRPC, MCP, Builtin, Agent and
// GroupChat. An agent or group chat is one tool, which has the toolset's name.
type Toolset struct {
	GRPC    *GRPC           `yaml:"grpc"`
	MCP     *MCP            `yaml:"mcp"`
	Builtin string          `yaml:"builtin"`          // the name under which the program registered Go functions
	Prefix  string          `yaml:"prefix" is:"tool"` // put in front of the tools' names
	Tools   map[string]Tool `yaml:"tools"`            // the backend's own name -> what to know of it

	Exchange *Exchange `yaml:"exchange"` // in place of our call token

	Agent       string `yaml:"agent" is:"name"`
	GroupChat   string `yaml:"group_chat" is:"name"`
	Description string `yaml:"description"`            // of the tool; absent: the agent's
	Result      string `yaml:"result" enum:"all|last"` // which messages of the agent the caller reads; absent: all
}

// unbound is the section whose tokens are bound to no certificate; empty: none.
func (t Toolset) unbound() string {
	switch {
	case t.GRPC != nil && t.GRPC.Unbound:
		return "grpc"
	case t.MCP != nil && t.MCP.Unbound:
		return "mcp"
	}
	return ""
}

// BuiltinMemory is the name of the tools that every program has: those that
// remember and forget.
const BuiltinMemory = "memory"

// Callee is the agent or group chat that is the tool, empty for other toolsets.
func (t Toolset) Callee() string {
	if t.Agent != "" {
		return t.Agent
	}
	return t.GroupChat
}

// GRPC is the unary methods of a service.
type GRPC struct {
	Target        string        `yaml:"target"`
	Services      []string      `yaml:"services"`
	Audience      string        `yaml:"audience"`                 // of the per-call token
	DescriptorSet string        `yaml:"descriptor_set" is:"file"` // absent: reflection
	ServerID      string        `yaml:"server_id" is:"spiffe"`    // whom to expect there
	Timeout       time.Duration `yaml:"timeout" range:"100ms..1h"`
	Waive         []string      `yaml:"waive"`                              // parameters that look like a person's id and are none, or can hold anything
	Chain         string        `yaml:"chain" enum:"full|outermost|hashed"` // how much of the chain of agents it learns; absent: full
	Unbound       bool          `yaml:"unbound"`                            // it takes per-call tokens that name no certificate
}

// MCP is a Model Context Protocol server: exactly one of URL and Command.
type MCP struct {
	URL      string            `yaml:"url" is:"https"`
	Headers  map[string]Secret `yaml:"headers"`
	Audience string            `yaml:"audience"`                           // of the per-call token; absent: calls carry none
	ServerID string            `yaml:"server_id" is:"spiffe"`              // whom to expect there
	Chain    string            `yaml:"chain" enum:"full|outermost|hashed"` // how much of the chain of agents it learns; absent: full
	Unbound  bool              `yaml:"unbound"`                            // it takes per-call tokens that name no certificate

	Command []string          `yaml:"command"`
	Env     map[string]Secret `yaml:"env" is:"open"` // all that the command gets; may be literal
	Dir     string            `yaml:"dir" is:"dir"`  // where it runs; absent: where we do

	Timeout         time.Duration `yaml:"timeout" range:"100ms..1h"`
	Pins            string        `yaml:"pins" is:"path"`     // the file of what was accepted
	TrustOnFirstUse bool          `yaml:"trust_on_first_use"` // takes unread what was never seen
}

// Tool is what a backend does not say about one of its tools.
type Tool struct {
	Name        string            `yaml:"name" is:"tool"` // absent: made from the backend's name
	Description string            `yaml:"description"`
	Scopes      []string          `yaml:"scopes" is:"scope"`        // required of the caller, all of them
	Effect      string            `yaml:"effect" enum:"read|write"` // absent: write
	Risk        string            `yaml:"risk" enum:"low|medium|high"`
	Idempotent  bool              `yaml:"idempotent"`
	Owners      map[string]string `yaml:"owners" enum:"subject|email|tenant"` // parameter -> fact of the caller
}

func (c *checker) tools() {
	for _, name := range names(c.Tools) {
		p, t := place("tools").key(name), c.Tools[name]
		switch c.exactlyOne(p, "grpc", "mcp", "builtin", "agent", "group_chat") {
		case "grpc":
			c.grpc(p.key("grpc"), t.GRPC, t.Exchange)
		case "mcp":
			c.mcp(p.key("mcp"), t.MCP, t.Exchange)
		case "builtin":
			c.builtin(p)
		case "agent":
			c.agentTool(p, "agent", t.Agent)
		case "group_chat":
			c.agentTool(p, "group chat", t.GroupChat)
		}
		if t.Callee() == "" {
			for _, key := range []string{"description", "result"} {
				if c.said(p.key(key)) {
					c.bad(p.key(key), "belongs to agent and group_chat", "remove it")
				}
			}
		}
		c.exchange(p, t)
		c.toolNames(p.key("tools"), t)
		if t.Callee() != "" && !isTool(name) {
			c.spoil(p, "is the tool's name too, and no tool can have it", "use a-z, 0-9 and _, at most 64")
		}
	}
}

func (c *checker) grpc(p place, g *GRPC, x *Exchange) {
	if g == nil {
		return
	}
	if g.Target == "" {
		c.missing(p.key("target"), "write host:port")
	}
	if len(g.Services) == 0 {
		c.missing(p.key("services"), "name the services whose methods become tools")
	}
	c.unique(p.key("services"), g.Services)
	if g.Audience == "" && x == nil {
		c.missing(p.key("audience"), "say for whom the per-call token is")
	}
	if x == nil {
		c.binding(p, g.Audience, g.ServerID, g.Unbound)
	}
}

// binding holds a per-call token to a certificate. We show ours only to a server whose
// name is known, and a backend refuses a token without one unless it says otherwise.
func (c *checker) binding(p place, audience, serverID string, unbound bool) {
	named := serverID != "" || c.said(p.key("server_id"))
	switch {
	case unbound && named:
		c.bad(p.key("unbound"), "does not go with server_id, by which tokens are bound to our certificate", "remove it")
	case unbound && !c.said(p.key("audience")):
		c.bad(p.key("unbound"), "is of the per-call token, and there is none", "add audience, or remove it")
	case audience != "" && !named && !unbound && !c.said(p.key("unbound")):
		c.bad(p.key("audience"), "needs server_id: without it no certificate is shown, and the backend refuses a token that is bound to none",
			"add server_id, or say unbound: true if the backend takes such tokens")
	}
}

func (c *checker) mcp(p place, m *MCP, x *Exchange) {
	if m == nil {
		return
	}
	switch c.exactlyOne(p, "url", "command") {
	case "url":
		c.belong(p, "command", "env", "dir")
		c.mcpURL(p, m, x)
	case "command":
		if len(m.Command) == 0 || m.Command[0] == "" {
			c.bad(p.key("command"), "is empty", "write the program and its arguments")
		}
		c.belong(p, "url", "headers", "audience", "server_id", "chain", "unbound")
	}
}

func (c *checker) mcpURL(p place, m *MCP, x *Exchange) {
	if strings.HasPrefix(m.URL, "http://") && m.ServerID != "" {
		c.bad(p.key("server_id"), "needs https: http asks nobody who they are", "write https, or remove it")
	}
	if m.Audience == "" && m.Chain != "" {
		c.bad(p.key("chain"), "is of the per-call token, and there is none", "add audience, or remove it")
	}
	if x == nil {
		c.binding(p, m.Audience, m.ServerID, m.Unbound)
	}
	for _, name := range names(m.Headers) {
		if m.Audience != "" && strings.EqualFold(name, "authorization") {
			c.bad(p.key("headers").key(name), "is where the per-call token goes, because there is an audience", "remove one of the two")
		}
	}
}

// belong reports keys that mean something beside another one only.
func (c *checker) belong(p place, to string, keys ...string) {
	for _, key := range keys {
		if c.said(p.key(key)) {
			c.bad(p.key(key), "belongs to "+to, "remove it")
		}
	}
}

// agentTool checks an agent or group chat that is a tool.
func (c *checker) agentTool(p place, what, callee string) {
	if callee == "" {
		return // reported
	}
	for _, key := range []string{"tools", "prefix"} {
		if c.said(p.key(key)) {
			c.bad(p.key(key), "does not go with an agent: it is one tool with the toolset's name", "remove it")
		}
	}
	if what == "agent" {
		known := c.refer(p.key("agent"), "agents", what, callee, namesOf(c.Agents))
		if known && c.Agents[callee].Kind == KindHuman {
			c.bad(p.key("agent"), "is a person, and no tool", "let them take part in a group chat")
		}
		return
	}
	c.refer(p.key("group_chat"), "group_chats", what, callee, namesOf(c.GroupChats))
}

// builtin refuses what has no effect on Go functions: who narrows a tool here
// must not believe that it is narrow.
func (c *checker) builtin(p place) {
	for _, key := range []string{"tools", "prefix"} {
		if c.said(p.key(key)) {
			c.bad(p.key(key), "does not go with builtin", "say it in Go, where the tool is")
		}
	}
}

// toolNames reports two tools of a set with one name; what a backend calls them
// is known only at the start.
func (c *checker) toolNames(p place, t Toolset) {
	taken := map[string]string{}
	for _, method := range names(t.Tools) {
		name := t.Tools[method].Name
		if first, clash := taken[name]; clash && name != "" {
			c.bad(p.key(method).key("name"), "is the name of "+clip(first)+" too", "names of tools are global: choose another one")
		}
		taken[name] = method
		c.unique(p.key(method).key("scopes"), t.Tools[method].Scopes)
	}
}

// CheckTools reports references that no tool answers to and names that two
// toolsets have, once names are known. known is toolset (its key under `tools`)
// to the names of its tools; a toolset that is absent is not there yet, and then
// a plain name may be one of its. left says of what a backend has and is no tool why,
// by the name that the tool would have: it is nobody's.
func (c *Config) CheckTools(known map[string][]string, left map[string]string) []Problem {
	owners, found := map[string]string{}, []Problem(nil)
	for _, set := range names(c.Tools) {
		for _, tool := range known[set] {
			if other, clash := owners[tool]; clash && other != set {
				found = append(found, c.places.problem(place("tools").key(set), "its tool "+quote(tool)+" has the name of one in "+other, "names of tools are global: give one of the sets a prefix"))
			}
			owners[tool] = set
		}
	}
	complete := !c.Lost("tools") && !slices.ContainsFunc(names(c.Tools), func(set string) bool { return known[set] == nil })
	look := func(p place, ref string) {
		message, fix := wrongTool(ref, known, owners, complete)
		if why := left[ref]; why != "" && owners[ref] == "" {
			message, fix = ref+" is left out: "+why, ""
		}
		if message != "" && !c.places.isSpoilt(p) {
			found = append(found, c.places.problem(p, message, fix))
		}
	}
	for _, name := range names(c.Agents) {
		p := place("agents").key(name)
		for i, ref := range c.Agents[name].Tools {
			look(p.key("tools").item(i), ref)
		}
		for i, h := range c.Agents[name].Handoffs {
			if _, taken := owners[h.Name]; taken {
				found = append(found, c.places.problem(p.key("handoffs").item(i).key("name"), "is the name of a tool too", "choose another one"))
			}
		}
	}
	for _, name := range names(c.GroupChats) {
		c.GroupChats[name].Termination.functions(place("group_chats").key(name).key("termination"), look)
	}
	return sorted(found)
}

// functions visits the names of tools in a condition.
func (t *Termination) functions(p place, visit func(place, string)) {
	if t == nil {
		return
	}
	if t.Function != "" {
		visit(p.key("function"), t.Function)
	}
	for i := range t.Any {
		t.Any[i].functions(p.key("any").item(i), visit)
	}
	for i := range t.All {
		t.All[i].functions(p.key("all").item(i), visit)
	}
}

func wrongTool(ref string, known map[string][]string, owners map[string]string, complete bool) (message, fix string) {
	if set, all := strings.CutSuffix(ref, "/*"); all {
		if tools, here := known[set]; here && len(tools) == 0 {
			return quote(ref) + " stands for no tool", "remove it"
		}
		return "", ""
	}
	if _, ok := owners[ref]; !ok && complete {
		return "there is no tool " + quote(ref), didYouMean(ref, names(owners))
	}
	return "", ""
}
