package config

import (
	"slices"
	"strconv"
	"strings"
)

// CheckServe reports what a file may leave out for `dev` and `demo`, which add
// it by themselves, but not for `serve`.
func (c *Config) CheckServe() []Problem {
	var found []Problem
	bad := func(p place, message, fix string) {
		if !c.places.isSpoilt(p) && !c.places.isThin(p) {
			found = append(found, c.places.problem(p, message, fix))
		}
	}
	w := c.Identity.Workload
	if w.Source == "" {
		bad("identity.workload.source", "is missing", "say workload_api or files; `behalf dev` needs none")
	}
	if w.Source != "" && w.Source != "dev" && len(w.Tenants) == 0 {
		bad("identity.workload.tenants", "is missing, so every workload is refused", "map your trust domain to a tenant")
	}
	if w.Source != "dev" && len(w.Grants) == 0 && c.Server.ClientCertificate == "required" {
		bad("identity.workload.grants", "is missing, so nobody can call", "grant calls to the workloads that may")
	}
	if w.Source != "dev" && len(c.Identity.JWT.Issuers) == 0 && len(w.Audiences) == 0 && c.Server.ClientCertificate == "optional" {
		bad("identity.jwt.issuers", "is missing, so callers without a certificate are refused", "add an issuer, or require certificates")
	}
	return sorted(found)
}

// Notes says what is allowed and perhaps not meant.
func (c *Config) Notes() []Problem {
	var found []Problem
	note := func(p place, message, fix string) { found = append(found, c.places.problem(p, message, fix)) }
	if s := c.Server; s.HTTP != "" && !isLocal(s.HTTP) && s.HTTPTLS == nil {
		note("server.http", "beyond loopback without http_tls: health and metrics cross the network in the clear", "add server.http_tls, or listen on loopback")
	}
	if c.Server.OperatorTenant == "" {
		note("server", "no operator_tenant: nobody can reload or lock across tenants", "name the tenant of your operators")
	}
	if c.Runs.Log == "memory" {
		note("runs.log", "memory forgets every session and run when the process ends", "say embedded, except for tests")
	}
	for i, g := range c.Identity.Workload.Grants {
		if domain, ok := strings.CutSuffix(g.ID, "/**"); ok && strings.Count(domain, "/") == 2 {
			note(place("identity.workload.grants").item(i).key("id"), "any workload of the trust domain may call", "name the paths that need to")
		}
	}
	for _, name := range names(c.GroupChats) {
		if g := c.GroupChats[name]; g.endless() {
			note(place("group_chats").key(name), "has no termination and no max_turns, so it goes on for the "+strconv.Itoa(c.Runs.MaxTurns)+" turns of any run", "say when it is done, or how long it may take")
		}
	}
	for _, name := range names(c.Tools) {
		if m := c.Tools[name].MCP; m != nil && m.TrustOnFirstUse {
			note(place("tools").key(name).key("mcp").key("trust_on_first_use"), "whatever the server offers first is taken, and nobody has read it", "remove it, and type `behalf tools review "+name+"`")
		}
		if kind := c.Tools[name].unbound(); kind != "" {
			note(place("tools").key(name).key(kind).key("unbound"), "tokens to this backend are bound to no certificate: who reads one can make its call in our place", "give the backend an SVID, and say server_id")
		}
	}
	ways := map[string]bool{} // whom a participant of any chat can hand off to
	for name := range c.GroupChats {
		g := c.GroupChats[name]
		for _, to := range g.ways() {
			ways[to] = true
		}
	}
	for _, name := range names(c.Agents) {
		for i, h := range c.Agents[name].Handoffs {
			if !c.Agents[h.To].joins() && !ways[h.To] {
				note(place("agents").key(name).key("handoffs").item(i).key("to"), "leads nowhere: an agent that is run by itself hands off to assistants only, and no group chat has this one", "add it to a group chat, or remove it")
			}
			if extra := beyond(h.Scopes, c.Agents[name].Scopes); len(extra) > 0 {
				note(place("agents").key(name).key("handoffs").item(i).key("scopes"), "has what the agent's own ceiling does not: "+strings.Join(extra, ", "), "a hand-off cannot widen; remove them here or add them there")
			}
		}
	}
	return sorted(found)
}

// endless reports whether nothing in the file stops a chat. A graph ends where no
// edge leads on, and an orchestrator when it is content.
func (g *GroupChat) endless() bool {
	turns := g.Kind == RoundRobin || g.Kind == Selector || g.Kind == Swarm
	return turns && g.Termination == nil && g.MaxTurns == 0
}

// beyond lists what a has and the ceiling does not let through.
func beyond(a, ceiling *[]string) (extra []string) {
	if a == nil || ceiling == nil {
		return nil
	}
	for _, scope := range *a {
		if !slices.Contains(*ceiling, scope) {
			extra = append(extra, scope)
		}
	}
	return extra
}
