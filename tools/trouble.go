package tools

import (
	"regexp"
	"sync"
	"time"
)

// Trouble is why a backend cannot be used now, as its source knows it. The operator
// is told once of each cause, however often it is met. The zero value is no trouble.
// It may be used by many goroutines.
type Trouble struct {
	mu   sync.Mutex
	err  error
	key  string
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
	same := t.err != nil && key == t.key
	t.err, t.key = err, key
	for text, at := range t.told {
		if now.Sub(at) >= tellAgain {
			delete(t.told, text)
		}
	}
	if _, known := t.told[key]; same || known || len(t.told) >= mostTroubles {
		return false
	}
	if t.told == nil {
		t.told = map[string]time.Time{}
	}
	t.told[key] = now
	return true
}

// Over notes that there is none any more, and reports whether there was.
func (t *Trouble) Over() (was bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	was = t.err != nil
	t.err = nil
	return was
}

// Err is the cause; nil: none is known.
func (t *Trouble) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}
