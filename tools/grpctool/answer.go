package grpctool

import (
	"encoding/json"
	"errors"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
)

// The nesting of messages. As JSON nothing is deeper than the 32 levels that the gate
// allows. The innermost value of a Struct is a message too, and each level of a Struct
// three when it is sent.
const (
	maxRead = 32 + 1
	maxWire = 3 * maxRead
)

var (
	errUnreadable = errors.New("the answer is not of the type that the backend says")
	errTooLarge   = errors.New("the answer is too large; ask for less")
)

// noTypes knows no extension, of which no schema tells, and so no policy: what an
// answer has of them is left out.
var noTypes = new(protoregistry.Types)

// encode is the message of a call's arguments: protobuf's JSON read strictly, in the
// bytes that are sent and digested.
func (m *method) encode(args json.RawMessage) ([]byte, error) {
	msg := dynamicpb.NewMessage(m.input)
	o := protojson.UnmarshalOptions{AllowPartial: true, Resolver: m.takes, RecursionLimit: maxRead} // the schema knows what is required
	if err := o.Unmarshal(args, msg); err != nil {
		return nil, err
	}
	if !m.takes.fits(msg) {
		return nil, errShut
	}
	return proto.MarshalOptions{AllowPartial: true, Deterministic: true}.Marshal(msg)
}

// decode is an answer as the model may read it, less what is hidden: of that nothing is
// decoded. Newer reports that there is something in it which the descriptors do not have;
// it is left out too.
func (m *method) decode(c *Config, raw []byte) (_ json.RawMessage, newer bool, err error) {
	e := &estimate{left: 4 * c.MaxResult, looks: weight{maxLooks}, known: m.answers, types: m.gives}
	if !bears(raw, m.widest) && !e.bears(raw, m.output, 1) {
		return nil, false, errTooLarge
	}
	msg := dynamicpb.NewMessage(m.output)
	if err := (proto.UnmarshalOptions{AllowPartial: !m.requires, Resolver: noTypes, RecursionLimit: maxWire}).Unmarshal(raw, msg); err != nil {
		return nil, false, errUnreadable
	}
	e.message(msg)
	if e.left < 0 {
		return nil, e.newer, errTooLarge
	}
	out, err := m.gives.json(msg)
	if err != nil {
		return nil, e.newer, errUnreadable
	}
	v := jsontext.Value(out)
	if err := v.Compact(); err != nil { // its spaces differ from build to build
		return nil, e.newer, errUnreadable
	}
	if len(v) > c.MaxResult {
		return nil, e.newer, errTooLarge
	}
	return json.RawMessage(v), e.newer, nil
}

// estimate is how large an answer becomes as JSON: two bytes can stand for a message
// whose fields all have long names.
type estimate struct {
	left   int
	looks  weight
	newer  bool
	known  map[protoreflect.FullName]protoreflect.MessageDescriptor // with what is hidden
	types  *kinds                                                   // of Anys
	inside int                                                      // of so many Anys
	shut   bool                                                     // an Any was emptied
}

// bears reports whether a message may be read so many times.
func (e *estimate) bears(raw []byte, md protoreflect.MessageDescriptor, times int) bool {
	e.looks.message(raw, md, times, maxWire)
	return e.looks.left >= 0
}

func (e *estimate) message(m protoreflect.Message) {
	e.newer = e.newer || len(m.GetUnknown()) > 0 && unheard(m, e.whole(m.Descriptor().FullName()))
	if m.Descriptor().FullName() == anyName {
		e.any(m)
		return
	}
	fields := m.Descriptor().Fields()
	for i := 0; i < fields.Len() && e.left >= 0; i++ {
		fd := fields.Get(i)
		if !m.Has(fd) && (fd.HasPresence() || fd.ContainingOneof() != nil) {
			continue
		}
		e.left -= len(fd.Name()) + 6
		switch v := m.Get(fd); {
		case fd.IsList():
			for j := 0; j < v.List().Len() && e.left >= 0; j++ {
				e.value(fd, v.List().Get(j))
			}
		case fd.IsMap():
			v.Map().Range(func(k protoreflect.MapKey, x protoreflect.Value) bool {
				e.value(fd.MapKey(), k.Value())
				e.value(fd.MapValue(), x)
				return e.left >= 0
			})
		default:
			e.value(fd, v)
		}
	}
	e.left -= 2
}

// whole is the backend's descriptor of a message, with what is hidden.
func (e *estimate) whole(name protoreflect.FullName) protoreflect.MessageDescriptor {
	if md := e.known[name]; md != nil {
		return md
	}
	return messageIn(e.types.whole, name)
}

// unheard reports whether there is a field in m that the backend's descriptor of it does
// not have, and that is no extension.
func unheard(m protoreflect.Message, known protoreflect.MessageDescriptor) bool {
	for raw := m.GetUnknown(); len(raw) > 0; {
		number, _, n := protowire.ConsumeField(raw)
		if n < 0 || known == nil || known.Fields().ByNumber(number) == nil && !known.ExtensionRanges().Has(number) {
			return true
		}
		raw = raw[n:]
	}
	return false
}

func (e *estimate) value(fd protoreflect.FieldDescriptor, v protoreflect.Value) {
	e.left -= 3
	switch fd.Kind() {
	case protoreflect.MessageKind:
		e.message(v.Message())
	case protoreflect.StringKind:
		s := v.String()
		e.left -= len(s)
		for i := range len(s) {
			if s[i] < 0x20 || s[i] == '"' || s[i] == '\\' {
				e.left -= 5
			}
		}
	case protoreflect.BytesKind:
		e.left -= len(v.Bytes()) * 4 / 3
	case protoreflect.EnumKind:
		if ev := fd.Enum().Values().ByNumber(v.Enum()); ev != nil {
			e.left -= len(ev.Name())
		}
	default:
		e.left -= 20
	}
}
