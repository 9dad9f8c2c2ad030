package model

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// What can be wrong with a stream. None of these texts quotes it.
var (
	errIdle      = errors.New("the model sent nothing for too long")
	errWall      = errors.New("the answer took too long")
	errBytes     = errors.New("the answer has too many bytes")
	errLine      = errors.New("a line of the answer is too long")
	errDeltas    = errors.New("the answer has too many deltas")
	errCalls     = errors.New("the answer's tool calls are too many or out of order")
	errCut       = errors.New("the answer ended without a finish reason")
	errMalformed = errors.New("a frame of the answer is malformed")
	errNotEvents = errors.New("the answer is not an event stream")
	errBody      = errors.New("the connection broke inside the answer")
)

// failure gives an error its meaning. ctx is the caller's, call the one of this
// attempt: if ours ended and the caller's did not, a limit was hit.
func failure(ctx, call context.Context, err error) error {
	if ctx.Err() != nil {
		return ended(ctx)
	}
	if call.Err() != nil {
		err = context.Cause(call)
	}
	message, cause := explain(err)
	f := fault.New(codes.Unavailable, fault.ModelUnavailable, message).Because(cause)
	if r, ok := errors.AsType[*refused](err); ok && r.retry > 0 {
		f = f.RetryIn(r.retry)
	}
	return f
}

// ended keeps both: that the caller's context is over, and why.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// explain gives the caller's message and a cause that may be logged.
func explain(err error) (string, error) {
	if r, ok := errors.AsType[*refused](err); ok {
		return r.explain(), r
	}
	if u, ok := errors.AsType[*unreachable](err); ok {
		return "the language model cannot be reached; try again later", u
	}
	if u, ok := errors.AsType[*unsendable](err); ok {
		return "the language model cannot be used in this way; tell the operator", u
	}
	if m, ok := errors.AsType[*midstream](err); ok {
		return "the language model broke off with an error; try again", m
	}
	switch {
	case isAny(err, errBytes, errLine, errDeltas, errCalls, errWall):
		return "the language model's answer was too long; ask for less", err
	case isAny(err, errIdle):
		return "the language model stopped answering; try again", err
	case isAny(err, errCut, errMalformed, errNotEvents):
		return "the language model's answer was cut off or not readable; try again", err
	}
	return "the language model's answer was cut off; try again", fmt.Errorf("%w: %s", errBody, lost(err).why)
}

func (r *refused) explain() string {
	switch {
	case r.kind == kindLength || r.status == http.StatusRequestEntityTooLarge:
		return "the conversation is too long for the language model; start a new session"
	case r.kind == kindQuota, r.status == http.StatusUnauthorized, r.status == http.StatusPaymentRequired, r.status == http.StatusForbidden:
		return "the language model refused the server's account; tell the operator"
	case r.status == http.StatusTooManyRequests:
		return "the language model is busy; try again later"
	case r.status >= http.StatusInternalServerError:
		return "the language model is out of order; try again later"
	}
	return "the language model refused the request; tell the operator"
}

func isAny(err error, targets ...error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}
