package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/internal/whole"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

const (
	devCALife   = 365 * 24 * time.Hour
	devSVIDLife = 24 * time.Hour
	devJWTLife  = 5 * time.Minute
)

// DevCAConfig describes a development CA.
type DevCAConfig struct {
	Dir         string           // where the CA and client SVIDs are kept; absent: in memory only
	TrustDomain string           // absent: dev.behalf
	Path        string           // of our own SVID; absent: /behalf
	Life        time.Duration    // of an SVID; absent: 24 h
	Now         func() time.Time // absent: time.Now
}

// DevCA is a self-signed authority inside the program, and a Source of the SVIDs
// that it issues to itself. It is for development, demonstrations and tests.
type DevCA struct {
	holder
	cfg  DevCAConfig
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	jwt  *signer // of JWT-SVIDs
}

// NewDevCA loads the CA from the directory or creates it there, and issues our
// own SVID. A CA that is about to expire is replaced.
func NewDevCA(cfg DevCAConfig) (*DevCA, error) {
	if cfg.TrustDomain == "" {
		cfg.TrustDomain = "dev.behalf"
	}
	if cfg.Path == "" {
		cfg.Path = "/behalf"
	}
	if cfg.Life <= 0 {
		cfg.Life = devSVIDLife
	}
	cfg.Now = orNow(cfg.Now)
	if err := checkTrustDomain(cfg.TrustDomain); err != nil {
		return nil, err
	}
	c := &DevCA{cfg: cfg}
	if err := c.authority(); err != nil {
		return nil, err
	}
	if err := c.tokens(); err != nil {
		return nil, err
	}
	return c, c.Rotate()
}

func (c *DevCA) tokens() (err error) {
	file := ""
	if c.cfg.Dir != "" {
		file = c.file("jwt.key")
	}
	c.jwt, err = newSigner(file, "JWT")
	return err
}

// Rotate issues a new SVID to ourselves.
func (c *DevCA) Rotate() error {
	svid, err := c.Issue(c.cfg.Path)
	if err != nil {
		return err
	}
	b, err := NewBundle(c.cfg.TrustDomain, []*x509.Certificate{c.cert})
	if err != nil {
		return err
	}
	if b, err = b.WithJWTKeys(c.jwt.jwks); err != nil {
		return err
	}
	c.set(&material{svid: svid, bundles: map[string]*Bundle{c.cfg.TrustDomain: b}})
	return nil
}

// Run renews our own SVID at half of its life.
func (c *DevCA) Run(ctx context.Context) error {
	for {
		timer := time.NewTimer(c.cfg.Life / 2)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		if err := c.Rotate(); err != nil {
			return fmt.Errorf("renew the development SVID: %w", err)
		}
	}
}

// TrustDomain is the domain of every SVID that the CA issues.
func (c *DevCA) TrustDomain() string { return c.cfg.TrustDomain }

// AuthorityPEM is the CA's certificate, for clients such as grpcurl.
func (c *DevCA) AuthorityPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw})
}

// JWTKeys is the JWK set of its JWT-SVIDs: public keys only.
func (c *DevCA) JWTKeys() []byte { return append([]byte(nil), c.jwt.jwks...) }

// Issue makes an SVID for path, which begins with a slash. It also names DNS
// localhost and the loopback addresses, because clients that know no SPIFFE
// check those.
func (c *DevCA) Issue(path string) (*SVID, error) {
	id, err := c.id(path)
	if err != nil {
		return nil, err
	}
	now := c.cfg.Now()
	return c.Sign(&x509.Certificate{
		NotBefore: now.Add(-time.Minute), NotAfter: now.Add(c.cfg.Life),
		URIs: []*url.URL{id.URL()}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	})
}

func (c *DevCA) id(path string) (spiffeid.ID, error) {
	td, err := spiffeid.TrustDomainFromString(c.cfg.TrustDomain)
	if err != nil {
		return spiffeid.ID{}, fmt.Errorf("issue an SVID: %w", err)
	}
	id, err := spiffeid.FromPath(td, path)
	if err != nil {
		return spiffeid.ID{}, fmt.Errorf("issue an SVID: %w", err)
	}
	return id, nil
}

// JWTSVID implements Actor.
func (c *DevCA) JWTSVID(_ context.Context, audience string) (Secret, error) {
	return c.IssueJWT(c.cfg.Path, audience)
}

// IssueJWT makes a JWT-SVID for path and the audiences, which lives for five
// minutes as SPIRE's do.
func (c *DevCA) IssueJWT(path string, audiences ...string) (Secret, error) {
	id, err := c.id(path)
	if err != nil {
		return Secret{}, err
	}
	now := c.cfg.Now()
	return c.jwt.sign(map[string]any{
		"sub": id.String(), "aud": audiences, "iat": now.Unix(), "exp": now.Add(devJWTLife).Unix(), "jti": rand.Text(),
	})
}

// Sign issues a certificate of the template with a new key, and refuses one
// that breaks the leaf rules.
func (c *DevCA) Sign(template *x509.Certificate) (*SVID, error) {
	cert, err := c.sign(template)
	if err != nil {
		return nil, err
	}
	return NewSVID(cert)
}

func (c *DevCA) sign(template *x509.Certificate) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a key: %w", err)
	}
	t := *template
	t.SerialNumber, t.BasicConstraintsValid = newSerial(), true
	der, err := x509.CreateCertificate(rand.Reader, &t, c.cert, &key.PublicKey, c.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("sign a certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// SVIDFiles names the PEM files of one SVID.
type SVIDFiles struct{ Cert, Key, Bundle string }

// Files gives the SVID of path as files in the CA's directory, reusing those
// there while they have a third of their life left.
func (c *DevCA) Files(path string) (SVIDFiles, error) {
	if c.cfg.Dir == "" {
		return SVIDFiles{}, errors.New("the development CA has no directory")
	}
	base := filepath.Join(c.cfg.Dir, "svid-"+strings.ReplaceAll(strings.Trim(path, "/"), "/", "_"))
	f := SVIDFiles{Cert: base + ".pem", Key: base + ".key", Bundle: c.file("ca.pem")}
	if c.usable(f, path) {
		return f, nil
	}
	svid, err := c.Issue(path)
	if err != nil {
		return SVIDFiles{}, err
	}
	return f, writePair(f.Cert, f.Key, svid.Certificate)
}

func (c *DevCA) usable(f SVIDFiles, path string) bool {
	s, err := readSVID(f.Cert, f.Key)
	if err != nil || checkPrivate(f.Key) != nil {
		return false
	}
	b, err := c.Bundle(c.cfg.TrustDomain)
	if err != nil {
		return false
	}
	now := c.cfg.Now()
	_, err = b.verify([]*x509.Certificate{s.Certificate.Leaf}, x509.ExtKeyUsageClientAuth, now)
	return err == nil && !s.DueForRenewal(now) && s.ID == "spiffe://"+c.cfg.TrustDomain+path
}

func (c *DevCA) file(name string) string { return filepath.Join(c.cfg.Dir, name) }

func (c *DevCA) authority() error {
	if c.cfg.Dir == "" {
		return c.create()
	}
	if err := os.MkdirAll(c.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("make the development CA's directory: %w", err)
	}
	// writePair writes the certificate last: when it is there, so is the key.
	switch _, err := os.Stat(c.file("ca.pem")); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return fmt.Errorf("find the development CA: %w", err)
	default:
		if err := c.loadAuthority(); err != nil || c.cert.NotAfter.Sub(c.cfg.Now()) > 2*c.cfg.Life {
			return err
		}
	}
	if err := c.create(); err != nil {
		return err
	}
	return writePair(c.file("ca.pem"), c.file("ca.key"), tls.Certificate{Certificate: [][]byte{c.cert.Raw}, PrivateKey: c.key})
}

func (c *DevCA) loadAuthority() error {
	if err := checkPrivate(c.file("ca.key")); err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.file("ca.pem"), c.file("ca.key"))
	if err != nil {
		return fmt.Errorf("load the development CA: %w", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	td := &url.URL{Scheme: "spiffe", Host: c.cfg.TrustDomain}
	if !ok || len(pair.Leaf.URIs) != 1 || pair.Leaf.URIs[0].String() != td.String() {
		return fmt.Errorf("the CA in %s is not a development CA of %s", c.cfg.Dir, c.cfg.TrustDomain)
	}
	c.cert, c.key = pair.Leaf, key
	return nil
}

func (c *DevCA) create() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the CA's key: %w", err)
	}
	now := c.cfg.Now()
	t := &x509.Certificate{
		SerialNumber: newSerial(), Subject: pkix.Name{CommonName: "behalf development CA"},
		NotBefore: now.Add(-time.Minute), NotAfter: now.Add(devCALife + 2*c.cfg.Life),
		URIs: []*url.URL{{Scheme: "spiffe", Host: c.cfg.TrustDomain}},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return fmt.Errorf("make the CA's certificate: %w", err)
	}
	c.key = key
	c.cert, err = x509.ParseCertificate(der)
	return err
}

func newSerial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (Go 1.24)
	return new(big.Int).SetBytes(b[:])
}

func writePair(certFile, keyFile string, cert tls.Certificate) error {
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return fmt.Errorf("encode a key: %w", err)
	}
	if err := whole.Replace(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
		return err
	}
	var chain []byte
	for _, c := range cert.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
	}
	return whole.Replace(certFile, chain)
}
