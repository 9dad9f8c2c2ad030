package team

import (
	"context"
	"slices"

	"github.com/behalf-dev/behalf/agents"
)

// NewRoundRobin makes a team whose participants speak in their order, over all
// runs of a session.
func NewRoundRobin(cfg Config) (*Team, error) { return newTeam(cfg, roundRobin{}) }

type roundRobin struct{}

func (roundRobin) next(_ context.Context, r *round) bool {
	names, next := r.team.order, 0
	if len(r.chat.last) > 0 {
		next = (slices.Index(names, r.chat.last[0]) + 1) % len(names)
	}
	return r.give(agents.SpeakerSelected{Speakers: []string{names[next]}, Reason: "order"})
}
