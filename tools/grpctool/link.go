package grpctool

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
)

// bound is TLS that remembers, for each connection, the client certificate that was
// shown on it. An SVID rotates while connections stay: the certificate of the moment
// is not the one that the backend saw.
type bound struct {
	config *tls.Config
	count  *atomic.Uint64
}

// connInfo is what is known of one connection.
type connInfo struct {
	credentials.TLSInfo

	number     uint64 // of the handshake, from 1
	thumbprint string // of our leaf; empty: none was asked for
	ends       time.Time
}

// ClientHandshake implements credentials.TransportCredentials.
func (b *bound) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	var shown *tls.Certificate
	config := b.config.Clone()
	config.ClientSessionCache = nil // a resumed connection shows no certificate again
	config.GetClientCertificate = func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		cert, err := choose(b.config, r)
		shown = cert
		return cert, err
	}
	conn, info, err := credentials.NewTLS(config).ClientHandshake(ctx, authority, raw)
	if err != nil {
		return nil, nil, err
	}
	secured, ok := info.(credentials.TLSInfo)
	if !ok {
		return nil, nil, errors.Join(errors.New("the connection is not TLS"), conn.Close())
	}
	c := connInfo{TLSInfo: secured, number: b.count.Add(1)}
	if shown != nil && len(shown.Certificate) > 0 {
		leaf, err := x509.ParseCertificate(shown.Certificate[0])
		if err != nil {
			return nil, nil, errors.Join(err, conn.Close())
		}
		c.thumbprint, c.ends = calltoken.Thumbprint(leaf.Raw), leaf.NotAfter
	}
	return conn, c, nil
}

// choose is the certificate that the config would show.
func choose(config *tls.Config, r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	if config.GetClientCertificate != nil {
		return config.GetClientCertificate(r)
	}
	for i := range config.Certificates {
		if r.SupportsCertificate(&config.Certificates[i]) == nil {
			return &config.Certificates[i], nil
		}
	}
	return &tls.Certificate{}, nil
}

// ServerHandshake implements credentials.TransportCredentials.
func (b *bound) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("this side only calls")
}

// Info implements credentials.TransportCredentials.
func (b *bound) Info() credentials.ProtocolInfo { return credentials.NewTLS(b.config).Info() }

// Clone implements credentials.TransportCredentials.
func (b *bound) Clone() credentials.TransportCredentials { return &bound{b.config, b.count} }

// OverrideServerName implements credentials.TransportCredentials.
func (b *bound) OverrideServerName(string) error { return errors.New("not supported") }

// dial makes the connection; it is idle until it is told to connect. Nothing that a
// name server or the environment says changes where or how often a call is made.
func (s *Source) dial() (*grpc.ClientConn, error) {
	return grpc.NewClient(s.c.Target,
		grpc.WithTransportCredentials(&bound{s.c.TLS, &s.handshakes}),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(),
		grpc.WithIdleTimeout(0),
		grpc.WithUserAgent("behalf"),
		grpc.WithMaxHeaderListSize(64<<10),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 15 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 6 * time.Minute, Timeout: 20 * time.Second}),
	)
}

// ticket is the credential of one call: it mints the token when the connection is
// known by which the call goes, and only once. gRPC sends a call again, unasked, when
// a server says that it has not looked at it; here that ends the call.
type ticket struct {
	tokens  tools.Issuing
	backend tools.Backend
	digest  string
	number  uint64 // the connection on which the descriptors were read; 0: any

	made  bool  // headers may have been sent
	bound bool  // the token names the certificate of the connection
	moved bool  // the call came to another connection, and was not made
	err   error // why no token was minted
}

var (
	errMoved = errors.New("the connection is another one")
	errAgain = errors.New("a call is made once")
)

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (t *ticket) RequireTransportSecurity() bool { return true }

// GetRequestMetadata implements credentials.PerRPCCredentials. It is called by the
// goroutine of the call.
func (t *ticket) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	r, _ := credentials.RequestInfoFromContext(ctx)
	conn, ok := r.AuthInfo.(connInfo)
	switch {
	case !ok:
		t.err = errors.New("the connection is not one of ours")
	case t.made:
		t.err = errAgain
	case t.number != 0 && t.number != conn.number:
		t.moved, t.err = true, errMoved
	}
	if t.err != nil {
		return nil, t.err
	}
	token, err := t.tokens.For(ctx, t.backend, tools.Sent{Digest: t.digest, Thumbprint: conn.thumbprint, Ends: conn.ends})
	if err != nil {
		t.err = err
		return nil, err
	}
	t.made, t.bound = true, conn.thumbprint != ""
	return map[string]string{calltoken.Header: "Bearer " + token.Reveal()}, nil
}

// wire is the codec of bytes that are messages already.
type wire struct{}

// Name implements encoding.CodecV2.
func (wire) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (wire) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.(*[]byte)
	if !ok {
		return nil, errors.New("not a message in bytes")
	}
	return mem.BufferSlice{mem.SliceBuffer(*b)}, nil
}

// Unmarshal implements encoding.CodecV2.
func (wire) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return errors.New("not a message in bytes")
	}
	*b = data.Materialize()
	return nil
}
