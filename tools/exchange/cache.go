package exchange

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/behalf-dev/behalf/identity"
)

const (
	maxKept = 8192
	longest = 5 * time.Minute
	margin  = 30 * time.Second // a token must not end on the way
)

// cache keeps tokens for questions that were asked. A full one drops what has ended,
// or any one: that costs an exchange and nothing else.
type cache struct {
	mu    sync.Mutex
	of    map[[sha256.Size]byte]kept
	round uint64
}

type kept struct {
	token identity.Secret
	until time.Time
}

func (c *cache) get(key [sha256.Size]byte, now time.Time) (identity.Secret, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.of[key]
	if !ok {
		return identity.Secret{}, false
	}
	if !now.Before(k.until) {
		delete(c.of, key)
		return identity.Secret{}, false
	}
	return k.token, true
}

// rounds counts the purges.
func (c *cache) rounds() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.round
}

// put keeps an answer to a question that was asked in this round.
func (c *cache) put(key [sha256.Size]byte, round uint64, token identity.Secret, until, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if round != c.round || !now.Before(until) {
		return
	}
	if c.of == nil {
		c.of = map[[sha256.Size]byte]kept{}
	}
	if _, known := c.of[key]; !known && len(c.of) >= maxKept {
		c.evict(now)
	}
	c.of[key] = kept{token, until}
}

func (c *cache) evict(now time.Time) {
	for k, v := range c.of {
		if !now.Before(v.until) {
			delete(c.of, k)
		}
	}
	for k := range c.of {
		if len(c.of) < maxKept {
			return
		}
		delete(c.of, k)
	}
}

func (c *cache) purge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of = nil
	c.round++
}
