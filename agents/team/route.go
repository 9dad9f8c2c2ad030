package team

import (
	"context"
	"maps"
	"slices"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/grpc/codes"
)

// descend makes a child grant for each agent of the route under its ceiling, the
// last also under the hand-offs' scopes.
func (r *route) descend(ctx context.Context) (context.Context, error) {
	if r.gone {
		return nil, fault.New(codes.FailedPrecondition, fault.NotFound,
			"a hand-off that this session went by is no longer configured; start a new session")
	}
	last := len(r.chain) - 1
	for i, name := range r.chain {
		m, ok := r.members[name]
		if !ok {
			// Its ceiling is not known any more, so nobody may act below it.
			return nil, fault.New(codes.FailedPrecondition, fault.NotFound,
				"an agent that this session was handed to is no longer configured; start a new session")
		}
		ceiling := m.Ceiling
		if i == last {
			ceiling = lower(ceiling, r.scopes)
		}
		var err error
		if ctx, err = identity.Child(ctx, name, ceiling, agents.MaxDepth); err != nil {
			return nil, err
		}
	}
	for _, e := range r.edges {
		ctx = identity.HandedOff(ctx, e[0], e[1])
	}
	return ctx, nil
}

// lower is the intersection of two ceilings, where nil is none.
func lower(a, b *identity.Scopes) *identity.Scopes {
	if a == nil {
		return b
	}
	both := a.Narrow(b)
	return &both
}

// route is how a conversation came to its active agent: a fold over the whole
// session. Handing back appends like any hand-off, so it never widens.
type route struct {
	members map[string]Member
	chain   []string         // the last is active
	scopes  *identity.Scopes // what all hand-offs so far left, nil: not narrowed
	edges   [][2]string      // these hand-offs, from whom to whom, each once
	gone    bool             // one of them is not made any more
}

func (r *route) apply(e *agents.Event) {
	switch b := e.Body.(type) {
	case agents.RunStarted:
		r.compact()
	case agents.HandedOff:
		r.handedOff(r.chain[len(r.chain)-1], &b)
		r.chain = append(r.chain, b.To)
	}
}

// handedOff notes what a hand-off left when it was made, and what it leaves now:
// what was stored does not outlive the configuration that it was made by.
func (r *route) handedOff(from string, h *agents.HandedOff) {
	now, ok := r.offer(from, h.To)
	if !ok {
		r.gone = true
		return
	}
	r.scopes = lower(ceilingOf(now), lower(ceilingOf(h.Scopes), r.scopes))
	if e := [2]string{from, h.To}; !slices.Contains(r.edges, e) {
		r.edges = append(r.edges, e)
	}
}

// offer is what a hand-off leaves as the members make it now, nil if it narrows
// nothing; false if nobody makes it.
func (r *route) offer(from, to string) (scopes *[]string, ok bool) {
	if m, known := r.members[from]; known {
		if scopes, ok = offer(m.Agent, from, to); ok {
			return scopes, true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.members)) { // somebody inside a member
		m := r.members[name].Agent
		if _, inside := m.(container); inside {
			if scopes, ok = offer(m, from, to); ok {
				return scopes, true
			}
		}
	}
	return nil, false
}

// offer is a hand-off of an agent, or of one inside it.
func offer(a agents.Agent, from, to string) (scopes *[]string, ok bool) {
	switch one := a.(type) {
	case *Team:
		for _, m := range one.cfg.Participants {
			if scopes, ok = offer(m.Agent, from, to); ok {
				return scopes, true
			}
		}
		return nil, false
	case *Filter:
		return offer(one.cfg.Agent.Agent, from, to)
	case *agents.Assistant:
		scopes, ok = one.HandsOff(to)
		return scopes, ok && a.Name() == from
	case interface{ Handoffs() []string }:
		return nil, a.Name() == from && slices.Contains(one.Handoffs(), to)
	}
	return nil, false
}

// ceilingOf keeps the difference between no ceiling (nil) and nothing (empty).
func ceilingOf(names *[]string) *identity.Scopes {
	if names == nil {
		return nil
	}
	scopes := identity.NewScopes(*names...)
	return &scopes
}

// compact names each agent once, in the order of their first part, the active
// one last. All ceilings and scopes stay: only the way becomes shorter, so that
// a long session does not run into MaxDepth.
func (r *route) compact() {
	active := r.chain[len(r.chain)-1]
	var chain []string
	for _, name := range r.chain {
		if name != active && !slices.Contains(chain, name) {
			chain = append(chain, name)
		}
	}
	r.chain = append(chain, active)
}
