package grpctool

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// What a schema may have.
const (
	maxNodes   = 2_000
	maxNesting = 24
	maxComment = 1 << 10
)

var (
	errLarge = errors.New("the message has too many fields, or is nested too deeply")
	errGroup = errors.New("a group, or a field that is written like one, has no name of its own in JSON")
	errNames = errors.New("a name in the message is too long")
)

// object is a JSON Schema while it is made.
type object = map[string]any

// shape makes the JSON Schema of a message, as protobuf's JSON has it with the names
// of the proto file.
type shape struct {
	answer bool                           // of results; otherwise of arguments
	loops  map[protoreflect.FullName]bool // messages that have themselves in them
	defs   object                         // the schemas of those
	nodes  int
}

// argumentsOf is the schema of a request. The parameters are required, all of them.
// It and resultOf tell how much they looked at.
func argumentsOf(md protoreflect.MessageDescriptor, required []string) (json.RawMessage, int, error) {
	return schemaOf(md, false, func(o object) object {
		if also, ok := o["required"].([]string); ok {
			required = slices.Compact(slices.Sorted(slices.Values(append(also, required...))))
		}
		if len(required) > 0 {
			o["required"] = required
		}
		return o
	})
}

// resultOf is the schema of an answer, or of the list of answers of a stream.
func resultOf(md protoreflect.MessageDescriptor, streams bool) (json.RawMessage, int, error) {
	return schemaOf(md, true, func(o object) object {
		if streams {
			return object{"type": "array", "items": o}
		}
		return o
	})
}

func schemaOf(md protoreflect.MessageDescriptor, answer bool, finish func(object) object) (json.RawMessage, int, error) {
	s := &shape{answer: answer, loops: loops(md), defs: object{}}
	root, err := s.body(md, 0)
	if err != nil {
		return nil, s.nodes, err
	}
	if _, bare := shapeless[md.FullName()]; !answer && (bare || root["properties"] == nil) {
		return nil, s.nodes, fmt.Errorf("the request is a %s, which has no parameters", md.FullName())
	}
	root = finish(root)
	if len(s.defs) > 0 {
		root["$defs"] = s.defs
	}
	out, err := json.Marshal(root)
	return out, s.nodes + len(out)/64, err
}

// message is the schema of a message where it is used.
func (s *shape) message(md protoreflect.MessageDescriptor, depth int) (object, error) {
	name := string(md.FullName())
	if !s.loops[md.FullName()] {
		return s.body(md, depth)
	}
	if _, made := s.defs[name]; !made {
		s.defs[name] = object{} // it is being made
		def, err := s.body(md, 0)
		if err != nil {
			return nil, err
		}
		s.defs[name] = def
	}
	return object{"$ref": "#/$defs/" + name}, nil
}

// body is the schema of a message itself.
func (s *shape) body(md protoreflect.MessageDescriptor, depth int) (object, error) {
	if s.nodes++; s.nodes > maxNodes || depth > maxNesting {
		return nil, errLarge
	}
	if known := wellKnown[md.FullName()]; known != nil {
		return known(s, md)
	}
	properties, required := object{}, []string(nil)
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		p, err := s.field(fd, depth+1)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", tools.Clean(string(fd.Name()), maxIdentifier), err)
		}
		if text := comment(fd, maxComment); text != "" {
			p["description"] = text
		}
		if class := classOf(fd.Options()); class != "" {
			p["x-redact"] = class
		}
		properties[string(fd.Name())] = p
		if fd.Cardinality() == protoreflect.Required {
			required = append(required, string(fd.Name()))
		}
	}
	o := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 && !s.answer {
		o["required"] = required
	}
	if rules := oneofs(md); len(rules) > 0 && !s.answer {
		o["allOf"] = rules
	}
	return o, nil
}

func (s *shape) field(fd protoreflect.FieldDescriptor, depth int) (object, error) {
	s.nodes++
	switch {
	case len(fd.Name()) > maxIdentifier:
		return nil, errNames
	case fd.IsMap():
		value, err := s.value(fd.MapValue(), depth)
		return object{"type": "object", "propertyNames": keys(fd.MapKey()), "additionalProperties": value}, err
	case fd.IsList():
		item, err := s.value(fd, depth)
		return object{"type": "array", "items": item}, err
	}
	return s.value(fd, depth)
}

// Forms of numbers that are texts: one spelling for each.
const (
	signed   = `^(0|-?[1-9][0-9]{0,18})$`
	unsigned = `^(0|[1-9][0-9]{0,18})$` // what is above an int64 no policy can compare
	base64   = `^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$`
)

// value is the schema of one value of a field's kind.
func (s *shape) value(fd protoreflect.FieldDescriptor, depth int) (object, error) {
	switch fd.Kind() {
	case protoreflect.GroupKind:
		return nil, errGroup
	case protoreflect.MessageKind:
		return s.message(fd.Message(), depth)
	case protoreflect.EnumKind:
		return s.enum(fd.Enum())
	}
	return s.scalar(fd.Kind()), nil
}

func (s *shape) scalar(k protoreflect.Kind) object {
	switch k {
	case protoreflect.BoolKind:
		return object{"type": "boolean"}
	case protoreflect.StringKind:
		return object{"type": "string"}
	case protoreflect.BytesKind:
		return object{"type": "string", "contentEncoding": "base64", "pattern": base64}
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return object{"type": "integer", "minimum": math.MinInt32, "maximum": math.MaxInt32}
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return object{"type": "integer", "minimum": 0, "maximum": uint32(math.MaxUint32)}
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return s.wide("int64", signed)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return s.wide("uint64", unsigned)
	}
	return s.float(k)
}

// maxSingle is the last whole number below which a float rounds none.
const maxSingle = int64(1) << 24

// float is a number that may be rounded when it is sent. A limit of a policy holds for
// what was written, so no whole number may be sent as more.
func (s *shape) float(k protoreflect.Kind) object {
	if s.answer {
		return object{"anyOf": []any{object{"type": "number"}, object{"enum": []any{"NaN", "Infinity", "-Infinity"}}}}
	}
	most := maxWhole
	if k == protoreflect.FloatKind {
		most = maxSingle
	}
	return object{"type": "number", "minimum": -most, "maximum": most}
}

// wide is an integer of 64 bits, which protobuf's JSON writes as a text; in
// arguments either will do.
func (s *shape) wide(format, pattern string) object {
	o := object{"type": []any{"integer", "string"}, "format": format, "pattern": pattern}
	if s.answer {
		return object{"type": "string", "format": format}
	}
	if format == "uint64" {
		o["minimum"] = 0
	}
	return o
}

// enum has names: of a number the first, which is what an answer has. Policies compare
// names, and one by another name would be another value to them. An answer may have a
// number that no name is known of.
func (s *shape) enum(ed protoreflect.EnumDescriptor) (object, error) {
	if ed.FullName() == "google.protobuf.NullValue" {
		return object{"type": "null"}, nil
	}
	values := ed.Values()
	if s.nodes += values.Len() / 16; s.nodes > maxNodes {
		return nil, errLarge
	}
	names := make([]any, 0, values.Len())
	for i := range values.Len() {
		v := values.Get(i)
		switch {
		case len(v.Name()) > maxIdentifier:
			return nil, errNames
		case values.ByNumber(v.Number()) == v:
			names = append(names, string(v.Name()))
		}
	}
	o := object{"type": "string", "enum": names}
	if s.answer {
		return object{"anyOf": []any{o, object{"type": "integer"}}}, nil
	}
	return o, nil
}

// keys is what the names in a map may be.
func keys(fd protoreflect.FieldDescriptor) object {
	switch fd.Kind() {
	case protoreflect.StringKind:
		return object{"type": "string"}
	case protoreflect.BoolKind:
		return object{"enum": []any{"true", "false"}}
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return object{"pattern": unsigned}
	}
	return object{"pattern": signed}
}

// oneofs says of each oneof that at most one of its fields is there.
func oneofs(md protoreflect.MessageDescriptor) []any {
	var rules []any
	for i := range md.Oneofs().Len() {
		od := md.Oneofs().Get(i)
		if od.IsSynthetic() || od.Fields().Len() < 2 {
			continue
		}
		var one []any
		for j := range od.Fields().Len() {
			one = append(one, object{"required": []any{string(od.Fields().Get(j).Name())}})
		}
		rules = append(rules, object{"oneOf": append(append([]any(nil), one...), object{"not": object{"anyOf": one}})})
	}
	return rules
}

// comment is what the proto file says of something, where that is known.
func comment(d protoreflect.Descriptor, most int) string {
	return tools.Clean(trim(d.ParentFile().SourceLocations().ByDescriptor(d).LeadingComments), most)
}
