package team

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/identity"
)

// Filter is an agent that hears only some of what comes in. What it says and does
// is its own; it says it under its own name.
type Filter struct{ cfg FilterConfig }

// FilterConfig says what a filter lets through.
type FilterConfig struct {
	Name  string // of the participant
	Agent Member // required
	// Rows say which of a turn's new messages the agent hears, in the order of the
	// rows. Sources without a row are not heard; without rows nothing is.
	Rows []FilterRow
}

// FilterRow lets through messages of one source: the first or the last ones, or
// all if neither is set.
type FilterRow struct {
	Source string
	First  int
	Last   int
}

// NewFilter checks the config and makes the filter.
func NewFilter(cfg FilterConfig) (*Filter, error) {
	problems := []error{checkGuest(cfg.Name, cfg.Agent)}
	for _, r := range cfg.Rows {
		problems = append(problems,
			require(r.Source != "", "a row has no source"),
			require(min(r.First, r.Last) == 0 && max(r.First, r.Last) >= 0, "a row takes the first or the last messages, not both, and not less than none"))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("filter %q: %w", cfg.Name, err)
	}
	return &Filter{cfg}, nil
}

// Name is the participant's name.
func (f *Filter) Name() string { return f.cfg.Name }

// Description says to other agents what the agent inside is good for.
func (f *Filter) Description() string { return describe(f.cfg.Agent.Agent) }

// Handoffs lists whom the agent inside may hand the conversation to.
func (f *Filter) Handoffs() []string {
	if a, ok := f.cfg.Agent.Agent.(interface{ Handoffs() []string }); ok {
		return a.Handoffs()
	}
	return nil
}

// Run continues the agent's turn. See [agents.Agent].
func (f *Filter) Run(ctx context.Context, t *agents.Transcript) iter.Seq2[agents.Event, error] {
	return host{name: f.cfg.Name, guest: f.cfg.Agent, kind: f}.run(ctx, t)
}

func (f *Filter) generation(*visit) int { return 0 }

// input is what the rows let through.
func (f *Filter) input(h *host) []agents.Event {
	fresh := h.inputs(h.visit.heard[h.visit.earlier:])
	var through []agents.Event
	for _, r := range f.cfg.Rows {
		through = append(through, r.pick(fresh)...)
	}
	return through
}

func (r *FilterRow) pick(events []agents.Event) []agents.Event {
	var of []agents.Event
	for _, e := range events {
		if e.Source == r.Source {
			of = append(of, e)
		}
	}
	switch {
	case r.First > 0:
		return of[:min(r.First, len(of))]
	case r.Last > 0:
		return of[max(0, len(of)-r.Last):]
	}
	return of
}

// narrow bounds a hand-off by the ceiling of the agent that made it: those who hear
// of it know only the filter and its ceiling.
func (f *Filter) narrow(h agents.HandedOff) agents.HandedOff {
	ceiling := f.cfg.Agent.Ceiling
	if ceiling == nil {
		return h
	}
	scopes := *ceiling
	if h.Scopes != nil {
		scopes = ceiling.Intersect(identity.NewScopes(*h.Scopes...))
	}
	names := scopes.Names()
	h.Scopes = &names
	return h
}

// reply repeats what the agent said, and ends the turn as it did.
func (f *Filter) reply(_ context.Context, h *host, agent *seat) bool {
	if h.visit.said < len(agent.said) {
		return h.emit(agent.said[h.visit.said])
	}
	if agent.handOff != nil {
		h.emit(agents.Event{Body: f.narrow(*agent.handOff)})
		return false
	}
	end := agent.end
	h.emit(agents.Event{Body: agents.RunFinished{StopReason: end.StopReason, Output: end.Output, Structured: end.Structured, Usage: end.Usage}})
	return false
}
