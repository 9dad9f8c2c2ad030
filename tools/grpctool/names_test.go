package grpctool_test

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// TestLongNamesAroundManyOthersAreRefused has descriptors of less than a megabyte whose
// full names are gigabytes, or would be looked for in each of very many scopes.
func TestLongNamesAroundManyOthersAreRefused(t *testing.T) {
	long, deep := strings.Repeat("x", 50_000), strings.Repeat("x.", 2_500)+"x"
	flags := func(n int, typ string) *descriptorpb.DescriptorProto {
		m := message(0, "f", make([]int, n)...)
		for _, fd := range m.GetField() {
			fd.TypeName = proto.String(typ)
		}
		return m
	}
	nested := func(inner *descriptorpb.DescriptorProto) *descriptorpb.DescriptorProto {
		return &descriptorpb.DescriptorProto{Name: &long, NestedType: []*descriptorpb.DescriptorProto{inner}}
	}
	enum := &descriptorpb.EnumDescriptorProto{Name: proto.String("E")}
	methods := &descriptorpb.ServiceDescriptorProto{Name: &long}
	oneofs := &descriptorpb.DescriptorProto{Name: &long}
	for i := range 1000 {
		enum.Value = append(enum.Value, &descriptorpb.EnumValueDescriptorProto{Name: proto.String(fmt.Sprint("V", i)), Number: proto.Int32(int32(i))})
		methods.Method = append(methods.Method, &descriptorpb.MethodDescriptorProto{Name: proto.String(fmt.Sprint("D", i)), InputType: proto.String(".h.M"), OutputType: proto.String(".h.M")})
		oneofs.OneofDecl = append(oneofs.OneofDecl, &descriptorpb.OneofDescriptorProto{Name: proto.String(fmt.Sprint("o", i))})
	}
	for name, edit := range map[string]func(*descriptorpb.FileDescriptorProto){
		"a package around fields": func(f *descriptorpb.FileDescriptorProto) {
			f.Package, f.MessageType = &long, []*descriptorpb.DescriptorProto{flags(1000, "M0")}
		},
		"a package around values": func(f *descriptorpb.FileDescriptorProto) {
			f.Package, f.EnumType = &long, []*descriptorpb.EnumDescriptorProto{enum}
		},
		"a message around fields": func(f *descriptorpb.FileDescriptorProto) {
			f.MessageType = []*descriptorpb.DescriptorProto{nested(flags(1000, "M0"))}
		},
		"a message around oneofs": func(f *descriptorpb.FileDescriptorProto) {
			f.MessageType = []*descriptorpb.DescriptorProto{oneofs}
		},
		"a service around methods": func(f *descriptorpb.FileDescriptorProto) {
			f.Service = []*descriptorpb.ServiceDescriptorProto{methods}
		},
		"a package of many": func(f *descriptorpb.FileDescriptorProto) { f.Package = &deep },
		"a type that is looked for in many": func(f *descriptorpb.FileDescriptorProto) {
			f.Package, f.MessageType = proto.String(strings.Repeat("x.", 100)+"x"), []*descriptorpb.DescriptorProto{flags(1000, "M0")}
		},
		"a type in many": func(f *descriptorpb.FileDescriptorProto) {
			f.MessageType = []*descriptorpb.DescriptorProto{flags(1, "."+deep)}
		},
	} {
		f := file("f")
		edit(f)

		if err := with(t, f); err == nil || !strings.Contains(err.Error(), "names that are too long") {
			t.Errorf("%s: got %.300v, want it refused", name, err)
		}
	}
}

func TestManyNamesOfUsualLengthAreTaken(t *testing.T) {
	f := file("f")
	f.Package = proto.String("company.department.product.v1")
	for i := range 400 {
		m := message(i, "some_field_", make([]int, 50)...)
		for _, fd := range m.GetField() {
			fd.TypeName = proto.String("M7") // as some write it
		}
		f.MessageType = append(f.MessageType, m)
	}

	if err := with(t, f); err != nil {
		t.Error(err)
	}
}
