package fault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestFromKnowsAnEndByItsContextAndByItsStatus(t *testing.T) {
	for _, row := range []struct {
		err  error
		code codes.Code
		want Reason
	}{
		{fmt.Errorf("send: %w", context.Canceled), codes.Canceled, Canceled},
		{fmt.Errorf("send: %w", status.Error(codes.Canceled, "gone")), codes.Canceled, Canceled},
		{context.DeadlineExceeded, codes.DeadlineExceeded, DeadlineExceeded},
		{status.Error(codes.DeadlineExceeded, "late"), codes.DeadlineExceeded, DeadlineExceeded},
		{status.Error(codes.NotFound, "a backend's secret"), codes.Internal, Internal},
		{errors.New("any other"), codes.Internal, Internal},
		{fmt.Errorf("x: %w", New(codes.NotFound, NotFound, "there is none").Because(context.Canceled)), codes.NotFound, NotFound},
	} {
		got := From(row.err)
		if got.Code != row.code || got.Reason != row.want {
			t.Errorf("%v: got %v %v, want %v %v", row.err, got.Code, got.Reason, row.code, row.want)
		}
	}
}

func TestStandardDetailsSayWhatOurReasonsSay(t *testing.T) {
	quota := []string{`quota caller "wait"`}
	for _, row := range []struct {
		f    *Error
		want []string
	}{
		{New(codes.ResourceExhausted, RateLimited, "wait"), quota},
		{New(codes.ResourceExhausted, BudgetExhausted, "wait").RetryIn(time.Second), append([]string{"retry 1s"}, quota...)},
		{New(codes.ResourceExhausted, StreamLimit, "wait").With("user", "alice"), quota},
		{New(codes.FailedPrecondition, ApprovalRequired, "ask").With("approval_id", "apr_1"), []string{`precondition APPROVAL_REQUIRED apr_1 "ask"`}},
		{New(codes.FailedPrecondition, ApprovalExpired, "ask"), []string{`precondition APPROVAL_EXPIRED  "ask"`}},
		{New(codes.FailedPrecondition, InputRequired, "say").With("input_request_id", "i1"), []string{`precondition INPUT_REQUIRED i1 "say"`}},
		{New(codes.Unavailable, AuditUnavailable, "later"), nil}, // no client may repeat an effect by itself
		{New(codes.PermissionDenied, PolicyDenied, "no"), nil},
	} {
		var got []string
		for _, d := range row.f.GRPCStatus().Details() {
			switch d := d.(type) {
			case *errdetails.RetryInfo:
				got = append(got, "retry "+d.GetRetryDelay().AsDuration().String())
			case *errdetails.QuotaFailure:
				got = append(got, fmt.Sprintf("quota %s %q", d.GetViolations()[0].GetSubject(), d.GetViolations()[0].GetDescription()))
			case *errdetails.PreconditionFailure:
				v := d.GetViolations()[0]
				got = append(got, fmt.Sprintf("precondition %s %s %q", v.GetType(), v.GetSubject(), v.GetDescription()))
			}
		}
		if !slices.Equal(got, row.want) {
			t.Errorf("%s: got %q, want %q", row.f.Reason, got, row.want)
		}
	}
}
