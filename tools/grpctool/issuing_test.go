package grpctool_test

import (
	"context"
	"errors"
	"testing"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/grpctool"
	"google.golang.org/grpc/codes"
)

// nobody issues no token, and says why.
type nobody struct{ err error }

func (n nobody) For(context.Context, tools.Backend, tools.Sent) (identity.Secret, error) {
	return identity.Secret{}, n.err
}

func TestWhoIssuesNoTokenSaysWhyAndTheBackendIsNotAsked(t *testing.T) {
	required := fault.New(codes.Unauthenticated, fault.CredentialRequired, "come back")
	for name, row := range map[string]struct {
		err    error
		reason fault.Reason
		said   string
	}{
		"a fault":        {required.Because(errors.New("hush")), fault.CredentialRequired, "come back"},
		"anything else":  {errors.New("hush"), fault.ToolUnavailable, "the call could not be signed; nothing was done"},
		"another denial": {fault.New(codes.PermissionDenied, fault.ToolUnavailable, "no token"), fault.ToolUnavailable, "no token"},
	} {
		t.Run(name, func(t *testing.T) {
			w := started(t, func(c *grpctool.Config) { c.Tokens = nobody{row.err} })
			before := w.backend.calls.Load()

			fin := w.call("echo", `{}`)

			if !fin.Failed || fin.Reason != string(row.reason) || said(t, fin) != row.said {
				t.Errorf("got %s, want %s: %s", fin.Result, row.reason, row.said)
			}
			if n := w.backend.calls.Load() - before; n != 0 {
				t.Errorf("the backend was called %d times", n)
			}
		})
	}
}
