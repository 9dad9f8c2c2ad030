package server_test

import (
	"testing"

	"github.com/behalf-dev/behalf/config"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/emptypb"
)

func TestOnlyTheServersOwnHealthIsPublic(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{optional: true})
	h, a := healthpb.NewHealthClient(w.dial(nil)), w.as(alice)
	check := func(c *client, service string) error {
		_, err := healthpb.NewHealthClient(c).Check(c.ctx(t), &healthpb.HealthCheckRequest{Service: service})
		return err
	}

	r, err := h.Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || r.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("got %v, %v, want SERVING", r, err)
	}
	nobody := &client{w.dial(nil), nil}
	wantError(t, check(nobody, "behalf.v1.AgentService"), codes.Unauthenticated, "CREDENTIAL_REQUIRED")
	wantError(t, check(nobody, "no.such.Service"), codes.Unauthenticated, "CREDENTIAL_REQUIRED")
	if err := check(a, "behalf.v1.AgentService"); err != nil {
		t.Errorf("got %v for alice, want an answer", err)
	}
	wantError(t, check(a, "no.such.Service"), codes.NotFound, "NOT_FOUND")
	s, err := h.Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Recv()
	wantError(t, err, codes.Unauthenticated, "CREDENTIAL_REQUIRED")
}

func TestReflectionCanBeTurnedOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{edit: func(c *config.Config) { c.Server.Reflection = false }})
	a := w.as(alice)

	err := a.Invoke(a.ctx(t), "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &emptypb.Empty{}, &emptypb.Empty{})

	wantError(t, err, codes.Unimplemented, "UNIMPLEMENTED")
}
