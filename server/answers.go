package server

import (
	"context"
	"encoding/json"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// Answers keeps for a day what calls with a request id were answered with, so that
// one that comes again is not made again.
type Answers interface {
	// Claim takes the id for a call of the person in ctx. Nil: it is that call's.
	Claim(ctx context.Context, r Request) (*Answer, error)
	Keep(ctx context.Context, r Request, body []byte) error
	// Drop frees the id of a call that was not made.
	Drop(ctx context.Context, r Request) error
}

// Request is one call with a request id, which is its person's and the method's.
type Request struct {
	Grant  identity.Grant
	Method string
	ID     string
	CallID string
	Digest string
}

// Answer is what an earlier request with the same id was answered with.
type Answer struct {
	CallID string
	Digest string
	Body   []byte // nil: it has no answer
}

var (
	errOtherBody  = fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "request_id was used for another request; use a fresh one")
	errUnanswered = fault.New(codes.Aborted, fault.OutcomeUnknown, "the same request is still being answered, or its outcome is not known; ask again later, or look into the audit log before you make it anew with a fresh request_id")
)

// kept is an answer as it is kept: with the duties that it was redacted by.
type kept struct {
	Duties []string `json:"duties,omitempty"`
	Answer []byte   `json:"answer"`
}

// repeatable is a kind of call that can be asked for again.
type repeatable[M proto.Message] struct {
	method string
	do     func(context.Context, agents.ToolCall) (answer M, duties []string, err error)
	// again says whether the answer of a call may be given again.
	again func(ctx context.Context, c agents.ToolCall, duties []string) error
	empty M
}

// once makes a call, unless a request with the same id was answered before.
func once[M proto.Message](ctx context.Context, s *toolService, r callRequest, k repeatable[M]) (M, error) {
	call := s.call(r)
	if r.GetRequestId() == "" {
		out, _, err := k.do(ctx, call)
		return out, err
	}
	req, err := claimOf(ctx, r, k.method, call.ID)
	if err != nil {
		return k.empty, err
	}
	before, err := s.answers.Claim(ctx, req)
	if err != nil {
		return k.empty, err
	}
	if before != nil {
		return repeat(ctx, call, req, before, k)
	}
	return first(ctx, s, call, req, k)
}

func claimOf(ctx context.Context, r callRequest, method, callID string) (Request, error) {
	g, err := grant(ctx)
	if err != nil {
		return Request{}, err
	}
	sum, err := digest(r)
	return Request{Grant: g, Method: method, ID: r.GetRequestId(), CallID: callID, Digest: sum}, err
}

// first makes the call and keeps its answer. Only what surely was not made gives
// its id back: an answer that cannot be kept is one that nobody knows.
func first[M proto.Message](ctx context.Context, s *toolService, call agents.ToolCall, req Request, k repeatable[M]) (M, error) {
	out, duties, err := k.do(ctx, call)
	late := context.WithoutCancel(ctx)
	if err != nil {
		if !refused(err) {
			return k.empty, err
		}
		if lost := s.answers.Drop(late, req); lost != nil {
			return k.empty, lost
		}
		return k.empty, err
	}
	body, err := proto.Marshal(keepable(out))
	if err != nil {
		return k.empty, err
	}
	all, err := json.Marshal(kept{duties, body})
	if err != nil {
		return k.empty, err
	}
	return out, s.answers.Keep(late, req, all)
}

// keepable is an answer less what is given once: a token for one call is not stored,
// and would be for another one when it came again.
func keepable(m proto.Message) proto.Message {
	if r, ok := m.(*behalfv1.CheckToolCallResponse); ok && r.GetCallToken() != "" {
		r = proto.CloneOf(r)
		r.CallToken, r.SentPayload = "", nil
		return r
	}
	return m
}

// refused reports whether an error says that a call was not made.
func refused(err error) bool {
	switch fault.From(err).Code {
	case codes.PermissionDenied, codes.FailedPrecondition, codes.NotFound, codes.InvalidArgument, codes.ResourceExhausted, codes.Unauthenticated:
		return true
	}
	return false
}

// repeat gives an earlier answer again, if that is still allowed.
func repeat[M proto.Message](ctx context.Context, call agents.ToolCall, req Request, before *Answer, k repeatable[M]) (M, error) {
	switch {
	case before.Digest != req.Digest:
		return k.empty, errOtherBody
	case before.Body == nil:
		return k.empty, errUnanswered
	}
	var was kept
	if err := json.Unmarshal(before.Body, &was); err != nil {
		return k.empty, err
	}
	call.ID = before.CallID
	if err := k.again(ctx, call, was.Duties); err != nil {
		return k.empty, err
	}
	out, ok := k.empty.ProtoReflect().New().Interface().(M)
	if !ok {
		return k.empty, errUnanswered
	}
	return out, proto.Unmarshal(was.Answer, out)
}
