package grpctool_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/tools/grpctool"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// hiddenFile has hidden fields in every place that a message has.
const hiddenFile = `{"name":"hidden.proto","package":"everything.v1","syntax":"proto3",
	"messageType":[
		{"name":"All","oneofDecl":[{"name":"alone"},{"name":"both"},{"name":"open"},{"name":"_maybe"}],
		"nestedType":[
			{"name":"Inner","field":[
				{"name":"deep","number":1,"label":"LABEL_OPTIONAL","type":"TYPE_STRING","jsonName":"deep","options":{"[behalf.v1.field]":{"redact":"secret"}}},
				{"name":"top","number":2,"label":"LABEL_OPTIONAL","type":"TYPE_STRING","jsonName":"top"}]},
			{"name":"MapsEntry","options":{"mapEntry":true},"field":[
				{"name":"key","number":1,"label":"LABEL_OPTIONAL","type":"TYPE_STRING","jsonName":"key"},
				{"name":"value","number":2,"label":"LABEL_OPTIONAL","type":"TYPE_MESSAGE","typeName":".everything.v1.All","jsonName":"value"}]},
			{"name":"PlainEntry","options":{"mapEntry":true},"field":[
				{"name":"key","number":1,"label":"LABEL_OPTIONAL","type":"TYPE_STRING","jsonName":"key"},
				{"name":"value","number":2,"label":"LABEL_OPTIONAL","type":"TYPE_MESSAGE","typeName":".everything.v1.All","jsonName":"value","options":{"[behalf.v1.field]":{"redact":"no map entry has one"}}}]}],
		"field":[
			{"name":"one","number":1,"label":"LABEL_OPTIONAL","type":"TYPE_STRING","oneofIndex":0,"jsonName":"one","options":{"[behalf.v1.field]":{"redact":"secret"}}},
			{"name":"left","number":2,"label":"LABEL_OPTIONAL","type":"TYPE_STRING","oneofIndex":1,"jsonName":"left","options":{"[behalf.v1.field]":{"redact":"secret"}}},
			{"name":"right","number":3,"label":"LABEL_OPTIONAL","type":"TYPE_STRING","oneofIndex":1,"jsonName":"right"},
			{"name":"seen","number":4,"label":"LABEL_OPTIONAL","type":"TYPE_STRING","oneofIndex":2,"jsonName":"seen"},
			{"name":"maybe","number":5,"label":"LABEL_OPTIONAL","type":"TYPE_STRING","oneofIndex":3,"proto3Optional":true,"jsonName":"maybe","options":{"[behalf.v1.field]":{"redact":"secret"}}},
			{"name":"maps","number":6,"label":"LABEL_REPEATED","type":"TYPE_MESSAGE","typeName":".everything.v1.All.MapsEntry","jsonName":"maps","options":{"[behalf.v1.field]":{"redact":"secret"}}},
			{"name":"plain","number":7,"label":"LABEL_REPEATED","type":"TYPE_MESSAGE","typeName":".everything.v1.All.PlainEntry","jsonName":"plain"},
			{"name":"list","number":8,"label":"LABEL_REPEATED","type":"TYPE_MESSAGE","typeName":".everything.v1.All","jsonName":"list"},
			{"name":"public","number":9,"label":"LABEL_OPTIONAL","type":"TYPE_MESSAGE","typeName":".everything.v1.All","jsonName":"public","options":{"[behalf.v1.field]":{"redact":"other"}}},
			{"name":"inner","number":10,"label":"LABEL_OPTIONAL","type":"TYPE_MESSAGE","typeName":".everything.v1.All.Inner","jsonName":"inner"}]}],
	"service":[{"name":"EverythingService","method":[{"name":"Echo","inputType":".everything.v1.All","outputType":".everything.v1.All"}]}]}`

func TestHiddenFieldsAreLeftOutWhereverTheyAre(t *testing.T) {
	w := of(t, hiddenFile)
	for args, want := range map[string]string{
		`{"one":"hush","seen":"a"}`:               `{"seen":"a","plain":{},"list":[]}`,
		`{"left":"hush"}`:                         `{"plain":{},"list":[]}`,
		`{"right":"a","maybe":"hush"}`:            `{"right":"a","plain":{},"list":[]}`,
		`{"maps":{"k":{"seen":"hush"}}}`:          `{"plain":{},"list":[]}`,
		`{"plain":{"k":{"one":"hush"}}}`:          `{"plain":{"k":{"plain":{},"list":[]}},"list":[]}`,
		`{"list":[{"left":"hush"},{"seen":"b"}]}`: `{"plain":{},"list":[{"plain":{},"list":[]},{"seen":"b","plain":{},"list":[]}]}`,
		`{"public":{"seen":"hush"}}`:              `{"plain":{},"list":[]}`,
		`{"inner":{"deep":"hush","top":"a"}}`:     `{"plain":{},"list":[],"inner":{"top":"a"}}`,
	} {
		if fin := w.call("echo", args); fin.Failed || fin.Result != want {
			t.Errorf("%s: got %s, want %s", args, fin.Result, want)
		}
	}
	d, _ := w.reg.Descriptor("echo")
	if !strings.Contains(string(d.Schema), `"maybe"`) {
		t.Errorf("got the arguments %s, want what is hidden in answers among them", d.Schema)
	}
	const want = "All.Inner.deep All.left All.maps All.maybe All.one All.public"
	if got := strings.ReplaceAll(strings.Join(d.Hides, " "), "everything.v1.", ""); got != want {
		t.Errorf("got %s hidden, want %s", got, want)
	}
}

// TestHiddenFieldsOfAToolAreNamedAsFarAsIsBounded: of more of them any other set is another
// one.
func TestHiddenFieldsOfAToolAreNamedAsFarAsIsBounded(t *testing.T) {
	hides := func(gone int) []string {
		var names []string
		for i := range gone {
			names = append(names, fmt.Sprintf("%q", fmt.Sprint("f", i)))
		}
		d, _ := of(t, `{"name":"many.proto","package":"everything.v1","syntax":"proto3","messageType":[{"name":"All","reservedName":[`+strings.Join(names, ",")+`]}],
			"service":[{"name":"EverythingService","method":[{"name":"Echo","inputType":".everything.v1.All","outputType":".everything.v1.All"}]}]}`).reg.Descriptor("echo")
		return d.Hides
	}
	if got := hides(4096); len(got) != 4096 || !slices.IsSorted(got) {
		t.Errorf("got %d, want all of them, sorted", len(got))
	}
	one, other := hides(4097), hides(4098)
	if len(one) != 1 || len(other) != 1 || len(one[0]) > 256 || slices.Equal(one, other) {
		t.Errorf("got %.3q and %.3q, want a digest of each", one, other)
	}
}

// allBut is All in the file, less the fields that drop is true of.
func allBut(t *testing.T, drop func(*descriptorpb.FieldDescriptorProto) bool) protoreflect.MessageDescriptor {
	t.Helper()
	f := &descriptorpb.FileDescriptorProto{}
	if err := protojson.Unmarshal([]byte(hiddenFile), f); err != nil {
		t.Fatal(err)
	}
	all := f.GetMessageType()[0]
	all.Field = slices.DeleteFunc(all.Field, drop)
	if len(all.Field) == 1 {
		all.OneofDecl = nil
	}
	linked, err := protodesc.NewFile(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	return linked.Messages().Get(0)
}

func TestWhatIsHiddenIsNoNews(t *testing.T) {
	whole := allBut(t, func(*descriptorpb.FieldDescriptorProto) bool { return false })
	shown := allBut(t, func(fd *descriptorpb.FieldDescriptorProto) bool { return fd.GetName() != "list" })
	for number, news := range map[protowire.Number]bool{1: false, 6: false, 9: false, 10: false, 11: true} {
		m := dynamicpb.NewMessage(shown)
		if err := proto.Unmarshal(protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), ""), m); err != nil {
			t.Fatal(err)
		}
		if got := grpctool.Unheard(m, whole); got != news {
			t.Errorf("field %d: got %v, want %v", number, got, news)
		}
	}
}

// passing has a message that is named like a standard one, by nesting.
const passing = `{"name":"pass.proto","package":"PKG","syntax":"proto3",
	"messageType":[MESSAGES,{"name":"Ask"}],
	"service":[{"name":"EverythingService","method":[{"name":"Echo","inputType":"ASK","outputType":"ASK"}]}]}`

func TestAMessageCannotPassForAStandardOne(t *testing.T) {
	for pkg, messages := range map[string]string{
		"google": `{"name":"protobuf","nestedType":[{"name":"Timestamp"}]}`,
		"":       `{"name":"google","nestedType":[{"name":"protobuf","nestedType":[{"name":"Struct"}]}]}`,
		"behalf": `{"name":"v1","nestedType":[{"name":"FieldFacts"}]}`,
	} {
		ask := strings.TrimSuffix("."+pkg, ".") + ".Ask"
		f := &descriptorpb.FileDescriptorProto{}
		if err := protojson.Unmarshal([]byte(strings.NewReplacer("PKG", pkg, "MESSAGES", messages, "ASK", ask).Replace(passing)), f); err != nil {
			t.Fatal(err)
		}
		raw, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{f}})
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(t)

		_, err = grpctool.New(w.config(func(g *grpctool.Config) { g.Target, g.DescriptorSet = "127.0.0.1:1", raw }))

		if err == nil || !strings.Contains(err.Error(), "not its own") {
			t.Errorf("%q: got %v, want it refused", pkg, err)
		}
	}
}

// TestABackendThatHidesOneFieldMoreIsNotWeaker, whether they are few or more than are
// named: it would lose all its changed tools until an operator reloads.
func TestABackendThatHidesOneFieldMoreIsNotWeaker(t *testing.T) {
	file := func(n int) string {
		var fields []string
		for i := range n {
			fields = append(fields, fmt.Sprintf(`{"name":"f%d","number":%d,"label":"LABEL_OPTIONAL","type":"TYPE_STRING","jsonName":"f%d","options":{"[behalf.v1.field]":{"redact":"secret"}}}`, i, i+1, i))
		}
		return `{"name":"many.proto","package":"everything.v1","syntax":"proto3","messageType":[{"name":"All","field":[` + strings.Join(fields, ",") + `]}],
			"service":[{"name":"EverythingService","method":[{"name":"Echo","inputType":".everything.v1.All","outputType":".everything.v1.All"}]}]}`
	}
	for _, n := range []int{2, 128, 200} {
		was, _ := of(t, file(n)).reg.Descriptor("echo")
		now, _ := of(t, file(n+1)).reg.Descriptor("echo")
		if why := now.Weaker(was); why != "" {
			t.Errorf("%d fields are hidden, and then %d: it is weaker: %s", n, n+1, why)
		}
	}
}

// TestABackendThatDropsAHiddenFieldIsNotWeaker: a field that is not there any more is
// shown to nobody. Here its name and number are reserved, as protobuf wants it.
func TestABackendThatDropsAHiddenFieldIsNotWeaker(t *testing.T) {
	const hid = `"label":"LABEL_OPTIONAL","type":"TYPE_STRING","options":{"[behalf.v1.field]":{"redact":"secret"}}}`
	file := func(all string) string {
		return `{"name":"many.proto","package":"everything.v1","syntax":"proto3","messageType":[{"name":"All",` + all + `}],
			"service":[{"name":"EverythingService","method":[{"name":"Echo","inputType":".everything.v1.All","outputType":".everything.v1.All"}]}]}`
	}
	was, _ := of(t, file(`"field":[{"name":"kept","number":1,`+hid+`,{"name":"old","number":2,`+hid+`]`)).reg.Descriptor("echo")
	now, _ := of(t, file(`"field":[{"name":"kept","number":1,`+hid+`],"reservedName":["old"],"reservedRange":[{"start":2,"end":3}]`)).reg.Descriptor("echo")

	if why := now.Weaker(was); why != "" {
		t.Errorf("the field is gone: it is weaker: %s", why)
	}
}
