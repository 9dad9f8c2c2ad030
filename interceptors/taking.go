package interceptors

import (
	"context"
	"slices"
	"time"

	"github.com/behalf-dev/behalf/fault"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Taking registers services on g in such a way that their unary methods take
// requests as streams do: from callers who are identified, and within the time of
// a first message. gRPC reads a unary request before it asks the first interceptor.
// It would wait for one that never comes for as long as the connection lives, and
// answer by itself for one that it cannot take, to anybody.
func Taking(g *grpc.Server, rules map[string]*Rule, who Identifier, l Limits) grpc.ServiceRegistrar {
	return taking{g, rules, who, l.withDefaults().FirstMessage}
}

type taking struct {
	*grpc.Server
	rules    map[string]*Rule
	who      Identifier
	patience time.Duration
}

// RegisterService implements grpc.ServiceRegistrar.
func (t taking) RegisterService(d *grpc.ServiceDesc, impl any) {
	own := *d
	own.Methods = slices.Clone(d.Methods)
	for i, m := range own.Methods {
		rule := t.rules["/"+d.ServiceName+"/"+m.MethodName]
		own.Methods[i].Handler = func(srv any, ctx context.Context, take func(any) error, chain grpc.UnaryServerInterceptor) (any, error) {
			met := &meeting{}
			if rule != nil && rule.Caller != behalfv1.Caller_CALLER_PUBLIC {
				ctx = met.with(ctx, t.who)
			}
			return m.Handler(srv, ctx, func(v any) error { return t.take(ctx, met, v, take) }, chain)
		}
	}
	t.Server.RegisterService(&own, impl)
}

// meeting is what came of identifying a caller, for the layer that asks it of every
// call.
type meeting struct {
	p   identity.Principal
	err error
	at  time.Time
}

type meetingKey struct{}

func (m *meeting) with(ctx context.Context, who Identifier) context.Context {
	md, _ := metadata.FromIncomingContext(ctx)
	m.at = time.Now()
	m.p, m.err = who.Identify(ctx, Connection(ctx), md)
	return context.WithValue(ctx, meetingKey{}, m)
}

// met identifies the caller, unless that was done a moment ago, before their request
// was read: in a minute that it may take to come a credential can end.
func met(ctx context.Context, who Identifier, md metadata.MD) (identity.Principal, error) {
	if m, ok := ctx.Value(meetingKey{}).(*meeting); ok && (m.err != nil || time.Since(m.at) < time.Second) {
		return m.p, m.err
	}
	return who.Identify(ctx, Connection(ctx), md)
}

// take reads nothing of callers whom nobody knows; the chain refuses them. What
// gRPC cannot take it has answered for by then, and the mark ends the call in the
// chain, which counts it and writes its line.
func (t taking) take(ctx context.Context, from *meeting, v any, take func(any) error) error {
	if from.err != nil {
		return nil
	}
	defer time.AfterFunc(t.patience, func() { hangUp(ctx, errSilent) }).Stop()
	err := take(v)
	m, ok := v.(proto.Message)
	if err == nil || !ok || ctx.Err() != nil {
		return err
	}
	proto.Reset(m)
	mark(m, wrongWith(err))
	return nil
}

// wrongWith says what gRPC has against a message: a length that it does not have, a
// compression that is none, an end in the middle.
func wrongWith(err error) uint64 {
	if grpcstatus.Code(err) == codes.ResourceExhausted {
		return tooLarge
	}
	return garbled
}

// hangUp ends a call that its client holds up. To end the stream is the only thing
// that wakes who waits in it; gRPC's transport allows it from any goroutine, and
// the handler's own end is then without effect.
func hangUp(ctx context.Context, why *fault.Error) {
	t, ok := grpc.ServerTransportStreamFromContext(ctx).(interface {
		WriteStatus(*grpcstatus.Status) error
	})
	if ok {
		_ = t.WriteStatus(why.GRPCStatus())
	}
}
