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
	enums := map[protoreflect.FullName]protoreflect.EnumDescriptor{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		parts = append(parts, protodesc.ToDescriptorProto(all[name]))
		for i := range all[name].Fields().Len() {
			fd := all[name].Fields().Get(i)
			if fd.IsMap() {
				fd = fd.MapValue()
			}
			if ed := fd.Enum(); ed != nil {
				enums[ed.FullName()] = ed
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(enums)) {
		parts = append(parts, protodesc.ToEnumDescriptorProto(enums[name]))
	}
	return digest(slices.Sorted(maps.Keys(all)), parts)
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
