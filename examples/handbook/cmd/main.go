package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/examples/backend"
	"github.com/behalf-dev/behalf/examples/handbook"
	"golang.org/x/sync/errgroup"
)

type options struct {
	listen, client, tenant, issuer, audience, jwks string
	files                                          backend.Files
}

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:9444", "address to listen on")
	flag.StringVar(&o.files.Cert, "cert", ".behalf/svid-handbook.pem", "our certificate")
	flag.StringVar(&o.files.Key, "key", ".behalf/svid-handbook.key", "its key")
	flag.StringVar(&o.files.CA, "ca", ".behalf/ca.pem", "authority of those who may connect")
	flag.StringVar(&o.client, "client", "spiffe://dev.behalf/behalf", "SPIFFE ID that may call")
	flag.StringVar(&o.tenant, "tenant", "acme", "tenant whose handbook it is")
	flag.StringVar(&o.issuer, "issuer", "http://127.0.0.1:8080", "issuer of the call tokens, as behalf has it")
	flag.StringVar(&o.audience, "audience", "handbook", "whom the tokens are for")
	flag.StringVar(&o.jwks, "jwks", "", "file with behalf's keys; absent: they are fetched below the issuer")
	flag.Parse()
	if err := serve(o); err != nil {
		log.Fatal(err)
	}
}

func serve(o options) error {
	logger := backend.NewLog(os.Stdout, "handbook")
	mutual, err := backend.TLS(o.files)
	if err != nil {
		return err
	}
	v, err := calltoken.NewVerifier(calltoken.VerifierConfig{Issuer: o.issuer, Audience: o.audience, JWKSFile: o.jwks, Clients: []string{o.client}, Logger: logger})
	if err != nil {
		return err
	}
	h, err := handbook.New(handbook.Config{Verifier: v, Tenant: o.tenant, Logger: logger})
	if err != nil {
		return err
	}
	server := &http.Server{Handler: h, TLSConfig: mutual, ReadHeaderTimeout: 5 * time.Second}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return err
	}
	logger.Info("serving the handbook on " + l.Addr().String())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return server.ServeTLS(l, "", "") })
	g.Go(func() error { return v.Run(ctx) })
	g.Go(func() error { <-ctx.Done(); return server.Close() })
	if err := g.Wait(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
