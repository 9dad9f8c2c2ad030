package calltoken

import (
	"context"
	"crypto/sha256"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// digested serves health with what tells digests, and one interceptor. It gives a
// connection, and what to call when all calls have been made.
func digested(t *testing.T, d *digests, unary grpc.UnaryServerInterceptor) (*grpc.ClientConn, func()) {
	t.Helper()
	s := grpc.NewServer(grpc.ForceServerCodecV2(d), grpc.StatsHandler(d), grpc.UnaryInterceptor(unary))
	healthpb.RegisterHealthServer(s, struct {
		healthpb.UnimplementedHealthServer
	}{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }() // ends with Stop
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(); s.Stop() })
	return conn, func() {
		_ = conn.Close()
		s.GracefulStop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// An interceptor of the backend's own may come first and refuse. Whoever has no token
// could otherwise fill the memory with what he sends.
func TestNothingIsKeptOfACallThatEnded(t *testing.T) {
	d := &digests{}
	conn, end := digested(t, d, func(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
		return nil, status.Error(codes.ResourceExhausted, "slow down")
	})
	for range 3 {
		if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: "x"}); status.Code(err) != codes.ResourceExhausted {
			t.Fatal(err)
		}
	}
	for _, method := range []string{healthpb.Health_Check_FullMethodName, healthpb.Health_Watch_FullMethodName} {
		twice(t, conn, method)
	}

	end()

	if len(d.now) > 0 {
		t.Errorf("got %d messages kept", len(d.now))
	}
}

// twice sends two messages where one is due.
func twice(t *testing.T, conn *grpc.ClientConn, method string) {
	t.Helper()
	s, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.SendMsg(&healthpb.HealthCheckRequest{Service: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.RecvMsg(&healthpb.HealthCheckResponse{}); status.Code(err) != codes.Internal {
		t.Fatalf("got %v for two messages", err)
	}
}

func TestAnInterceptorGetsTheDigestOfItsOwnCallOnce(t *testing.T) {
	sent, err := proto.Marshal(&healthpb.HealthCheckRequest{Service: "seven"})
	if err != nil {
		t.Fatal(err)
	}
	conn, end := digested(t, &digests{}, func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
		got, ok := taken(ctx, req)
		if !ok || got != sha256.Sum256(sent) {
			t.Errorf("got %x, %v, want the digest of what was sent", got, ok)
		}
		if _, again := taken(ctx, req); again {
			t.Error("the digest was given twice")
		}
		return &healthpb.HealthCheckResponse{}, nil
	})
	if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: "seven"}); err != nil {
		t.Fatal(err)
	}
	end()

	ctx := (&digests{}).TagRPC(t.Context(), nil)
	if _, ok := taken(ctx, &healthpb.HealthCheckRequest{}); ok {
		t.Error("a message that did not come has a digest")
	}
}
