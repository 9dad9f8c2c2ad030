package exchange

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

const (
	typeAccess    = "urn:ietf:params:oauth:token-type:access_token"
	typeJWT       = "urn:ietf:params:oauth:token-type:jwt"
	typeAssertion = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

	maxAnswer = 64 << 10 // bytes
	maxHeader = 16 << 10
	maxConns  = 16 // to the server at once; the others wait
)

// client reaches one authorization server.
type client struct{ http *http.Client }

// newClient opens a connection for each exchange where our certificate is the proof:
// a token that is bound to it then names the one we have now, and a connection cannot
// outlive it. No proxy, no redirect: the person's token goes to the one address.
func newClient(c *Config) *client {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLS != nil {
		conf = c.TLS.Clone()
	}
	conf.ClientSessionCache = nil // a resumed session is not verified again
	return &client{&http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &strict{to: c.TokenURL, inner: &http.Transport{
			TLSClientConfig: conf, ForceAttemptHTTP2: true, DisableCompression: true, DisableKeepAlives: c.Client.Key == nil,
			DialContext: (&net.Dialer{Timeout: c.Timeout}).DialContext, TLSHandshakeTimeout: c.Timeout, IdleConnTimeout: time.Minute,
			MaxConnsPerHost: maxConns, MaxResponseHeaderBytes: maxHeader,
		}},
	}}
}

// in is how the library is given a client.
func (c *client) in(ctx context.Context) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, c.http)
}

func (c *client) config(conf *Config, scopes []string, params url.Values) *clientcredentials.Config {
	return &clientcredentials.Config{
		ClientID: conf.Client.ID, TokenURL: conf.TokenURL, Scopes: scopes, EndpointParams: params, AuthStyle: oauth2.AuthStyleInParams,
	}
}

// proof is how we show to be the client: by an assertion, or with nothing here and the
// certificate of the connection.
func (x *Exchange) proof() (url.Values, error) {
	params := url.Values{}
	if x.c.Client.Key == nil {
		return params, nil
	}
	assertion, err := x.c.Client.Key.Assertion(x.c.Client.ID, x.assertedTo())
	if err != nil {
		return nil, err
	}
	params.Set("client_assertion", assertion.Reveal())
	params.Set("client_assertion_type", typeAssertion)
	return params, nil
}

// assertedTo is the server's name in what we sign or have signed for it.
func (x *Exchange) assertedTo() string { return cmp.Or(x.c.Client.Audience, x.c.TokenURL) }

// Why there was no answer. The texts are ours: what the server says may repeat what it
// was sent.
var (
	errRedirect = errors.New("the server redirects; write the address that it redirects to")
	errLarge    = errors.New("the answer has more than 64 KiB")
	errNoJSON   = errors.New("the answer is no JSON")
	errGarbled  = errors.New("the answer cannot be read")
	errSlow     = errors.New("the server did not answer in time")
	errUnknown  = errors.New("the server's certificate is not accepted")
	errNetwork  = errors.New("the server cannot be reached")
	errElse     = errors.New("not the token URL")
)

// strict lets only JSON of a bounded size from one address through. The library alone
// would take a form, and text as one.
type strict struct {
	to    string
	inner http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (s *strict) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.String() != s.to {
		return nil, errElse
	}
	req = req.Clone(req.Context())
	req.Header.Set("Accept", "application/json")
	resp, err := s.inner.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return nil, errRedirect
	}
	if kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, errNoJSON
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, err
	case len(body) > maxAnswer:
		return nil, errLarge
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// refusals are the words of RFC 6749 5.2 and RFC 8693 2.2.2 for a question that will
// have the same answer again.
func refusals() []string {
	return []string{"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_target", "access_denied"}
}

// failed says why there is no token.
func (x *Exchange) failed(ctx context.Context, err error) error {
	said, answered := errors.AsType[*oauth2.RetrieveError](err)
	switch {
	case answered && slices.Contains(refusals(), said.ErrorCode):
		return errDenied.Because(errors.New("the server says " + said.ErrorCode))
	case answered:
		return errAway.Because(errors.New("the server answers with an error of its own"))
	}
	return errAway.Because(cause(ctx, err))
}

// cause is what went wrong on the way, without a word of the other side.
func cause(ctx context.Context, err error) error {
	for _, ours := range []error{errRedirect, errLarge, errNoJSON, errElse} {
		if errors.Is(err, ours) {
			return ours
		}
	}
	timeout, _ := errors.AsType[net.Error](err)
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, network := errors.AsType[*net.OpError](err)
	switch {
	case ctx.Err() != nil || timeout != nil && timeout.Timeout():
		return errSlow
	case certificate:
		return errUnknown
	case network:
		return errNetwork
	}
	return errGarbled
}

// usable permits https, and http to this machine.
func usable(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return false
	}
	local := u.Hostname() == "localhost" || net.ParseIP(u.Hostname()).IsLoopback()
	return u.Scheme == "https" || u.Scheme == "http" && local
}
