package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	forcedEvery    = 30 * time.Second
	retryFirst     = time.Second
	fetchTimeout   = 5 * time.Second
	maxMissingKeys = 1024
)

// errUnknownKey says that the issuer has no such key.
var errUnknownKey = errors.New("the issuer has no key of this kid")

// document is what a loader got, and for how long it is good.
type document struct {
	body []byte
	ttl  time.Duration
}

// keySet is the keys of one issuer. Readers take the snapshot behind an atomic
// pointer; at most one fetch runs at a time; tokens with kids that nobody knows
// cause at most one fetch in 30 s, however many there are.
type keySet struct {
	issuer   string
	load     func(context.Context) (document, error)
	maxStale time.Duration
	now      func() time.Time
	log      *slog.Logger

	snapshot atomic.Pointer[snapshot]

	mu       sync.Mutex
	flight   chan struct{} // closed when the running fetch ends; nil without one
	forced   time.Time     // when a token last forced a fetch
	next     time.Time     // when the background fetches again
	failures int
	lastErr  error
	missing  map[string]time.Time // kid -> until when it is known to be absent
}

// snapshot is immutable. fetched is the last time that the issuer confirmed
// the keys; a fetch that fails does not move it, which is the stale clock.
type snapshot struct {
	keys    *keys
	fetched time.Time
}

// current gives the keys that may verify at now, nil when there are none or they
// are beyond the stale bound.
func (s *keySet) current(now time.Time) *keys {
	snap := s.snapshot.Load()
	if snap == nil || now.Sub(snap.fetched) > s.maxStale {
		return nil
	}
	return snap.keys
}

// find gives the key of kid, and the version of the set that it is in.
func (s *keySet) find(ctx context.Context, kid string) (publicKey, *keys, error) {
	ks := s.current(s.now())
	if ks != nil {
		if k, ok := ks.byID[kid]; ok {
			return k, ks, nil
		}
	}
	if err := s.force(ctx, kid); err != nil {
		return publicKey{}, nil, err
	}
	if ks = s.current(s.now()); ks == nil {
		return publicKey{}, nil, s.unavailable()
	}
	k, ok := ks.byID[kid]
	if !ok {
		s.remember(kid)
		return publicKey{}, nil, errUnknownKey
	}
	return k, ks, nil
}

// force fetches because of kid, if it may, and waits for a fetch that runs. The
// first caller does the work itself; its own cancellation must not fail the
// others, so the fetch has a deadline of its own.
func (s *keySet) force(ctx context.Context, kid string) error {
	s.mu.Lock()
	now := s.now()
	if now.Before(s.missing[kid]) {
		s.mu.Unlock()
		return nil
	}
	if running := s.flight; running != nil {
		s.mu.Unlock()
		return wait(ctx, running)
	}
	if !s.forced.IsZero() && now.Sub(s.forced) < forcedEvery {
		s.mu.Unlock()
		return nil
	}
	s.forced = now
	s.begin()
	s.mu.Unlock()
	s.fetch(context.WithoutCancel(ctx))
	return nil
}

func wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// refresh fetches in the background, unless a fetch runs.
func (s *keySet) refresh(ctx context.Context) {
	s.mu.Lock()
	if running := s.flight; running != nil {
		s.mu.Unlock()
		_ = wait(ctx, running)
		return
	}
	s.begin()
	s.mu.Unlock()
	s.fetch(ctx)
}

func (s *keySet) begin() { s.flight = make(chan struct{}) }

// fetch does what begin announced.
func (s *keySet) fetch(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	doc, err := s.load(ctx)
	var ks *keys
	if err == nil {
		ks, err = parseKeys(doc.body)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.failed(err)
	} else {
		s.accept(ks, doc.ttl)
	}
	close(s.flight)
	s.flight = nil
}

func (s *keySet) failed(err error) {
	s.next = s.now().Add(min(retryFirst<<min(s.failures, 10), forcedEvery))
	s.failures++
	s.lastErr = err
	s.log.Warn("issuer's keys not refreshed", slog.String("issuer", s.issuer), slog.Any("error", err))
}

// accept makes ks the keys. There is no union of old and new: a key that the
// issuer removed verifies nothing from here on. A set that did not change keeps
// its pointer, so that verified tokens stay verified.
func (s *keySet) accept(ks *keys, ttl time.Duration) {
	if old := s.snapshot.Load(); old != nil && sameKeys(old.keys, ks) {
		ks = old.keys
	}
	now := s.now()
	s.snapshot.Store(&snapshot{keys: ks, fetched: now})
	s.next, s.failures, s.lastErr, s.missing = now.Add(ttl), 0, nil, nil
	if ks.doubled > 0 {
		s.log.Error("issuer has several keys under one kid; none of them is used",
			slog.String("issuer", s.issuer), slog.Int("kids", ks.doubled))
	}
}

func sameKeys(a, b *keys) bool {
	if len(a.byID) != len(b.byID) {
		return false
	}
	for kid, k := range a.byID {
		other, ok := b.byID[kid]
		if !ok || k.alg != other.alg || !equalKeys(k.key, other.key) {
			return false
		}
	}
	return true
}

// remember notes that kid is absent. The space is bounded; without a note the
// limit of one fetch in 30 s still holds.
func (s *keySet) remember(kid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if len(s.missing) >= maxMissingKeys {
		for k, until := range s.missing {
			if !now.Before(until) {
				delete(s.missing, k)
			}
		}
	}
	if len(s.missing) >= maxMissingKeys {
		return
	}
	if s.missing == nil {
		s.missing = map[string]time.Time{}
	}
	s.missing[kid] = now.Add(forcedEvery)
}

func (s *keySet) unavailable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	retry := max(s.forced.Add(forcedEvery).Sub(s.now()), time.Second)
	return keysUnavailable(retry, fmt.Errorf("keys of %q: %w", s.issuer, s.reason()))
}

func (s *keySet) reason() error {
	if s.lastErr != nil {
		return s.lastErr
	}
	return errors.New("not fetched yet")
}

// due gives when the background should fetch; the zero time means now.
func (s *keySet) due() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next
}

// KeySetStatus is what operators watch of one issuer's keys.
type KeySetStatus struct {
	Issuer  string
	Fetched time.Time // the last success; zero: never
	Keys    int
	Doubled int   // kids dropped because several keys had them
	Err     error // of the last fetch; nil: it succeeded
}

func (s *keySet) status() KeySetStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := KeySetStatus{Issuer: s.issuer, Err: s.lastErr}
	if snap := s.snapshot.Load(); snap != nil {
		st.Fetched, st.Keys, st.Doubled = snap.fetched, len(snap.keys.byID), snap.keys.doubled
	}
	return st
}
