package calltoken

import (
	"errors"
	"sync"
	"time"
)

// seen remembers tokens until they end, each of which may come once. It holds a
// bounded number: one more is refused, for what is forgotten could come again. Of one
// person it holds a share only, so that nobody's calls shut the others out.
type seen struct {
	mu     sync.Mutex
	most   int
	tokens map[string]once // by jti
	people map[person]int  // how many of each are in tokens
	swept  time.Time
}

// once is a token that came.
type once struct {
	until time.Time
	of    person
}

// person is whom a token is for.
type person struct{ tenant, issuer, subject string }

func personOf(c *Claims) person { return person{c.Tenant, c.SubjectIssuer, c.Subject} }

// shares is how many people fill what is remembered.
const shares = 10

func newSeen(most int) *seen {
	return &seen{most: most, tokens: map[string]once{}, people: map[person]int{}}
}

var errEnded = errors.New("the token has ended")

// sweepEvery is how often what has ended is looked for.
const sweepEvery = 10 * time.Second

// first is an error if the token came before, or if there is no room to remember it. It
// asks for the time by itself: by one of before the lock a token could come again that
// was just forgotten.
func (s *seen) first(c *Claims, clock func() time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, until := clock(), time.Unix(c.Expires, 0).Add(skew)
	if !now.Before(until) {
		return errEnded
	}
	if _, again := s.tokens[c.ID]; again {
		return errors.New("the token was used before")
	}
	who := personOf(c)
	if idle := now.Sub(s.swept); idle >= sweepEvery || s.full(who) != nil && idle >= time.Second {
		s.sweep(now)
	}
	if err := s.full(who); err != nil {
		return err
	}
	s.tokens[c.ID] = once{until, who}
	s.people[who]++
	return nil
}

// full says why no token of a person can be remembered.
func (s *seen) full(who person) error {
	switch {
	case len(s.tokens) >= s.most:
		return errors.New("too many tokens are remembered")
	case s.people[who] >= max(s.most/shares, 1):
		return errors.New("too many tokens of this person are remembered")
	}
	return nil
}

func (s *seen) sweep(now time.Time) {
	s.swept = now
	for id, t := range s.tokens {
		if now.Before(t.until) {
			continue
		}
		delete(s.tokens, id)
		if s.people[t.of]--; s.people[t.of] == 0 {
			delete(s.people, t.of)
		}
	}
}
