package tools

import (
	"fmt"

	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// errRefused is a call that was made and that its backend did not take for ours. It is
// no failure that passes: the code tells clients not to try again.
var errRefused = fault.New(codes.FailedPrecondition, fault.ToolUnavailable,
	"the tool's backend did not accept the call's token; nothing was done, and its operator must look: its log says why")

// Carried is what a call carried to its backend.
type Carried struct {
	Target  string
	Tokens  Issuing
	Backend Backend
	Bound   bool // to the certificate that was shown
}

// Refused is a call whose token the backend did not accept. The cause has what the
// operator of each side must compare; it is for the log.
func (c Carried) Refused(err error) *fault.Error {
	issuer := "by the authorization server of `exchange`"
	if t, ours := c.Tokens.(*Tokens); ours {
		issuer = fmt.Sprintf("by %q", t.Issuer)
	}
	bound := "bound to our certificate"
	if !c.Bound {
		bound = "bound to no certificate, because the connection showed none"
	}
	return errRefused.Because(&refusedError{fmt.Sprintf("%s refused a token for %q, issued %s and %s; compare them with what the backend expects, and see its log",
		c.Target, c.Backend.Audience, issuer, bound), err})
}

// refusedError is what was sent, and what the backend said of it, which may have to be
// withheld.
type refusedError struct {
	sent string
	said error
}

func (e *refusedError) Error() string { return e.sent + ": " + e.said.Error() }

func (e *refusedError) Unwrap() error { return e.said }

// stands reports a refusal that is the same until an operator has done something.
func stands(f *fault.Error) bool {
	return f.Reason == fault.ToolUnavailable && f.Code == codes.FailedPrecondition
}
