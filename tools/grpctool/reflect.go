package grpctool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	reflection "google.golang.org/grpc/reflection/grpc_reflection_v1"
)

// maxReflection is how long a backend may take to describe itself.
const maxReflection = 15 * time.Second

// older is reflection as Python's library offers it, and no other: the messages are the
// same.
const older = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

// reflect asks the backend for the files of its services, and tells by which
// connection it answered. The questions carry no token: they are nobody's.
func reflect(ctx context.Context, conn *grpc.ClientConn, services []string) (*files, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, maxReflection)
	defer cancel() // which ends the streams
	f, number, err := reflectBy(ctx, conn, reflection.ServerReflection_ServerReflectionInfo_FullMethodName, services)
	if said, ok := errors.AsType[*saidError](err); ok && said.code == codes.Unimplemented {
		return reflectBy(ctx, conn, older, services)
	}
	return f, number, err
}

func reflectBy(ctx context.Context, conn *grpc.ClientConn, method string, services []string) (*files, uint64, error) {
	st, err := conn.NewStream(ctx, &reflection.ServerReflection_ServiceDesc.Streams[0], method, grpc.MaxCallRecvMsgSize(maxFileBytes))
	if err != nil {
		return nil, 0, clean(err)
	}
	r := &reflector{stream: &grpc.GenericClientStream[reflection.ServerReflectionRequest, reflection.ServerReflectionResponse]{ClientStream: st}, files: newFiles()}
	for _, name := range services {
		if err := r.ask(&reflection.ServerReflectionRequest{MessageRequest: &reflection.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: name}}); err != nil {
			return nil, 0, fmt.Errorf("service %s: %w", name, err)
		}
	}
	if err := r.imports(); err != nil {
		return nil, 0, err
	}
	p, ok := peer.FromContext(st.Context())
	if !ok {
		return nil, 0, errors.New("the connection is not known")
	}
	info, ok := p.AuthInfo.(connInfo)
	if !ok {
		return nil, 0, errors.New("the connection is not one of ours")
	}
	return r.files, info.number, nil
}

type reflector struct {
	stream grpc.BidiStreamingClient[reflection.ServerReflectionRequest, reflection.ServerReflectionResponse]
	files  *files
}

// imports asks for what the files import until all is there. A backend that answers
// with something else gets no second question.
func (r *reflector) imports() error {
	for {
		name, lost, err := r.files.missing()
		if err != nil || !lost {
			return err
		}
		if len(name) > maxIdentifier {
			return errors.New("an import has too long a name")
		}
		if err := r.ask(&reflection.ServerReflectionRequest{MessageRequest: &reflection.ServerReflectionRequest_FileByFilename{FileByFilename: name}}); err != nil {
			return fmt.Errorf("file %s: %w", tools.Clean(name, maxIdentifier), err)
		}
		if r.files.byPath[name] == nil {
			return fmt.Errorf("file %s: the backend sent another one", tools.Clean(name, maxIdentifier))
		}
	}
}

func (r *reflector) ask(q *reflection.ServerReflectionRequest) error {
	if err := r.stream.Send(q); err != nil && !errors.Is(err, io.EOF) { // then Recv knows why the stream has ended
		return errors.New("the question could not be sent")
	}
	a, err := r.stream.Recv()
	if err != nil {
		return clean(err)
	}
	if e := a.GetErrorResponse(); e != nil {
		return fmt.Errorf("the backend does not have it: %s", tools.Clean(e.GetErrorMessage(), maxIdentifier))
	}
	for _, raw := range a.GetFileDescriptorResponse().GetFileDescriptorProto() {
		if err := r.files.parse(raw); err != nil {
			return err
		}
	}
	return nil
}
