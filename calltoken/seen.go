package calltoken

import (
	"errors"
	"sync"
	"time"
)

// seen remembers tokens until they end, each of which may come once. It holds a
// bounded number: one more is refused, for what is forgotten could come again.
type seen struct {
	mu    sync.Mutex
	most  int
	until map[string]time.Time
	swept time.Time
}

func newSeen(most int) *seen { return &seen{most: most, until: map[string]time.Time{}} }

// sweepEvery is how often what has ended is looked for.
const sweepEvery = 10 * time.Second

// first is an error if the id came before, or if there is no room to remember it.
func (s *seen) first(id string, until, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, again := s.until[id]; again {
		return errors.New("the token was used before")
	}
	if now.Sub(s.swept) >= sweepEvery || len(s.until) >= s.most && now.Sub(s.swept) >= time.Second {
		s.swept = now
		for k, t := range s.until {
			if !now.Before(t) {
				delete(s.until, k)
			}
		}
	}
	if len(s.until) >= s.most {
		return errors.New("too many tokens are remembered")
	}
	s.until[id] = until
	return nil
}
