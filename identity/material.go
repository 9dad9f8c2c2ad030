package identity

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// material is one consistent state of a source.
type material struct {
	svid    *SVID
	bundles map[string]*Bundle
}

// holder is the current material behind an atomic pointer; every source embeds
// one.
type holder struct{ now atomic.Pointer[material] }

// SVID gives our own SVID as it is now, even when it has expired: who serves it
// must ask Valid.
func (h *holder) SVID() (*SVID, error) {
	m := h.now.Load()
	if m == nil || m.svid == nil {
		return nil, errors.New("the source has no SVID yet")
	}
	return m.svid, nil
}

// Bundle gives the authorities of trustDomain.
func (h *holder) Bundle(trustDomain string) (*Bundle, error) {
	m := h.now.Load()
	if m == nil {
		return nil, errors.New("the source has no bundles yet")
	}
	b, ok := m.bundles[trustDomain]
	if !ok {
		return nil, fmt.Errorf("there is no bundle of the trust domain %q", trustDomain)
	}
	return b, nil
}

// set makes m current. Bundles that did not change keep their pointer, so that
// what was verified against them stays verified.
func (h *holder) set(m *material) {
	if old := h.now.Load(); old != nil {
		for td, b := range m.bundles {
			if before := old.bundles[td]; b.equal(before) {
				m.bundles[td] = before
			}
		}
	}
	h.now.Store(m)
}

func orNow(now func() time.Time) func() time.Time {
	if now == nil {
		return time.Now
	}
	return now
}

func orDiscard(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}
