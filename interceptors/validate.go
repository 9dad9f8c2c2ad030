package interceptors

import (
	"context"
	"errors"

	"buf.build/go/protovalidate"
	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// newValidator compiles the rules of all requests at once, so that a bad rule
// fails the start and not the first call.
func newValidator() (protovalidate.Validator, error) {
	var messages []proto.Message
	for _, s := range services() {
		for i := range s.Methods().Len() {
			messages = append(messages, newMessage(s.Methods().Get(i).Input()))
		}
	}
	return protovalidate.New(protovalidate.WithMessages(messages...), protovalidate.WithDisableLazy())
}

// validate checks each message against the field rules of its proto. The
// standard services (health, reflection) have none.
func validate(v protovalidate.Validator) layer {
	return func(ctx context.Context, c *call, rest next) error {
		if c.rule.Action == "" {
			return rest(ctx)
		}
		c.each = append(c.each, func(m proto.Message) error { return Malformed(v.Validate(m)) })
		return rest(ctx)
	}
}

// Malformed turns the validator's complaint into INVALID_ARGUMENT that names
// each field, and never its value.
func Malformed(err error) error {
	if err == nil {
		return nil
	}
	var bad *protovalidate.ValidationError
	if !errors.As(err, &bad) {
		return fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "the request cannot be checked").Because(err)
	}
	fields := make([]fault.Field, 0, len(bad.Violations))
	text := "the request is malformed: "
	for i, v := range bad.Violations {
		f := fault.Field{Path: protovalidate.FieldPathString(v.Proto.GetField()), Problem: v.Proto.GetMessage()}
		fields = append(fields, f)
		if i > 0 {
			text += "; "
		}
		text += f.Path + ": " + f.Problem
	}
	return fault.New(codes.InvalidArgument, fault.ArgumentInvalid, text).WithFields(fields...)
}
