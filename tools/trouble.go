package tools

import (
	"regexp"
	"sync"
	"time"
)

// Trouble is why a backend cannot be used now, as its source knows it. The operator
// is told once of each cause, however often it is met, and of the end of what they were
// told. The zero value is no trouble. It may be used by many goroutines.
type Trouble struct {
	mu   sync.Mutex
	err  error
	last string // cause that the operator was told; empty: none, or that it is over
	told map[string]time.Time
}

const (
	mostTroubles = 8           // told of a source in the time of tellAgain
	tellAgain    = time.Minute // until a cause that comes and goes is told again
)

// port is our own end of a connection, which is another one each time.
var port = regexp.MustCompile(`:\d+->`)

// Is notes the cause, and reports whether it is news.
func (t *Trouble) Is(err error, now time.Time) (news bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := port.ReplaceAllString(err.Error(), "->")
	t.err = err
	for text, at := range t.told {
		if now.Sub(at) >= tellAgain {
			delete(t.told, text)
		}
	}
	if _, known := t.told[key]; key == t.last || known || len(t.told) >= mostTroubles {
		return false
	}
	if t.told == nil {
		t.told = map[string]time.Time{}
	}
	t.told[key], t.last = now, key
	return true
}

// Over notes that there is none any more, and reports whether that is news.
func (t *Trouble) Over() (news bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	news = t.last != ""
	t.err, t.last = nil, ""
	return news
}

// Err is the cause; nil: none is known.
func (t *Trouble) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}
