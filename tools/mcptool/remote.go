package mcptool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/tools"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// remote is a server over streamable HTTP. One pool of TCP connections serves all
// persons; a session of the protocol serves one.
type remote struct {
	c      *Config
	source *Source
	url    *url.URL
	base   string // the URL as texts may have it: keys are in queries
	wires  *wires
	pool   *pool
	room   *places
}

func newRemote(c *Config, s *Source) (*remote, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, err
	}
	r := &remote{c: c, source: s, url: u, base: c.target(), wires: newWires(c), room: newPlaces(c.Limits)}
	r.pool = newPool(c.Limits.Sessions, c.Now, r.connect)
	return r, nil
}

// checkHeaders refuses headers that are ours or the protocol's.
func (c *Config) checkHeaders() error {
	for name := range c.Headers {
		switch h := http.CanonicalHeaderKey(name); {
		case h == "Authorization" && c.Backend.Audience != "":
			return errors.New("the header Authorization is the call token's, because there is an audience")
		case slices.Contains([]string{"Host", "Content-Type", "Content-Length", "Accept", "Cookie", "Mcp-Session-Id", "Mcp-Protocol-Version", "Mcp-Method", "Mcp-Name"}, h):
			return fmt.Errorf("the header %s is not one that can be set", h)
		}
	}
	return nil
}

func loopback(u *url.URL) bool {
	h := u.Hostname()
	return u.Scheme == "http" && (h == "127.0.0.1" || h == "::1" || h == "localhost")
}

// acquire implements server: a session is a person's, and a call without one has none.
func (r *remote) acquire(ctx context.Context) (*session, func(bool), error) {
	f, ok := tools.FactsFrom(ctx)
	if !ok {
		return nil, nil, errors.New("a call is made by the gate alone")
	}
	who := whose(f.Grant)
	leave, err := r.room.take(ctx, who)
	if err != nil {
		return nil, nil, err
	}
	s, release, err := r.pool.acquire(ctx, who)
	if err != nil {
		leave()
		return nil, nil, err
	}
	return s, func(broken bool) { release(broken); leave() }, nil
}

// whose is a key for who somebody is: nothing of it can be chosen so that it is
// another one's.
func whose(g identity.Grant) string {
	p, issuer := g.Principal(), ""
	if p.User != nil {
		issuer = p.User.Issuer
	}
	return fmt.Sprintf("%q %q %q", issuer, p.Subject(), g.Tenant())
}

// connect opens a session in the course of a call, whose token its requests carry.
// A new one may be with a server that was restarted, and has other tools than before.
func (r *remote) connect(ctx context.Context) (*session, error) {
	s, err := r.dial(ctx, &carrier{})
	if err != nil {
		return nil, err
	}
	if err := r.source.anew(ctx, func() error { return r.read(ctx, r.source.list) }); err != nil {
		s.close()
		return nil, unavailable("the tool's server cannot be reached now").Because(err)
	}
	return s, nil
}

// dial opens a session. For says in whose name its first requests are; nil: in
// nobody's.
func (r *remote) dial(ctx context.Context, in *carrier) (*session, error) {
	s := newSession()
	ctx, cancel := context.WithTimeout(ctx, r.c.Limits.Connect)
	defer cancel()
	if in != nil {
		ctx = in.in(ctx)
		defer in.over.Store(true) // the SDK keeps the context for what the server asks later
	}
	var err error
	inner := r.transport(&trip{remote: r, tap: s.tap, replies: newReplies()})
	inner.DisableStandaloneSSE = true
	x := &exchange{}
	s.client, err = s.newClient(nil).Connect(x.in(ctx), &tapped{inner: inner, tap: s.tap}, nil)
	if err != nil && x.unaccepted() {
		return nil, r.c.refused(x, err)
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return nil, f // who issues the token says why there is none
	}
	if err != nil {
		return nil, unavailable("the tool's server cannot be reached now").Because(err)
	}
	return s, nil
}

// transport never follows a redirect: the token would go along. It knows no query, and
// so has none for its errors.
func (r *remote) transport(t *trip) *mcp.StreamableClientTransport {
	return &mcp.StreamableClientTransport{
		Endpoint: r.base, MaxRetries: -1, MaxEventSize: r.c.Limits.Message,
		HTTPClient: &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

// follow implements server. It listens by a session of its own, which is nobody's
// and calls nothing, and reads the list by another one.
func (r *remote) follow(ctx context.Context, heard <-chan struct{}, list func(context.Context, lister) error) error {
	for {
		if err := r.listen(ctx, heard, list); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// close implements server. Until then calls go on, whatever becomes of the list.
func (r *remote) close() {
	r.pool.close()
	r.wires.close()
}

// listen lasts for one Refresh: then it begins anew, because a stream that says
// nothing may be one that nobody writes to any more.
func (r *remote) listen(ctx context.Context, heard <-chan struct{}, list func(context.Context, lister) error) error {
	ear, err := r.ear(ctx)
	if err != nil {
		return err
	}
	gone := ear.gone()
	defer func() { ear.close(); <-gone }()
	if err := r.read(ctx, list); err != nil {
		return err
	}
	refresh := time.NewTimer(r.c.Limits.Refresh)
	defer refresh.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-refresh.C:
			r.pool.sweep(r.c.Limits.Idle)
			return nil
		case <-gone:
			return errors.New("the session has ended")
		case <-heard:
		}
		if err := r.read(ctx, list); err != nil {
			return err
		}
		if !pause(ctx, r.c.Limits.Relist) {
			return nil
		}
	}
}

// ear is the session that hears what the server says by itself.
func (r *remote) ear(ctx context.Context) (*session, error) {
	s := newSession()
	t := r.transport(&trip{remote: r, tap: s.tap, standing: true, replies: newReplies()})
	hctx, cancel := context.WithTimeout(ctx, r.c.Limits.Connect)
	defer cancel()
	var err error
	s.client, err = s.newClient(r.source.hear).Connect(hctx, t, nil)
	return s, err
}

// read lists the tools by a session of its own: one that listens may be kept busy.
func (r *remote) read(ctx context.Context, list func(context.Context, lister) error) error {
	s, err := r.dial(ctx, nil)
	if err != nil {
		return err
	}
	defer s.close()
	return list(ctx, s.page(r.c.Limits.Connect))
}

// keep is what a request's body must fit into to be digested.
func keep(req *http.Request, most int) ([]byte, error) {
	if req.Body == nil {
		return nil, nil
	}
	defer req.Body.Close()
	var buf bytes.Buffer
	n, err := buf.ReadFrom(http.MaxBytesReader(nil, req.Body, int64(most)))
	if err != nil {
		return nil, fmt.Errorf("request of %d bytes and more: %w", n, err)
	}
	return buf.Bytes(), nil
}
