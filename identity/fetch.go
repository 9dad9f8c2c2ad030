package identity

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	defaultTTL   = 10 * time.Minute
	minTTL       = time.Minute
	maxTTL       = 24 * time.Hour
	fileTTL      = time.Minute
	maxRedirects = 3
)

// loader chooses where the issuer's keys come from.
func loader(i Issuer, roots *x509.CertPool) func(context.Context) (document, error) {
	switch {
	case i.JWKS != nil:
		return func(context.Context) (document, error) { return document{i.JWKS, maxTTL}, nil }
	case i.JWKSFile != "":
		return func(context.Context) (document, error) { return readKeyFile(i.JWKSFile) }
	}
	w := newWeb(cmp.Or(i.JWKSURL, i.Issuer), i.AllowPrivateAddresses, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots})
	if i.JWKSURL != "" {
		return func(ctx context.Context) (document, error) { return w.get(ctx, i.JWKSURL) }
	}
	return func(ctx context.Context) (document, error) { return w.discover(ctx, i.Issuer) }
}

func readKeyFile(name string) (document, error) {
	f, err := os.Open(name)
	if err != nil {
		return document{}, fmt.Errorf("open key set: %w", err)
	}
	defer func() { _ = f.Close() }()
	body, err := readAtMost(f)
	return document{body, fileTTL}, err
}

func readAtMost(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxKeySetBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read key set: %w", err)
	}
	if len(body) > maxKeySetBytes {
		return nil, errors.New("the document is longer than 256 KiB")
	}
	return body, nil
}

// web fetches JSON documents of one issuer or trust domain. What an issuer's metadata names is
// not trusted to be a public address, so addresses are checked when dialling,
// after name resolution.
type web struct {
	client   *http.Client
	loopback bool // the operator named this machine, which http and a local dial may reach
}

// newWeb fetches from what the operator configured, which is verified by t.
func newWeb(configured string, allowPrivate bool, t *tls.Config) *web {
	u, err := url.Parse(configured)
	w := &web{loopback: err == nil && isLoopback(u)}
	dialer := &net.Dialer{Timeout: fetchTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		return w.checkAddress(address, allowPrivate)
	}}
	w.client = &http.Client{
		Timeout: fetchTimeout, CheckRedirect: sameHost,
		// No Proxy: the address check would see the proxy's address only.
		Transport: &http.Transport{
			DialContext: dialer.DialContext, ForceAttemptHTTP2: true, MaxIdleConns: 1, IdleConnTimeout: fetchTimeout,
			MaxResponseHeaderBytes: 64 << 10, TLSHandshakeTimeout: fetchTimeout,
			TLSClientConfig: t,
		},
	}
	return w
}

func sameHost(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	if req.URL.Host != first.Host || req.URL.Scheme != first.Scheme || len(via) > maxRedirects {
		return errors.New("redirected to another host")
	}
	return nil
}

func (w *web) checkAddress(address string, allowPrivate bool) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("address: %w", err)
	}
	ip := ap.Addr().Unmap()
	switch {
	case ip.IsLoopback() && (w.loopback || allowPrivate):
		return nil
	case publicAddress(ip), allowPrivate && ip.IsPrivate():
		return nil
	}
	return errors.New("the keys are at an address that is not public; set allow_private_addresses if that is right")
}

func publicAddress(ip netip.Addr) bool {
	if !ip.IsGlobalUnicast() || ip.IsPrivate() {
		return false
	}
	for _, block := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "240.0.0.0/4", // special IPv4
		"64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", // IPv4 inside IPv6
	} {
		if netip.MustParsePrefix(block).Contains(ip) {
			return false
		}
	}
	return true
}

// get fetches one JSON document.
func (w *web) get(ctx context.Context, address string) (document, error) {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "https" && (u.Scheme != "http" || !w.loopback || !isLoopback(u))) {
		return document{}, errors.New("the keys' address must be https")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return document{}, fmt.Errorf("fetch keys: %w", err)
	}
	req.Header.Set("Accept", "application/json, application/jwk-set+json")
	resp, err := w.client.Do(req)
	if err != nil {
		return document{}, fmt.Errorf("fetch keys: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return document{}, statusError(resp.StatusCode)
	}
	if !isJSON(resp.Header.Get("Content-Type")) {
		return document{}, errors.New("the answer is not JSON")
	}
	body, err := readAtMost(resp.Body)
	return document{body, lifetime(resp.Header.Get("Cache-Control"))}, err
}

// statusError is an answer other than 200.
type statusError int

func (e statusError) Error() string { return "the answer has status " + strconv.Itoa(int(e)) }

func isJSON(contentType string) bool {
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && (t == "application/json" || strings.HasSuffix(t, "+json"))
}

// lifetime reads max-age, within bounds that neither hammer the issuer nor keep
// a removed key for days.
func lifetime(cacheControl string) time.Duration {
	for directive := range strings.SplitSeq(cacheControl, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return minTTL
		case "max-age":
			if n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 32); err == nil {
				return min(max(time.Duration(n)*time.Second, minTTL), maxTTL)
			}
		}
	}
	return defaultTTL
}

// discover finds the keys through the issuer's metadata, whose `issuer` must be
// the configured one to the byte: else one issuer could speak for another.
func (w *web) discover(ctx context.Context, issuer string) (document, error) {
	var err error
	for _, address := range metadataAddresses(issuer) {
		var doc document
		if doc, err = w.get(ctx, address); err == nil {
			return w.follow(ctx, doc, issuer)
		}
		if _, answered := errors.AsType[statusError](err); !answered {
			break
		}
	}
	return document{}, fmt.Errorf("discover: %w", err)
}

func (w *web) follow(ctx context.Context, doc document, issuer string) (document, error) {
	meta, err := strictObject(doc.body)
	if err != nil {
		return document{}, fmt.Errorf("issuer's metadata: %w", err)
	}
	if meta["issuer"] != issuer {
		return document{}, errors.New("the metadata is of another issuer")
	}
	address, _ := meta["jwks_uri"].(string)
	return w.get(ctx, address)
}

// metadataAddresses are those of OpenID discovery, which appends, and of RFC
// 8414, which inserts.
func metadataAddresses(issuer string) []string {
	out := []string{strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"}
	u, err := url.Parse(issuer)
	if err != nil {
		return out
	}
	u.Path = "/.well-known/oauth-authorization-server" + strings.TrimSuffix(u.Path, "/")
	return append(out, u.String())
}
