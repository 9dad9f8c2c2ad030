package interceptors

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/policy"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

type traceKey struct{}

// Trace is the id that joins the call's log lines and audit rows: 32 hex
// digits, ours alone. A client's trace context never becomes it, so that nobody
// can hide in or collide with somebody else's trace (SECURITY 4.7).
func Trace(ctx context.Context) string {
	id, _ := ctx.Value(traceKey{}).(string)
	return id
}

func traced(ctx context.Context, _ *call, rest next) error {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails, see crypto/rand
	return rest(context.WithValue(ctx, traceKey{}, hex.EncodeToString(id[:])))
}

// status makes what the caller sees of an error, and logs what the caller must
// not see. This is the one place where causes are logged.
func status(log *slog.Logger) layer {
	return func(ctx context.Context, c *call, rest next) error {
		err := rest(ctx)
		if err == nil {
			return nil
		}
		f := toFault(err).With("request_id", Trace(ctx))
		if f.Err != nil && !simplyDenied(f) {
			log.LogAttrs(ctx, severity(f.Code), "call failed", slog.String("method", c.method),
				slog.String("reason", string(f.Reason)), slog.String("cause", f.Err.Error()), slog.String("trace_id", Trace(ctx)))
		}
		return f.GRPCStatus().Err()
	}
}

// simplyDenied says that there is no cause besides the policies, which the call's
// own line names.
func simplyDenied(f *fault.Error) bool {
	d, ok := errors.AsType[*policy.Denied](f)
	return ok && d.Err == nil
}

// toFault also understands the statuses that gRPC itself makes: of methods without a
// handler and of messages that cannot be decoded.
func toFault(err error) *fault.Error {
	f := fault.From(err)
	if _, ours := errors.AsType[*fault.Error](err); ours || f.Reason != fault.Internal {
		return f // what we said ourselves is not guessed anew from its code
	}
	switch s, _ := grpcstatus.FromError(err); s.Code() {
	case codes.NotFound: // health, of a service that there is not
		return fault.New(codes.NotFound, fault.NotFound, "there is no such service")
	case codes.Unimplemented:
		return fault.New(codes.Unimplemented, fault.Unimplemented, "this server does not have this call")
	case codes.InvalidArgument:
		return fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "the request cannot be decoded").Because(err)
	case codes.ResourceExhausted:
		return fault.New(codes.ResourceExhausted, fault.ArgumentInvalid, "the request is too large").Because(err)
	case codes.Canceled, codes.Unavailable: // the transport is closing: the client went away
		return fault.New(codes.Canceled, fault.Canceled, "the call was cancelled").Because(err)
	default:
		return f
	}
}

func severity(c codes.Code) slog.Level {
	switch c {
	case codes.Internal, codes.Unavailable, codes.DataLoss:
		return slog.LevelError
	case codes.Unauthenticated:
		return slog.LevelWarn
	default:
		return slog.LevelInfo
	}
}

// recovered turns a panic into an error with its stack and without its values.
var recovered = recovery.WithRecoveryHandlerContext(func(_ context.Context, p any) error { return Recovered(p) })

// Recovered is what the log may know of a panic: for goroutines that the chain
// does not see. It is called where the panic is recovered.
func Recovered(p any) error { return fmt.Errorf("panic of type %T at\n%s", p, debug.Stack()) }

func newMessage(d protoreflect.MessageDescriptor) protoreflect.ProtoMessage {
	return dynamicpb.NewMessage(d)
}
