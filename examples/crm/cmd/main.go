package main

import (
	"context"
	"flag"
	"log"
	"log/slog"
	"net"
	"os"
	"os/signal"

	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/examples/crm"
	"github.com/behalf-dev/behalf/identity"
	"golang.org/x/sync/errgroup"
)

type options struct{ listen, dir, domain, client, tenant, issuer, audience, jwks string }

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:9443", "address to listen on")
	flag.StringVar(&o.dir, "dir", ".behalf/ca", "directory of the development CA, which behalf uses too")
	flag.StringVar(&o.domain, "trust-domain", "dev.behalf", "trust domain of that CA")
	flag.StringVar(&o.client, "client", "spiffe://dev.behalf/behalf", "SPIFFE ID that may call")
	flag.StringVar(&o.tenant, "tenant", "acme", "tenant whose customers these are")
	flag.StringVar(&o.issuer, "issuer", "", "issuer of the call tokens, as behalf's config has it")
	flag.StringVar(&o.audience, "audience", "crm", "whom the tokens are for")
	flag.StringVar(&o.jwks, "jwks", "", "URL of behalf's keys; absent: below the issuer")
	flag.Parse()
	if err := serve(o); err != nil {
		log.Fatal(err)
	}
}

func serve(o options) error {
	logger := slog.New(slog.NewTextHandler(os.Stdout, nil))
	ca, err := identity.NewDevCA(identity.DevCAConfig{Dir: o.dir, TrustDomain: o.domain, Path: "/crm"})
	if err != nil {
		return err
	}
	v, err := calltoken.NewVerifier(calltoken.VerifierConfig{Issuer: o.issuer, Audience: o.audience, JWKSURL: o.jwks, Clients: []string{o.client}, Logger: logger})
	if err != nil {
		return err
	}
	server, err := crm.NewServer(crm.Config{Source: ca, Client: o.client, Tenant: o.tenant, Verifier: v, Logger: logger})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return err
	}
	logger.Info("serving customers", slog.String("address", l.Addr().String()), slog.String("id", "spiffe://"+o.domain+"/crm"))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return server.Serve(l) })
	g.Go(func() error { return v.Run(ctx) })
	g.Go(func() error { return ca.Run(ctx) })
	g.Go(func() error { <-ctx.Done(); server.Stop(); return nil })
	return g.Wait()
}
