package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/examples/backend"
	"github.com/behalf-dev/behalf/examples/crm"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
)

// backends are the servers behind the desk's tools. Each has a listener, an SVID and
// a verifier of its own, and would be the same as a program of its own; they share
// this process only so that one command is enough.
type backends struct {
	l    *local
	crm  net.Listener        // nil: the config does not use it, or somebody else runs it
	out  io.Writer           // what they write
	more []grpc.ServerOption // of the customers'
}

// crmID is the SPIFFE ID of the customers' backend.
const crmID = "spiffe://" + localDomain + "/crm"

// isCRM reports whether a tool set is that of the customers' backend.
func isCRM(t config.Toolset) bool { return t.GRPC != nil && t.GRPC.ServerID == crmID }

// open makes SVIDs for the backends that the config uses, and listens for them on
// ports that are free unless somebody else runs them.
func (b *backends) open(ctx context.Context, elsewhere bool) error {
	for _, t := range b.l.cfg.Tools {
		if !isCRM(t) {
			continue
		}
		if _, err := b.l.ca.Files("/crm"); err != nil {
			return err
		}
		if elsewhere || b.crm != nil {
			continue
		}
		var err error
		if b.crm, err = (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
			return err
		}
		t.GRPC.Target = b.crm.Addr().String()
	}
	return nil
}

// used reports whether any of them runs here.
func (b *backends) used() bool { return b.crm != nil }

// close is for those that never served.
func (b *backends) close() {
	if b.crm != nil {
		_ = b.crm.Close()
	}
}

// serve runs them until ctx ends. They fetch the keys of call tokens from http.
func (b *backends) serve(ctx context.Context, http string) error {
	if b.crm == nil {
		<-ctx.Done()
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	log := backend.NewLog(b.out, "crm")
	v, err := b.verifier("crm", http, log)
	if err != nil {
		return err
	}
	svid, err := b.l.ca.Files("/crm")
	if err != nil {
		return err
	}
	mutual, err := backend.TLS(backend.Files{Cert: svid.Cert, Key: svid.Key, CA: svid.Bundle})
	if err != nil {
		return err
	}
	s, err := crm.NewServer(crm.Config{TLS: mutual, Tenant: localTenant, Verifier: v, Staff: b.l.people.staff(), Logger: log, Options: b.more})
	if err != nil {
		return err
	}
	g.Go(func() error { return v.Run(ctx) })
	g.Go(func() error { return b.renew(ctx, "/crm") })
	g.Go(func() error { return s.Serve(b.crm) })
	g.Go(func() error { <-ctx.Done(); s.Stop(); return nil })
	return g.Wait()
}

func (b *backends) verifier(audience, http string, log *slog.Logger) (*calltoken.Verifier, error) {
	where := "http://" + http
	return calltoken.NewVerifier(calltoken.VerifierConfig{
		Issuer: cmp.Or(b.l.cfg.CallTokens.Issuer, where), Audience: audience, JWKSURL: where + "/.well-known/jwks.json",
		Clients: []string{"spiffe://" + localDomain + "/behalf"}, Logger: log,
	})
}

// renew keeps the files of an SVID fresh, which are read at each handshake.
func (b *backends) renew(ctx context.Context, path string) error {
	every := time.NewTicker(time.Hour)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
			if _, err := b.l.ca.Files(path); err != nil {
				return err
			}
		}
	}
}

// say tells where they are.
func (b *backends) say(out io.Writer) {
	if b.crm != nil {
		fmt.Fprintf(out, "  crm      %s: the customers, a server of its own (%s) in this process\n", b.crm.Addr(), crmID)
	}
}

// try tells what to type to use them: through behalf, and past it, which they refuse.
func (b *backends) try(out io.Writer, p paint, port string) {
	if b.crm == nil {
		return
	}
	_, own, _ := net.SplitHostPort(b.crm.Addr().String())
	fmt.Fprintf(out, "\n%s\n\n", p.bold("A tool of the customers' server, which writes here who asks; and past behalf, which it refuses:"))
	fmt.Fprintf(out, "  rpc -d '%s' localhost:%s behalf.v1.ToolService/CallTool\n", `{"tool":"get_customer","arguments_json":"{\"customer_id\":\"C-1001\"}"}`, port)
	fmt.Fprintf(out, "  rpc -d '%s' localhost:%s crm.v1.CustomersService/GetCustomer || echo refused\n", `{"customer_id":"C-1001"}`, own)
	fmt.Fprintf(out, "\n%s\n", p.dim("The same as a program of its own: "+self()+" dev --backends=false, and beside it: go run ./examples/crm/cmd"))
}
