package grpctool

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
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

// loops are the messages below md that have themselves in them.
func loops(md protoreflect.MessageDescriptor) map[protoreflect.FullName]bool {
	all := map[protoreflect.FullName]protoreflect.MessageDescriptor{}
	reach(md, all)
	out := map[protoreflect.FullName]bool{}
	for name, m := range all {
		below := map[protoreflect.FullName]protoreflect.MessageDescriptor{}
		for next := range within(m) {
			reach(next, below)
		}
		if below[name] != nil {
			out[name] = true
		}
	}
	return out
}

// fingerprint is a digest of all that says how a method's messages are sent and what
// it is said to do. Two methods that have the same are one.
func fingerprint(m protoreflect.MethodDescriptor) (string, error) {
	all := map[protoreflect.FullName]protoreflect.MessageDescriptor{}
	reach(m.Input(), all)
	reach(m.Output(), all)
	fields := 0
	for _, md := range all {
		fields += md.Fields().Len()
	}
	if len(all) > maxMessages || fields > maxNodes {
		return "", errLarge
	}
	parts := []proto.Message{protodesc.ToMethodDescriptorProto(m)}
	files := map[string]protoreflect.FileDescriptor{}
	enums := map[protoreflect.FullName]protoreflect.EnumDescriptor{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		parts = append(parts, protodesc.ToDescriptorProto(all[name]))
		files[all[name].ParentFile().Path()] = all[name].ParentFile()
		for i := range all[name].Fields().Len() {
			fd := all[name].Fields().Get(i)
			if fd.IsMap() {
				fd = fd.MapValue()
			}
			if ed := fd.Enum(); ed != nil {
				enums[ed.FullName()], files[ed.ParentFile().Path()] = ed, ed.ParentFile()
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(enums)) {
		parts = append(parts, protodesc.ToEnumDescriptorProto(enums[name]))
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		parts = append(parts, language(files[path]))
	}
	return digest(slices.Sorted(maps.Keys(all)), parts)
}

// language is what a file says about how all its messages are written.
func language(fd protoreflect.FileDescriptor) proto.Message {
	f := protodesc.ToFileDescriptorProto(fd)
	return &descriptorpb.FileDescriptorProto{
		Syntax: f.Syntax, Edition: f.Edition, Options: &descriptorpb.FileOptions{Features: f.GetOptions().GetFeatures()},
	}
}

func digest(names []protoreflect.FullName, parts []proto.Message) (string, error) {
	h := sha256.New()
	for _, n := range names {
		h.Write([]byte(n + "\n"))
	}
	for _, p := range parts {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
		if err != nil {
			return "", errors.New("a descriptor cannot be encoded")
		}
		sum := sha256.Sum256(b)
		h.Write(sum[:])
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
