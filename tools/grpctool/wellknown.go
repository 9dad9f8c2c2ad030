package grpctool

import (
	"fmt"

	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// wellKnown are the messages that have a JSON form of their own.
var wellKnown = map[protoreflect.FullName]func(*shape, protoreflect.MessageDescriptor) (object, error){
	anyName:                     loose,
	"google.protobuf.Struct":    loose,
	"google.protobuf.Value":     loose,
	"google.protobuf.ListValue": loose,
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

// shapeless are the messages that can have anything in them, with their schemas in
// answers and in arguments. Behind a reference policies see nothing, not even how long
// a list is.
var shapeless = map[protoreflect.FullName]struct{ answer, argument object }{
	"google.protobuf.Struct":    {object{"type": "object"}, object{"type": "object", "additionalProperties": anything()}},
	"google.protobuf.Value":     {object{}, anything()},
	"google.protobuf.ListValue": {object{"type": "array"}, object{"type": "array", "$ref": anyValue, "unevaluatedProperties": object{}}},
	anyName: {
		object{"type": "object", "properties": object{"@type": object{"type": "string"}}, "additionalProperties": object{}},
		object{"type": "object", "$ref": anyValue, "unevaluatedProperties": object{}, "required": []string{"@type"}, "properties": object{"@type": object{
			"type": "string", "description": `type.googleapis.com/ and the full name of a message of the backend, whose fields are beside it; or of a standard one, whose JSON is then "value".`,
		}}},
	},
}

const (
	valueName = "google.protobuf.Value"
	anyValue  = "#/$defs/" + valueName
	maxWhole  = int64(1)<<53 - 1 // the whole numbers beyond it share their doubles
)

// anything refers to the schema of a Value. It says itself that all fields may be there:
// else the gate does, that none may be which the definition does not know, and a wrong
// number inside has it call the fields around it unknown.
func anything() object { return object{"$ref": anyValue, "unevaluatedProperties": object{}} }

// loose is JSON of no shape. Its numbers become doubles, so that arguments have none
// that would be rounded.
func loose(s *shape, md protoreflect.MessageDescriptor) (object, error) {
	form := shapeless[md.FullName()]
	if s.answer {
		return clone(form.answer), nil
	}
	s.defs[valueName] = object{
		"description": fmt.Sprintf("Any JSON. Whole numbers are between %d and %d, others have at most 15 digits; all are written out, without an exponent.", -maxWhole, maxWhole),
		"minimum":     -maxWhole, "maximum": maxWhole, "format": tools.FormatDouble,
		"items": anything(), "additionalProperties": anything(),
	}
	return clone(form.argument), nil
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
