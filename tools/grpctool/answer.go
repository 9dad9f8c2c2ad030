package grpctool

import (
	"bytes"
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

// maxAnswerNested bounds the nesting of an answer; as JSON it must be no deeper than
// the gate allows.
const maxAnswerNested = 32

var (
	errUnreadable = errors.New("the answer is not of the type that the backend says")
	errTooLarge   = errors.New("the answer is too large; ask for less")
)

// noTypes knows no extension, of which no schema tells, and so no policy: what an
// answer has of them is left out. Nothing that is let through holds an Any.
var noTypes = new(protoregistry.Types)

// encode is the message of a call's arguments: protobuf's JSON read strictly, in the
// bytes that are sent and digested.
func (m *method) encode(args json.RawMessage) ([]byte, error) {
	msg := dynamicpb.NewMessage(m.input)
	o := protojson.UnmarshalOptions{Resolver: noTypes, RecursionLimit: maxAnswerNested}
	if err := o.Unmarshal(args, msg); err != nil {
		return nil, err
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(msg)
}

// decode is an answer as the model may read it. Newer reports that there is
// something in it which the descriptors do not have; it is left out.
func (m *method) decode(c *Config, raw []byte) (_ json.RawMessage, newer bool, err error) {
	msg := dynamicpb.NewMessage(m.output)
	if err := (proto.UnmarshalOptions{Resolver: noTypes, RecursionLimit: maxAnswerNested}).Unmarshal(raw, msg); err != nil {
		return nil, false, errUnreadable
	}
	e := &estimate{left: 4 * c.MaxResult}
	e.message(msg)
	if e.left < 0 {
		return nil, e.newer, errTooLarge
	}
	out, err := (protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true, Resolver: noTypes}).Marshal(msg)
	if err != nil {
		return nil, e.newer, errUnreadable
	}
	if out, err = m.tidy(out); err != nil {
		return nil, e.newer, errUnreadable
	}
	if len(out) > c.MaxResult {
		return nil, e.newer, errTooLarge
	}
	return out, e.newer, nil
}

// tidy takes out what is hidden, and the spaces, which differ from build to build.
func (m *method) tidy(out []byte) ([]byte, error) {
	v := jsontext.Value(out)
	if len(m.hidden) > 0 {
		c := cut{m.hidden, jsontext.NewDecoder(bytes.NewBuffer(out)), make([]byte, 0, len(out))}
		if err := c.message(m.output); err != nil {
			return nil, err
		}
		v = c.out
	}
	err := v.Compact()
	return v, err
}

// cut copies an answer in JSON, less the fields that are hidden.
type cut struct {
	hidden map[protoreflect.FullName]bool
	in     *jsontext.Decoder
	out    []byte
}

// message copies a message. The names of its members are those of its fields, which need
// no escape.
func (c *cut) message(md protoreflect.MessageDescriptor) error {
	if wellKnown[md.FullName()] != nil || c.in.PeekKind() != '{' {
		return c.whole()
	}
	return c.each('{', '}', func() error {
		name, err := c.in.ReadValue()
		if err != nil {
			return err
		}
		fd := md.Fields().ByName(protoreflect.Name(name[1 : len(name)-1]))
		if fd == nil || c.hidden[fd.FullName()] {
			return c.in.SkipValue()
		}
		c.out = append(append(c.out, name...), ':')
		return c.field(fd)
	})
}

func (c *cut) field(fd protoreflect.FieldDescriptor) error {
	switch {
	case fd.IsMap() && fd.MapValue().Message() != nil:
		return c.each('{', '}', func() error {
			if err := c.whole(); err != nil {
				return err
			}
			c.out = append(c.out, ':')
			return c.message(fd.MapValue().Message())
		})
	case fd.Message() == nil || fd.IsMap():
		return c.whole()
	case fd.IsList():
		return c.each('[', ']', func() error { return c.message(fd.Message()) })
	}
	return c.message(fd.Message())
}

// whole copies a value as it is.
func (c *cut) whole() error {
	v, err := c.in.ReadValue()
	c.out = append(c.out, v...)
	return err
}

// each copies what is between brackets, of which one may copy nothing.
func (c *cut) each(open, end byte, one func() error) error {
	if _, err := c.in.ReadToken(); err != nil {
		return err
	}
	c.out = append(c.out, open)
	for c.in.PeekKind() != jsontext.Kind(end) {
		at := len(c.out)
		if err := one(); err != nil {
			return err
		}
		if len(c.out) > at {
			c.out = append(c.out, ',')
		}
	}
	c.out = append(bytes.TrimSuffix(c.out, []byte{','}), end)
	_, err := c.in.ReadToken()
	return err
}

// estimate is how large an answer becomes as JSON: two bytes can stand for a message
// whose fields all have long names.
type estimate struct {
	left  int
	newer bool
}

func (e *estimate) message(m protoreflect.Message) {
	e.newer = e.newer || unheard(m)
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

// unheard reports whether there is a field in m that its descriptor does not have, and
// that is no extension.
func unheard(m protoreflect.Message) bool {
	for raw := m.GetUnknown(); len(raw) > 0; {
		number, _, n := protowire.ConsumeField(raw)
		if n < 0 || !m.Descriptor().ExtensionRanges().Has(number) {
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
