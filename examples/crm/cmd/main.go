package main

import (
	"context"
	"flag"
	"log"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/examples/backend"
	"github.com/behalf-dev/behalf/examples/crm"
	"golang.org/x/sync/errgroup"
)

type options struct {
	listen, client, tenant, staff, issuer, audience, jwks string
	files                                                 backend.Files
}

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:9443", "address to listen on")
	flag.StringVar(&o.files.Cert, "cert", ".behalf/svid-crm.pem", "our certificate")
	flag.StringVar(&o.files.Key, "key", ".behalf/svid-crm.key", "its key")
	flag.StringVar(&o.files.CA, "ca", ".behalf/ca.pem", "authority of those who may connect")
	flag.StringVar(&o.client, "client", "spiffe://dev.behalf/behalf", "SPIFFE ID that may call")
	flag.StringVar(&o.tenant, "tenant", "acme", "tenant whose customers these are")
	flag.StringVar(&o.staff, "staff", "alice,bob,dave", "who may see any customer")
	flag.StringVar(&o.issuer, "issuer", "http://127.0.0.1:8080", "issuer of the call tokens, as behalf has it")
	flag.StringVar(&o.audience, "audience", "crm", "whom the tokens are for")
	flag.StringVar(&o.jwks, "jwks", "", "file with behalf's keys; absent: they are fetched below the issuer")
	flag.Parse()
	if err := serve(o); err != nil {
		log.Fatal(err)
	}
}

func serve(o options) error {
	logger := backend.NewLog(os.Stdout, "crm")
	mutual, err := backend.TLS(o.files)
	if err != nil {
		return err
	}
	v, err := calltoken.NewVerifier(calltoken.VerifierConfig{Issuer: o.issuer, Audience: o.audience, JWKSFile: o.jwks, Clients: []string{o.client}, Logger: logger})
	if err != nil {
		return err
	}
	server, err := crm.NewServer(crm.Config{TLS: mutual, Tenant: o.tenant, Verifier: v, Staff: strings.Split(o.staff, ","), Logger: logger})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return err
	}
	logger.Info("serving customers on " + l.Addr().String())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return server.Serve(l) })
	g.Go(func() error { return v.Run(ctx) })
	g.Go(func() error { <-ctx.Done(); server.Stop(); return nil })
	return g.Wait()
}
