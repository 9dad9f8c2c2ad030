package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// ClientCertificate says whether a connection needs a client certificate. The
// zero value requires one.
type ClientCertificate int

const (
	// CertificateRequired refuses connections without a client certificate.
	CertificateRequired ClientCertificate = iota
	// CertificateOptional accepts them; a certificate that is presented is
	// verified the same way.
	CertificateOptional
)

// ServerTLS is the configuration of a listener: TLS 1.3, our SVID of the
// moment, and the client verified against the bundle of its own trust domain,
// which must have a tenant.
//
// The check is in VerifyConnection and tickets are off. Go does not call
// VerifyPeerCertificate on a resumed session, so a client that was denied since
// its first connection would come back on a ticket (SECURITY 3.5).
func (p *Peers) ServerTLS(mode ClientCertificate) *tls.Config {
	auth := tls.RequireAnyClientCert
	if mode == CertificateOptional {
		auth = tls.RequestClientCert
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
		ClientAuth:             auth,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return servable(p.source, p.now())
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 && mode == CertificateOptional {
				return nil
			}
			_, err := p.admit(state.PeerCertificates, p.now())
			return err
		},
	}
}

// servable is our certificate, or an error when it may not be shown: peers
// refuse an expired one anyway, with a message that misleads.
func servable(src Source, now time.Time) (*tls.Certificate, error) {
	s, err := src.SVID()
	if err != nil {
		return nil, err
	}
	if err := s.Valid(now); err != nil {
		return nil, err
	}
	return &s.Certificate, nil
}

// ClientConfig is how we connect to a server with an SVID. All fields but Now
// are required.
type ClientConfig struct {
	Source  Source
	Servers []string         // patterns like those of WorkloadGrant.ID
	Now     func() time.Time // absent: time.Now
}

// ClientTLS is the configuration of a client that shows our SVID and accepts
// only servers whose SVID verifies against the bundle of its trust domain and
// matches a pattern. Host names play no part.
func ClientTLS(cfg ClientConfig) (*tls.Config, error) {
	if cfg.Source == nil || len(cfg.Servers) == 0 {
		return nil, errors.New("a source of SVIDs and at least one server pattern are required")
	}
	cfg.Now = orNow(cfg.Now)
	var servers []pattern
	for _, text := range cfg.Servers {
		pat, err := parsePattern(text)
		if err != nil {
			return nil, fmt.Errorf("server pattern: %w", err)
		}
		servers = append(servers, pat)
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, //nolint:gosec // SPIFFE has no host names; VerifyConnection checks the chain and the ID
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return servable(cfg.Source, cfg.Now())
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			return verifyServer(cfg, servers, state.PeerCertificates)
		},
	}, nil
}

// WebTLS is the configuration of a client that shows our SVID and accepts a server as
// any web client does: by its name and the system's roots.
func WebTLS(src Source, now func() time.Time) *tls.Config {
	now = orNow(now)
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return servable(src, now())
		},
	}
}

func verifyServer(cfg ClientConfig, servers []pattern, certs []*x509.Certificate) error {
	if len(certs) == 0 {
		return errors.New("the server has no certificate")
	}
	id, err := leafID(certs[0])
	if err != nil {
		return err
	}
	bundle, err := cfg.Source.Bundle(id.TrustDomain().Name())
	if err != nil {
		return err
	}
	if _, err := bundle.verify(certs, x509.ExtKeyUsageServerAuth, cfg.Now()); err != nil {
		return err
	}
	for _, p := range servers {
		if p.matches(id) {
			return nil
		}
	}
	return fmt.Errorf("the server is %s, which is not expected here", id)
}
