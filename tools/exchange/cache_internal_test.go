package exchange

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/identity"
)

// keyOf is the n-th question of many.
func keyOf(n int) [sha256.Size]byte {
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n))) //nolint:gosec // a test's own small numbers
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// full is a cache with as many tokens as it keeps. The first half ends sooner.
func full() *cache {
	c := &cache{}
	for n := range maxKept {
		until := noon.Add(2 * time.Minute)
		if n < maxKept/2 {
			until = noon.Add(time.Minute)
		}
		c.put(keyOf(n), 0, identity.NewSecret("kept"), until, noon)
	}
	return c
}

func (c *cache) has(n int, now time.Time) bool {
	_, ok := c.get(keyOf(n), now)
	return ok
}

// TestNoMoreThan8192TokensAreKept is the bound of SECURITY E.4.
func TestNoMoreThan8192TokensAreKept(t *testing.T) {
	c := full()
	if len(c.of) != 8192 {
		t.Fatalf("kept %d tokens, want room for 8192", len(c.of))
	}

	for n := maxKept; n < maxKept+1000; n++ {
		c.put(keyOf(n), 0, identity.NewSecret("more"), noon.Add(time.Minute), noon)
		if !c.has(n, noon) || len(c.of) != 8192 {
			t.Fatalf("after %d more: kept %d tokens, and the newest is one: %v", n-maxKept+1, len(c.of), c.has(n, noon))
		}
	}
}

// TestWhatHasEndedMakesRoomFirst: a token that is still good costs an exchange to lose.
func TestWhatHasEndedMakesRoomFirst(t *testing.T) {
	c, later := full(), noon.Add(90*time.Second)

	c.put(keyOf(maxKept), 0, identity.NewSecret("more"), noon.Add(3*time.Minute), later)

	if len(c.of) != maxKept/2+1 {
		t.Errorf("kept %d tokens, want those that have not ended, and the new one", len(c.of))
	}
	for n := maxKept / 2; n <= maxKept; n++ {
		if !c.has(n, later) {
			t.Fatalf("token %d, which is still good, was dropped", n)
		}
	}
}

func TestATokenInPlaceOfItsOwnDropsNone(t *testing.T) {
	c := full()

	c.put(keyOf(0), 0, identity.NewSecret("again"), noon.Add(3*time.Minute), noon)

	for n := range maxKept {
		if !c.has(n, noon) {
			t.Fatalf("token %d was dropped for one that had a place", n)
		}
	}
}
