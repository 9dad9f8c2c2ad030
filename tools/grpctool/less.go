package grpctool

import (
	"slices"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// less is the files without the fields whose class is not one of reveal: answers are
// read by these, so that what is hidden becomes no value in this process. It is f itself
// where nothing is hidden.
func (f *files) less(reveal []string) *files {
	out, hides := newFiles(), false
	for path, fd := range f.byPath {
		own := proto.CloneOf(fd)
		for _, m := range own.GetMessageType() {
			hides = strip(m, reveal) || hides
		}
		out.byPath[path] = own
	}
	if !hides {
		return f
	}
	return out
}

// strip takes hidden fields out of a message and of those that are defined in it, and
// tells whether there were any.
func strip(m *descriptorpb.DescriptorProto, reveal []string) bool {
	before := len(m.GetField())
	m.Field = slices.DeleteFunc(m.GetField(), func(fd *descriptorpb.FieldDescriptorProto) bool {
		return hidden(fd.GetOptions(), reveal)
	})
	hides := len(m.GetField()) < before
	if hides {
		fewer(m)
	}
	for _, inner := range m.GetNestedType() {
		hides = strip(inner, reveal) || hides
	}
	return hides
}

// fewer removes the oneofs that no field is in any more: none may be empty.
func fewer(m *descriptorpb.DescriptorProto) {
	var kept []*descriptorpb.OneofDescriptorProto
	for i, o := range m.GetOneofDecl() {
		used := false
		for _, fd := range m.GetField() {
			if fd.OneofIndex != nil && fd.GetOneofIndex() == int32(i) {
				fd.OneofIndex, used = proto.Int32(int32(len(kept))), true
			}
		}
		if used {
			kept = append(kept, o)
		}
	}
	m.OneofDecl = kept
}

// hidden reports whether a field with such options is of a class that is not revealed.
func hidden(options proto.Message, reveal []string) bool {
	class := classOf(options)
	return class != "" && !slices.Contains(reveal, class)
}

// classOf is what a backend says of a field's data by behalf.v1.field; empty: nothing.
func classOf(options proto.Message) string {
	f, _ := proto.GetExtension(options, behalfv1.E_Field).(*behalfv1.FieldFacts)
	return tools.Clean(f.GetRedact(), 64)
}
