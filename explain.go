package behalf

import (
	"context"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/interceptors"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc/codes"
)

// calls explains calls of tools by the config's agents.
type calls struct{ *Server }

// Under narrows the grant as the chain's agents would: by the ceiling of each, and
// by what each hands on to the next.
func (c *calls) Under(g identity.Grant, chain []string) (identity.Grant, error) {
	for i, name := range chain {
		scopes, ok := c.own(name)
		if !ok {
			return g, fault.New(codes.NotFound, fault.NotFound, "there is no such agent in `delegation_chain`")
		}
		lists := []*[]string{scopes}
		if i > 0 {
			lists = append(lists, c.handedOn(chain[i-1], name))
		}
		var err error
		if g, err = g.Child(name, ceiling(lists...), agents.MaxDepth); err != nil {
			return g, err
		}
	}
	return g, nil
}

// own is the ceiling of an agent or a group chat.
func (c *calls) own(name string) (scopes *[]string, ok bool) {
	if chat, ok := c.cfg.GroupChats[name]; ok {
		return chat.Scopes, true
	}
	a, ok := c.cfg.Agents[name]
	return a.Scopes, ok
}

func (c *calls) handedOn(from, to string) *[]string {
	for _, h := range c.cfg.Agents[from].Handoffs {
		if h.To == to {
			return h.Scopes
		}
	}
	return nil
}

// Explain asks the gate that the agent who acts would stand before.
func (c *calls) Explain(ctx context.Context, call agents.ToolCall, at time.Time) (tools.Explanation, error) {
	g, _ := identity.FromContext(ctx)
	cfg := tools.GateConfig{Registry: c.registry, Guard: c.guard, Journal: c.store, Tools: c.registry.Names(), Clock: c.opt.now, Trace: interceptors.Trace}
	if cfg.Agent = g.Agent(); cfg.Agent != "" {
		cfg.Tools = c.cfg.Agents[cfg.Agent].Tools
	}
	gate, err := tools.NewGate(cfg)
	if err != nil {
		return tools.Explanation{}, err
	}
	return gate.Explain(ctx, call, at)
}
