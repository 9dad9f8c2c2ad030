package policy

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/policy/engine"
	"google.golang.org/grpc/codes"
)

// refusal is what the caller of a denied query reads. It names no policy author,
// no other person and no value.
func refusal(q *Query, d Decision) *fault.Error {
	f := refusalFor(fault.Reason(d.Reason)).With("policy_revision", d.Revision).With("decision_id", q.Call)
	if q.Tool != "" {
		f = f.With("tool", q.Tool)
	}
	if d.StepUp.ACR != "" {
		f = f.With("acr", d.StepUp.ACR)
	}
	if d.StepUp.MaxAge > 0 {
		f = f.With("max_age", strconv.Itoa(int(d.StepUp.MaxAge.Seconds())))
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
	case fault.ApprovalDenied:
		return fault.New(codes.PermissionDenied, reason, "the call was not approved; do not repeat it")
	case fault.ApprovalExpired:
		return fault.New(codes.FailedPrecondition, reason, "the approval has expired; repeat the call without it to ask anew")
	case fault.ApprovalConsumed:
		return fault.New(codes.FailedPrecondition, reason, "the approval was used before and serves one call; repeat the call without it to ask anew")
	case fault.ApprovalDigestMismatch:
		return fault.New(codes.FailedPrecondition, reason, "the approval was given for another call; repeat exactly the call that was approved, or leave the approval out to ask anew")
	case fault.ApprovalRequired:
		return fault.New(codes.FailedPrecondition, reason, "nobody has approved this call yet; repeat it when somebody has")
	case fault.NotFound:
		return fault.New(codes.NotFound, reason, "there is no such approval")
	case fault.SessionBusy:
		return fault.New(codes.FailedPrecondition, reason, "the same call is being made already; wait for it")
	case fault.StreamLimit:
		return fault.New(codes.ResourceExhausted, reason, "too many of your calls wait for an approval; wait until one is decided")
	case fault.BudgetExhausted:
		return fault.New(codes.ResourceExhausted, reason, "your budget for this is used up; repeat it when the wait named in the details is over")
	case fault.RateLimited:
		return fault.New(codes.ResourceExhausted, reason, "you have made this call as often as you may; repeat it when the wait named in the details is over")
	case fault.PrincipalLocked:
		return errLocked
	case fault.CredentialInvalid:
		return errDistrusted
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

// exhausted is the answer when the sink did not give what the decision needed.
func exhausted(e *audit.Exhausted) *fault.Error {
	return refusalFor(cmp.Or(fault.Reason(e.Reason), fault.RateLimited)).
		RetryIn(e.RetryAfter).Because(&Denied{PolicyIDs: []string{engine.PolicyOf(e.Bucket)}, Err: e})
}

// unsettled is the answer when the outcome could not be recorded: the effect has
// happened, so the message must not promise otherwise.
func unsettled(err error) *fault.Error {
	return fault.New(codes.Unavailable, fault.AuditUnavailable, "the call was made, but its outcome could not be recorded; do not repeat it, nothing further is done until the record is available").Because(err)
}
