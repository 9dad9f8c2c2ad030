package identity

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// AnyTenant as a trust domain's tenant makes its workloads carriers: they
// present users of any tenant and are refused without one.
const AnyTenant = "*"

// connectionGrace is how long an open connection may outlive the leaf that it
// was made with; no new connection is.
const connectionGrace = time.Minute

// WorkloadGrant says which workloads may call, and what they may do alone.
type WorkloadGrant struct {
	ID      string   // spiffe://trust-domain/segments, with `*` for one segment and `**` at the end for the rest
	Scopes  []string // absent or empty: nothing when it calls alone
	Issuers []string // may_present_users_from: exact issuers; absent: nobody's users
}

// PeersConfig is who may connect. Source is required.
type PeersConfig struct {
	Source  Source
	Tenants map[string]string // trust domain -> tenant or AnyTenant; a domain that is absent is refused at the handshake
	Grants  []WorkloadGrant   // the first that matches holds; none: refused
	// Audiences are our names in JWT-SVIDs, one of which such a token must be for;
	// none: JWT-SVIDs are refused.
	Audiences []string
	Now       func() time.Time // absent: time.Now
}

// Peers verifies the process at the other end of a connection.
type Peers struct {
	source    Source
	tenants   map[string]string
	grants    atomic.Pointer[WorkloadGrants]
	audiences []string
	now       func() time.Time
	seen      cache[*peer] // by leaf
	bearers   cache[*peer] // by JWT-SVID
	decoy     decoy
}

// peer is a leaf or a JWT-SVID that was verified against bundle. Tenants do not change
// during the life of a Peers, so as long as bundle and grants are the same the whole
// answer can be remembered.
type peer struct {
	bundle   *Bundle
	grants   *WorkloadGrants
	workload Workload
	granted  bool
}

// NewPeers checks the configuration and reports all problems at once.
func NewPeers(cfg PeersConfig) (*Peers, error) {
	p := &Peers{source: cfg.Source, tenants: maps.Clone(cfg.Tenants), audiences: slices.Clone(cfg.Audiences), now: orNow(cfg.Now)}
	var problems []error
	if slices.Contains(cfg.Audiences, "") {
		problems = append(problems, errors.New("an audience of JWT-SVIDs has no name"))
	}
	if cfg.Source == nil {
		problems = append(problems, errors.New("a source of SVIDs is required"))
	}
	problems = append(problems, checkDomains(cfg.Tenants)...)
	grants, err := p.Grants(cfg.Grants)
	if err := errors.Join(append(problems, err)...); err != nil {
		return nil, err
	}
	p.grants.Store(grants)
	p.decoy, err = newDecoy()
	return p, err
}

func checkDomains(tenants map[string]string) []error {
	var problems []error
	for _, td := range slices.Sorted(maps.Keys(tenants)) {
		if err := checkTrustDomain(td); err != nil {
			problems = append(problems, err)
		}
		if t := tenants[td]; t != AnyTenant && !ValidTenant(t) {
			problems = append(problems, fmt.Errorf("%q is not a tenant (trust domain %s)", t, td))
		}
	}
	return problems
}

// Workload gives the verified workload of a connection. It repeats the whole
// check of the handshake, from memory as long as leaf and bundle are the same,
// so an authority that was removed from the bundle ends open connections too
// and a state from a listener of other making is not trusted.
func (p *Peers) Workload(state tls.ConnectionState) (Workload, error) {
	if len(state.PeerCertificates) == 0 {
		return Workload{}, required("a client certificate is required")
	}
	at, err := p.within(state.PeerCertificates[0].NotAfter)
	if err != nil {
		return Workload{}, expired(err)
	}
	got, err := p.admit(state.PeerCertificates, at)
	if err != nil {
		return Workload{}, invalid(err)
	}
	return got.answer()
}

// answer is the workload, for the caller to keep, if it may call.
func (got *peer) answer() (Workload, error) {
	if !got.granted {
		return Workload{}, ungranted()
	}
	w := got.workload
	w.Issuers = slices.Clone(w.Issuers)
	return w, nil
}

// within gives the moment at which to judge a leaf of an open connection: now,
// or its end during the grace that clients have to connect again (SECURITY 3.7).
func (p *Peers) within(notAfter time.Time) (time.Time, error) {
	now := p.now()
	switch {
	case !now.After(notAfter):
		return now, nil
	case now.After(notAfter.Add(connectionGrace)):
		return time.Time{}, errors.New("the connection outlived its client certificate")
	}
	return notAfter, nil
}

// admit verifies a presented chain as of at.
func (p *Peers) admit(certs []*x509.Certificate, at time.Time) (*peer, error) {
	if len(certs) == 0 {
		return nil, errors.New("there is no certificate")
	}
	key := cacheKey{sum: sha256.Sum256(certs[0].Raw)}
	if got, ok := p.seen.get(key, at); ok && p.current(got) {
		return got, nil
	}
	got, end, err := p.verify(certs, at)
	if err != nil {
		return nil, err
	}
	p.seen.put(key, got, end, at)
	return got, nil
}

func (p *Peers) current(got *peer) bool {
	b, err := p.source.Bundle(got.workload.TrustDomain)
	return err == nil && b == got.bundle && got.grants == p.grants.Load()
}

func (p *Peers) verify(certs []*x509.Certificate, now time.Time) (*peer, time.Time, error) {
	id, err := leafID(certs[0])
	if err != nil {
		return nil, time.Time{}, err
	}
	td := id.TrustDomain().Name()
	tenant, ok := p.tenants[td]
	if !ok {
		return nil, time.Time{}, errors.New("the trust domain has no tenant")
	}
	bundle, err := p.source.Bundle(td)
	if err != nil {
		return nil, time.Time{}, err
	}
	end, err := bundle.verify(certs, x509.ExtKeyUsageClientAuth, now)
	if err != nil {
		return nil, time.Time{}, err
	}
	got := &peer{bundle: bundle, workload: describe(id, certs[0], tenant)}
	got.workload.proof = &proof{bundle: bundle, certs: certs}
	p.grant(got, id)
	return got, end, nil
}

func describe(id spiffeid.ID, leaf *x509.Certificate, tenant string) Workload {
	return Workload{
		ID: id.String(), TrustDomain: id.TrustDomain().Name(), Tenant: ownTenant(tenant),
		Thumbprint: Thumbprint(leaf), NotAfter: leaf.NotAfter,
	}
}

// ownTenant is the tenant of a domain's workloads when they call alone.
func ownTenant(of string) string {
	if of == AnyTenant {
		return ""
	}
	return of
}

// Own gives our own SVID as it is served now, for metrics and for tokens that
// are bound to it.
func (p *Peers) Own() (*SVID, error) { return p.source.SVID() }

// Ready reports why new connections would fail now: no SVID, or one that is not
// valid. Health checks ask it.
func (p *Peers) Ready() error {
	s, err := p.source.SVID()
	if err != nil {
		return err
	}
	return s.Valid(p.now())
}
