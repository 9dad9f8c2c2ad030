package identity

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// lookEvery is how often Watch looks at the source. What it finds must be known
// everywhere within a second (SECURITY 3.4).
const lookEvery = 250 * time.Millisecond

// proof is what a workload was verified by, so that it can be verified again when
// the trust domain's bundle changes. A workload that was only stored has none, and is
// held against the grants by its name alone.
type proof struct {
	bundle *Bundle
	grants *WorkloadGrants     // that it was held against
	certs  []*x509.Certificate // nil for a JWT-SVID alone
	kid    string              // empty for a certificate alone
	key    publicKey
}

// Trusts reports why a workload that was verified once is not trusted any more:
// its trust domain, or the authority that vouched for it, is gone, or it is granted
// less than it came with. Its end is others' business.
func (p *Peers) Trusts(w Workload) error {
	domain := DomainOf(w.ID)
	if _, ok := p.tenants[domain]; !ok {
		return errors.New("the trust domain has no tenant")
	}
	b, err := p.source.Bundle(domain)
	if err == nil && w.proof != nil && w.proof.bundle != b {
		err = w.proof.holds(b, p.now())
	}
	if err != nil {
		return err
	}
	return p.granted(w)
}

// holds verifies anew. A certificate that has ended meanwhile is judged as of its
// end: that it ended is told to its caller as that.
func (pr *proof) holds(b *Bundle, now time.Time) error {
	if pr.kid != "" {
		k, ok := b.jwtKey(pr.kid)
		if !ok || !equalKeys(k.key, pr.key.key) {
			return errors.New("the key of the JWT-SVID is not the trust domain's any more")
		}
	}
	if pr.certs == nil {
		return nil
	}
	_, err := b.verify(pr.certs, x509.ExtKeyUsageClientAuth, earlier(now, pr.certs[0].NotAfter))
	return err
}

// Watch calls changed whenever the bundle of a trust domain that has a tenant
// changes or is gone, and sounds an alarm when our own SVID is not renewed in time.
// It blocks until ctx ends. The sources have no other way to tell: they differ in
// how they learn of it, and looking costs nothing.
func (p *Peers) Watch(ctx context.Context, log *slog.Logger, changed func(trustDomains []string)) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	seen, alarmed := p.bundles(), ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		alarmed = p.alarm(ctx, log, alarmed)
		now := p.bundles()
		if domains := differ(seen, now); len(domains) > 0 {
			log.WarnContext(ctx, "trust has changed; what it does not cover any more ends", slog.Any("trust_domains", domains))
			changed(domains)
		}
		seen = now
	}
}

func (p *Peers) bundles() map[string]*Bundle {
	out := make(map[string]*Bundle, len(p.tenants))
	for td := range p.tenants {
		if b, err := p.source.Bundle(td); err == nil {
			out[td] = b
		}
	}
	return out
}

func differ(before, after map[string]*Bundle) []string {
	var domains []string
	for td, b := range before {
		if after[td] != b {
			domains = append(domains, td)
		}
	}
	for td := range after {
		if before[td] == nil {
			domains = append(domains, td)
		}
	}
	slices.Sort(domains)
	return domains
}

// The states of our own SVID that are an alarm.
const (
	svidMissing = "there is none"
	svidUnfit   = "it is not valid, so new connections are refused"
	svidOld     = "less than a third of its life is left: it was not renewed"
)

// alarm logs a state that an operator must know of, once, and gives it.
func (p *Peers) alarm(ctx context.Context, log *slog.Logger, before string) string {
	state, attrs := p.ownState()
	if state != "" && state != before {
		log.ErrorContext(ctx, "own SVID", append([]any{slog.String("alarm", state)}, attrs...)...)
	}
	return state
}

func (p *Peers) ownState() (state string, attrs []any) {
	s, err := p.source.SVID()
	if err != nil {
		return svidMissing, nil
	}
	attrs = []any{slog.String("spiffe_id", s.ID), slog.Time("not_after", s.NotAfter)}
	switch now := p.now(); {
	case s.Valid(now) != nil:
		return svidUnfit, attrs
	case s.DueForRenewal(now):
		return svidOld, attrs
	}
	return "", attrs
}

// DomainOf is the trust domain of a SPIFFE ID that was verified.
func DomainOf(id string) string {
	domain, _, _ := strings.Cut(strings.TrimPrefix(id, "spiffe://"), "/")
	return domain
}
