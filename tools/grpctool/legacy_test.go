package grpctool_test

import (
	"context"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/tools/grpctool"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// proto2File is a file of the older language: a required field, a default, a closed
// enum, an extension and a group.
const proto2File = `{"name":"old.proto","package":"everything.v1","syntax":"proto2",
	"enumType":[{"name":"Kind","value":[{"name":"KIND_A","number":1},{"name":"KIND_B","number":2}]}],
	"messageType":[
		{"name":"Old","extensionRange":[{"start":100,"end":200}],"field":[
			{"name":"label","number":1,"label":"LABEL_REQUIRED","type":"TYPE_STRING","jsonName":"label"},
			{"name":"size","number":2,"label":"LABEL_OPTIONAL","type":"TYPE_INT32","defaultValue":"7","jsonName":"size"},
			{"name":"kind","number":3,"label":"LABEL_OPTIONAL","type":"TYPE_ENUM","typeName":".everything.v1.Kind","jsonName":"kind"},
			{"name":"inner","number":4,"label":"LABEL_OPTIONAL","type":"TYPE_MESSAGE","typeName":".everything.v1.Old","jsonName":"inner"}]},
		{"name":"Grouped","nestedType":[{"name":"Item","field":[{"name":"text","number":1,"label":"LABEL_OPTIONAL","type":"TYPE_STRING","jsonName":"text"}]}],"field":[
			{"name":"item","number":1,"label":"LABEL_OPTIONAL","type":"TYPE_GROUP","typeName":".everything.v1.Grouped.Item","jsonName":"item"}]}],
	"extension":[{"name":"extra","number":100,"label":"LABEL_OPTIONAL","type":"TYPE_STRING","extendee":".everything.v1.Old","jsonName":"extra"}],
	"service":[{"name":"EverythingService","method":[
		{"name":"Echo","inputType":".everything.v1.Old","outputType":".everything.v1.Old"},
		{"name":"TakeGroup","inputType":".everything.v1.Grouped","outputType":".everything.v1.Old"},
		{"name":"GiveGroup","inputType":".everything.v1.Old","outputType":".everything.v1.Grouped"}]}]}`

// editionsFile is a file of the newer one, with a feature of each kind.
const editionsFile = `{"name":"new.proto","package":"everything.v1","syntax":"editions","edition":"EDITION_2023",
	"enumType":[{"name":"Kind","options":{"features":{"enumType":"CLOSED"}},"value":[{"name":"KIND_A","number":1},{"name":"KIND_B","number":2}]}],
	"messageType":[
		{"name":"New","field":[
			{"name":"label","number":1,"label":"LABEL_OPTIONAL","type":"TYPE_STRING","jsonName":"label","options":{"features":{"fieldPresence":"LEGACY_REQUIRED"}}},
			{"name":"size","number":2,"label":"LABEL_OPTIONAL","type":"TYPE_INT32","jsonName":"size","options":{"features":{"fieldPresence":"IMPLICIT"}}},
			{"name":"maybe","number":3,"label":"LABEL_OPTIONAL","type":"TYPE_INT64","jsonName":"maybe"},
			{"name":"numbers","number":4,"label":"LABEL_REPEATED","type":"TYPE_INT32","jsonName":"numbers","options":{"features":{"repeatedFieldEncoding":"EXPANDED"}}},
			{"name":"kind","number":5,"label":"LABEL_OPTIONAL","type":"TYPE_ENUM","typeName":".everything.v1.Kind","jsonName":"kind"}]},
		{"name":"Delimited","field":[
			{"name":"new","number":1,"label":"LABEL_OPTIONAL","type":"TYPE_MESSAGE","typeName":".everything.v1.New","jsonName":"new","options":{"features":{"messageEncoding":"DELIMITED"}}}]}],
	"service":[{"name":"EverythingService","method":[
		{"name":"Echo","inputType":".everything.v1.New","outputType":".everything.v1.New"},
		{"name":"GiveGroup","inputType":".everything.v1.New","outputType":".everything.v1.Delimited"}]}]}`

// of is a world whose backend has only this file.
func of(t *testing.T, file string) *world {
	t.Helper()
	f := &descriptorpb.FileDescriptorProto{}
	if err := protojson.Unmarshal([]byte(file), f); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.backend.set = &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{f}}
	w.backend.start(t)
	w.open(readOnly)
	return w.reading("")
}

func TestFilesOfTheOlderAndTheNewerLanguageAreToolsToo(t *testing.T) {
	for file, calls := range map[string]map[string]string{
		proto2File: {
			`{"label":"a"}`: `{"label":"a"}`,
			`{"label":"a","size":0,"kind":"KIND_B","inner":{"label":"b"}}`: `{"label":"a","size":0,"kind":"KIND_B","inner":{"label":"b"}}`,
			`{}`:                            "",
			`{"label":"a","inner":{}}`:      "",
			`{"label":"a","kind":"KIND_C"}`: "",
			`{"label":"a","everything.v1.extra":"x"}`:   "",
			`{"label":"a","[everything.v1.extra]":"x"}`: "",
		},
		editionsFile: {
			`{"label":"a"}`: `{"label":"a","size":0,"numbers":[]}`,
			`{"label":"","size":3,"maybe":"0","numbers":[1,2],"kind":"KIND_A"}`: `{"label":"","size":3,"maybe":"0","numbers":[1,2],"kind":"KIND_A"}`,
			`{"size":3}`:                    "",
			`{"label":"a","kind":"KIND_C"}`: "",
		},
	} {
		w := of(t, file)
		made := int64(0)
		for args, want := range calls {
			fin := w.call("echo", args)
			switch {
			case want == "" && fin.Reason != string(fault.ArgumentInvalid):
				t.Errorf("%s: got %s, want it refused", args, fin.Result)
			case want != "" && fin.Result != want:
				t.Errorf("%s: got %s, want %s", args, fin.Result, want)
			}
			if want != "" {
				made++
			}
		}
		if n := w.backend.calls.Load(); n != made {
			t.Errorf("%d calls were made, want %d", n, made)
		}
		d, _ := w.reg.Descriptor("echo")
		if !strings.Contains(string(d.Schema), `"required":["label"]`) {
			t.Errorf("got %s, want the label required", d.Schema)
		}
	}
}

// In protobuf's JSON a group has the name of its type where a message has that of its
// field: what a policy or a class takes out by the one would stay under the other.
func TestAGroupIsLeftOutWithItsReason(t *testing.T) {
	for file, methods := range map[string][]string{proto2File: {"TakeGroup: what it takes: item", "GiveGroup: what it gives: item"}, editionsFile: {"GiveGroup: what it gives: new"}} {
		w := of(t, file)
		for _, want := range methods {
			if notes := strings.Join(w.source.Notes(), "\n"); !strings.Contains(notes, want+": a group") {
				t.Errorf("got %q, want %q", notes, want)
			}
		}
	}
}

// An extension is in no schema, so no policy could take it out of a result. It is no
// reason to read the descriptors again.
func TestExtensionsOfAnAnswerAreLeftOut(t *testing.T) {
	w := of(t, proto2File)
	linked, err := protodesc.NewFiles(w.backend.set)
	if err != nil {
		t.Fatal(err)
	}
	old, err := linked.FindDescriptorByName("everything.v1.Old")
	if err != nil {
		t.Fatal(err)
	}
	for number, newer := range map[protowire.Number]bool{100: false, 50: true} {
		b := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "a")
		b = protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), "secret")
		w.backend.say(func(_ context.Context, _ string, _ *dynamicpb.Message, send func(proto.Message) error) error {
			return send(raw(b))
		})

		if fin := w.call("echo", `{"label":"a"}`); fin.Result != `{"label":"a"}` {
			t.Errorf("field %d: got %s, want it left out", number, fin.Result)
		}

		m := dynamicpb.NewMessage(old.(protoreflect.MessageDescriptor))
		if err := (proto.UnmarshalOptions{Resolver: new(protoregistry.Types)}).Unmarshal(b, m); err != nil || grpctool.Unheard(m, m.Descriptor()) != newer {
			t.Errorf("field %d: got %v, %v, want %v", number, grpctool.Unheard(m, m.Descriptor()), err, newer)
		}
	}
}

// A file that says how its messages are written says it of each.
func TestAFileThatIsWrittenInAnotherWayIsAnotherTool(t *testing.T) {
	w := of(t, editionsFile)
	w.backend.stop()
	w.backend.set.File[0].Options = &descriptorpb.FileOptions{Features: &descriptorpb.FeatureSet{RepeatedFieldEncoding: descriptorpb.FeatureSet_EXPANDED.Enum()}}
	w.backend.start(t)
	w.until(func() bool { return w.backend.conns.Load() > 1 && w.source.Problem() == nil })

	if fin := w.call("echo", `{"label":"a"}`); !strings.Contains(said(t, fin), "has changed") {
		t.Errorf("got %s, want the call not made", fin.Result)
	}
}

func TestAnAnswerWithoutWhatItsTypeRequiresIsNotShown(t *testing.T) {
	w := of(t, proto2File)
	w.backend.say(func(_ context.Context, _ string, _ *dynamicpb.Message, send func(proto.Message) error) error {
		return send(raw(protowire.AppendVarint(protowire.AppendTag(nil, 2, protowire.VarintType), 9)))
	})

	if fin := w.call("echo", `{"label":"a"}`); !fin.Failed || !strings.Contains(said(t, fin), "not of the type") {
		t.Errorf("got %s, want an answer that cannot be read", fin.Result)
	}
}
