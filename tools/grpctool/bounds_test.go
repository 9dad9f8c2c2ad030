package grpctool_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/grpctool"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/reflection"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// hostile makes the source of a service h.S with methods that all take and give h.M0.
func hostile(t *testing.T, methods int, messages ...*descriptorpb.DescriptorProto) *grpctool.Source {
	t.Helper()
	s := &descriptorpb.ServiceDescriptorProto{Name: proto.String("S")}
	for i := range methods {
		s.Method = append(s.Method, &descriptorpb.MethodDescriptorProto{Name: proto.String(fmt.Sprint("Do", i)), InputType: proto.String(".h.M0"), OutputType: proto.String(".h.M0")})
	}
	raw, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{{
		Name: proto.String("h.proto"), Package: proto.String("h"), Syntax: proto.String("proto3"), MessageType: messages, Service: []*descriptorpb.ServiceDescriptorProto{s},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	src, err := fixed(t, func(g *grpctool.Config) { g.DescriptorSet, g.Services = raw, []string{"h.S"} })
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// message is h.M<n> with a field of each type: a number is that message, and anything
// below zero a flag.
func message(n int, name string, types ...int) *descriptorpb.DescriptorProto {
	m := &descriptorpb.DescriptorProto{Name: proto.String(fmt.Sprint("M", n))}
	for i, typ := range types {
		fd := &descriptorpb.FieldDescriptorProto{
			Name: proto.String(fmt.Sprint(name, i)), Number: proto.Int32(int32(i + 1)),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), Type: descriptorpb.FieldDescriptorProto_TYPE_BOOL.Enum(),
		}
		if typ >= 0 {
			fd.Type, fd.TypeName = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), proto.String(fmt.Sprint(".h.M", typ))
		}
		m.Field = append(m.Field, fd)
	}
	return m
}

func TestMessagesThatHaveThemselvesInThemAreDefinedOnce(t *testing.T) {
	src := hostile(t, 1,
		message(0, "f", 1, 4), message(1, "f", 2), message(2, "f", 3, -1), message(3, "f", 1, 5), // 1, 2 and 3 are a circle
		message(4, "f", 4, 5), message(5, "f", -1)) // 4 is one by itself
	list, err := src.Tools()
	if err != nil || len(list) != 1 {
		t.Fatalf("got %v, %v", list, err)
	}
	var schema struct {
		Defs map[string]any `json:"$defs"`
	}

	if err := json.Unmarshal(list[0].Result, &schema); err != nil {
		t.Fatal(err)
	}

	if got := slices.Sorted(maps.Keys(schema.Defs)); !slices.Equal(got, []string{"h.M1", "h.M2", "h.M3", "h.M4"}) {
		t.Errorf("got %v", got)
	}
}

// TestTheFieldsOfAllMethodsAreBounded: a thousand methods may each have as many fields
// as one can, and all of them are read again and again.
func TestTheFieldsOfAllMethodsAreBounded(t *testing.T) {
	flags := slices.Repeat([]int{-1}, 1900)
	src := hostile(t, 1000, message(0, "f", flags...))

	list, err := src.Tools()

	if err != nil || len(list) == 0 || len(list) > 200 {
		t.Errorf("got %d tools, %v, want a few", len(list), err)
	}
	if notes := strings.Join(src.Notes(), "\n"); !strings.Contains(notes, "too many fields together") {
		t.Errorf("got %.500s", notes)
	}
}

func TestNotesAreFewAndShort(t *testing.T) {
	const circle = 20
	var all []*descriptorpb.DescriptorProto
	for i := range circle {
		all = append(all, message(i, strings.Repeat("n", 250), (i+1)%circle))
	}
	all[circle-1].Field[0].Name = proto.String(strings.Repeat("x", 300)) // longer than a name may be

	notes := hostile(t, 1000, all...).Notes()

	if len(notes) == 0 || len(notes) > 65 || !strings.HasPrefix(notes[len(notes)-1], "and ") {
		t.Errorf("got %d notes, the last %q", len(notes), notes[len(notes)-1])
	}
	for _, n := range notes {
		if len(n) > 1<<10 {
			t.Errorf("got a note of %d bytes", len(n))
		}
	}
}

// counting counts how often a backend is asked for its descriptors.
type counting struct {
	reflectionv1.ServerReflectionServer
	n atomic.Int64
}

func (c *counting) ServerReflectionInfo(s reflectionv1.ServerReflection_ServerReflectionInfoServer) error {
	c.n.Add(1)
	return c.ServerReflectionServer.ServerReflectionInfo(s)
}

func (c *counting) GetServiceInfo() map[string]grpc.ServiceInfo { return nil }

func TestAnswersWithNewsHaveTheDescriptorsReadOnceInAWhile(t *testing.T) {
	w := newWorld(t)
	linked, err := protodesc.NewFiles(w.backend.set)
	if err != nil {
		t.Fatal(err)
	}
	asked := &counting{}
	asked.ServerReflectionServer = reflection.NewServerV1(reflection.ServerOptions{Services: asked, DescriptorResolver: linked})
	w.backend.reflect = asked
	w.backend.start(t)
	w.open(func(g *grpctool.Config) { readOnly(g); g.Reread = time.Hour })
	w.reading("")
	w.backend.say(func(_ context.Context, _ string, _ *dynamicpb.Message, send func(proto.Message) error) error {
		return send(raw(protowire.AppendString(protowire.AppendTag(nil, 15000, protowire.BytesType), "x")))
	})

	w.call("echo", `{}`)
	w.until(func() bool { return asked.n.Load() == 2 })
	for range 50 {
		w.call("echo", `{}`)
	}

	if got := asked.n.Load(); got != 2 {
		t.Errorf("the descriptors were read %d times, want the first time and once for the news", got)
	}
}

func TestWhatABackendSaysIsWithheldWhereItsAnswersHaveHiddenFields(t *testing.T) {
	for name, c := range map[string]struct {
		effect tools.Effect
		code   codes.Code
		shown  string // to the model
		told   string // to the operator, of what has a cause
	}{
		"a read that was refused":  {tools.Read, codes.FailedPrecondition, "FailedPrecondition", ""},
		"a write that was refused": {tools.Write, codes.FailedPrecondition, "FailedPrecondition", ""},
		"a read that failed":       {tools.Read, codes.Internal, "Internal", ""},
		"a read that was lost":     {tools.Read, codes.Unavailable, "TOOL_UNAVAILABLE", "Unavailable"},
		"a read that was late":     {tools.Read, codes.DeadlineExceeded, "DEADLINE_EXCEEDED", "DeadlineExceeded"},
		"a write that failed":      {tools.Write, codes.Internal, "OUTCOME_UNKNOWN", "Internal"},
		"as if it were too large":  {tools.Write, codes.ResourceExhausted, "OUTCOME_UNKNOWN", "ResourceExhausted"},
		"a token that is refused":  {tools.Read, codes.Unauthenticated, "TOOL_UNAVAILABLE", "refused a token"},
	} {
		t.Run(name, func(t *testing.T) {
			set := parse(t, everything)
			hide(set)
			w := newWorld(t)
			w.backend.set = set
			w.backend.start(t)
			w.open(func(g *grpctool.Config) { g.Facts = map[string]grpctool.Facts{"Echo": {Effect: c.effect}} })
			w.reading("")
			w.backend.say(func(context.Context, string, *dynamicpb.Message, func(proto.Message) error) error {
				return status.Error(c.code, "grpc: label hush is larger than max")
			})

			fin := w.call("echo", `{"text":"x"}`)

			if !fin.Failed || strings.Contains(fin.Result, "hush") || !strings.Contains(fin.Result, c.shown) {
				t.Errorf("the model reads %s, want %s and not the text", fin.Result, c.shown)
			}
			if w.told.has("hush") || w.told.has("") != (c.told != "") || !w.told.has(c.told) && c.told != "" {
				t.Errorf("the operator is told what is hidden, or not of %q", c.told)
			}
		})
	}
}
