package grpctool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Problem is why nothing of the backend can be used now; nil: it can. It is for the
// operator.
func (s *Source) Problem() error {
	s.mu.Lock()
	known, l := s.known, s.link
	s.mu.Unlock()
	why := s.trouble.Err()
	switch {
	case known == nil && why != nil:
		return fmt.Errorf("%w: %w", ErrNotRead, why)
	case known == nil:
		return ErrNotRead
	case known.err != nil:
		return known.err
	case l == nil:
		return errDown.Because(why)
	}
	return nil
}

// blame notes why the backend cannot be used, and tells the operator what they were
// not told yet.
func (s *Source) blame(ctx context.Context, what string, t trouble) {
	if ctx.Err() != nil || !s.trouble.Is(t, s.c.Now()) {
		return
	}
	s.warn(ctx, what, slog.String("target", s.c.Target), slog.String("why", t.why), slog.String("next", t.next))
}

// warn tells the operator something about the backend. The end of a trouble is told as
// loudly as its begin: whoever reads the one reads the other.
func (s *Source) warn(ctx context.Context, what string, attrs ...slog.Attr) {
	if s.retired.Load() {
		return
	}
	s.c.Logger.LogAttrs(ctx, slog.LevelWarn, what, append([]slog.Attr{slog.String("toolset", s.c.Toolset)}, attrs...)...)
}

// trouble is a cause, and what to do about it.
type trouble struct{ why, next string }

// Error gives both.
func (t trouble) Error() string {
	if t.next == "" {
		return t.why
	}
	return t.why + "; " + t.next
}

// unsent is the credential of a call that never leaves.
type unsent struct{}

var errUnsent = errors.New("not to be sent")

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (unsent) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return nil, errUnsent
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (unsent) RequireTransportSecurity() bool { return true }

// unreachable is why there is no connection. gRPC tells that to calls only, so one is
// made that would not be sent if there were one.
func unreachable(ctx context.Context, conn *grpc.ClientConn) trouble {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var empty []byte
	err := conn.Invoke(ctx, "/behalf/Unsent", &empty, &empty, grpc.PerRPCCredentials(unsent{}), grpc.ForceCodecV2(wire{}))
	text := strings.TrimPrefix(status.Convert(err).Message(), "last connection error: ")
	if quoted, ok := strings.CutPrefix(text, "connection error: desc = "); ok {
		if plain, err := strconv.Unquote(quoted); err == nil {
			text = plain
		}
	}
	text = oneLine(strings.TrimPrefix(text, "transport: "), 512)
	return trouble{text, mend(text)}
}

// mend is what to do about a connection that is not made; empty: nobody can say.
func mend(text string) string {
	for _, m := range [...]struct{ has, next string }{
		{"which is not expected here", "mend server_id or target"},
		{"does not look like a TLS handshake", "it speaks no TLS there, and tokens cross TLS only: give it a certificate, or mend target"},
		{"x509: ", "without server_id its certificate must be one of the system's roots: say server_id if it has an SVID"},
		{"remote error: tls: ", "it does not take our certificate: look at its log, and at whom it lets in"},
		{"connection refused", "start it, or mend target"},
		{"lookup ", "mend the host in target"},
	} {
		if strings.Contains(text, m.has) {
			return m.next
		}
	}
	return ""
}

// undescribed is why the backend's descriptors are not known, though it is there.
func undescribed(err error) trouble {
	t := trouble{why: oneLine(err.Error(), 512), next: "mend services, or say descriptor_set"}
	said, ok := errors.AsType[*saidError](err)
	if !ok {
		return t
	}
	t.why = tools.Clean("asked for reflection it answered "+said.code.String()+": "+said.text, 512)
	switch said.code {
	case codes.Unimplemented:
		t.next = "have it offer grpc.reflection.v1.ServerReflection or grpc.reflection.v1alpha.ServerReflection, or say descriptor_set"
	case codes.Unauthenticated, codes.PermissionDenied:
		t.next = "have it answer grpc.reflection.v1.ServerReflection without a call token (name it in ServerOptions), and v1alpha too if it has only that, or say descriptor_set"
	default:
		t.next = ""
	}
	return t
}
