package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/sync/errgroup"
)

// The profiles of bundle endpoints, by how their server is verified.
const (
	ProfileWeb    = "https_web"    // as any web server
	ProfileSPIFFE = "https_spiffe" // by its SVID
)

const (
	federationTTL   = 5 * time.Minute // of a bundle without a refresh hint
	federationStale = 24 * time.Hour
)

// FederatedDomain is a foreign trust domain whose bundle is fetched from its
// bundle endpoint (SPIFFE Federation 5).
type FederatedDomain struct {
	TrustDomain string
	URL         string
	Profile     string
	EndpointID  string // of ProfileSPIFFE: who the server must be
	// Bundle is a PEM file of the authorities that vouch for an endpoint of the
	// domain itself before its first bundle is here.
	Bundle                string
	AllowPrivateAddresses bool
	MaxStale              time.Duration // how long a bundle outlives the last fetch; absent: 24 h
}

// FederationConfig is what a Federation needs. Source is required.
type FederationConfig struct {
	Source  Source // our own SVID, and the trust domains that are not federated
	Domains []FederatedDomain
	Roots   *x509.CertPool   // of ProfileWeb; absent: the system's
	Logger  *slog.Logger     // absent: silent
	Now     func() time.Time // absent: time.Now
}

// Federation is a Source with the bundles of federated trust domains. Until a
// domain's first bundle is here, and when the last one is too old, the domain
// verifies nobody.
//
// go-spiffe's own client for endpoints has no limit of size, asks no status, goes
// wherever a redirect or a name leads and cannot be given a dialer. So the client
// is that of issuers' keys, and go-spiffe reads what it brings.
type Federation struct {
	Source
	domains map[string]*federated
}

// NewFederation checks the configuration and reports all problems at once. It
// fetches nothing.
func NewFederation(cfg FederationConfig) (*Federation, error) {
	if cfg.Source == nil {
		return nil, errors.New("a source of SVIDs is required")
	}
	f := &Federation{Source: cfg.Source, domains: map[string]*federated{}}
	var problems []error
	for _, d := range cfg.Domains {
		problems = append(problems, f.add(d, cfg))
	}
	return f, errors.Join(problems...)
}

// JWTSVID asks the source of our own SVID for a JWT-SVID of ours.
func (f *Federation) JWTSVID(ctx context.Context, audience string) (Secret, error) {
	own, ok := f.Source.(Actor)
	if !ok {
		return Secret{}, errNoJWTSVID
	}
	return own.JWTSVID(ctx, audience)
}

func (f *Federation) add(d FederatedDomain, cfg FederationConfig) error {
	first, err := d.check()
	if own, _ := cfg.Source.SVID(); err == nil && own != nil && own.TrustDomain == d.TrustDomain {
		err = errors.New("it is our own trust domain")
	}
	if err != nil {
		return fmt.Errorf("federation with %s: %w", d.TrustDomain, err)
	}
	if d.MaxStale <= 0 {
		d.MaxStale = federationStale
	}
	one := &federated{FederatedDomain: d, first: first, now: orNow(cfg.Now), log: orDiscard(cfg.Logger)}
	w := newWeb(d.URL, d.AllowPrivateAddresses, f.endpointTLS(one, cfg.Roots))
	one.load = func(ctx context.Context) (document, error) { return w.get(ctx, d.URL) }
	f.domains[d.TrustDomain] = one
	return nil
}

// Check reports what is wrong with the domain, its bundle's file included.
func (d FederatedDomain) Check() error {
	_, err := d.check()
	return err
}

func (d FederatedDomain) check() (first *Bundle, err error) {
	if err := checkTrustDomain(d.TrustDomain); err != nil {
		return nil, err
	}
	u, err := url.Parse(d.URL)
	if err != nil || u.Host == "" {
		return nil, errors.New("the endpoint's address is not a URL")
	}
	switch d.Profile {
	case ProfileWeb:
		return nil, nil
	case ProfileSPIFFE:
		return d.checkSPIFFE(u)
	}
	return nil, fmt.Errorf("the profile is neither %s nor %s", ProfileWeb, ProfileSPIFFE)
}

// checkSPIFFE insists on https even on this machine: without TLS nobody would be
// verified.
func (d FederatedDomain) checkSPIFFE(u *url.URL) (first *Bundle, err error) {
	id, err := spiffeid.FromString(d.EndpointID)
	switch {
	case u.Scheme != "https":
		return nil, errors.New("the endpoint's address must be https")
	case err != nil || id.Path() == "":
		return nil, errors.New("the endpoint's ID is not the SPIFFE ID of a workload")
	case d.Bundle != "":
		return readBundle(d.TrustDomain, d.Bundle)
	case id.TrustDomain().Name() == d.TrustDomain:
		return nil, errors.New("an endpoint in the domain itself needs a first bundle to be verified by")
	}
	return nil, nil
}

// endpointTLS verifies a domain's endpoint by its profile.
func (f *Federation) endpointTLS(d *federated, roots *x509.CertPool) *tls.Config {
	if d.Profile == ProfileWeb {
		return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // SPIFFE has no host names; VerifyConnection checks the chain and the ID
		VerifyConnection:   func(state tls.ConnectionState) error { return f.verifyEndpoint(d, state.PeerCertificates) },
	}
}

func (f *Federation) verifyEndpoint(d *federated, certs []*x509.Certificate) error {
	if len(certs) == 0 {
		return errors.New("the bundle endpoint has no certificate")
	}
	id, err := leafID(certs[0])
	if err != nil {
		return err
	}
	if id.String() != d.EndpointID {
		return fmt.Errorf("the bundle endpoint is %s, which is not expected", id)
	}
	bundle, err := f.vouching(d, id.TrustDomain().Name())
	if err != nil {
		return err
	}
	_, err = bundle.verify(certs, x509.ExtKeyUsageServerAuth, d.now())
	return err
}

// vouching is the bundle that verifies an endpoint. Of the domain itself it is the
// last one, however old: else nothing would end an outage. The first one is not
// gone back to, since an authority that was removed from the bundle must not return.
func (f *Federation) vouching(d *federated, trustDomain string) (*Bundle, error) {
	if trustDomain != d.TrustDomain {
		return f.Bundle(trustDomain)
	}
	if last := d.last.Load(); last != nil && last.bundle != nil {
		return last.bundle, nil
	} else if last != nil {
		return nil, errors.New("the trust domain has withdrawn its bundle")
	}
	return d.first, nil
}

// Bundle gives the authorities of trustDomain.
func (f *Federation) Bundle(trustDomain string) (*Bundle, error) {
	if d, ok := f.domains[trustDomain]; ok {
		return d.current()
	}
	return f.Source.Bundle(trustDomain)
}

// Refresh fetches the bundles once, so that a start does not refuse who came a
// moment too soon. What cannot be had is logged, and tried again by Run.
func (f *Federation) Refresh(ctx context.Context) {
	var tasks errgroup.Group
	for _, d := range f.domains {
		tasks.Go(func() error { d.refresh(ctx); return nil })
	}
	_ = tasks.Wait()
}

// Run runs the source and keeps the bundles fresh.
func (f *Federation) Run(ctx context.Context) error {
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { return f.Source.Run(ctx) })
	for _, d := range f.domains {
		tasks.Go(func() error { return d.run(ctx) })
	}
	return tasks.Wait()
}

// federated is one domain. Readers take what is behind the pointer.
type federated struct {
	FederatedDomain
	first *Bundle
	load  func(context.Context) (document, error)
	now   func() time.Time
	log   *slog.Logger

	last atomic.Pointer[received]

	mu       sync.Mutex // one refresh at a time
	next     time.Time
	failures int
}

// received is immutable. bundle is nil if the domain has withdrawn it.
type received struct {
	bundle *Bundle
	at     time.Time // of the last fetch that succeeded, which is the stale clock
}

func (d *federated) current() (*Bundle, error) {
	switch last := d.last.Load(); {
	case last == nil:
		return nil, fmt.Errorf("the bundle of %s was not fetched yet", d.TrustDomain)
	case last.bundle == nil:
		return nil, fmt.Errorf("%s has withdrawn its bundle", d.TrustDomain)
	case d.now().Sub(last.at) > d.MaxStale:
		return nil, fmt.Errorf("the bundle of %s could not be renewed in time", d.TrustDomain)
	default:
		return last.bundle, nil
	}
}

func (d *federated) run(ctx context.Context) error {
	for {
		timer := time.NewTimer(d.due())
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
			d.refresh(ctx)
		}
	}
}

// due is how long the next fetch can wait.
func (d *federated) due() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return max(d.next.Sub(d.now()), 0)
}

// refresh fetches the bundle. What cannot be fetched or read changes nothing but
// the time of the next try.
func (d *federated) refresh(ctx context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	doc, err := d.load(ctx)
	var b *Bundle
	var hint time.Duration
	if err == nil {
		b, hint, err = readFederated(d.TrustDomain, doc.body)
	}
	if err != nil {
		d.next = d.now().Add(min(retryFirst<<min(d.failures, 10), minTTL))
		d.failures++
		d.log.WarnContext(ctx, "bundle of a federated trust domain not refreshed", slog.String("trust_domain", d.TrustDomain), slog.Any("error", err))
		return
	}
	d.accept(b, hint)
}

// accept makes b the bundle. One that did not change keeps its pointer, so that
// what was verified by it stays verified. Half the stale bound leaves time for a
// second try.
func (d *federated) accept(b *Bundle, hint time.Duration) {
	if last := d.last.Load(); last != nil && b != nil && b.equal(last.bundle) {
		b = last.bundle
	}
	if b == nil {
		d.log.Error("a federated trust domain has withdrawn its bundle; nobody of it is trusted", slog.String("trust_domain", d.TrustDomain))
	}
	now := d.now()
	d.last.Store(&received{b, now})
	d.next, d.failures = now.Add(min(hint, max(d.MaxStale/2, minTTL))), 0
}

// readFederated reads a SPIFFE bundle and how soon to ask again. An empty set of
// keys says that the domain withdraws all it published; then there is no bundle. A
// set of which nothing can be used is a mistake.
func readFederated(trustDomain string, document []byte) (*Bundle, time.Duration, error) {
	jwt, err := readKeys(document, accepted{"jwt-svid", svidAlgorithms()}) // first: it bounds and is strict
	if err != nil {
		return nil, 0, err
	}
	td, err := spiffeid.TrustDomainFromString(trustDomain)
	if err != nil {
		return nil, 0, err
	}
	parsed, err := spiffebundle.Parse(td, document)
	if err != nil {
		return nil, 0, err
	}
	hint := refreshHint(parsed)
	withdrawn := jwt.dropped+jwt.doubled+len(jwt.byID) == 0
	maps.DeleteFunc(jwt.byID, func(kid string, _ publicKey) bool { return !parsed.HasJWTAuthority(kid) }) // those that do not say their use
	switch authorities := parsed.X509Authorities(); {
	case withdrawn:
		return nil, hint, nil
	case len(jwt.byID)+len(authorities) == 0:
		return nil, 0, errors.New("the bundle has no usable key")
	default:
		b, err := bundleOf(trustDomain, authorities)
		if err != nil {
			return nil, 0, err
		}
		b.jwt = jwt
		return b, hint, nil
	}
}

func refreshHint(b *spiffebundle.Bundle) time.Duration {
	hint, ok := b.RefreshHint()
	if !ok {
		return federationTTL
	}
	return min(max(hint, minTTL), maxTTL)
}
