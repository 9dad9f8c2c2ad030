package grpctool

import (
	"context"
	"time"
)

// pace spaces out the connections to a backend that hangs up, each of which would have
// its descriptors read: another is made at once, and the next ones in intervals that
// grow until one has lasted. It is for one goroutine.
type pace struct {
	most time.Duration // between two
	gap  time.Duration
	last time.Time // when the last one that was lost could be replaced
}

// lasted is when a connection has: a proxy may end each after some seconds, and a reading
// that fails is repeated as often.
const lasted = 5 * time.Second

// lost is how long to wait before a connection that is lost now may be replaced.
func (p *pace) lost(now time.Time) time.Duration {
	since := now.Sub(p.last)
	if since >= min(p.most, lasted) {
		p.gap = 0
	}
	wait := max(p.gap-since, 0)
	p.gap = min(max(4*p.gap, 250*time.Millisecond), p.most)
	p.last = now.Add(wait)
	return wait
}

// rest leaves a backend alone that has hung up. Calls wait for it only if it is for less
// than their patience.
func (s *Source) rest(ctx context.Context) {
	wait := s.pace.lost(time.Now())
	if wait >= patience {
		s.blame(ctx, "a tool backend hangs up again and again", trouble{"it closes each connection soon after it was made", "look at its log, and at what is between"})
		s.stall()
	}
	pause(ctx, wait)
}
