package grpctool

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// maxLooks bounds how often a field is looked at for one answer. Two bytes can be a message
// of two thousand fields, all of which are looked at although none is there; or one of
// two thousand of which only one may be there, so that all others are taken out.
const maxLooks = 4_000_000

// weight is how often fields may still be looked at.
type weight struct{ left int }

// bears reports whether raw can be read as one of messages that have at most so many
// fields, without counting: what is small needs none.
func bears(raw []byte, fields int) bool { return (len(raw)+2)*fields <= maxLooks }

// message counts what reading a message looks at, times as often. Bytes that are no
// message end it, and the reading.
func (w *weight) message(raw []byte, md protoreflect.MessageDescriptor, times, depth int) {
	fields := md.Fields()
	w.left -= times * fields.Len()
	for len(raw) > 0 && w.left >= 0 {
		number, typ, tag := protowire.ConsumeTag(raw)
		if tag < 0 {
			return
		}
		n := protowire.ConsumeFieldValue(number, typ, raw[tag:])
		if n < 0 {
			return
		}
		if fd := fields.ByNumber(number); fd != nil {
			w.field(raw[tag:tag+n], typ, fd, times, depth)
		}
		raw = raw[tag+n:]
	}
}

func (w *weight) field(value []byte, typ protowire.Type, fd protoreflect.FieldDescriptor, times, depth int) {
	if one := fd.ContainingOneof(); one != nil {
		w.left -= times * one.Fields().Len()
	}
	if fd.Message() == nil || typ != protowire.BytesType || depth == 0 {
		return
	}
	if in, n := protowire.ConsumeBytes(value); n >= 0 {
		w.message(in, fd.Message(), times, depth-1)
	}
}
