package grpctool

import (
	"errors"
	"strings"

	"google.golang.org/protobuf/types/descriptorpb"
)

// What the names in files may cost when they are linked, together. The library keeps the
// full name of each thing, in which that of all around it is; and it looks for what a
// name may mean in each scope, and there in each package.
const (
	maxNameBytes = 32 << 20
	maxNameSteps = 1 << 31 // bytes that are looked at
)

// scope is the size of a full name, of what others are in.
type scope struct{ bytes, parts int }

// names is the cost of names.
type names struct{ bytes, steps int }

// names reports names that cost too much: a long one around many others is more than
// this process has room for.
func (f *files) names() error {
	n := &names{}
	for _, fd := range f.byPath {
		n.file(fd)
	}
	if n.bytes > maxNameBytes || n.steps > maxNameSteps {
		return errors.New("the descriptors have too many names that are too long")
	}
	return nil
}

func (n *names) file(fd *descriptorpb.FileDescriptorProto) {
	n.find(scope{}, fd.GetPackage())
	s := scope{len(fd.GetPackage()), 1 + strings.Count(fd.GetPackage(), ".")}
	n.fields(s, fd.GetExtension())
	n.enums(s, fd.GetEnumType())
	for _, m := range fd.GetMessageType() {
		n.message(s, m)
	}
	for _, sd := range fd.GetService() {
		in := n.have(s, sd.GetName())
		for _, md := range sd.GetMethod() {
			own := n.have(in, md.GetName())
			n.find(own, md.GetInputType())
			n.find(own, md.GetOutputType())
		}
	}
}

func (n *names) message(s scope, m *descriptorpb.DescriptorProto) {
	in := n.have(s, m.GetName())
	n.fields(in, m.GetField())
	n.fields(in, m.GetExtension())
	n.enums(in, m.GetEnumType())
	for _, o := range m.GetOneofDecl() {
		n.have(in, o.GetName())
	}
	for _, inner := range m.GetNestedType() {
		n.message(in, inner)
	}
}

func (n *names) fields(s scope, fields []*descriptorpb.FieldDescriptorProto) {
	for _, fd := range fields {
		own := n.have(s, fd.GetName())
		n.find(own, fd.GetTypeName())
		n.find(own, fd.GetExtendee())
	}
}

func (n *names) enums(s scope, enums []*descriptorpb.EnumDescriptorProto) {
	for _, e := range enums {
		n.have(s, e.GetName())
		for _, v := range e.GetValue() {
			n.have(s, v.GetName()) // beside its enum
		}
	}
}

// have counts a name in a scope, and gives the scope that it makes.
func (n *names) have(s scope, name string) scope {
	own := scope{s.bytes + 1 + len(name), s.parts + 1}
	n.bytes += own.bytes
	return own
}

// find counts what it takes to find what a name means in a scope. One that begins with a
// dot means the same everywhere.
func (n *names) find(s scope, name string) {
	if strings.HasPrefix(name, ".") {
		s = scope{}
	}
	parts := min(s.parts+1+strings.Count(name, "."), 1<<10) // more are too many already
	if name != "" {
		n.steps += parts * parts * (s.bytes + len(name))
	}
}
