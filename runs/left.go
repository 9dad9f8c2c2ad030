package runs

import (
	"sync"
	"time"

	"github.com/behalf-dev/behalf/identity"
)

// maxLeft bounds the tokens that are left here at once. Who finds no room leaves none,
// and a tool that needs it says so.
const maxLeft = 8192

// left are the tokens that people left for runs of theirs which go on without them:
// when they began a detached one, or answered one that rested. They are in this
// process's memory and nowhere else. A worker takes the run's once, so a run that is
// woken by anybody else, after a restart or by another replica goes on without.
type left struct {
	mu sync.Mutex
	of map[string]token // by grant id
}

type token struct {
	text  identity.Secret
	until time.Time
}

// leave keeps the token of whose grant g is for the run of a grant id. Nobody has one
// where no tool needs it.
func (l *left) leave(grantID string, g identity.Grant, now time.Time) {
	u := g.Current().Principal().User
	if u == nil || grantID == "" {
		return
	}
	text := u.Token()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = map[string]token{}
	}
	delete(l.of, grantID) // what was left before is not theirs any more
	if text.IsZero() || !l.room(now) {
		return
	}
	l.of[grantID] = token{text, u.Expires}
}

// room drops what has ended when there is no room.
func (l *left) room(now time.Time) bool {
	if len(l.of) < maxLeft {
		return true
	}
	for id, t := range l.of {
		if !now.Before(t.until) {
			delete(l.of, id)
		}
	}
	return len(l.of) < maxLeft
}

// take gives a grant out of the store its token back, once. A token ends with the
// grant that was made of it.
func (l *left) take(g identity.Grant) identity.Grant {
	l.mu.Lock()
	t := l.of[g.ID()]
	delete(l.of, g.ID())
	l.mu.Unlock()
	return g.Bearing(t.text)
}

// drop forgets what was left for a run that has ended or rests.
func (l *left) drop(grantID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.of, grantID)
}
