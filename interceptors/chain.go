package interceptors

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// call is one RPC on its way through the chain, unary or stream. Layers of one
// call run in one goroutine; the hooks are called by gRPC's handler goroutine.
type call struct {
	method string
	rule   *Rule // nil for a method that no service has
	stream bool
	both   bool // the client's side is a stream too

	each  []func(proto.Message) error // before first, and for every later message
	first []func(context.Context, proto.Message) (context.Context, error)
	send  []func(context.Context) error

	answer any // of a unary call, once its handler has made it

	silent   time.Duration // how long the first message may take; 0: for ever
	blocked  time.Duration // how long one send may wait for the client; 0: for ever
	stopped  time.Duration // the same once its run was told to stop
	farewell time.Duration // how long it may last when its authority has ended
}

// next is the rest of the chain.
type next func(context.Context) error

// layer is one concern around the rest of a call.
type layer func(ctx context.Context, c *call, rest next) error

// conversation reports whether client and server go on speaking: such a stream
// has no end of its own but that of its credential, which the client may refresh.
func (c *call) conversation() bool { return c.both && c.rule != nil && c.rule.Action != "" }

// every runs what each message must pass.
func (c *call) every(m any) error {
	msg, _ := m.(proto.Message)
	for _, f := range c.each {
		if err := f(msg); err != nil {
			return err
		}
	}
	return nil
}

// received runs what waits for the first message.
func (c *call) received(ctx context.Context, m any) (context.Context, error) {
	if err := c.every(m); err != nil {
		return ctx, err
	}
	msg, _ := m.(proto.Message)
	for _, f := range c.first {
		var err error
		if ctx, err = f(ctx, msg); err != nil {
			return ctx, err
		}
	}
	return ctx, nil
}

// sending runs what must be true before a byte leaves.
func (c *call) sending(ctx context.Context) error {
	for _, f := range c.send {
		if err := f(ctx); err != nil {
			return err
		}
	}
	return nil
}

// through runs the layers from the outermost to the handler.
func through(ctx context.Context, c *call, layers []layer, handler next) error {
	if len(layers) == 0 {
		return handler(ctx)
	}
	return layers[0](ctx, c, func(ctx context.Context) error {
		return through(ctx, c, layers[1:], handler)
	})
}

// pair is one interceptor in both of gRPC's forms.
type pair struct {
	unary  grpc.UnaryServerInterceptor
	stream grpc.StreamServerInterceptor
}

// own makes both forms of a list of layers.
func own(rules map[string]*Rule, layers ...layer) pair {
	ch := &chain{rules, layers}
	return pair{ch.unary, ch.stream}
}

type chain struct {
	rules  map[string]*Rule
	layers []layer
}

func (ch *chain) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	c := &call{method: info.FullMethod, rule: ch.rules[info.FullMethod]}
	err := through(ctx, c, ch.layers, func(ctx context.Context) error {
		ctx, err := c.received(ctx, req)
		if err != nil {
			return err
		}
		if c.answer, err = handler(ctx, req); err != nil {
			return err
		}
		return c.sending(ctx)
	})
	if err != nil {
		return nil, err
	}
	return c.answer, nil
}

func (ch *chain) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	c := &call{method: info.FullMethod, rule: ch.rules[info.FullMethod], stream: true, both: info.IsClientStream}
	return through(ss.Context(), c, ch.layers, func(ctx context.Context) error {
		s := &serverStream{ServerStream: ss, call: c}
		s.ctx = context.WithValue(ctx, streamKey{}, s)
		s.watchdog.limit, s.watchdog.moment, s.watchdog.hangUp = c.blocked, c.stopped, s.hangUp
		return handler(srv, s)
	})
}

// serverStream gives the handler the chain's context and runs the hooks. As
// gRPC demands, one goroutine receives and one sends. The context that the
// first message makes is visible to a handler that asks after receiving it.
type serverStream struct {
	grpc.ServerStream
	ctx      context.Context // a stream's context is part of its interface
	call     *call
	bound    atomic.Pointer[context.Context]
	received bool
	sent     bool
	watchdog watchdog
}

func (s *serverStream) Context() context.Context {
	if bound := s.bound.Load(); bound != nil {
		return *bound
	}
	return s.ctx
}

func (s *serverStream) RecvMsg(m any) error {
	if s.received {
		if err := s.take(m); err != nil {
			return err
		}
		return s.call.every(m)
	}
	if s.call.silent > 0 {
		defer time.AfterFunc(s.call.silent, func() { s.hangUp(errSilent) }).Stop()
	}
	if err := s.take(m); err != nil {
		return err
	}
	s.received = true
	ctx, err := s.call.received(s.ctx, m)
	if err != nil {
		return err
	}
	s.bound.Store(&ctx)
	return nil
}

// take receives, and says of what gRPC cannot take what is said of a unary request.
func (s *serverStream) take(m any) error {
	err := s.ServerStream.RecvMsg(m)
	if err == nil || errors.Is(err, io.EOF) || s.ServerStream.Context().Err() != nil {
		return err
	}
	return untakeable(wrongWith(err))
}

// SendMsg refuses to speak before it has heard: until the first message nobody
// has decided whether this caller may have an answer.
func (s *serverStream) SendMsg(m any) error {
	if !s.sent {
		if !s.received {
			return fault.New(codes.Internal, fault.Internal, "the stream answered before it was asked")
		}
		if err := s.call.sending(s.Context()); err != nil {
			return err
		}
		s.sent = true
	}
	if s.call.blocked == 0 {
		return s.ServerStream.SendMsg(m)
	}
	s.watchdog.begin()
	defer s.watchdog.end()
	return s.ServerStream.SendMsg(m)
}

// hangUp ends a stream whose client says nothing, or takes nothing any more.
func (s *serverStream) hangUp(why *fault.Error) { hangUp(s.ctx, why) }
