package team

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// NewSwarm makes a team in which the newest hand-off says who speaks: one of a
// participant, or a message of KindHandoff in the task. Without a new one the
// same participant speaks again, at the beginning the first.
//
// Each participant acts below all that spoke before it, so a hand-off only
// narrows, also back and also by way of a person. The chain names each once.
func NewSwarm(cfg Config) (*Team, error) {
	t, err := newTeam(cfg, &swarm{})
	if err != nil {
		return nil, err
	}
	if first := cfg.Participants[0].Agent; !canHandOff(first) {
		return nil, fmt.Errorf("team %q: the first participant must be able to produce a handoff: %q cannot", cfg.Name, first.Name())
	}
	t.refuses = true
	return t, nil
}

// canHandOff says whether an agent may say who speaks next. A team that is a
// participant may hand off through one of its own.
func canHandOff(a agents.Agent) bool {
	switch a := a.(type) {
	case *agents.Human:
		return true
	case *Team:
		return slices.ContainsFunc(a.cfg.Participants, func(m Member) bool { return canHandOff(m.Agent) })
	case *Filter:
		return canHandOff(a.cfg.Agent.Agent)
	case interface{ Handoffs() []string }:
		return len(a.Handoffs()) > 0
	}
	return false
}

type swarm struct{ _ byte } // not empty: its address is a fold key

func (*swarm) next(ctx context.Context, r *round) bool {
	to := r.chat.handoffTo
	if to == "" {
		return r.give(agents.SpeakerSelected{Speakers: r.team.order[:1:1], Reason: "order"})
	}
	if _, ok := r.team.members[to]; !ok {
		return r.fail(ctx, unknownTarget(to, r.team.order))
	}
	return r.give(agents.SpeakerSelected{Speakers: []string{to}, Reason: "handoff"})
}

func unknownTarget(to string, names []string) error {
	return fault.New(codes.InvalidArgument, fault.ArgumentInvalid,
		"the conversation was handed to somebody who is not one of the participants; hand it to "+strings.Join(names, " or ")).
		Because(errors.New("the hand-off target is " + to))
}

// bind makes the grants on the way to the participant.
func (s *swarm) bind(ctx context.Context, r *round, _ string) (context.Context, error) {
	way := agents.Fold(r.t, s, func() *route { return &route{members: r.team.members} }, (*route).applySwarm)
	return way.descend(ctx)
}

// applySwarm notes each speaker. Turns are many, so the way is made short at once.
func (r *route) applySwarm(e *agents.Event) {
	switch b := e.Body.(type) {
	case agents.SpeakerSelected:
		r.chain = append(r.chain, b.Speakers...)
		r.compact()
	case agents.HandedOff:
		r.handedOff(cmp.Or(b.From, e.Source), &b)
	}
}
