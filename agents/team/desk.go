package team

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/identity"
)

// Desk is an agent made of agents that hand a conversation to each other. The
// newest hand-off of the session says who is active, first the entry. Each
// member runs under a grant that was narrowed by every member and every hand-off
// on the way to it, as it was made and as the members make it now: a session in
// which one was made that no member makes any more is refused. A single agent is a
// desk of one.
type Desk struct {
	name    string
	entry   string
	members map[string]Member
}

// Member is an agent of a desk with its ceiling: what it, and whoever it hands
// on to, may use at most. Nil is no ceiling of its own, the empty set is nothing.
type Member struct {
	Agent   agents.Agent
	Ceiling *identity.Scopes
}

// DeskConfig says who is at a desk.
type DeskConfig struct {
	Name    string // empty: the entry's
	Entry   string // the member that hears the first input
	Members []Member
}

// NewDesk checks the config and makes the desk.
func NewDesk(cfg DeskConfig) (*Desk, error) {
	d := &Desk{name: cfg.Name, entry: cfg.Entry, members: make(map[string]Member, len(cfg.Members))}
	if d.name == "" {
		d.name = cfg.Entry
	}
	var problems []error
	for _, m := range cfg.Members {
		name := m.Agent.Name()
		if _, twice := d.members[name]; twice {
			problems = append(problems, fmt.Errorf("member %q is named twice", name))
		}
		d.members[name] = m
		if ownsThread(m.Agent) && len(cfg.Members) > 1 {
			problems = append(problems, fmt.Errorf("member %q must be alone: a desk shares one thread; make a team of them", name))
		}
	}
	if _, ok := d.members[d.entry]; !ok {
		problems = append(problems, fmt.Errorf("the entry %q is not a member", d.entry))
	}
	problems = append(problems, d.strangers(cfg.Members)...)
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("desk %q: %w", d.name, err)
	}
	return d, nil
}

// ownsThread says that an agent takes all that is said in its thread for its own.
func ownsThread(a agents.Agent) bool {
	switch a.(type) {
	case *Team, *Society, *Filter:
		return true
	}
	return false
}

// strangers finds hand-offs to agents that are not members.
func (d *Desk) strangers(members []Member) []error {
	var problems []error
	for _, m := range members {
		a, ok := m.Agent.(interface{ Handoffs() []string })
		if !ok {
			continue
		}
		for _, to := range a.Handoffs() {
			if _, ok := d.members[to]; !ok {
				problems = append(problems, fmt.Errorf("%q hands off to %q, which is not a member", m.Agent.Name(), to))
			}
		}
	}
	return problems
}

// Name is the desk's name.
func (d *Desk) Name() string { return d.name }

// Run lets the active member run, and after each hand-off the next. See [agents.Agent].
func (d *Desk) Run(ctx context.Context, t *agents.Transcript) iter.Seq2[agents.Event, error] {
	return func(yield func(agents.Event, error) bool) {
		for d.turn(ctx, t, yield) {
		}
	}
}

// turn runs the active member to its end, true if that was a hand-off.
func (d *Desk) turn(ctx context.Context, t *agents.Transcript, yield func(agents.Event, error) bool) bool {
	ctx, active, err := d.bind(ctx, d.route(t))
	if err != nil {
		yield(agents.Event{}, fmt.Errorf("desk %s: %w", d.name, err))
		return false
	}
	handedOff := false
	for ev, err := range active.Run(ctx, t) {
		if !yield(ev, err) || err != nil {
			return false
		}
		_, handedOff = ev.Body.(agents.HandedOff)
		handedOff = handedOff && ev.Thread == t.Thread()
	}
	return handedOff
}

// bind makes the active member's grant from the one in ctx.
func (d *Desk) bind(ctx context.Context, r *route) (context.Context, agents.Agent, error) {
	ctx, err := r.descend(ctx)
	if err != nil {
		return nil, nil, err
	}
	return ctx, d.members[r.chain[len(r.chain)-1]].Agent, nil
}

func (d *Desk) route(t *agents.Transcript) *route {
	return agents.Fold(t, d, func() *route { return &route{chain: []string{d.entry}, members: d.members} }, (*route).apply)
}
