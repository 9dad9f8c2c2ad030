package interceptors

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
)

// deafStream is a stream whose client takes nothing: a send waits until somebody
// ends the stream.
type deafStream struct {
	grpc.ServerStream
	line *line
}

func newDeafStream() deafStream { return deafStream{line: &line{ended: make(chan struct{})}} }

func (d deafStream) Context() context.Context {
	return grpc.NewContextWithServerTransportStream(context.Background(), d.line)
}
func (d deafStream) RecvMsg(any) error { return nil }
func (d deafStream) SendMsg(any) error { <-d.line.ended; return context.Canceled }

// line is the transport below it.
type line struct {
	grpc.ServerTransportStream
	ended chan struct{}
	why   *grpcstatus.Status
}

func (l *line) WriteStatus(s *grpcstatus.Status) error {
	l.why = s
	close(l.ended)
	return nil
}

// patient lets a send wait for 10 s, or 100 ms when its work was told to stop.
func patient(ctx context.Context, c *call, rest next) error {
	c.blocked, c.stopped = 10*time.Second, 100*time.Millisecond
	return rest(ctx)
}

// sending has a stream whose handler ties it to work and then sends.
func sending(ss grpc.ServerStream, work context.Context, also func(untie func())) error {
	return own(nil, patient).stream(nil, ss, &grpc.StreamServerInfo{}, func(_ any, ss grpc.ServerStream) error {
		if err := ss.RecvMsg(nil); err != nil {
			return err
		}
		also(Tie(ss.Context())(work))
		return ss.SendMsg(nil)
	})
}

func TestABlockedSendEndsSoonAfterItsWorkIsToldToStop(t *testing.T) {
	locked := fault.New(codes.PermissionDenied, fault.PrincipalLocked, "you are locked")
	for name, c := range map[string]struct {
		cause error
		after time.Duration // when the work is told to stop; the send begins at 0
		took  time.Duration
		want  codes.Code
	}{
		"while it is blocked":     {context.Canceled, 3 * time.Second, 3100 * time.Millisecond, codes.Canceled},
		"before it":               {context.Canceled, 0, 100 * time.Millisecond, codes.Canceled},
		"for a reason of its own": {locked, time.Second, 1100 * time.Millisecond, codes.PermissionDenied},
		"never":                   {nil, time.Hour, 10 * time.Second, codes.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				work, stop := context.WithCancelCause(context.Background())
				defer stop(nil)
				defer time.AfterFunc(c.after, func() { stop(c.cause) }).Stop()
				ss, begun := newDeafStream(), time.Now()

				err := sending(ss, work, func(func()) {})

				if took := time.Since(begun); took != c.took || !errors.Is(err, context.Canceled) {
					t.Errorf("got %v after %v, want the send ended after %v", err, took, c.took)
				}
				if ss.line.why.Code() != c.want {
					t.Errorf("the client was told %v, want %v", ss.line.why, c.want)
				}
			})
		})
	}
}

func TestAnUntiedStreamIsNotHurried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		work, stop := context.WithCancel(context.Background())
		ss, begun := newDeafStream(), time.Now()

		_ = sending(ss, work, func(untie func()) {
			stop()
			untie() // the next turn of a conversation
		})

		if took := time.Since(begun); took != 10*time.Second {
			t.Errorf("the send ended after %v, want the usual 10s", took)
		}
	})
}

func TestAUnaryCallCannotBeTied(t *testing.T) {
	if Tie(t.Context()) != nil {
		t.Error("got something to tie a call to that sends once")
	}
}
