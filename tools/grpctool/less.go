package grpctool

import (
	"crypto/sha256"
	"fmt"
	"iter"
	"slices"
	"strings"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// less is what a few of the files need, without the fields whose class is not one of
// reveal: answers are read by these, so that what is hidden becomes no value in this
// process.
func (f *files) less(paths []string, reveal []string) *files {
	out := newFiles()
	for _, path := range paths {
		f.copyWith(out, path, reveal)
	}
	return out
}

// copyWith adds a file and what it imports.
func (f *files) copyWith(out *files, path string, reveal []string) {
	if out.byPath[path] != nil || f.byPath[path] == nil {
		return
	}
	own := proto.CloneOf(f.byPath[path])
	out.byPath[path] = own
	for _, m := range own.GetMessageType() {
		strip(m, reveal)
	}
	for _, dep := range own.GetDependency() {
		f.copyWith(out, dep, reveal)
	}
}

// strip takes hidden fields out of a message and of those that are defined in it. The
// entry of a map is no message of its own: the map's field is hidden, or it is not.
func strip(m *descriptorpb.DescriptorProto, reveal []string) {
	if m.GetOptions().GetMapEntry() {
		return
	}
	m.Field = slices.DeleteFunc(m.GetField(), func(fd *descriptorpb.FieldDescriptorProto) bool {
		return hidden(fd.GetOptions(), reveal)
	})
	fewer(m)
	for _, inner := range m.GetNestedType() {
		strip(inner, reveal)
	}
}

// fewer removes the oneofs that no field is in any more: none may be empty.
func fewer(m *descriptorpb.DescriptorProto) {
	used := make([]bool, len(m.GetOneofDecl()))
	for _, fd := range m.GetField() {
		if i := fd.GetOneofIndex(); fd.OneofIndex != nil && i >= 0 && int(i) < len(used) {
			used[i] = true
		}
	}
	moved, kept := make([]int32, len(used)), []*descriptorpb.OneofDescriptorProto(nil)
	for i, o := range m.GetOneofDecl() {
		if moved[i] = int32(len(kept)); used[i] {
			kept = append(kept, o)
		}
	}
	m.OneofDecl = kept
	for _, fd := range m.GetField() {
		if i := fd.GetOneofIndex(); fd.OneofIndex != nil && i >= 0 && int(i) < len(used) {
			fd.OneofIndex = &moved[i]
		}
	}
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

// maxHides bounds the hidden fields that a tool names, one by one.
const maxHides = 4096

// hiding names the fields of messages that are hidden, sorted. Reserved names are among
// them: a field that was taken out is shown to nobody any more. Too many are named as a
// whole, of which no change can be judged.
func hiding(all iter.Seq[protoreflect.MessageDescriptor], reveal []string) (names []string) {
	for md := range all {
		for i := range md.Fields().Len() {
			if fd := md.Fields().Get(i); !md.IsMapEntry() && hidden(fd.Options(), reveal) {
				names = append(names, short(fd.FullName()))
			}
		}
		for i := range md.ReservedNames().Len() {
			names = append(names, short(md.FullName().Append(md.ReservedNames().Get(i))))
		}
	}
	slices.Sort(names)
	if len(names) > maxHides {
		return []string{fmt.Sprintf("one of %d, %x", len(names), sha256.Sum256([]byte(strings.Join(names, "\n"))))}
	}
	return names
}

// short is a name, or what stands for one that is too long to be told.
func short(name protoreflect.FullName) string {
	if len(name) <= maxIdentifier {
		return string(name)
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(name)))
}
