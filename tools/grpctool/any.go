package grpctool

import (
	"errors"
	"math"
	"strings"

	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
)

const anyName = "google.protobuf.Any"

// maxAnys is how many may be in each other: each is decoded and written again for those
// around it.
const maxAnys = 4

var errShut = errors.New("there are too many Anys in each other")

// kinds are the messages that an Any may have in it, for protobuf's JSON to find. They
// have no extensions.
type kinds struct {
	*protoregistry.Types // noTypes

	files *protoregistry.Files           // nil: there is no Any
	whole *protoregistry.Files           // with what is hidden
	shut  map[protoreflect.FullName]bool // messages that no Any may have in it
}

// none are for what has no Any.
var none = &kinds{Types: noTypes}

// FindMessageByURL implements [protoregistry.MessageTypeResolver]. A URL is hostile text
// that is shown, and nothing is ever fetched. The entry of a map is no message of its own:
// its field may be hidden.
func (k *kinds) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	at := strings.LastIndexByte(url, '/')
	if at < 0 || len(url) > maxIdentifier || tools.Clean(url, maxIdentifier) != url {
		return nil, protoregistry.NotFound
	}
	md := messageIn(k.files, protoreflect.FullName(url[at+1:]))
	if md == nil || md.IsMapEntry() || k.shut[md.FullName()] {
		return nil, protoregistry.NotFound
	}
	return dynamicpb.NewMessageType(md), nil
}

// messageIn finds a message of a backend, or one of the standard ones, whose files it
// need not have; nil: there is none.
func messageIn(linked *protoregistry.Files, name protoreflect.FullName) protoreflect.MessageDescriptor {
	d, err := linked.FindDescriptorByName(name)
	if err != nil && wellKnown[name] != nil {
		d, err = protoregistry.GlobalFiles.FindDescriptorByName(name)
	}
	md, ok := d.(protoreflect.MessageDescriptor)
	if err != nil || !ok {
		return nil
	}
	return md
}

// json is protobuf's JSON of an answer, or of what is in an Any of it.
func (k *kinds) json(m protoreflect.Message) ([]byte, error) {
	return protojson.MarshalOptions{AllowPartial: true, UseProtoNames: true, EmitDefaultValues: true, Resolver: k}.Marshal(m.Interface())
}

// fits reports whether there is nothing in the Anys of a request that would be left out
// of an answer.
func (k *kinds) fits(m protoreflect.Message) bool {
	if k.files == nil {
		return true
	}
	e := &estimate{left: math.MaxInt, looks: weight{maxLooks}, types: k}
	raw, err := proto.MarshalOptions{AllowPartial: true}.Marshal(m.Interface())
	if err != nil || !e.bears(raw, m.Descriptor(), 1) {
		return false
	}
	e.message(m)
	return !e.shut
}

// any is an Any in an answer. What cannot be shown of it is taken out, so that it is {}:
// protobuf's JSON would refuse the whole answer, and copies what is nested at each level.
func (e *estimate) any(m protoreflect.Message) {
	url, value := m.Descriptor().Fields().ByNumber(1), m.Descriptor().Fields().ByNumber(2)
	if !m.Has(url) && !m.Has(value) {
		return
	}
	in, err := e.open(m.Get(url).String(), m.Get(value).Bytes())
	if err != nil {
		e.shut = true
		m.Clear(url)
		m.Clear(value)
		return
	}
	m.Set(value, protoreflect.ValueOfBytes(in))
}

// open is what is in an Any, less what is taken out of the Anys in it.
func (e *estimate) open(url string, raw []byte) ([]byte, error) {
	if e.inside == maxAnys {
		return nil, errShut
	}
	typ, err := e.types.FindMessageByURL(url)
	if err != nil {
		return nil, err
	}
	if !e.bears(raw, typ.Descriptor(), 2+e.inside) { // here, and for each that it is in
		e.left = -1
		return nil, errTooLarge
	}
	in := typ.New()
	if err := (proto.UnmarshalOptions{Resolver: noTypes, RecursionLimit: maxWire}).Unmarshal(raw, in.Interface()); err != nil {
		return nil, err
	}
	e.left -= 2*len(url) + len(`"@type":"","value":,`)
	e.inside++
	e.message(in)
	e.inside--
	if e.left < 0 {
		return nil, errTooLarge
	}
	if _, err := e.types.json(in); err != nil { // a date that is none
		return nil, err
	}
	return proto.MarshalOptions{AllowPartial: true, Deterministic: true}.Marshal(in.Interface())
}
