package grpctool_test

import (
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/tools/grpctool"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// setOf is a descriptor set of files in JSON.
func setOf(t testing.TB, files ...string) *descriptorpb.FileDescriptorSet {
	t.Helper()
	set := &descriptorpb.FileDescriptorSet{}
	for _, text := range files {
		f := &descriptorpb.FileDescriptorProto{}
		if err := protojson.Unmarshal([]byte(text), f); err != nil {
			t.Fatal(err)
		}
		set.File = append(set.File, f)
	}
	return set
}

// forged are files of which one has a name like the standard ones'. It may define what it
// likes in the package google: a StringValue without a value too.
func forged(t testing.TB) *descriptorpb.FileDescriptorSet {
	t.Helper()
	return setOf(t,
		`{"name":"google/protobuf/own.proto","package":"google","syntax":"proto3","messageType":[{"name":"protobuf","nestedType":[{"name":"StringValue"}]}]}`,
		`{"name":"evil.proto","package":"everything.v1","syntax":"proto3","dependency":["google/protobuf/own.proto"],
			"messageType":[{"name":"Ask","field":[{"name":"text","number":1,"label":"LABEL_OPTIONAL","type":"TYPE_MESSAGE","typeName":".google.protobuf.StringValue"}]}],
			"service":[{"name":"EverythingService","method":[{"name":"Echo","inputType":".everything.v1.Ask","outputType":".everything.v1.Ask"}]}]}`)
}

func TestAFileThatIsNamedLikeAStandardOneDefinesNoneOfTheirs(t *testing.T) {
	raw, err := proto.Marshal(forged(t))
	if err != nil {
		t.Fatal(err)
	}

	_, err = fixed(t, func(g *grpctool.Config) { g.DescriptorSet = raw })

	if err == nil || !strings.Contains(err.Error(), "own.proto defines what is not its own") {
		t.Errorf("got %v, want it refused", err)
	}
}

// TestABackendThatPassesForAStandardOneIsAProblem: it is read by a goroutine that nothing
// recovers.
func TestABackendThatPassesForAStandardOneIsAProblem(t *testing.T) {
	w := newWorld(t)
	w.backend.set = forged(t)
	w.backend.start(t)

	w.open(nil)

	w.until(func() bool {
		why := w.source.Problem()
		return why != nil && strings.Contains(why.Error(), "defines what is not its own")
	})
}

func TestAFileBesideTheStandardOnesIsTheBackends(t *testing.T) {
	set := parse(t, everything)
	fileOf(set).Dependency = append(fileOf(set).Dependency, "google/protobuf/java_features.proto")
	set.File = append(set.File, setOf(t, `{"name":"google/protobuf/java_features.proto","package":"pb","syntax":"proto2","messageType":[{"name":"JavaFeatures"}]}`).GetFile()...)
	raw, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}

	if _, err := fixed(t, func(g *grpctool.Config) { g.DescriptorSet = raw }); err != nil {
		t.Errorf("got %v, want it read", err)
	}
}

// TestAPanicOverDescriptorsIsAProblemOfTheirs: neither the library nor we are made for all
// that is hostile. There being no config stands for what is not known yet.
func TestAPanicOverDescriptorsIsAProblemOfTheirs(t *testing.T) {
	if err := grpctool.OfferWithoutConfig(); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("got %v, want an error", err)
	}
}
