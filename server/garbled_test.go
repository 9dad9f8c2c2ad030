package server_test

import (
	"fmt"
	"strings"
	"testing"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// verbatim is a client's codec that sends bytes as they are.
type verbatim struct{}

func (verbatim) Name() string                         { return "proto" }
func (verbatim) Unmarshal(mem.BufferSlice, any) error { return nil }
func (verbatim) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("%T are no bytes", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

// bytes sends one message to any method and gives the error that comes back.
func (c *client) bytes(t *testing.T, method string, b []byte) error {
	t.Helper()
	s, err := c.NewStream(c.ctx(t), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method, grpc.ForceCodecV2(verbatim{}))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SendMsg(b); err == nil {
		err = s.CloseSend()
		if err != nil {
			t.Fatal(err)
		}
	}
	return s.RecvMsg(new(any))
}

// everyMethod lists the methods of the contract.
func everyMethod() (all []string) {
	protoregistry.GlobalFiles.RangeFilesByPackage("behalf.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				all = append(all, fmt.Sprintf("/%s/%s", s.FullName(), s.Methods().Get(j).Name()))
			}
		}
		return true
	})
	return all
}

// garbled ends in the middle of a field.
var garbled = []byte{0x0a, 0xff, 0x01, 'x'}

// padded is a message of so many bytes that is right and says nothing: its only
// field is one that no request has.
func padded(size int) []byte {
	b := protowire.AppendTag(nil, 4242, protowire.BytesType)
	return protowire.AppendBytes(b, make([]byte, size))
}

func TestWhatCannotBeDecodedIsAnsweredAfterIdentity(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{optional: true})
	b, nobody := w.as(bob), &client{w.dial(nil), nil}

	for _, method := range everyMethod() {
		t.Run(method, func(t *testing.T) {
			wantError(t, b.bytes(t, method, garbled), codes.InvalidArgument, "ARGUMENT_INVALID")
			wantError(t, nobody.bytes(t, method, garbled), codes.Unauthenticated, "CREDENTIAL_REQUIRED")
		})
	}
	wantError(t, b.bytes(t, healthpb.Health_Check_FullMethodName, garbled), codes.InvalidArgument, "ARGUMENT_INVALID")
	wantError(t, nobody.bytes(t, healthpb.Health_Watch_FullMethodName, garbled), codes.Unauthenticated, "CREDENTIAL_REQUIRED")
}

func TestWhatIsTooLargeIsAnsweredAfterIdentity(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{optional: true})
	b, nobody := w.as(bob), &client{w.dial(nil), nil}
	large := padded(3 << 19)

	for _, method := range everyMethod() {
		t.Run(method, func(t *testing.T) {
			wantError(t, b.bytes(t, method, large), codes.ResourceExhausted, "ARGUMENT_INVALID")
			wantError(t, nobody.bytes(t, method, large), codes.Unauthenticated, "CREDENTIAL_REQUIRED")
		})
	}
	if err := b.bytes(t, behalfv1.AdminService_WhoAmI_FullMethodName, padded(1<<19)); err != nil {
		t.Errorf("got %v for half of what is too much, want an answer", err)
	}
}

// gRPC itself answers for an encoding that it does not know, ahead of the chain.
// That tells nobody anything: it is the same for methods that do not exist.
func TestAnUnknownEncodingTellsNothingOfTheMethods(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{optional: true})
	ask := func(path string) string {
		k := w.wire(t, nil)
		k.request(right(path, metadata.Pairs("grpc-encoding", "no-such-encoding")), peekCall())
		return k.outcome(1) + ": " + k.words
	}

	one, other := ask(callTool), ask("/no.such.Service/Method")

	if one != other || !strings.HasPrefix(one, "UNIMPLEMENTED: ") {
		t.Errorf("got %q and %q, want both UNIMPLEMENTED and alike", one, other)
	}
}
