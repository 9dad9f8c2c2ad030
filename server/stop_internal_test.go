package server

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/protobuf/types/known/emptypb"
)

// TestTheGraceOfOneServerIsNotTheOthers: a call of our own http listener may take its time
// to end, as a write does, and the others are cut all the same.
func TestTheGraceOfOneServerIsNotTheOthers(t *testing.T) {
	t.Parallel()
	begun, held, release := make(chan struct{}, 2), make(chan struct{}), make(chan struct{})
	serve := func(h grpc.StreamHandler) *grpc.Server {
		g := grpc.NewServer(grpc.WaitForHandlers(true), grpc.UnknownServiceHandler(h))
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = g.Serve(l) }()
		conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		go func() { _ = conn.Invoke(context.Background(), "/a.B/C", &emptypb.Empty{}, &emptypb.Empty{}) }()
		return g
	}
	s := &Server{health: health.NewServer(), grace: 50 * time.Millisecond}
	s.own = serve(func(any, grpc.ServerStream) error { begun <- struct{}{}; <-release; return nil })
	s.grpc = serve(func(_ any, st grpc.ServerStream) error {
		begun <- struct{}{}
		<-st.Context().Done()
		close(held)
		return nil
	})
	<-begun
	<-begun
	done := make(chan struct{})
	go func() { defer close(done); s.stop() }()

	select {
	case <-held:
	case <-time.After(time.Minute):
		t.Error("the other listener's call was not cut after the grace period, as it waits for the end of one of ours")
	}
	close(release)
	<-done
}
