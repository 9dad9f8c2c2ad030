package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/examples/backend"
	"github.com/behalf-dev/behalf/examples/crm"
	"github.com/behalf-dev/behalf/examples/handbook"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
)

// backends are the servers behind the desk's tools. Each has a listener, an SVID and
// a verifier of its own, and would be the same as a program of its own; they share
// this process only so that one command is enough.
type backends struct {
	l        *local
	crm      net.Listener // nil: the config does not use it, or somebody else runs it
	handbook net.Listener
	book     late                // of handbook
	out      io.Writer           // what they write
	more     []grpc.ServerOption // of the customers'
}

// SPIFFE IDs of the backends, by which a config says whom it means.
const (
	crmID      = "spiffe://" + localDomain + "/crm"
	handbookID = "spiffe://" + localDomain + "/handbook"
)

func isCRM(t config.Toolset) bool      { return t.GRPC != nil && t.GRPC.ServerID == crmID }
func isHandbook(t config.Toolset) bool { return t.MCP != nil && t.MCP.ServerID == handbookID }

// open makes SVIDs for the backends that the config uses, and listens for them on
// ports that are free unless somebody else runs them.
func (b *backends) open(ctx context.Context, elsewhere bool) error {
	for _, t := range b.l.cfg.Tools {
		var err error
		switch {
		case isCRM(t):
			err = b.listen(ctx, "/crm", &b.crm, elsewhere)
		case isHandbook(t):
			err = b.listen(ctx, "/handbook", &b.handbook, elsewhere)
		}
		if err != nil {
			return err
		}
	}
	b.aim(b.l.cfg)
	return nil
}

func (b *backends) listen(ctx context.Context, path string, at *net.Listener, elsewhere bool) error {
	if _, err := b.l.ca.Files(path); err != nil || elsewhere || *at != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err == nil {
		*at = l
	}
	return err
}

// aim says in a config where those are that run here.
func (b *backends) aim(cfg *config.Config) {
	for _, t := range cfg.Tools {
		switch {
		case isCRM(t) && b.crm != nil:
			t.GRPC.Target = b.crm.Addr().String()
		case isHandbook(t) && b.handbook != nil:
			t.MCP.URL = b.handbookURL()
		}
	}
}

// handbookURL is empty where the handbook does not run here.
func (b *backends) handbookURL() string {
	if b.handbook == nil {
		return ""
	}
	return "https://" + b.handbook.Addr().String() + "/mcp"
}

// needed reports whether the config has any of them, wherever it runs.
func (b *backends) needed() bool {
	for _, t := range b.l.cfg.Tools {
		if isCRM(t) || isHandbook(t) {
			return true
		}
	}
	return false
}

// issuer is whose call tokens they take, whose keys are at the address http; empty: there
// is none.
func (b *backends) issuer(http string) string {
	if http != "" {
		http = "http://" + http
	}
	return cmp.Or(b.l.cfg.CallTokens.Issuer, http)
}

// used reports whether any of them runs here.
func (b *backends) used() bool { return b.crm != nil || b.handbook != nil }

// serve runs them until ctx ends. The handbook is read before behalf is up, and so
// before keys has where behalf's keys are; calls come after it.
func (b *backends) serve(ctx context.Context, keys <-chan string) error {
	g, ctx := errgroup.WithContext(ctx)
	if b.handbook != nil {
		g.Go(func() error { return b.serveHandbook(ctx) })
	}
	g.Go(func() error {
		select {
		case where := <-keys:
			return b.verify(ctx, g, where)
		case <-ctx.Done():
			return nil
		}
	})
	g.Go(func() error { <-ctx.Done(); return nil })
	err := g.Wait()
	for _, l := range []net.Listener{b.crm, b.handbook} {
		if l != nil {
			_ = l.Close() // of one that never served
		}
	}
	return err
}

// verify begins what needs behalf's keys, which are at the address where.
func (b *backends) verify(ctx context.Context, g *errgroup.Group, where string) error {
	verifier := func(audience string) (*calltoken.Verifier, *slog.Logger, error) {
		log := backend.NewLog(b.out, audience)
		v, err := calltoken.NewVerifier(calltoken.VerifierConfig{
			Issuer: b.issuer(where), Audience: audience, JWKSURL: "http://" + where + "/.well-known/jwks.json",
			Clients: []string{"spiffe://" + localDomain + "/behalf"}, Logger: log,
		})
		if err == nil {
			g.Go(func() error { return v.Run(ctx) })
		}
		return v, log, err
	}
	if b.handbook != nil {
		v, log, err := verifier("handbook")
		if err == nil {
			err = b.book.set(handbook.Config{Verifier: v, Tenant: localTenant, Logger: log})
		}
		if err != nil {
			return err
		}
	}
	if b.crm == nil {
		return nil
	}
	v, log, err := verifier("crm")
	if err != nil {
		return err
	}
	return b.serveCRM(ctx, crm.Config{Tenant: localTenant, Verifier: v, Staff: b.l.people.staff(), Logger: log, Options: b.more})
}

func (b *backends) serveCRM(ctx context.Context, c crm.Config) (err error) {
	if c.TLS, err = b.mutual("/crm"); err != nil {
		return err
	}
	s, err := crm.NewServer(c)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, s.Stop)()
	return s.Serve(b.crm)
}

func (b *backends) serveHandbook(ctx context.Context) error {
	nobody, err := calltoken.NewVerifier(calltoken.VerifierConfig{Issuer: "https://none.invalid", Audience: "handbook", Clients: []string{"spiffe://" + localDomain + "/behalf"}, JWKS: []byte(`{"keys":[]}`)})
	if err != nil {
		return err
	}
	if err := b.book.set(handbook.Config{Verifier: nobody, Tenant: localTenant}); err != nil {
		return err
	}
	mutual, err := b.mutual("/handbook")
	if err != nil {
		return err
	}
	s := &http.Server{Handler: &b.book, TLSConfig: mutual, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(b.l.log.Handler(), slog.LevelInfo)}
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	if err := s.ServeTLS(b.handbook, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// late is a handler that is replaced by another one.
type late struct{ now atomic.Pointer[http.Handler] }

func (l *late) set(c handbook.Config) error {
	h, err := handbook.New(c)
	if err == nil {
		l.now.Store(&h)
	}
	return err
}

// ServeHTTP implements http.Handler.
func (l *late) ServeHTTP(w http.ResponseWriter, r *http.Request) { (*l.now.Load()).ServeHTTP(w, r) }

// mutual is the TLS of a backend. Its SVID is renewed when a handshake finds it old.
func (b *backends) mutual(path string) (*tls.Config, error) {
	svid, err := b.l.ca.Files(path)
	if err != nil {
		return nil, err
	}
	c, err := backend.TLS(backend.Files{Cert: svid.Cert, Key: svid.Key, CA: svid.Bundle})
	if err != nil {
		return nil, err
	}
	var one sync.Mutex // renews
	read := c.GetConfigForClient
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		one.Lock()
		defer one.Unlock()
		if _, err := b.l.ca.Files(path); err != nil {
			return nil, err
		}
		return read(hello)
	}
	return c, nil
}

// say tells where they are.
func (b *backends) say(out io.Writer) {
	if b.crm != nil {
		fmt.Fprintf(out, "  crm      %s: the customers, gRPC, a server of its own (%s) in this process\n", b.crm.Addr(), crmID)
	}
	if b.handbook != nil {
		fmt.Fprintf(out, "  handbook %s: articles, MCP, the same (%s); its tools are accepted in desk/tools.lock\n", b.handbook.Addr(), handbookID)
	}
}

// try tells what to type to use them: through behalf, and past it, which they refuse.
func (b *backends) try(out io.Writer, p paint, port, dir string) {
	call := func(tool, args string) {
		fmt.Fprintf(out, `  rpc -d '{"tool":"%s","arguments_json":"%s"}' localhost:%s behalf.v1.ToolService/CallTool`+"\n", tool, args, port)
	}
	if !b.used() {
		return
	}
	fmt.Fprintf(out, "\n%s\n\n", p.bold("The servers behind the tools write here who asks. Through behalf, and past it, which they refuse:"))
	if b.handbook != nil {
		call("search_articles", `{\"query\":\"refunds\"}`)
	}
	if b.crm != nil {
		call("get_customer", `{\"customer_id\":\"C-1001\"}`)
		_, own, _ := net.SplitHostPort(b.crm.Addr().String())
		fmt.Fprintf(out, "  rpc -d '%s' localhost:%s crm.v1.CustomersService/GetCustomer || echo refused\n", `{"customer_id":"C-1001"}`, own)
	}
	fmt.Fprintf(out, "\n%s\n", p.dim("As programs of their own: `"+self()+" dev --backends=false"+inDir(dir)+"`, which prints how to start them."))
}

// sayElsewhere tells how to start those that do not run here, so that they are where the
// config looks for them and know whose tokens to take.
func (b *backends) sayElsewhere(out io.Writer, issuer, dir string) {
	for _, name := range slices.Sorted(maps.Keys(b.l.cfg.Tools)) {
		switch t := b.l.cfg.Tools[name]; {
		case isCRM(t) && b.crm == nil:
			b.sayProgram(out, program{"crm", "127.0.0.1:9443", t.GRPC.Target, t.GRPC.Audience}, issuer, dir)
		case isHandbook(t) && b.handbook == nil:
			at := t.MCP.URL
			if u, err := url.Parse(at); err == nil {
				at = u.Host
			}
			b.sayProgram(out, program{"handbook", "127.0.0.1:9444", at, t.MCP.Audience}, issuer, dir)
		}
	}
}

// program is a backend as one of its own: where it listens by itself, and what the
// config says of it.
type program struct{ name, usual, at, audience string }

// sayProgram leaves out the flags that say what the program says by itself.
func (b *backends) sayProgram(out io.Writer, p program, issuer, dir string) {
	line := "go run ./examples/" + p.name + "/cmd"
	for _, f := range [...]struct{ name, value, usual string }{
		{"listen", p.at, p.usual},
		{"issuer", issuer, "http://127.0.0.1:8080"},
		{"audience", p.audience, p.name},
		{"cert", filepath.Join(dir, "svid-"+p.name+".pem"), filepath.Join(defaultDir, "svid-"+p.name+".pem")},
		{"key", filepath.Join(dir, "svid-"+p.name+".key"), filepath.Join(defaultDir, "svid-"+p.name+".key")},
		{"ca", filepath.Join(dir, "ca.pem"), filepath.Join(defaultDir, "ca.pem")},
	} {
		if f.value != f.usual {
			line += " -" + f.name + " " + quoted(f.value)
		}
	}
	fmt.Fprintf(out, "  %-8s not started here; in another terminal, in this folder: %s\n", p.name, line)
}
