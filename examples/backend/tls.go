package backend

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// Files are the PEM files of a workload: its certificate with the key, and the
// authorities of those who may connect.
type Files struct{ Cert, Key, CA string }

// TLS is that of a server that asks every client for a certificate. The files are
// read again at each handshake, for certificates live for hours.
func TLS(f Files) (*tls.Config, error) {
	if _, err := f.load(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return f.load() },
	}, nil
}

// Mutual is TLS with a certificate that is at hand.
func Mutual(own tls.Certificate, authorities *x509.CertPool) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own}, ClientCAs: authorities, ClientAuth: tls.RequireAndVerifyClientCert,
		SessionTicketsDisabled: true, // every connection shows its certificate
		NextProtos:             []string{"h2", "http/1.1"},
	}
}

func (f Files) load() (*tls.Config, error) {
	own, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("read our certificate: %w", err)
	}
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, fmt.Errorf("read the authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("the file of authorities holds none")
	}
	return Mutual(own, pool), nil
}
