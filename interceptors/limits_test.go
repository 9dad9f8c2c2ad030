package interceptors

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/behalf-dev/behalf/fault"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/protobuf/proto"
)

func TestTheSmallerDeadlineHolds(t *testing.T) {
	run := &Rule{Action: "run_agent"}
	for name, c := range map[string]struct {
		call
		client, want time.Duration // 0: none
	}{
		"the client names none":                     {call{}, 0, time.Minute},
		"the client's is the smaller one":           {call{}, time.Second, 980 * time.Millisecond},
		"the client's is hours away":                {call{}, 10 * time.Hour, time.Minute},
		"of a run":                                  {call{rule: run}, 10 * time.Hour, 10 * time.Minute},
		"of a stream":                               {call{rule: run, stream: true}, 10 * time.Hour, 15 * time.Minute},
		"of a conversation":                         {call{rule: run, stream: true, both: true}, 0, 0},
		"of a conversation whose client names one":  {call{rule: run, stream: true, both: true}, 10 * time.Hour, 10*time.Hour - 20*time.Millisecond},
		"what is left is just enough to begin with": {call{}, 100 * time.Millisecond, 80 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if c.client > 0 {
					ctx, cancel = context.WithTimeout(ctx, c.client)
				}
				defer cancel()
				var got time.Duration

				err := limit(Limits{})(ctx, &c.call, func(ctx context.Context) error {
					if until, has := ctx.Deadline(); has {
						got = time.Until(until)
					}
					return nil
				})

				if err != nil || got != c.want {
					t.Errorf("got %v (%v), want %v", got, err, c.want)
				}
			})
		})
	}
}

// A client that sees only that time ran out looks for a deadline of its own.
func TestAMissedDeadlineSaysWhoseItWas(t *testing.T) {
	const ours = "this server ends a call after 1m0s; ask for less, or let a run do it"
	for name, c := range map[string]struct {
		call
		client time.Duration // 0: none
		want   string
	}{
		"this server's":       {call{}, 0, ours},
		"a later one is ours": {call{}, time.Hour, ours},
		"the client's":        {call{}, time.Second, "the call ran out of time; ask for less or allow more"},
		"of a run":            {call{rule: &Rule{Action: "run_agent"}}, 0, "the call ran out of time; ask for less or allow more"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithValue(t.Context(), principalKey{}, identity.Principal{User: &identity.User{Subject: "alice"}}), context.CancelFunc(func() {})
				if c.client > 0 {
					ctx, cancel = context.WithTimeout(ctx, c.client)
				}
				defer cancel()

				err := limit(Limits{})(ctx, &c.call, func(ctx context.Context) error {
					<-ctx.Done()
					return ctx.Err()
				})

				if e := fault.From(err); e.Reason != fault.DeadlineExceeded || e.Message != c.want || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v, want %s", err, c.want)
				}
			})
		})
	}
}

func TestACallThatHasNoTimeIsNotBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 99*time.Millisecond)
		defer cancel()

		err := limit(Limits{})(ctx, &call{}, func(context.Context) error { t.Error("it was begun"); return nil })

		if !errors.Is(err, fault.DeadlineExceeded) {
			t.Errorf("got %v, want DEADLINE_EXCEEDED", err)
		}
	})
}

// desk is a chain with one limit, and what its person gets answered.
type desk struct {
	pair
	ctx context.Context
}

func newDesk(t *testing.T, calls int) desk {
	p := identity.Principal{User: &identity.User{Issuer: "https://idp.example", Subject: "bob", Tenant: "acme"}}
	return desk{own(nil, limit(Limits{Calls: calls})), context.WithValue(t.Context(), principalKey{}, p)}
}

func (d desk) ask(resp proto.Message, err error) (any, error) {
	return d.unary(d.ctx, nil, &grpc.UnaryServerInfo{}, func(context.Context, any) (any, error) { return resp, err })
}

var large = &behalfv1.CallToolResponse{ResultJson: strings.Repeat("x", smallAnswer)}

func TestAPersonHasOnlySoManyCallsAtOnce(t *testing.T) {
	d := newDesk(t, 1)
	_, err := d.unary(d.ctx, nil, &grpc.UnaryServerInfo{}, func(context.Context, any) (any, error) {
		_, second := d.ask(nil, nil)
		return nil, second
	})

	if f := fault.From(err); f.Reason != fault.RateLimited || f.RetryAfter() == 0 {
		t.Errorf("got %v for a second call, want RATE_LIMITED and when to come back", err)
	}
	for range 2 { // what was refused, has failed or was small is over
		if _, err := d.ask(&behalfv1.CallToolResponse{}, nil); err != nil {
			t.Errorf("got %v for the next call", err)
		}
		if _, err := d.ask(large, fault.NotFound); !errors.Is(err, fault.NotFound) {
			t.Errorf("got %v, want what the handler said", err)
		}
	}
}

func TestAPanicGivesTheCallBack(t *testing.T) {
	d := newDesk(t, 1)
	func() {
		defer func() { _ = recover() }()
		_, _ = d.unary(d.ctx, nil, &grpc.UnaryServerInfo{}, func(context.Context, any) (any, error) { panic("x") })
	}()

	if _, err := d.ask(nil, nil); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestALargeAnswerCountsUntilItHasLeft(t *testing.T) {
	d := newDesk(t, 1)
	c := codec{encoding.GetCodecV2(protocodec.Name), 64}
	resp, err := d.ask(large, nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := c.Marshal(resp)
	if err != nil {
		t.Fatal(err)
	}
	got := &behalfv1.CallToolResponse{}
	if err := proto.Unmarshal(data.Materialize(), got); err != nil || !proto.Equal(got, large) {
		t.Errorf("got %v and another message, want the answer as it is", err)
	}
	data.Ref() // as the transport does
	data.Free()

	if _, err := d.ask(nil, nil); !errors.Is(err, fault.RateLimited) {
		t.Errorf("got %v while the answer is unread, want RATE_LIMITED", err)
	}
	data.Free()
	if _, err := d.ask(nil, nil); err != nil {
		t.Errorf("got %v when it has left", err)
	}
}

// A connection that ends drops what it has not sent without freeing it.
func TestAnAnswerThatIsDroppedCountsNoMore(t *testing.T) {
	dropped := make(chan struct{})
	func() {
		c := codec{encoding.GetCodecV2(protocodec.Name), 64}
		if _, err := c.Marshal(held(large, func() { close(dropped) })); err != nil {
			t.Fatal(err)
		}
	}()

	for range 1000 {
		runtime.GC()
		select {
		case <-dropped:
			return
		default:
			runtime.Gosched()
		}
	}
	t.Error("it counts for ever")
}
