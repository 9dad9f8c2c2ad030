package grpctool

import (
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// unpack gives the methods that have an Any the messages that it may have in it: all of
// the backend's files, in answers without what is hidden, and in arguments without those
// that say whose data they name. The files are then part of what such a method is.
func (b *builder) unpack(f *files, linked *protoregistry.Files) error {
	all := b.opens()
	if len(all) == 0 {
		return nil
	}
	shown, err := f.less(f.paths(), b.c.Reveal).link()
	if err != nil {
		return err
	}
	sum, err := f.sum()
	if err != nil {
		return err
	}
	gives := &kinds{noTypes, shown, linked, holding(shown, grouped)}
	owned := b.owned()
	takes := &kinds{noTypes, linked, linked, holding(linked, func(fd protoreflect.FieldDescriptor) bool { return grouped(fd) || owned(fd) })}
	hides := len(holding(linked, func(fd protoreflect.FieldDescriptor) bool { return hidden(fd.Options(), b.c.Reveal) })) > 0
	names := hiding(messages(linked), b.c.Reveal)
	for _, m := range all {
		m.fingerprint += sum
		if m.opens {
			m.takes = takes
		}
		if m.answers[anyName] != nil {
			m.gives, m.hides, m.Hides = gives, m.hides || hides, names
		}
	}
	return nil
}

// owned tells the fields that have an owner, by the backend or as a parameter of a tool:
// nobody compares what an Any has in it with the caller.
func (b *builder) owned() func(protoreflect.FieldDescriptor) bool {
	known := map[protoreflect.FullName]bool{}
	for _, m := range b.cat.methods {
		for param := range m.Owners {
			known[m.input.FullName().Append(protoreflect.Name(param))] = true
		}
	}
	return func(fd protoreflect.FieldDescriptor) bool {
		return known[fd.FullName()] || ownerOf(saidOf(fd).GetOwner()) != ""
	}
}

// opens are the methods that have an Any.
func (b *builder) opens() []*method {
	var out []*method
	for _, m := range b.cat.methods {
		if m.opens || m.answers[anyName] != nil {
			out = append(out, m)
		}
	}
	return out
}
