package identity

import (
	"sync"
	"time"
)

const (
	cacheShards    = 32
	shardEntries   = 512
	evictionProbes = 8
)

// cacheKey names a verified credential: the SHA-256 of it, and the leaf of the
// connection that it was verified on.
type cacheKey struct {
	sum  [32]byte
	leaf string
}

// cache remembers what was verified, for a bounded time and in bounded space.
// It holds successes only; dropping an entry costs a verification and nothing
// else, so a full shard drops an arbitrary one.
type cache[V any] struct{ shards [cacheShards]shard[V] }

type shard[V any] struct {
	mu      sync.RWMutex
	entries map[cacheKey]cached[V]
}

type cached[V any] struct {
	value V
	until time.Time
}

func (c *cache[V]) get(k cacheKey, now time.Time) (V, bool) {
	s := &c.shards[k.sum[0]%cacheShards]
	s.mu.RLock()
	e, ok := s.entries[k]
	s.mu.RUnlock()
	if !ok || !now.Before(e.until) {
		var none V
		return none, false
	}
	return e.value, true
}

func (c *cache[V]) put(k cacheKey, v V, until, now time.Time) {
	if !now.Before(until) {
		return
	}
	s := &c.shards[k.sum[0]%cacheShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries == nil {
		s.entries = make(map[cacheKey]cached[V])
	}
	if _, known := s.entries[k]; !known && len(s.entries) >= shardEntries {
		s.evict(now)
	}
	s.entries[k] = cached[V]{v, until}
}

// evict removes the expired among a few entries, and at least one. Go's map
// order is random, which is what makes the choice unpredictable for a caller.
func (s *shard[V]) evict(now time.Time) {
	probes, removed := 0, false
	var last cacheKey
	for k, e := range s.entries {
		last = k
		if !now.Before(e.until) {
			delete(s.entries, k)
			removed = true
		}
		if probes++; probes == evictionProbes {
			break
		}
	}
	if !removed {
		delete(s.entries, last)
	}
}
