package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/behalf-dev/behalf/calltoken"
	crmv1 "github.com/behalf-dev/behalf/gen/crm/v1"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// theft is what somebody has who reads along in the backend's process: what it
// writes, and a call with its token.
type theft struct {
	mu    sync.Mutex
	log   bytes.Buffer
	token string
	call  *crmv1.GetCustomerRequest
}

// Write is the backend's log.
func (t *theft) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.log.Write(p)
}

// written gives what the backend wrote since it was asked last.
func (t *theft) written() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(t.log.String()), "\n")
	t.log.Reset()
	return lines
}

// overhear keeps the newest call that the backend has verified.
func (t *theft) overhear(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if q, ok := req.(*crmv1.GetCustomerRequest); ok {
		t.mu.Lock()
		t.token, t.call = strings.Join(metadata.ValueFromIncomingContext(ctx, calltoken.Header), ""), q
		t.mu.Unlock()
	}
	return next(ctx, req)
}

// behind shows what the backend knew of each call, and that a token that was stolen
// from it is good for nothing.
func (d *demo) behind(ctx context.Context) error {
	d.chapter(3, "The customers are another server, %s. It verifies each call by itself, and writes:", crmID)
	for _, line := range d.theft.written() {
		line, _, _ = strings.Cut(line, ", txn ")
		d.say("    %s", line)
	}
	if d.theft.call == nil {
		d.say("    The model looked at no customer, so there is no such token to steal.")
		return nil
	}
	d.say("\n    Somebody steals the token of the last look at a customer, and sends it again:")
	thief, err := identity.NewFiles(identity.FilesConfig{Cert: d.client.Cert, Key: d.client.Key, Bundles: map[string]string{localDomain: d.client.Bundle}})
	if err != nil {
		return err
	}
	if err := d.again(ctx, "another program, spiffe://"+localDomain+"/client,", thief); err != nil {
		return err
	}
	return d.again(ctx, "behalf itself, a second time,", d.ca)
}

// again sends the stolen call by the connection of source, and shows what the backend
// wrote of it.
func (d *demo) again(ctx context.Context, who string, source identity.Source) error {
	tls, err := identity.ClientTLS(identity.ClientConfig{Source: source, Servers: []string{crmID}})
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient(d.beside.crm.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(tls)))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_, err = crmv1.NewCustomersServiceClient(conn).GetCustomer(metadata.AppendToOutgoingContext(ctx, calltoken.Header, d.theft.token), d.theft.call)
	if err == nil {
		return errors.New("the backend took a stolen token; this is a bug, please report it")
	}
	if status.Code(err) != codes.Unauthenticated {
		return fmt.Errorf("ask the customers' backend: %w", err)
	}
	d.say("    %s %s is told: %s", d.paint.bad("✗"), who, status.Convert(err).Message())
	for _, line := range d.theft.written() {
		d.say("      %s", line)
	}
	return nil
}
