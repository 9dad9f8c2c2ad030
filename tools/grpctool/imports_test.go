package grpctool_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/behalf-dev/behalf/tools/grpctool"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// file is one that imports others.
func file(name string, imports ...string) *descriptorpb.FileDescriptorProto {
	return &descriptorpb.FileDescriptorProto{Name: proto.String(name), Syntax: proto.String("proto3"), Dependency: imports}
}

// asked opens a source against a backend that answers by the name of the file, "" for
// that of the service, until it is known why it cannot be used: that, and what was asked.
func asked(t *testing.T, answer func(name string) *descriptorpb.FileDescriptorProto) (problem string, names []string) {
	t.Helper()
	w := newWorld(t)
	var mu sync.Mutex
	w.backend.reflect = &liar{answer: func(_ int, q *reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse {
		mu.Lock()
		defer mu.Unlock()
		names = append(names, q.GetFileByFilename())
		return described(answer(q.GetFileByFilename()))
	}}
	w.backend.start(t)
	w.open(nil)
	w.until(func() bool { return w.source.Problem() != grpctool.ErrNotRead }) //nolint:errorlint // it alone, without a cause: nothing has come of it yet
	mu.Lock()
	defer mu.Unlock()
	return w.source.Problem().Error(), slices.Clone(names)
}

func TestEachImportIsAskedForOnce(t *testing.T) {
	imports := map[string][]string{
		"":  {"a", "b", "c"},
		"a": {"c", "google/protobuf/timestamp.proto"}, "b": {"a", "c"}, "c": {"d", "behalf/v1/tool_options.proto"}, "d": nil,
	}

	problem, names := asked(t, func(name string) *descriptorpb.FileDescriptorProto {
		if name == "" {
			return file("root", imports[""]...)
		}
		return file(name, imports[name]...)
	})

	if !slices.Equal(names, []string{"", "a", "b", "c", "d"}) || !strings.Contains(problem, "has no service") {
		t.Errorf("got %s after it was asked for %q", problem, names)
	}
}

// TestManyImportsAreNotFollowed has as many as 4 MiB can hold, of files that are there.
func TestManyImportsAreNotFollowed(t *testing.T) {
	problem, names := asked(t, func(name string) *descriptorpb.FileDescriptorProto {
		if name != "" {
			return file(name)
		}
		root := file("root")
		for i := range 780_000 {
			root.Dependency = append(root.Dependency, fmt.Sprintf("%03x", i%500))
		}
		return root
	})

	if len(names) != 1 || !strings.Contains(problem, "more than 8192 imports") {
		t.Errorf("got %s after %d questions", problem, len(names))
	}
}

// with is the tests' set and more files.
func with(t *testing.T, more ...*descriptorpb.FileDescriptorProto) error {
	t.Helper()
	set := parse(t, everything)
	set.File = append(set.File, more...)
	raw, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fixed(t, func(g *grpctool.Config) { g.DescriptorSet = raw })
	return err
}

func TestImportsAreBoundedTogether(t *testing.T) {
	for files, want := range map[int]string{100: "", 150: "more than 8192 imports"} {
		var all []*descriptorpb.FileDescriptorProto
		var names []string
		for i := range files { // each imports all before it
			all = append(all, file(fmt.Sprint("f", i), names...))
			names = append(names, fmt.Sprint("f", i))
		}

		err := with(t, all...)

		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d files: got %v, want %q", files, err, want)
		}
	}
	options := file("options")
	options.OptionDependency = slices.Repeat([]string{"x"}, 9000)
	if err := with(t, options); err == nil || !strings.Contains(err.Error(), "imports") {
		t.Errorf("got %v, want imports of options counted too", err)
	}
}

// layers are files that import both of the layer below publicly: 2^n ways to the first.
func layers(n int) (out []*descriptorpb.FileDescriptorProto) {
	out = append(out, file("a0"), file("b0"))
	for i := 1; i < n; i++ {
		for _, side := range []string{"a", "b"} {
			f := file(fmt.Sprint(side, i), fmt.Sprint("a", i-1), fmt.Sprint("b", i-1))
			f.PublicDependency = []int32{0, 1}
			out = append(out, f)
		}
	}
	return out
}

func TestPublicImportsHaveFewWaysToEachOther(t *testing.T) {
	if err := with(t, layers(10)...); err != nil {
		t.Errorf("got %v, want a few layers taken", err)
	}
	if err := with(t, layers(22)...); err == nil || !strings.Contains(err.Error(), "publicly") {
		t.Errorf("got %v, want more ways than can be followed refused", err)
	}
	circle := []*descriptorpb.FileDescriptorProto{file("a", "b"), file("b", "a")}
	circle[0].PublicDependency, circle[1].PublicDependency = []int32{0}, []int32{0}
	if err := with(t, circle...); err == nil || !strings.Contains(err.Error(), "cycle") {
		t.Errorf("got %v, want a circle refused", err)
	}
}

func TestASetNamesTheImportsThatItLacks(t *testing.T) {
	err := with(t, file("f", "y", "x", "google/protobuf/any.proto"), file("g", "x", "f"))

	if err == nil || !strings.Contains(err.Error(), "lack x, y, which") {
		t.Errorf("got %v", err)
	}
}
