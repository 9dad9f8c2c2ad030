package mcptool

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/tools"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"golang.org/x/time/rate"
)

const (
	maxRequest = 1 << 20  // of what we send; the arguments are much smaller
	maxHeader  = 64 << 10 // of an answer
	flood      = 64 << 10 // bytes a second of a stream that stands
)

// newReplies limits what we answer of what a server asks unasked: an honest one asks
// once in a while whether we are there.
func newReplies() *rate.Limiter { return rate.NewLimiter(10, 20) }

// carrier marks the requests that are made in the course of one call. Without it a
// request carries nobody's token, whatever else is in its context: the SDK keeps
// the context of the handshake for as long as the session lives.
type carrier struct{ over atomic.Bool }

type carrierKey struct{}

func (c *carrier) in(ctx context.Context) context.Context {
	return context.WithValue(ctx, carrierKey{}, c)
}

// onBehalf marks the requests of a call: it, and that it was cancelled.
func onBehalf(ctx context.Context) context.Context { return (&carrier{}).in(ctx) }

func carried(ctx context.Context) bool {
	c, ok := ctx.Value(carrierKey{}).(*carrier)
	return ok && !c.over.Load()
}

// trip is the way of one session's requests: to the one URL, with the configured
// headers, and with a token that is minted for exactly this request, which names the
// digest of its whole body and the certificate of the connection.
type trip struct {
	remote   *remote
	tap      *tap
	standing bool // its answers have no end
	replies  *rate.Limiter
}

// RoundTrip implements http.RoundTripper.
func (t *trip) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.String() != t.remote.base {
		return nil, errors.New("not the server's URL")
	}
	body, err := keep(req, maxRequest)
	if err != nil {
		return nil, err
	}
	if t.ignores(req, body) {
		return &http.Response{Status: "202 Accepted", StatusCode: http.StatusAccepted, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
	}
	w, err := t.remote.wires.current()
	if err != nil {
		return nil, err
	}
	out := req.Clone(watchSent(req.Context()))
	out.URL = t.remote.url
	if out.Body = http.NoBody; body != nil {
		out.Body = io.NopCloser(bytes.NewReader(body))
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	if err := t.head(out, w, body); err != nil {
		return nil, err
	}
	resp, err := w.transport.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	t.remote.room.saw(resp)
	resp.Body = t.bounded(req.Context(), resp.Body)
	x := exchangeFrom(req.Context())
	if x == nil {
		return resp, nil
	}
	x.status.Store(int32(resp.StatusCode))
	if !x.call {
		return resp, nil
	}
	return alone(resp)
}

// ignores reports a reply to a server that asks too often. It is not sent, and the
// SDK takes it for sent.
func (t *trip) ignores(req *http.Request, body []byte) bool {
	if exchangeFrom(req.Context()) != nil || len(body) == 0 {
		return false
	}
	m, err := jsonrpc.DecodeMessage(body)
	_, reply := m.(*jsonrpc.Response)
	return err == nil && reply && !t.replies.Allow()
}

func (t *trip) head(out *http.Request, w *wire, body []byte) error {
	c := t.remote.c
	out.Header.Del("Authorization")
	for name, value := range c.Headers {
		out.Header.Set(name, value.Reveal())
	}
	if v := t.tap.negotiated(); v != "" && out.Header.Get("Mcp-Protocol-Version") == "" {
		out.Header.Set("Mcp-Protocol-Version", v)
	}
	if c.Backend.Audience == "" || !carried(out.Context()) {
		return nil
	}
	token, err := c.Tokens.For(out.Context(), c.Backend, tools.Sent{Digest: calltoken.Digest(body), Thumbprint: w.thumbprint, Ends: w.ends})
	if err != nil {
		return err
	}
	out.Header.Set(calltoken.Header, "Bearer "+token.Reveal())
	if x := exchangeFrom(out.Context()); x != nil {
		x.signed.Store(true)
		x.bound.Store(w.thumbprint != "")
	}
	return nil
}

// watchSent notes when the first byte of an exchange has left: from then on a write
// may have happened.
func watchSent(ctx context.Context) context.Context {
	x := exchangeFrom(ctx)
	if x == nil {
		return ctx
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { x.sent.Store(true) }})
}

// bounded is an answer's body of which there is an end, or which comes slowly.
func (t *trip) bounded(ctx context.Context, body io.ReadCloser) io.ReadCloser {
	if t.standing {
		return &slow{ReadCloser: body, ctx: ctx, rate: rate.NewLimiter(flood, flood)}
	}
	return &short{ReadCloser: body, left: t.remote.c.Limits.Message}
}

var errGiant = errors.New("the answer is too large")

type short struct {
	io.ReadCloser
	left int
}

// Read implements io.Reader.
func (s *short) Read(p []byte) (int, error) {
	if s.left <= 0 {
		return 0, errGiant
	}
	n, err := s.ReadCloser.Read(p[:min(len(p), s.left)])
	s.left -= n
	return n, err
}

type slow struct {
	io.ReadCloser
	ctx  context.Context //nolint:containedctx // of the request that this is the answer of
	rate *rate.Limiter
}

// Read implements io.Reader. It waits as long as it read too much.
func (s *slow) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p[:min(len(p), s.rate.Burst())])
	if wait := s.rate.WaitN(s.ctx, n); wait != nil && err == nil {
		err = wait
	}
	return n, err
}

// wire is the connections that show one certificate.
type wire struct {
	transport  *http.Transport
	leaf       []byte // DER; nil: we show none
	thumbprint string
	ends       time.Time
}

// wires are renewed with our certificate, so that a token always names the one that
// its connection was opened with.
type wires struct {
	c   *Config
	mu  sync.Mutex
	now *wire
}

func newWires(c *Config) *wires { return &wires{c: c} }

func (w *wires) current() (*wire, error) {
	cert, err := w.c.certificate()
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now != nil && (cert == nil && w.now.leaf == nil || cert != nil && bytes.Equal(w.now.leaf, cert.Certificate[0])) {
		return w.now, nil
	}
	next, err := w.c.wire(cert)
	if err != nil {
		return nil, err
	}
	if w.now != nil {
		w.now.transport.CloseIdleConnections()
	}
	w.now = next
	return next, nil
}

func (w *wires) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now != nil {
		w.now.transport.CloseIdleConnections()
	}
}

// certificate is the one that we would show now; nil: none.
func (c *Config) certificate() (*tls.Certificate, error) {
	switch {
	case c.TLS == nil:
		return nil, nil //nolint:nilnil // there is none, and that is no error
	case c.TLS.GetClientCertificate != nil:
		cert, err := c.TLS.GetClientCertificate(&tls.CertificateRequestInfo{Version: tls.VersionTLS13})
		if err != nil || len(cert.Certificate) == 0 {
			return nil, errors.Join(errors.New("there is no certificate to show"), err)
		}
		return cert, nil
	case len(c.TLS.Certificates) > 0:
		return &c.TLS.Certificates[0], nil
	}
	return nil, nil //nolint:nilnil // see above
}

func (c *Config) wire(cert *tls.Certificate) (*wire, error) {
	w := &wire{}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLS != nil {
		conf = c.TLS.Clone()
	}
	conf.ClientSessionCache = nil // a resumed session is not verified again
	if cert != nil {
		leaf, err := x509.ParseCertificate(cert.Certificate[0])
		if err != nil {
			return nil, err
		}
		w.leaf, w.thumbprint, w.ends = leaf.Raw, calltoken.Thumbprint(leaf.Raw), leaf.NotAfter
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	w.transport = &http.Transport{
		TLSClientConfig: conf, ForceAttemptHTTP2: true, DisableCompression: true,
		DialContext:         (&net.Dialer{Timeout: c.Limits.Connect}).DialContext,
		TLSHandshakeTimeout: c.Limits.Connect, IdleConnTimeout: time.Minute, MaxConnsPerHost: c.Limits.Connection, MaxResponseHeaderBytes: maxHeader,
	}
	return w, nil
}
