package policy

import (
	"strings"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// refusal is what the caller of a denied query reads. It names no policy author,
// no other person and no value.
func refusal(q *Query, d Decision) *fault.Error {
	f := refusalFor(fault.Reason(d.Reason)).With("policy_revision", d.Revision).With("decision_id", q.Call)
	if q.Tool != "" {
		f = f.With("tool", q.Tool)
	}
	return f.Because(&Denied{PolicyIDs: d.PolicyIDs, Err: d.Err})
}

// Denied is the cause of a refusal that is policy's. The caller is not told which
// policies it was; the operator is, and the agent's transcript.
type Denied struct {
	PolicyIDs []string
	Err       error // of an evaluation, or what was used up; nil: they simply say no
}

func (d *Denied) Error() string {
	text := "denied"
	if len(d.PolicyIDs) > 0 {
		text += " by " + strings.Join(d.PolicyIDs, ", ")
	}
	if d.Err != nil {
		text += ": " + d.Err.Error()
	}
	return text
}

// Unwrap gives what went wrong besides.
func (d *Denied) Unwrap() error { return d.Err }

func refusalFor(reason fault.Reason) *fault.Error {
	switch reason {
	case fault.PolicyError:
		return fault.New(codes.Unavailable, reason, "policy could not decide this call, so it was not made; do not repeat it unchanged, tell your administrator")
	case fault.StepUpRequired:
		return fault.New(codes.PermissionDenied, reason, "this needs a stronger proof of who you are; sign in again the stronger way and repeat the call")
	case fault.CredentialExpired:
		return fault.New(codes.Unauthenticated, reason, "the credential has expired; present a fresh one")
	}
	return fault.New(codes.PermissionDenied, fault.PolicyDenied, "policy does not allow this; do it another way or ask your administrator for the right")
}

// unrecorded is the answer when a decision could not be made durable: then
// nothing has happened.
func unrecorded(err error) *fault.Error {
	return fault.New(codes.Unavailable, fault.AuditUnavailable, "the call could not be recorded, so it was not made; repeat it later").Because(err)
}

func rateLimited(e *audit.Exhausted) *fault.Error {
	return fault.New(codes.ResourceExhausted, fault.RateLimited, "you have made this call as often as you may; repeat it when the wait named in the details is over").
		RetryIn(e.RetryAfter).Because(&Denied{PolicyIDs: []string{policyOf(e.Bucket)}, Err: e})
}

// unsettled is the answer when the outcome could not be recorded: the effect has
// happened, so the message must not promise otherwise.
func unsettled(err error) *fault.Error {
	return fault.New(codes.Unavailable, fault.AuditUnavailable, "the call was made, but its outcome could not be recorded; do not repeat it, nothing further is done until the record is available").Because(err)
}
