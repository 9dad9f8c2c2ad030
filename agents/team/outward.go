package team

import (
	"slices"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/identity"
)

// container is an agent with others inside, one of which may hand on to somebody
// outside. Who is outside knows only the container and its ceiling, so what bounds
// the agents inside is carried out with the hand-off.
type container interface {
	// outward is what all on the way to the author of a hand-off left: ceilings and
	// the scopes of hand-offs, nil if none of them narrows. The container runs in t;
	// inside are the agents of the author's chain below it.
	outward(t *agents.Transcript, handOff *agents.Event, inside []string) *identity.Scopes
}

// carried is the hand-off of a swarm's participant that somebody inside it made,
// nil if there is none or nothing narrows it.
func (r *round) carried(participant string, said []agents.Event) *agents.HandedOff {
	c, ok := r.team.members[participant].Agent.(container)
	if !ok {
		return nil
	}
	for _, e := range slices.Backward(said) {
		m := e.Body.(agents.Message)
		if m.Kind != agents.KindHandoff {
			continue
		}
		scopes := c.outward(r.thread(participant), &e, after(e.Chain, participant, r.chat.depth))
		if scopes == nil {
			return nil
		}
		names := scopes.Names()
		return &agents.HandedOff{To: m.HandoffTo, Scopes: &names, From: e.Source, Message: m.Text}
	}
	return nil
}

// after is the chain behind a participant of the team whose own has that depth.
// Each participant is in it once.
func after(chain []string, participant string, depth int) []string {
	chain = chain[min(depth, len(chain)):]
	return chain[slices.Index(chain, participant)+1:]
}

// outward follows the way that the team's participants took.
func (t *Team) outward(tr *agents.Transcript, handOff *agents.Event, inside []string) *identity.Scopes {
	way := &route{chain: inside[:min(1, len(inside))]}
	if _, ok := t.kind.(*swarm); ok {
		way = t.wayTo(tr, handOff)
	}
	n := len(way.chain)
	if way.gone || n == 0 || n > len(inside) || !slices.Equal(way.chain, inside[:n]) {
		return nothing()
	}
	left := way.scopes
	for _, name := range way.chain {
		m, ok := t.members[name]
		if !ok {
			return nothing()
		}
		left = lower(m.Ceiling, left)
	}
	active := way.chain[n-1]
	for g := 1; g <= max(1, generations(tr)); g++ { // each remembers its own hand-offs
		left = lower(leftBy(t.members[active].Agent, tr.Sub(seatThread(tr.Thread(), active, g)), handOff, inside[n:]), left)
	}
	return left
}

// outward is what the agent that hears only some left.
func (f *Filter) outward(tr *agents.Transcript, handOff *agents.Event, inside []string) *identity.Scopes {
	guest := f.cfg.Agent
	if len(inside) == 0 || inside[0] != guest.Agent.Name() {
		return nothing()
	}
	t := tr.Sub(seatThread(tr.Thread(), guest.Agent.Name(), 0))
	return lower(leftBy(guest.Agent, t, handOff, inside[1:]), guest.Ceiling)
}

// leftBy is what an agent left that runs in t.
func leftBy(a agents.Agent, t *agents.Transcript, handOff *agents.Event, inside []string) *identity.Scopes {
	if c, ok := a.(container); ok {
		return c.outward(t, handOff, inside)
	}
	var left *identity.Scopes
	to := handOff.Body.(agents.Message).HandoffTo
	for _, e := range t.Since(0) {
		if h, ok := e.Body.(agents.HandedOff); ok && h.To == to {
			left = lower(ceilingOf(h.Scopes), left)
		}
	}
	return left
}

// wayTo is a swarm's way until the hand-off was said.
func (t *Team) wayTo(tr *agents.Transcript, handOff *agents.Event) *route {
	way := &route{members: t.members}
	for _, e := range tr.Since(0) {
		if _, said := e.Body.(agents.Message); said && e.MessageID != "" && e.MessageID == handOff.MessageID {
			break
		}
		way.applySwarm(&e)
	}
	return way
}

func generations(t *agents.Transcript) int {
	n := 0
	for _, e := range t.Since(0) {
		if p, ok := e.Body.(agents.PlanUpdated); ok && p.Plan != "" {
			n++
		}
	}
	return n
}

// nothing is what is left where the way is not known.
func nothing() *identity.Scopes {
	none := identity.NewScopes()
	return &none
}
