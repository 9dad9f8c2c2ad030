package mcptool_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc/codes"
)

// issuing issues tokens until it refuses.
type issuing struct {
	tools.Issuing
	refusal atomic.Pointer[fault.Error]
}

func (i *issuing) For(ctx context.Context, b tools.Backend, s tools.Sent) (identity.Secret, error) {
	if f := i.refusal.Load(); f != nil {
		return identity.Secret{}, f.Because(errors.New("hush"))
	}
	return i.Issuing.For(ctx, b, s)
}

func TestWhoIssuesNoTokenSaysWhyAndTheServerIsNotAsked(t *testing.T) {
	required := fault.New(codes.Unauthenticated, fault.CredentialRequired, "come back")
	for name, wrap := range map[string]func(http.Handler) http.Handler{"newest": func(h http.Handler) http.Handler { return h }, "legacy": legacy} {
		for _, first := range []bool{true, false} {
			s := newStand(t, wrap)
			i := &issuing{Issuing: s.config.Tokens}
			s.config.Tokens = i
			w := newWorld(t, s.config).open("whose")
			if !first { // in the middle of a session
				want(t, w.bob("whose", `{}`), "bob whose")
			}
			before := calls(s)
			i.refusal.Store(required)

			reason, text := w.fails("whose", `{}`)

			if reason != fault.CredentialRequired {
				t.Errorf("%s, first: %v: got %s %s, want CREDENTIAL_REQUIRED", name, first, reason, text)
			}
			want(t, text, "come back")
			without(t, text, "hush")
			if calls(s) != before {
				t.Errorf("%s, first: %v: the server was called", name, first)
			}
			i.refusal.Store(nil)
			want(t, w.bob("whose", `{}`), "bob whose") // and it works again
		}
	}
}

// calls are the tool calls that reached the server.
func calls(s *stand) (n int) {
	for _, r := range s.all() {
		if r.method == "tools/call" {
			n++
		}
	}
	return n
}
