package runs

import "sync"

// shares gives each person a share of the workers, so that nobody's runs keep
// everybody else's from being worked on. What is beyond the share is parked: it
// holds no worker, and is next when one of the same person's runs has ended. The
// queue's limit bounds what can be parked.
type shares struct {
	limit int

	mu      sync.Mutex
	working map[string]int
	parked  map[string][]parked
}

// parked is a delivery that is still touched.
type parked struct {
	Delivery
	release func()
}

func newShares(limit int) *shares {
	return &shares{limit: limit, working: map[string]int{}, parked: map[string][]parked{}}
}

// begin takes one of who's shares, or parks the delivery.
func (s *shares) begin(who string, d *Delivery, h *hands) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.working[who] < s.limit {
		s.working[who]++
		return true
	}
	s.parked[who] = append(s.parked[who], parked{*d, h.hold(d)})
	return false
}

// next ends one of who's runs and gives the parked one that takes over its share;
// none if more is false.
func (s *shares) next(who string, more bool) (d Delivery, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting := s.parked[who]
	if len(waiting) == 0 || !more {
		if s.working[who]--; s.working[who] == 0 {
			delete(s.working, who)
		}
		return Delivery{}, false
	}
	s.parked[who] = waiting[1:]
	if len(waiting) == 1 {
		delete(s.parked, who)
	}
	waiting[0].release()
	return waiting[0].Delivery, true
}

// giveBack returns what is parked to the queue.
func (s *shares) giveBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, waiting := range s.parked {
		for _, d := range waiting {
			d.release()
			d.Back()
		}
	}
	clear(s.parked)
}
