package interceptors

import (
	"context"
	"crypto/tls"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"
)

// Identifier says who calls, from the connection and the metadata and nothing else.
type Identifier interface {
	Identify(ctx context.Context, conn *tls.ConnectionState, md map[string][]string) (identity.Principal, error)
}

// principalKey holds the verified principal between identify and authorize;
// handlers see only the grant that authorize makes of it.
type principalKey struct{}

// identify verifies the caller and takes everything out of the metadata that a
// later reader could mistake for identity. An unknown method is answered only
// after that, so that nobody learns without a credential what exists here.
func identify(who Identifier) layer {
	return func(ctx context.Context, c *call, rest next) error {
		md, _ := metadata.FromIncomingContext(ctx)
		if c.rule == nil || c.rule.Caller != behalfv1.Caller_CALLER_PUBLIC {
			p, err := met(ctx, who, md)
			if err != nil {
				return err
			}
			if c.rule == nil {
				return fault.New(codes.Unimplemented, fault.Unimplemented, "no such method; list the services by reflection")
			}
			if err := mayCall(c.rule.Caller, p); err != nil {
				return err
			}
			ctx = context.WithValue(ctx, principalKey{}, p)
		} else {
			c.first = append(c.first, identifyNamed(who, md))
		}
		return rest(metadata.NewIncomingContext(ctx, identity.Strip(md)))
	}
}

// identifyNamed lets nobody ask for the health of a service by its name: only
// that of the whole server is public (SECURITY 5.3).
func identifyNamed(who Identifier, md metadata.MD) func(context.Context, proto.Message) (context.Context, error) {
	return func(ctx context.Context, m proto.Message) (context.Context, error) {
		if r, ok := m.(interface{ GetService() string }); !ok || r.GetService() == "" {
			return ctx, nil
		}
		p, err := who.Identify(ctx, Connection(ctx), md)
		return context.WithValue(ctx, principalKey{}, p), err
	}
}

// Connection is the verified TLS connection of a call; nil without TLS.
func Connection(ctx context.Context) *tls.ConnectionState {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil
	}
	return &info.State
}

func mayCall(rule behalfv1.Caller, p identity.Principal) error {
	switch rule {
	case behalfv1.Caller_CALLER_ANY:
		return nil
	case behalfv1.Caller_CALLER_USER:
		if p.User != nil {
			return nil
		}
		return fault.New(codes.Unauthenticated, fault.CredentialRequired, "this call needs a person: send their access token as `authorization: Bearer …`")
	case behalfv1.Caller_CALLER_WORKLOAD:
		if p.Workload != nil {
			return nil
		}
		return fault.New(codes.Unauthenticated, fault.CredentialRequired, "this call needs a client certificate with a SPIFFE ID")
	}
	return fault.New(codes.PermissionDenied, fault.PolicyDenied, "this call has no rule that lets anybody in")
}
