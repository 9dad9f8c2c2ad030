package grpctool

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"iter"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// maxMessages bounds the types that one method has in it.
const maxMessages = 500

// reach visits md and the messages in it, once each.
func reach(md protoreflect.MessageDescriptor, seen map[protoreflect.FullName]protoreflect.MessageDescriptor) {
	if seen[md.FullName()] != nil || len(seen) > maxMessages {
		return
	}
	seen[md.FullName()] = md
	for next := range within(md) {
		reach(next, seen)
	}
}

// within are the messages that are fields of md. What has a JSON form of its own is
// not looked into.
func within(md protoreflect.MessageDescriptor) func(func(protoreflect.MessageDescriptor) bool) {
	return func(yield func(protoreflect.MessageDescriptor) bool) {
		if wellKnown[md.FullName()] != nil {
			return
		}
		for i := range md.Fields().Len() {
			fd := md.Fields().Get(i)
			if fd.IsMap() {
				fd = fd.MapValue()
			}
			if fd.Message() != nil && !yield(fd.Message()) {
				return
			}
		}
	}
}

// holding are the messages that have a field of which is is true, in themselves or in
// what they are made of.
func holding(linked *protoregistry.Files, is func(protoreflect.FieldDescriptor) bool) map[protoreflect.FullName]bool {
	out, around, todo := map[protoreflect.FullName]bool{}, map[protoreflect.FullName][]protoreflect.FullName{}, []protoreflect.FullName(nil)
	for md := range messages(linked) {
		for i := range md.Fields().Len() {
			fd := md.Fields().Get(i)
			if is(fd) {
				todo = append(todo, md.FullName())
			}
			if in := fd.Message(); in != nil {
				around[in.FullName()] = append(around[in.FullName()], md.FullName())
			}
		}
	}
	for len(todo) > 0 {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !out[name] {
			out[name] = true
			todo = append(todo, around[name]...)
		}
	}
	return out
}

// grouped reports whether a field is a group, or is written like one.
func grouped(fd protoreflect.FieldDescriptor) bool { return fd.Kind() == protoreflect.GroupKind }

// messages are all that files define, the entries of maps too.
func messages(linked *protoregistry.Files) iter.Seq[protoreflect.MessageDescriptor] {
	return func(yield func(protoreflect.MessageDescriptor) bool) {
		linked.RangeFiles(func(fd protoreflect.FileDescriptor) bool { return nested(fd.Messages(), yield) })
	}
}

func nested(all protoreflect.MessageDescriptors, yield func(protoreflect.MessageDescriptor) bool) bool {
	for i := range all.Len() {
		if !yield(all.Get(i)) || !nested(all.Get(i).Messages(), yield) {
			return false
		}
	}
	return true
}

// looked counts what was looked at of the messages.
func looked(all map[protoreflect.FullName]protoreflect.MessageDescriptor) int {
	n := len(all)
	for _, md := range all {
		n += md.Fields().Len()
	}
	return n
}

// prints are the digests of what methods have in common, each made once: a thousand
// methods may have the same few messages, and those a file of megabytes.
type prints map[string][sha256.Size]byte

func (p prints) of(kind, name string, descriptor func() proto.Message) ([sha256.Size]byte, error) {
	if sum, made := p[kind+name]; made {
		return sum, nil
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(descriptor())
	if err != nil {
		return [sha256.Size]byte{}, errors.New("a descriptor cannot be encoded")
	}
	p[kind+name] = sha256.Sum256(b)
	return p[kind+name], nil
}

// fingerprint is a digest of all that says how a method's messages are sent and what
// it is said to do. Two methods that have the same are one. It tells how much it
// looked at.
func (p prints) fingerprint(m protoreflect.MethodDescriptor) (_ string, n int, err error) {
	all := map[protoreflect.FullName]protoreflect.MessageDescriptor{}
	reach(m.Input(), all)
	reach(m.Output(), all)
	if n = looked(all); len(all) > maxMessages || n-len(all) > maxNodes {
		return "", n, errLarge
	}
	h := sha256.New()
	add := func(kind, name string, descriptor func() proto.Message) {
		sum, e := p.of(kind, name, descriptor)
		err = errors.Join(err, e)
		h.Write([]byte(kind + name + "\n"))
		h.Write(sum[:])
	}
	files := map[string]protoreflect.FileDescriptor{}
	enums := map[protoreflect.FullName]protoreflect.EnumDescriptor{}
	add("method ", string(m.FullName()), func() proto.Message { return protodesc.ToMethodDescriptorProto(m) })
	for _, name := range slices.Sorted(maps.Keys(all)) {
		add("message ", string(name), func() proto.Message { return protodesc.ToDescriptorProto(all[name]) })
		files[all[name].ParentFile().Path()] = all[name].ParentFile()
		for ed := range listed(all[name]) {
			enums[ed.FullName()], files[ed.ParentFile().Path()] = ed, ed.ParentFile()
		}
	}
	for _, name := range slices.Sorted(maps.Keys(enums)) {
		add("enum ", string(name), func() proto.Message { return protodesc.ToEnumDescriptorProto(enums[name]) })
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		add("file ", path, func() proto.Message { return language(files[path]) })
	}
	return hex.EncodeToString(h.Sum(nil)), n, err
}

// listed are the enums that are fields of md.
func listed(md protoreflect.MessageDescriptor) func(func(protoreflect.EnumDescriptor) bool) {
	return func(yield func(protoreflect.EnumDescriptor) bool) {
		for i := range md.Fields().Len() {
			fd := md.Fields().Get(i)
			if fd.IsMap() {
				fd = fd.MapValue()
			}
			if fd.Enum() != nil && !yield(fd.Enum()) {
				return
			}
		}
	}
}

// language is what a file says about how all its messages are written.
func language(fd protoreflect.FileDescriptor) proto.Message {
	f := protodesc.ToFileDescriptorProto(fd)
	return &descriptorpb.FileDescriptorProto{
		Syntax: f.Syntax, Edition: f.Edition, Options: &descriptorpb.FileOptions{Features: f.GetOptions().GetFeatures()},
	}
}
