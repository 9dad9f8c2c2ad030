package tools

import (
	"sync"

	"github.com/behalf-dev/behalf/identity"
)

// Bounds of the calls that were given up and still run. Calls that begin at the
// same time may pass them together: what one has beyond a bound counts for that
// bound alone, so that nobody is refused because of one person, nor because of
// one other tool.
const (
	maxStuckHere   = 4  // of one person and one tool
	maxStuckPerson = 16 // of one person
	maxStuckTool   = 16 // of one tool
	maxStuck       = 64 // in all: at least four people and four tools
)

// stuck counts the calls that were given up and still run, by person and tool,
// over all gates of a registry. What is back is forgotten.
type stuck struct {
	mu    sync.Mutex // guards what follows
	calls map[caller]int
}

type caller struct{ person, tool string }

func callerOf(g identity.Grant, tool string) caller {
	return caller{g.Tenant() + "/" + g.Principal().Subject(), tool}
}

// full reports whether c must not begin another call.
func (s *stuck) full(c caller) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.calls) == 0 {
		return false
	}
	people, tools := map[string]int{}, map[string]int{}
	for k, n := range s.calls {
		people[k.person] += min(n, maxStuckHere)
		tools[k.tool] += min(n, maxStuckHere)
	}
	return s.calls[c] >= maxStuckHere || people[c.person] >= maxStuckPerson || tools[c.tool] >= maxStuckTool ||
		sum(people, maxStuckPerson) >= maxStuck && sum(tools, maxStuckTool) >= maxStuck
}

// sum adds up counts, each of which counts at most so much.
func sum(counts map[string]int, most int) (all int) {
	for _, n := range counts {
		all += min(n, most)
	}
	return all
}

func (s *stuck) add(c caller) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == nil {
		s.calls = map[caller]int{}
	}
	s.calls[c]++
}

func (s *stuck) remove(c caller) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls[c]--; s.calls[c] <= 0 {
		delete(s.calls, c)
	}
}
