package fault

import (
	"context"
	"errors"
	"fmt"
	"testing"

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
