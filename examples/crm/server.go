package crm

import (
	"context"
	_ "embed"
	"errors"
	"log/slog"
	"slices"

	"github.com/behalf-dev/behalf/calltoken"
	crmv1 "github.com/behalf-dev/behalf/gen/crm/v1"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
)

// Descriptors is the descriptor set of the service, with comments.
//
//go:embed crm.binpb
var Descriptors []byte

// toolNames are what behalf calls the methods.
var toolNames = map[string]string{
	crmv1.CustomersService_GetCustomer_FullMethodName:    "get_customer",
	crmv1.CustomersService_ListOrders_FullMethodName:     "list_orders",
	crmv1.CustomersService_StreamInvoices_FullMethodName: "stream_invoices",
	crmv1.CustomersService_RefundOrder_FullMethodName:    "refund_order",
}

// Tools gives the tool that a method is; what is none is refused.
func Tools(method string) string { return toolNames[method] }

// Config is what a server needs. All fields but Logger are required.
type Config struct {
	Source   identity.Source // of our own SVID
	Client   string          // behalf's SPIFFE ID, in whose trust domain all callers are
	Tenant   string          // whose customers these are
	Verifier *calltoken.Verifier
	Logger   *slog.Logger // who asked; nil: silent
}

// NewServer makes the server. Whoever serves it, stops it.
func NewServer(c Config) (*grpc.Server, error) {
	if c.Source == nil || c.Verifier == nil || c.Tenant == "" || c.Client == "" {
		return nil, errors.New("a source of SVIDs, a client, a tenant and a verifier are required")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	peers, err := identity.NewPeers(identity.PeersConfig{
		Source: c.Source, Tenants: map[string]string{identity.DomainOf(c.Client): c.Tenant}, Grants: []identity.WorkloadGrant{{ID: c.Client}},
	})
	if err != nil {
		return nil, err
	}
	// This makes every call one that behalf decided: for this person, these arguments,
	// this connection, once.
	opts := c.Verifier.ServerOptions(Tools, "grpc.reflection.v1.ServerReflection")
	s := grpc.NewServer(append(opts, grpc.Creds(credentials.NewTLS(peers.ServerTLS(identity.CertificateRequired))))...)
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
	agent := ""
	if c.Actor != nil {
		agent = c.Actor.Subject
	}
	allowed := c.Tenant == s.c.Tenant && c.Subject == customer && slices.Contains(c.Scopes(), scope)
	s.c.Logger.InfoContext(ctx, "a customer was asked for", slog.String("tool", tool), slog.String("person", c.Subject), slog.String("agent", agent),
		slog.String("decision", c.Decision.ID), slog.String("txn", c.Transaction), slog.Bool("allowed", allowed))
	if !allowed {
		return status.Error(codes.PermissionDenied, "this customer is not yours to see")
	}
	return nil
}
