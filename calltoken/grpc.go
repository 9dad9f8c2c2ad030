package calltoken

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// Header is the metadata key, or HTTP header, that carries the token.
const Header = "authorization"

// errRefused is all that a caller hears.
var errRefused = status.Error(codes.Unauthenticated, "the call token was not accepted")

// ServerOptions make a gRPC server refuse what the verifier refuses, in unary calls
// and in server streams (a stream of requests is refused). Tools gives the name that
// behalf has for a method, "/crm.v1.Customers/GetCustomer"; a method that it has none
// for, which is the empty text, is refused. Open are the services that are called without a token, such as
// "grpc.health.v1.Health".
func (v *Verifier) ServerOptions(tools func(method string) string, open ...string) []grpc.ServerOption {
	g := &guard{v: v, tools: tools, open: open}
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(&g.digests),
		grpc.StatsHandler(&g.digests),
		grpc.ChainUnaryInterceptor(g.unary),
		grpc.ChainStreamInterceptor(g.stream),
	}
}

type guard struct {
	v     *Verifier
	tools func(string) string
	open  []string

	digests digests
}

// isOpen reports whether a method's service needs no token.
func (g *guard) isOpen(method string) bool {
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	return slices.Contains(g.open, service)
}

func (g *guard) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	digest, ok := taken(ctx, req)
	if g.isOpen(info.FullMethod) {
		return next(ctx, req)
	}
	tool := g.tools(info.FullMethod)
	if tool == "" || !ok {
		return nil, errRefused
	}
	c, err := g.verify(ctx, tool, digest)
	if err != nil {
		return nil, err
	}
	return next(withClaims(ctx, c), req)
}

func (g *guard) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if g.isOpen(info.FullMethod) {
		return next(srv, &oneMessage{ss, g, "", true, ss.Context()})
	}
	tool := g.tools(info.FullMethod)
	switch {
	case tool == "":
		return errRefused
	case info.IsClientStream:
		return status.Error(codes.Unimplemented, "a call token is for one message; this method takes many")
	}
	return next(srv, &oneMessage{ss, g, tool, false, ss.Context()})
}

// oneMessage verifies the token with the one message that is received.
type oneMessage struct {
	grpc.ServerStream
	guard *guard
	tool  string
	open  bool // nothing is asked
	ctx   context.Context
}

func (s *oneMessage) Context() context.Context { return s.ctx }

func (s *oneMessage) RecvMsg(m any) error {
	err := s.ServerStream.RecvMsg(m)
	digest, ok := taken(s.ctx, m)
	if err != nil || s.open {
		return err
	}
	if !ok {
		return errRefused
	}
	c, err := s.guard.verify(s.ctx, s.tool, digest)
	if err == nil {
		s.ctx = withClaims(s.ctx, c)
	}
	return err
}

// verify asks about a call whose message had a digest.
func (g *guard) verify(ctx context.Context, tool string, digest [sha256.Size]byte) (*Claims, error) {
	r := received(ctx)
	r.Tool, r.digest = tool, &digest
	var c *Claims
	token, err := bearer(metadata.ValueFromIncomingContext(ctx, Header))
	if err == nil {
		c, err = g.v.verify(ctx, token, r)
	}
	if err != nil {
		g.v.refused(ctx, r, c, err)
		return nil, errRefused
	}
	return c, nil
}

// bearer is the token of exactly one value.
func bearer(values []string) (string, error) {
	if len(values) != 1 {
		return "", errors.New("there is not one authorization")
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", errors.New("the authorization is no bearer token")
	}
	return token, nil
}

// received is what the connection says of the caller.
func received(ctx context.Context) Received {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Received{}
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return Received{}
	}
	return ofTLS(&info.State)
}
