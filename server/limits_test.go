package server_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

func TestTooMuchIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a := w.as(alice)
	var many []string
	for i := range 65 {
		many = append(many, fmt.Sprintf("k-%d", i), "v")
	}

	for _, c := range []struct {
		name string
		*client
		code codes.Code
		why  string
	}{
		{"65 entries", a.with(many...), codes.InvalidArgument, "ARGUMENT_INVALID"},
		{"a value over 8 KiB", a.with("k", strings.Repeat("v", 8<<10+1)), codes.InvalidArgument, "ARGUMENT_INVALID"},
		// The server announces its limit, so gRPC's own client does not even send these.
		{"more than 16 KiB", a.with("k", strings.Repeat("v", 8<<10), "l", strings.Repeat("v", 8<<10)), codes.Internal, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.admin().WhoAmI(c.ctx(t), &behalfv1.WhoAmIRequest{})

			wantError(t, err, c.code, c.why)
		})
	}
	t.Run("a message over 1 MiB", func(t *testing.T) {
		_, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: strings.Repeat("x", 1<<20)})
		if status.Code(err) != codes.ResourceExhausted {
			t.Errorf("got %v, want RESOURCE_EXHAUSTED", err)
		}
		_, err = a.stream(t, &behalfv1.StreamAgentRequest{Agent: "triage", Input: strings.Repeat("x", 1<<20)})
		if status.Code(err) != codes.ResourceExhausted {
			t.Errorf("got %v of a stream, want RESOURCE_EXHAUSTED", err)
		}
	})
	t.Run("a message that unpacks to more than 1 MiB", func(t *testing.T) {
		// This test brings gzip along; without it no compression is accepted at all.
		bomb := &behalfv1.RunAgentRequest{Agent: "triage", Input: strings.Repeat("x", 2<<20)}
		_, err := a.agents().RunAgent(a.ctx(t), bomb, grpc.UseCompressor(gzip.Name))
		if c := status.Code(err); c != codes.ResourceExhausted && c != codes.Unimplemented {
			t.Errorf("got %v, want it refused", err)
		}
	})
	t.Run("an input over 256 KiB", func(t *testing.T) {
		_, err := a.agents().RunAgent(a.ctx(t), &behalfv1.RunAgentRequest{Agent: "triage", Input: strings.Repeat("x", 256<<10+1)})
		wantError(t, err, codes.InvalidArgument, "ARGUMENT_INVALID")
	})
}

func TestOnePersonCannotHoldMoreThan20Streams(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a, d := w.as(alice), w.as(dave)
	watch := func(c *client) error {
		s, err := healthpb.NewHealthClient(c).Watch(c.ctx(t), &healthpb.HealthCheckRequest{})
		if err == nil {
			_, err = s.Recv()
		}
		return err
	}
	for i := range 20 {
		if err := watch(a); err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
	}

	wantError(t, watch(a), codes.ResourceExhausted, "STREAM_LIMIT")
	wantError(t, watch(w.as(alice)), codes.ResourceExhausted, "STREAM_LIMIT") // nor by another connection
	if err := watch(d); err != nil {
		t.Errorf("got %v for somebody else, want their own count", err)
	}
}

func TestOnePersonCannotHaveMoreCallsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{edit: func(c *config.Config) { c.Server.Limits.CallsPerUser = 2 }})
	a, d := w.as(alice), w.as(dave)
	session := w.longSession(a, 1)
	// A client that takes 64 KiB and no more, however fast it comes.
	narrow := &client{w.dial(w.workload(w.acme, "/app"), grpc.WithStaticStreamWindowSize(64<<10), grpc.WithStaticConnWindowSize(1<<20)), a.md}
	unread := func() context.CancelFunc {
		ctx, cancel := context.WithCancel(narrow.ctx(t))
		s, err := narrow.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, behalfv1.SessionService_GetSession_FullMethodName)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SendMsg(&behalfv1.GetSessionRequest{SessionId: session}); err != nil {
			t.Fatal(err)
		}
		if err := s.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Header(); err != nil { // the answer is on its way
			t.Fatal(err)
		}
		return cancel
	}
	who := func(c *client) error {
		_, err := c.admin().WhoAmI(c.ctx(t), &behalfv1.WhoAmIRequest{})
		return err
	}

	hangUp := unread()
	if err := who(a); err != nil {
		t.Errorf("got %v beside one unread answer", err)
	}
	unread()
	err := who(w.as(alice)) // nor by another connection
	wantError(t, err, codes.ResourceExhausted, "RATE_LIMITED")
	if err := who(d); err != nil {
		t.Errorf("got %v for somebody else, want their own count", err)
	}

	hangUp()
	for tries := 0; who(a) != nil; tries++ { // the server hears of it a moment later
		if tries > 1000 {
			t.Fatal("a call that was given up counts for ever")
		}
	}
}

func TestOnePeerHasOnlySoManyConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{edit: func(c *config.Config) { c.Server.Limits.ConnectionsPerPeer = 2 }})
	svid, token := w.workload(w.acme, "/app"), bearer(w.token(w.idp, alice, nil))
	who := func(c *client) error {
		_, err := c.admin().WhoAmI(c.ctx(t), &behalfv1.WhoAmIRequest{})
		return err
	}
	first, second, third := &client{w.dial(svid), token}, &client{w.dial(svid), token}, &client{w.dial(svid), token}
	for _, c := range []*client{first, second} {
		if err := who(c); err != nil {
			t.Fatal(err)
		}
	}

	if err := who(third); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v on a third connection, want none", err)
	}
	if err := who(w.as(erin)); err != nil {
		t.Errorf("got %v for another peer, want its own count", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	for tries := 0; who(&client{w.dial(svid), token}) != nil; tries++ { // the server hears of it a moment later
		if tries > 1000 {
			t.Fatal("a connection that was closed counts for ever")
		}
	}
}

func TestAConnectionHasOnlySoManyStreams(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{edit: func(c *config.Config) { c.Server.Limits.StreamsPerConnection = 3 }})
	call := right(callTool, bearer(w.token(w.idp, alice, nil)))
	k := w.wire(t, w.workload(w.acme, "/app"))

	for id := uint32(1); id <= 7; id += 2 { // which never come to an end
		k.head(id, false, call)
	}

	if got := k.outcome(7); got != "reset REFUSED_STREAM" {
		t.Errorf("the fourth: got %q", got)
	}
}

func TestAConnectionThatSaysNothingIsClosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{edit: func(c *config.Config) { c.Server.Limits.ConnectTimeout = time.Second }})
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", w.addr)
	succeed(t, err)
	defer conn.Close()
	succeed(t, conn.SetReadDeadline(time.Now().Add(patience)))

	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("without a handshake: got %v, want it closed", err)
	}
	if got := w.mute(t, w.workload(w.acme, "/app")).outcome(1); got != "closed" {
		t.Errorf("without a preface: got %q, want it closed", got)
	}
}
