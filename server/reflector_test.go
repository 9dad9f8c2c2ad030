package server_test

import (
	"errors"
	"testing"

	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// reflector asks the reflection service.
type reflector struct {
	t *testing.T
	c *client
}

func (r *reflector) ask(q *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
	r.t.Helper()
	s, err := reflectionpb.NewServerReflectionClient(r.c).ServerReflectionInfo(r.c.ctx(r.t))
	if err != nil {
		r.t.Fatal(err)
	}
	if err := errors.Join(s.Send(q), s.CloseSend()); err != nil {
		r.t.Fatal(err)
	}
	a, err := s.Recv()
	if err != nil {
		r.t.Fatalf("reflection: %v", err)
	}
	return a
}

func (r *reflector) services() (names []string) {
	for _, s := range r.ask(listServices).GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	return names
}

// service is what the server says about it, not what this program was linked with.
func (r *reflector) service(name string) protoreflect.ServiceDescriptor {
	r.t.Helper()
	a := r.ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: name}})
	for _, b := range a.GetFileDescriptorResponse().GetFileDescriptorProto() {
		var f descriptorpb.FileDescriptorProto
		if err := proto.Unmarshal(b, &f); err != nil {
			r.t.Fatal(err)
		}
		d, err := protodesc.NewFile(&f, protoregistry.GlobalFiles)
		if err != nil {
			r.t.Fatal(err)
		}
		if s := d.Services().ByName(protoreflect.FullName(name).Name()); s != nil && s.FullName() == protoreflect.FullName(name) {
			return s
		}
	}
	r.t.Fatalf("the server does not describe %s", name)
	return nil
}
