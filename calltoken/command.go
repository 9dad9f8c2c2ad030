package calltoken

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// State is what a key is for.
type State string

// States of a key, in the order in which it has them.
const (
	Next    State = "next"    // published, and does not sign yet
	Current State = "current" // signs
	Retired State = "retired" // published until no token of it is left
)

// SigningKey is a key as an operator sees it.
type SigningKey struct {
	ID    string
	State State
	From  time.Time // when it begins to sign
	Until time.Time // when the one after it does; of the last one, when that is due
}

// ErrNoKey says that there is no key of this id, or none any more.
var ErrNoKey = errors.New("there is no such key")

// List gives all keys that a backend may meet, the first to sign first.
func (k *Keys) List() []SigningKey {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.listed(k.ring)
}

func (k *Keys) listed(ring []key) []SigningKey {
	all, at := make([]SigningKey, 0, len(ring)), signing(ring, k.now())
	for i, x := range ring {
		one := SigningKey{ID: x.id, State: Current, From: x.from, Until: x.from.Add(k.rotate)}
		switch {
		case i < at:
			one.State = Retired
		case i > at:
			one.State = Next
		}
		if i+1 < len(ring) {
			one.Until = ring[i+1].from
		}
		all = append(all, one)
	}
	return all
}

// Renew publishes a key that signs as soon as every backend knows it, CacheFor from
// now, and gives it. Where there is a next one already it is that one, so that nobody
// fills the key set by asking often.
func (k *Keys) Renew() (SigningKey, error) {
	k.turn.Lock()
	defer k.turn.Unlock()
	now := k.now()
	ring, err := k.turned(now)
	if err == nil && !ring[len(ring)-1].from.After(now) {
		ring, err = with(ring, now.Add(CacheFor))
	}
	if err == nil {
		err = k.use(ring)
	}
	if err != nil {
		return SigningKey{}, err
	}
	all := k.listed(ring)
	return all[len(all)-1], nil
}

// Revoke removes a key at once, whatever it signed. If it was the one that signs, a
// new one does from now on, and none that was retired. There is no time to publish it
// first. With another error than ErrNoKey the key is gone from this process and not
// from the file: repeat it, as Run does.
func (k *Keys) Revoke(id string) error {
	k.turn.Lock()
	defer k.turn.Unlock()
	now := k.now()
	at := slices.IndexFunc(k.ring, func(x key) bool { return x.id == id })
	if at < 0 && !k.lost {
		return ErrNoKey
	}
	ring := slices.DeleteFunc(slices.Clone(k.ring), func(x key) bool { return x.id == id })
	if at == signing(k.ring, now) {
		var err error
		if ring, err = with(ring, now); err != nil {
			return err
		}
		slices.SortStableFunc(ring, func(a, b key) int { return a.from.Compare(b.from) })
	}
	k.take(ring) // even if it cannot be kept: this key is not good any more
	k.lost = true
	if err := k.use(ring); err != nil {
		return fmt.Errorf("keep that a key is revoked: %w", err)
	}
	return nil
}
