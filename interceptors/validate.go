package interceptors

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
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

// valid checks each message against the field rules of its proto, up to the
// first that is broken: whoever may say nothing here can still send a megabyte of
// broken fields, and to collect them all takes seconds. The standard services
// (health, reflection) have no rules.
func valid(v protovalidate.Validator) layer {
	return func(ctx context.Context, c *call, rest next) error {
		if c.rule.Action == "" {
			return rest(ctx)
		}
		c.each = append(c.each, func(m proto.Message) error { return Malformed(v.Validate(m, protovalidate.WithFailFast())) })
		return rest(ctx)
	}
}

// Malformed turns the validator's complaint into INVALID_ARGUMENT that names
// the field, and never its value.
func Malformed(err error) error {
	if err == nil {
		return nil
	}
	var bad *protovalidate.ValidationError
	if !errors.As(err, &bad) {
		return fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "the request cannot be checked").Because(err)
	}
	fields := make([]fault.Field, 0, len(bad.Violations))
	problems := make([]string, 0, len(bad.Violations))
	for _, v := range bad.Violations {
		f := fault.Field{Path: fieldPath(v.Proto.GetField()), Problem: v.Proto.GetMessage()}
		fields = append(fields, f)
		problems = append(problems, f.Path+": "+f.Problem)
	}
	return fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "the request is malformed: "+strings.Join(problems, "; ")).WithFields(fields...)
}

// fieldPath is where a violation is, without the keys of maps: those are values
// that the caller wrote.
func fieldPath(p *validate.FieldPath) string {
	var names []string
	for _, e := range p.GetElements() {
		name := e.GetFieldName()
		if i, ok := e.GetSubscript().(*validate.FieldPathElement_Index); ok {
			name += "[" + strconv.FormatUint(i.Index, 10) + "]"
		}
		names = append(names, name)
	}
	return strings.Join(names, ".")
}
