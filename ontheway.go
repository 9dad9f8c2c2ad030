package behalf

import "github.com/behalf-dev/behalf/identity"

// onTheWay is the standing of an agent to whom others handed the conversation: their
// hand-offs must be there still, and leave what they leave now.
type onTheWay struct{ standing }

// May implements tools.Live.
func (w onTheWay) May(g identity.Grant, tool string) bool {
	now := w.made.current()
	for way := range g.HandOffs() {
		if _, ok := now.handsOff(way[0], way[1]); !ok {
			return false
		}
	}
	return w.standing.May(g, tool)
}

// Narrowed implements tools.Live.
func (w onTheWay) Narrowed(g identity.Grant) identity.Grant {
	now := w.made.current()
	if now == w.made {
		return g // who handed over has seen to it
	}
	for way := range g.HandOffs() {
		g = g.Under(ceiling(now.handedOn(way[0], way[1])))
	}
	return w.standing.Narrowed(g)
}
