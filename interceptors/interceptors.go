package interceptors

import (
	"context"
	"errors"
	"log/slog"
	"time"

	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"google.golang.org/grpc"
)

// Config is what the chain needs. All fields but Limits are required.
type Config struct {
	Rules    map[string]*Rule // of every registered method; see Rules
	Identify Identifier
	Guard    Guard
	Resolve  Resolver
	Metrics  *grpcprom.ServerMetrics
	Log      *slog.Logger
	Now      func() time.Time
	GrantID  func() string // a new grt_… id
	Limits   Limits
	// MessageBytes bounds one request, decompressed.
	MessageBytes int
}

// Options makes the server options that install the chain, whole or not at all.
func Options(c Config) ([]grpc.ServerOption, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	v, err := newValidator()
	if err != nil {
		return nil, err
	}
	auth := &authorizer{guard: c.Guard, resolve: c.Resolve, now: c.Now, grantID: c.GrantID, trace: Trace}
	return append(decoding(c.MessageBytes), install([]pair{
		own(c.Rules, traced),
		known(c.Rules, pair{c.Metrics.UnaryServerInterceptor(), c.Metrics.StreamServerInterceptor()}),
		known(c.Rules, pair{logging.UnaryServerInterceptor(logger(c.Log), finishedOnly), logging.StreamServerInterceptor(logger(c.Log), finishedOnly)}),
		own(c.Rules, status(c.Log)),
		{recovery.UnaryServerInterceptor(recovered), recovery.StreamServerInterceptor(recovered)},
		own(c.Rules, identify(c.Identify), auth.unlocked, limit(c.Limits), decoded, valid(v), auth.layer),
	})...), nil
}

func (c Config) complete() error {
	if c.Rules == nil || c.Identify == nil || c.Guard == nil || c.Resolve == nil || c.Metrics == nil || c.Log == nil || c.Now == nil || c.GrantID == nil || c.MessageBytes <= 0 {
		return errors.New("interceptors: every field of Config but Limits is required")
	}
	return nil
}

// known keeps a library's interceptor to the methods that exist: labels and lines
// must not hold names that a caller invents. Unknown methods are only streams to
// gRPC.
func known(rules map[string]*Rule, p pair) pair {
	inner := p.stream
	p.stream = func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if rules[info.FullMethod] == nil {
			return handler(srv, ss)
		}
		return inner(srv, ss, info, handler)
	}
	return p
}

func install(pairs []pair) []grpc.ServerOption {
	var unary []grpc.UnaryServerInterceptor
	var stream []grpc.StreamServerInterceptor
	for _, p := range pairs {
		unary, stream = append(unary, p.unary), append(stream, p.stream)
	}
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(unary...), grpc.ChainStreamInterceptor(stream...)}
}

// finishedOnly writes one line for each call, when it ends.
var finishedOnly = logging.WithLogOnEvents(logging.FinishCall)

// logger hands the library's fields to slog. They are ids and codes; requests,
// metadata and answers are never logged.
func logger(l *slog.Logger) logging.Logger {
	return logging.LoggerFunc(func(ctx context.Context, level logging.Level, msg string, fields ...any) {
		l.Log(ctx, slog.Level(level), msg, append(fields, "trace_id", Trace(ctx))...)
	})
}
