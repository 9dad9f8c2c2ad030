package crm

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"slices"

	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/examples/backend"
	crmv1 "github.com/behalf-dev/behalf/gen/crm/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
)

// toolNames are what behalf calls the methods.
var toolNames = map[string]string{
	crmv1.CustomersService_GetCustomer_FullMethodName:    "get_customer",
	crmv1.CustomersService_ListOrders_FullMethodName:     "list_orders",
	crmv1.CustomersService_StreamInvoices_FullMethodName: "stream_invoices",
	crmv1.CustomersService_RefundOrder_FullMethodName:    "refund_order",
}

// Tools gives the tool that a method is; what is none is refused.
func Tools(method string) string { return toolNames[method] }

// Config is what a server needs.
type Config struct {
	TLS      *tls.Config // ours, which verifies the certificate of every caller
	Tenant   string      // whose customers these are
	Verifier *calltoken.Verifier
	Staff    []string            // subjects who may see any customer; others see themselves
	Logger   *slog.Logger        // who asked; nil: silent
	Options  []grpc.ServerOption // further ones
}

// NewServer makes the server. Whoever serves it, stops it.
func NewServer(c Config) (*grpc.Server, error) {
	if c.Verifier == nil || c.Tenant == "" || c.TLS == nil || c.TLS.ClientAuth != tls.RequireAndVerifyClientCert {
		return nil, errors.New("a verifier, a tenant and TLS that verifies its clients are required")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	// This makes every call one that behalf decided: for this person, these arguments,
	// this connection, once.
	opts := append(c.Verifier.ServerOptions(Tools, "grpc.reflection.v1.ServerReflection"), c.Options...)
	s := grpc.NewServer(append(opts, grpc.Creds(credentials.NewTLS(c.TLS)))...)
	crmv1.RegisterCustomersServiceServer(s, &service{c: c, data: samples()})
	reflection.RegisterV1(s)
	return s, nil
}

// may is what a backend still decides: whose record it is, and whether the token has
// the right. It writes down who asked, through whom.
func (s *service) may(ctx context.Context, tool, customer, scope string) error {
	c, ok := calltoken.FromContext(ctx)
	if !ok {
		return status.Error(codes.Unauthenticated, "nobody asks")
	}
	theirs := c.Subject == customer || slices.Contains(s.c.Staff, c.Subject)
	allowed := c.Tenant == s.c.Tenant && theirs && slices.Contains(c.Scopes(), scope)
	verdict := "refused "
	if allowed {
		verdict = ""
	}
	s.c.Logger.InfoContext(ctx, verdict+tool+" for "+backend.Who(c),
		slog.String("customer", customer), slog.String("decision", c.Decision.ID), slog.String("txn", c.Transaction))
	if !allowed {
		return status.Error(codes.PermissionDenied, "this customer is not yours to see")
	}
	return nil
}
