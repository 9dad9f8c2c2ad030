package grpctool

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/behalf-dev/behalf/internal/typo"
	"github.com/behalf-dev/behalf/tools"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	_ "google.golang.org/protobuf/types/known/anypb"       // these are the files that no backend may define,
	_ "google.golang.org/protobuf/types/known/durationpb"  // see files.standard
	_ "google.golang.org/protobuf/types/known/emptypb"     //
	_ "google.golang.org/protobuf/types/known/fieldmaskpb" //
	_ "google.golang.org/protobuf/types/known/structpb"    //
	_ "google.golang.org/protobuf/types/known/timestamppb" //
	_ "google.golang.org/protobuf/types/known/wrapperspb"  //
)

// What a backend may make us read and keep.
const (
	maxFiles      = 512
	maxFileBytes  = 4 << 20 // of all files
	maxFileNested = 64
	maxIdentifier = 256
)

// files are descriptors as they come in, not yet linked. They are hostile: a backend
// may send anything.
type files struct {
	byPath  map[string]*descriptorpb.FileDescriptorProto
	bytes   int
	imports int
	named   map[string]bool // what was imported
	wanted  []string        // of these, what nobody has looked for
}

func newFiles() *files {
	return &files{byPath: map[string]*descriptorpb.FileDescriptorProto{}, named: map[string]bool{}}
}

// parse adds a file by its bytes.
func (f *files) parse(raw []byte) error {
	if f.bytes += len(raw); f.bytes > maxFileBytes {
		return fmt.Errorf("the descriptors have more than %d bytes", maxFileBytes)
	}
	var fd descriptorpb.FileDescriptorProto
	if err := (proto.UnmarshalOptions{RecursionLimit: maxFileNested}).Unmarshal(raw, &fd); err != nil {
		return errors.New("a descriptor cannot be read")
	}
	return f.add(&fd)
}

// set adds the files of a descriptor set.
func (f *files) set(raw []byte) error {
	if len(raw) > maxFileBytes {
		return fmt.Errorf("the descriptor set has more than %d bytes", maxFileBytes)
	}
	var all descriptorpb.FileDescriptorSet
	if err := (proto.UnmarshalOptions{RecursionLimit: maxFileNested}).Unmarshal(raw, &all); err != nil {
		return errors.New("the descriptor set cannot be read; make it with: buf build --as-file-descriptor-set")
	}
	for _, fd := range all.GetFile() {
		if err := f.add(fd); err != nil {
			return err
		}
	}
	return f.complete()
}

// add keeps the first file of a path. A backend that defines Timestamp anew would
// have it read as ours.
func (f *files) add(fd *descriptorpb.FileDescriptorProto) error {
	path := fd.GetName()
	switch {
	case path == "" || len(path) > maxIdentifier:
		return errors.New("a descriptor has no name, or one that is too long")
	case f.byPath[path] != nil:
		return nil
	case ours(path) != nil:
		f.byPath[path] = ours(path)
		return f.want(f.byPath[path])
	case fd.GetPackage() == "google.protobuf" || fd.GetPackage() == "behalf.v1":
		return fmt.Errorf("%s defines what is not its own", tools.Clean(path, maxIdentifier))
	case len(f.byPath) >= maxFiles:
		return fmt.Errorf("there are more than %d files of descriptors", maxFiles)
	}
	plain(fd.GetMessageType())
	f.byPath[path] = fd
	return f.want(fd)
}

// plain gives fields no other name in JSON than their own, by which policies and owners
// are compared. Protobuf's JSON takes either and prefers the other, which may be that of
// another field.
func plain(messages []*descriptorpb.DescriptorProto) {
	for _, m := range messages {
		for _, fd := range m.GetField() {
			fd.JsonName = fd.Name
		}
		plain(m.GetNestedType())
	}
}

// ours is the file of that path which comes from us and never from a backend; nil if
// there is none.
func ours(path string) *descriptorpb.FileDescriptorProto {
	if !ofOurs(path) {
		return nil
	}
	fd, err := protoregistry.GlobalFiles.FindFileByPath(path)
	if err != nil {
		return nil
	}
	return protodesc.ToFileDescriptorProto(fd)
}

// ofOurs reports whether a path is one of our own files. A name like theirs is none: of
// java_features.proto, say, we have no file, and what a backend sends for it is its own.
func ofOurs(path string) bool {
	if path != behalfv1.File_behalf_v1_tool_options_proto.Path() && !strings.HasPrefix(path, "google/protobuf/") {
		return false
	}
	_, err := protoregistry.GlobalFiles.FindFileByPath(path)
	return err == nil
}

// paths are all files', sorted.
func (f *files) paths() []string { return slices.Sorted(maps.Keys(f.byPath)) }

// sum is a digest of all files, less their comments.
func (f *files) sum() (string, error) {
	h := sha256.New()
	for _, path := range f.paths() {
		own := proto.CloneOf(f.byPath[path])
		own.SourceCodeInfo = nil
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(own)
		if err != nil {
			return "", errors.New("a descriptor cannot be encoded")
		}
		sum := sha256.Sum256(b)
		h.Write(sum[:])
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// link resolves the files.
func (f *files) link() (*protoregistry.Files, error) {
	set := &descriptorpb.FileDescriptorSet{}
	for _, fd := range f.byPath {
		set.File = append(set.File, fd)
	}
	if err := errors.Join(f.ways(), f.names()); err != nil {
		return nil, err
	}
	linked, err := protodesc.NewFiles(set)
	if err != nil {
		return nil, fmt.Errorf("the descriptors do not fit together: %s", tools.Clean(err.Error(), maxIdentifier))
	}
	return linked, own(linked)
}

// own reports a message that passes for one of the standard ones: a file may define in
// the package google a message protobuf, and Timestamp in it.
func own(linked *protoregistry.Files) error {
	for fd := range linked.RangeFiles {
		if ofOurs(fd.Path()) {
			continue
		}
		for i := range fd.Messages().Len() {
			if name := string(fd.Messages().Get(i).FullName()) + "."; strings.HasPrefix("google.protobuf.", name) || strings.HasPrefix("behalf.v1.", name) {
				return fmt.Errorf("%s defines what is not its own", tools.Clean(fd.Path(), maxIdentifier))
			}
		}
	}
	return nil
}

// offered is the end of a sentence about a service that is not there: the one that was
// meant, or those that are there.
func offered(name string, names []string) string {
	const most = 8
	if meant := typo.DidYouMean(name, names); meant != "" || len(names) == 0 {
		return meant
	}
	slices.Sort(names)
	return "; it has " + strings.Join(names[:min(len(names), most)], ", ")
}

// service finds one of the linked services.
func service(linked *protoregistry.Files, name string) (protoreflect.ServiceDescriptor, error) {
	d, err := linked.FindDescriptorByName(protoreflect.FullName(name))
	if err == nil {
		if sd, ok := d.(protoreflect.ServiceDescriptor); ok {
			return sd, nil
		}
	}
	var names []string
	for fd := range linked.RangeFiles {
		for i := range fd.Services().Len() {
			names = append(names, string(fd.Services().Get(i).FullName()))
		}
	}
	return nil, fmt.Errorf("the backend has no service %s%s", name, tools.Clean(offered(name, names), 2*maxIdentifier))
}
