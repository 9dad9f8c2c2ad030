package team

import (
	"context"
	"slices"

	"github.com/behalf-dev/behalf/agents"
)

// NewWaves makes a team whose participants speak in waves: what a graph needs of
// the common machinery.
func NewWaves(cfg Config, order ...[]string) (*Team, error) {
	return newTeam(cfg, &waves{order})
}

type waves struct{ order [][]string }

func (w *waves) next(_ context.Context, r *round) bool {
	return r.give(agents.SpeakerSelected{Speakers: w.order[w.done(r)], Reason: "edge"})
}

func (w *waves) completed(r *round) string {
	if w.done(r) == len(w.order) {
		return "All waves are over"
	}
	return ""
}

// done is a fold of its own, as a kind of team may have.
func (w *waves) done(r *round) int {
	n := agents.Fold(r.t, w, func() *int { return new(int) }, func(n *int, e *agents.Event) {
		if s, ok := e.Body.(agents.SpeakerSelected); ok && slices.Equal(s.Speakers, w.order[*n]) {
			*n++
		}
	})
	return *n
}
