package tools

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// What the gate itself refuses. The texts go to models and callers.
var (
	errNoIdentity = fault.New(codes.Internal, fault.Internal, "no identity is bound to this call")
	errOtherAgent = fault.New(codes.Internal, fault.Internal, "the identity bound to this call is not this agent's")
	errUnknown    = fault.New(codes.NotFound, fault.ToolUnknown, "there is no such tool among yours")
	errAway       = fault.New(codes.Unavailable, fault.ToolUnavailable, "the backend of this tool was not reached yet; try again later")
	errMoved      = fault.New(codes.Unavailable, fault.ToolUnavailable, "the tool has changed since, or is not yours any more; what begins anew gets it as it is now")
	errArguments  = fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "the arguments do not fit the tool's schema")
	errExpired    = fault.New(codes.Unauthenticated, fault.CredentialExpired, "the credential behind this call has expired")
	errScope      = fault.New(codes.PermissionDenied, fault.ScopeMissing, "a right that this tool needs is missing")
	errDelegation = fault.New(codes.PermissionDenied, fault.DelegationScope, "the person has the right that this tool needs, but it was not handed on to you")
	errOwner      = fault.New(codes.PermissionDenied, fault.OwnerMismatch, "the call is about somebody else than the person you act for")
	errNoCheck    = fault.New(codes.NotFound, fault.NotFound, "you have checked no such call")
	errReported   = fault.New(codes.FailedPrecondition, fault.RunNotActive, "the call was reported already; a call is reported once")
	errTooLate    = fault.New(codes.Aborted, fault.OutcomeUnknown, "the call was not reported in time, or the server was restarted since; it is on record with an unknown outcome, so show its result to nobody")
	errUnreported = fault.New(codes.ResourceExhausted, fault.RateLimited, "too many of your checked calls were not reported; report them, or wait until they are given up")
	errOutcome    = fault.New(codes.Aborted, fault.OutcomeUnknown, "the call was begun before and may have happened")
)

// next is the permitted next step after a refusal, for a model that would
// otherwise try again.
var next = map[fault.Reason]string{
	fault.ToolUnknown:        "use one of the tools that you were offered",
	fault.ArgumentInvalid:    "correct the named fields and call again",
	fault.CredentialExpired:  "ask the person to sign in again",
	fault.CredentialRequired: "say that the person must come back to this with a valid credential",
	fault.CredentialInvalid:  "stop and say that access has ended",
	fault.ScopeMissing:       "do without this tool and say what is missing",
	fault.DelegationScope:    "hand the task back, or do without this tool",
	fault.OwnerMismatch:      "use the data of the person you act for, or tell them that this is not theirs",
	fault.PolicyDenied:       "do not repeat this call; do without it and say so",
	fault.PolicyError:        "do not repeat this call; say that it cannot be decided now",
	fault.PrincipalLocked:    "stop and say that access is locked",
	fault.StepUpRequired:     "ask the person to sign in with a stronger method",
	fault.RateLimited:        "wait, or do without this tool",
	fault.BudgetExhausted:    "do without this tool and say so",
	fault.ApprovalRequired:   "say that a person must approve this first",
	fault.ApprovalDenied:     "do not repeat this call; say that it was not approved",
	fault.ApprovalExpired:    "say that nobody approved in time",
	fault.ToolUnavailable:    "try again later, or do without this tool",
	fault.OutcomeUnknown:     "do not repeat this call; find out whether it happened, or ask a person",
	fault.DeadlineExceeded:   "ask for less, or do without this tool",
}

// failure is what a model reads of a call that was refused or failed.
type failure struct {
	Reason  fault.Reason `json:"reason,omitempty"`
	Message string       `json:"message"`
	Next    string       `json:"next,omitempty"`
	Fields  []field      `json:"fields,omitempty"`
	Retry   string       `json:"retry_after,omitempty"`
}

type field struct {
	Path    string `json:"path"`
	Problem string `json:"problem"`
}

// explain is the failed result of a fault: its reason, its message for the
// caller and the next step. The cause stays here.
func explain(f *fault.Error, fields []fault.Field) json.RawMessage {
	out := failure{Reason: f.Reason, Message: clean(f.Message, maxMessage), Next: next[f.Reason]}
	if stands(f) {
		out.Next = "do not repeat this call; do without it and say that an operator must look"
	}
	for _, x := range fields {
		out.Fields = append(out.Fields, field(x))
	}
	if d := f.RetryAfter(); d > 0 {
		out.Retry = d.String()
	}
	return out.json()
}

// json never fails: all fields are valid text.
func (f failure) json() json.RawMessage {
	b, err := encode(map[string]failure{"error": f})
	if err != nil {
		return json.RawMessage(`{"error":{"message":"the call failed"}}`)
	}
	return b
}

// list is the problems in one line.
func list(fields []fault.Field) string {
	var out []string
	for _, f := range fields {
		out = append(out, strings.TrimSpace(f.Path+" "+f.Problem))
	}
	return strings.Join(out, "; ")
}

// fatal reports whether a fault of the guard ends the run: nothing more may act,
// or nobody waits any more.
func fatal(f *fault.Error) bool {
	switch f.Reason {
	case fault.AuditUnavailable, fault.Canceled, fault.DeadlineExceeded, fault.Internal:
		return true
	}
	return false
}

// awayFor is after how long it is worth to ask for a tool again whose backend was
// never reached.
const awayFor = 5 * time.Second
