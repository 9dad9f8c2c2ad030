package grpctool

import (
	"google.golang.org/protobuf/reflect/protoreflect"
)

// wellKnown are the messages that have a JSON form of their own.
var wellKnown = map[protoreflect.FullName]func(*shape, protoreflect.MessageDescriptor) (object, error){
	"google.protobuf.Any":       func(*shape, protoreflect.MessageDescriptor) (object, error) { return nil, errAny },
	"google.protobuf.Struct":    loose(object{"type": "object"}),
	"google.protobuf.Value":     loose(object{}),
	"google.protobuf.ListValue": loose(object{"type": "array"}),
	"google.protobuf.Empty":     fixed(object{"type": "object", "properties": object{}, "additionalProperties": false}),
	"google.protobuf.Timestamp": fixed(object{"type": "string", "format": "date-time"}),
	"google.protobuf.Duration":  fixed(object{"type": "string", "pattern": `^-?[0-9]{1,12}(\.[0-9]{1,9})?s$`}),
	// Paths in a mask are lowerCamelCase in JSON, whatever the fields are called.
	"google.protobuf.FieldMask":   fixed(object{"type": "string", "pattern": `^([A-Za-z0-9.]+(,[A-Za-z0-9.]+)*)?$`}),
	"google.protobuf.DoubleValue": wrapper, "google.protobuf.FloatValue": wrapper, "google.protobuf.Int64Value": wrapper,
	"google.protobuf.UInt64Value": wrapper, "google.protobuf.Int32Value": wrapper, "google.protobuf.UInt32Value": wrapper,
	"google.protobuf.BoolValue": wrapper, "google.protobuf.StringValue": wrapper, "google.protobuf.BytesValue": wrapper,
}

func fixed(o object) func(*shape, protoreflect.MessageDescriptor) (object, error) {
	return func(*shape, protoreflect.MessageDescriptor) (object, error) { return clone(o), nil }
}

// loose is JSON of no shape: an answer may have it, arguments may not.
func loose(o object) func(*shape, protoreflect.MessageDescriptor) (object, error) {
	return func(s *shape, _ protoreflect.MessageDescriptor) (object, error) {
		if !s.answer {
			return nil, errStruct
		}
		return clone(o), nil
	}
}

func wrapper(s *shape, md protoreflect.MessageDescriptor) (object, error) {
	return s.scalar(md.Fields().ByNumber(1).Kind()), nil
}

// clone is a copy that a description can be put in.
func clone(o object) object {
	out := object{}
	for k, v := range o {
		out[k] = v
	}
	return out
}
