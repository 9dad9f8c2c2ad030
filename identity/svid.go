package identity

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

const maxSPIFFEID = 2048

// Source gives our own SVID and the authorities of trust domains as they are at
// this moment. SVID and Bundle may be called by many goroutines and do no I/O;
// Run keeps them fresh, blocks, and returns nil when ctx ends.
type Source interface {
	SVID() (*SVID, error)
	Bundle(trustDomain string) (*Bundle, error)
	Run(ctx context.Context) error
}

// SVID is an X.509-SVID with its key. It is never changed after construction;
// a rotation is a new one.
type SVID struct {
	ID          string // spiffe://trust-domain/path
	TrustDomain string
	Thumbprint  string // base64url SHA-256 of the leaf's DER
	NotBefore   time.Time
	NotAfter    time.Time
	Certificate tls.Certificate
}

// NewSVID checks the leaf rules (SECURITY 3.2) and that the key is the leaf's.
func NewSVID(cert tls.Certificate) (*SVID, error) {
	if len(cert.Certificate) == 0 {
		return nil, errors.New("there is no certificate")
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("parse the leaf: %w", err)
	}
	id, err := leafID(leaf)
	if err != nil {
		return nil, err
	}
	if !ownsKey(leaf, cert.PrivateKey) {
		return nil, errors.New("the private key is not the certificate's")
	}
	cert.Leaf = leaf
	return &SVID{
		ID: id.String(), TrustDomain: id.TrustDomain().Name(), Thumbprint: Thumbprint(leaf),
		NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, Certificate: cert,
	}, nil
}

func ownsKey(leaf *x509.Certificate, key crypto.PrivateKey) bool {
	signer, ok := key.(crypto.Signer)
	if !ok {
		return false
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(leaf.PublicKey)
}

// Valid reports why the SVID cannot be served now, nil if it can.
func (s *SVID) Valid(now time.Time) error {
	if now.Before(s.NotBefore) {
		return fmt.Errorf("our SVID is not valid before %s", s.NotBefore.UTC().Format(time.RFC3339))
	}
	if !now.Before(s.NotAfter) {
		return fmt.Errorf("our SVID expired at %s", s.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// DueForRenewal reports whether less than a third of the SVID's life is left,
// which by then should have been rotated: a reason to alarm.
func (s *SVID) DueForRenewal(now time.Time) bool {
	return s.NotAfter.Sub(now) < s.NotAfter.Sub(s.NotBefore)/3
}

// Thumbprint is the x5t#S256 of RFC 8705: base64url SHA-256 of the DER.
func Thumbprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Bundle is the set of authorities of one trust domain. It is never changed; an
// update is a new one, so that two bundles are the same version if the pointers
// are equal.
type Bundle struct {
	trustDomain string
	authorities []*x509.Certificate
	pool        *x509.CertPool
	jwt         *keys // of JWT-SVIDs; nil: none are known
}

// NewBundle makes the bundle of trustDomain. An empty one is refused: it
// verifies nobody and would hide a mistake.
func NewBundle(trustDomain string, authorities []*x509.Certificate) (*Bundle, error) {
	if len(authorities) == 0 {
		return nil, fmt.Errorf("the bundle of %s is empty", trustDomain)
	}
	return bundleOf(trustDomain, authorities)
}

func bundleOf(trustDomain string, authorities []*x509.Certificate) (*Bundle, error) {
	if err := checkTrustDomain(trustDomain); err != nil {
		return nil, err
	}
	b := &Bundle{trustDomain: trustDomain, authorities: slices.Clone(authorities), pool: x509.NewCertPool()}
	for _, a := range authorities {
		b.pool.AddCert(a)
	}
	return b, nil
}

// TrustDomain is whose authorities these are.
func (b *Bundle) TrustDomain() string { return b.trustDomain }

// Authorities lists the certificates. The caller may keep and change the slice.
func (b *Bundle) Authorities() []*x509.Certificate { return slices.Clone(b.authorities) }

func (b *Bundle) equal(o *Bundle) bool {
	return o != nil && b.trustDomain == o.trustDomain &&
		slices.EqualFunc(b.authorities, o.authorities, (*x509.Certificate).Equal) &&
		(b.jwt == nil) == (o.jwt == nil) && (b.jwt == nil || sameKeys(b.jwt, o.jwt))
}

// verify checks the chain against this bundle and gives the end of its
// validity: the earliest NotAfter on the way to the root.
func (b *Bundle) verify(certs []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) (time.Time, error) {
	intermediates := x509.NewCertPool()
	for _, c := range certs[1:] {
		intermediates.AddCert(c)
	}
	chains, err := certs[0].Verify(x509.VerifyOptions{
		Roots: b.pool, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("verify against the bundle of %s: %w", b.trustDomain, err)
	}
	end := certs[0].NotAfter
	for _, c := range chains[0] {
		if c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return end, nil
}

// leafID reads the identity of a leaf that satisfies SECURITY 3.2.
func leafID(leaf *x509.Certificate) (spiffeid.ID, error) {
	id, err := x509svid.IDFromCert(leaf)
	if err != nil {
		return spiffeid.ID{}, fmt.Errorf("read the SPIFFE ID: %w", err)
	}
	switch {
	case len(id.String()) > maxSPIFFEID:
		return spiffeid.ID{}, fmt.Errorf("the SPIFFE ID is longer than %d bytes", maxSPIFFEID)
	case id.Path() == "":
		return spiffeid.ID{}, errors.New("the SPIFFE ID names a trust domain, not a workload")
	case leaf.IsCA:
		return spiffeid.ID{}, errors.New("the leaf is a CA")
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return spiffeid.ID{}, errors.New("the leaf lacks the usage digitalSignature")
	case leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return spiffeid.ID{}, errors.New("the leaf may sign certificates or CRLs")
	}
	return id, nil
}

func checkTrustDomain(name string) error {
	td, err := spiffeid.TrustDomainFromString(name)
	if err != nil || td.Name() != name {
		return fmt.Errorf("%q is not the name of a trust domain", name)
	}
	return nil
}
