package fault

import (
	"context"
	"errors"
	"maps"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Domain is the ErrorInfo domain of every reason.
const Domain = "behalf"

// Error is a failure with a meaning the caller can act on.
type Error struct {
	Code    codes.Code
	Reason  Reason
	Message string // for the caller: what to do next; no secret, path, prompt or cause
	Err     error  // for the operator; never leaves the process

	meta   map[string]string
	fields []Field
	retry  time.Duration
}

// Field names one malformed request field, without its value.
type Field struct{ Path, Problem string }

// New makes a fault. The message goes to the caller word for word.
func New(code codes.Code, reason Reason, message string) *Error {
	return &Error{Code: code, Reason: reason, Message: message}
}

// Because returns a copy that remembers the cause for the operator's log.
func (e *Error) Because(err error) *Error {
	c := *e
	c.Err = err
	return &c
}

// With returns a copy whose ErrorInfo metadata has key set to value.
func (e *Error) With(key, value string) *Error {
	c := *e
	c.meta = maps.Clone(e.meta)
	if c.meta == nil {
		c.meta = map[string]string{}
	}
	c.meta[key] = value
	return &c
}

// WithFields returns a copy that names the malformed fields (google.rpc.BadRequest).
func (e *Error) WithFields(fields ...Field) *Error {
	c := *e
	c.fields = append([]Field(nil), fields...)
	return &c
}

// RetryIn returns a copy that tells the caller when to come back (google.rpc.RetryInfo).
func (e *Error) RetryIn(d time.Duration) *Error {
	c := *e
	c.retry = d
	return &c
}

// Meta is the ErrorInfo metadata under key, empty when absent.
func (e *Error) Meta(key string) string { return e.meta[key] }

// RetryAfter is the wait named by RetryIn; zero when none was named.
func (e *Error) RetryAfter() time.Duration { return e.retry }

// Error is the operator's view: it includes the cause.
func (e *Error) Error() string {
	if e.Err == nil {
		return string(e.Reason) + ": " + e.Message
	}
	return string(e.Reason) + ": " + e.Message + ": " + e.Err.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes two faults with the same reason match, so that errors.Is can be
// asked with a reason: errors.Is(err, fault.Reason("NOT_FOUND")).
func (e *Error) Is(target error) bool {
	r, ok := target.(Reason)
	return ok && r == e.Reason
}

// GRPCStatus is the caller's view: code, message and details, no cause.
func (e *Error) GRPCStatus() *status.Status {
	s := status.New(e.Code, e.Message)
	with, err := s.WithDetails(e.details()...)
	if err != nil {
		return s
	}
	return with
}

func (e *Error) details() []protoadapt.MessageV1 {
	out := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: string(e.Reason), Domain: Domain, Metadata: e.meta}}
	if e.retry > 0 {
		out = append(out, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.retry)})
	}
	if len(e.fields) > 0 {
		bad := &errdetails.BadRequest{}
		for _, f := range e.fields {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: f.Path, Description: f.Problem})
		}
		out = append(out, bad)
	}
	if d := e.standard(); d != nil {
		out = append(out, d)
	}
	return out
}

// standard is what a client that knows Google's details, and not our reasons, reads
// of the reasons that have one. The subject of a quota is the class of who is
// limited, not an id; that of a precondition is the object that it waits for.
func (e *Error) standard() protoadapt.MessageV1 {
	switch e.Reason {
	case RateLimited, BudgetExhausted, StreamLimit:
		return &errdetails.QuotaFailure{Violations: []*errdetails.QuotaFailure_Violation{{Subject: "caller", Description: e.Message}}}
	case ApprovalRequired, ApprovalConsumed, ApprovalDigestMismatch, ApprovalExpired:
		return e.precondition("approval_id")
	case InputRequired:
		return e.precondition("input_request_id")
	}
	return nil
}

func (e *Error) precondition(subject string) protoadapt.MessageV1 {
	return &errdetails.PreconditionFailure{Violations: []*errdetails.PreconditionFailure_Violation{
		{Type: string(e.Reason), Subject: e.meta[subject], Description: e.Message},
	}}
}

// From finds the fault in err's chain. A cancellation or a deadline, of a context
// or as gRPC says it, becomes a fault of its own code; anything else becomes
// Internal with no text.
func From(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	code := status.Code(err) // what gRPC makes of a stream whose other end is gone
	switch {
	case errors.Is(err, context.Canceled), code == codes.Canceled:
		return &Error{Code: codes.Canceled, Reason: Canceled, Message: "the call was cancelled", Err: err}
	case errors.Is(err, context.DeadlineExceeded), code == codes.DeadlineExceeded:
		return &Error{Code: codes.DeadlineExceeded, Reason: DeadlineExceeded, Message: "the call ran out of time; ask for less or allow more", Err: err}
	}
	return &Error{Code: codes.Internal, Reason: Internal, Message: "internal error; the server's log has the cause under this request id", Err: err}
}
