package grpctool_test

import (
	"context"
	"testing"

	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/grpctool"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"
)

// swappedFile is a request in which the JSON name of one field is the name of another, as
// protoc allows it, and in which two fields differ as the usual JSON name does from its
// field's.
const swappedFile = `{"name":"swapped.proto","package":"everything.v1","syntax":"proto3",
	"messageType":[{"name":"Ask","nestedType":[{"name":"Deep","field":[
			{"name":"who","number":1,"label":"LABEL_OPTIONAL","type":"TYPE_STRING","jsonName":"what"},
			{"name":"what","number":2,"label":"LABEL_OPTIONAL","type":"TYPE_STRING","jsonName":"who"}]}],"field":[
		{"name":"customer_id","number":1,"label":"LABEL_OPTIONAL","type":"TYPE_STRING","jsonName":"note"},
		{"name":"note","number":2,"label":"LABEL_OPTIONAL","type":"TYPE_STRING","jsonName":"customer_id"},
		{"name":"fooBar","number":3,"label":"LABEL_OPTIONAL","type":"TYPE_STRING"},
		{"name":"foo_bar","number":4,"label":"LABEL_OPTIONAL","type":"TYPE_STRING"},
		{"name":"deep","number":5,"label":"LABEL_OPTIONAL","type":"TYPE_MESSAGE","typeName":".everything.v1.Ask.Deep"}]}],
	"service":[{"name":"EverythingService","method":[{"name":"Echo","inputType":".everything.v1.Ask","outputType":".everything.v1.Ask"}]}]}`

func TestAFieldIsSentUnderTheNameByWhichItWasCompared(t *testing.T) {
	w := newWorld(t)
	w.backend.set = setOf(t, swappedFile)
	w.backend.start(t)
	w.open(func(g *grpctool.Config) {
		g.Facts = map[string]grpctool.Facts{"Echo": {Effect: tools.Read, Owners: map[string]tools.Owner{"customer_id": tools.OwnerSubject}}}
	})
	w.reading("")
	got := map[string]string{}
	w.backend.say(func(_ context.Context, _ string, in *dynamicpb.Message, send func(proto.Message) error) error {
		fields := in.Descriptor().Fields()
		for _, name := range []string{"customer_id", "note", "fooBar", "foo_bar"} {
			got[name] = in.Get(fields.ByTextName(name)).String()
		}
		deep := in.Get(fields.ByTextName("deep")).Message()
		got["who"] = deep.Get(deep.Descriptor().Fields().ByTextName("who")).String()
		return send(in)
	})
	const args = `{"customer_id":"bob","note":"alice","fooBar":"a","foo_bar":"b","deep":{"who":"c","what":"d"}}`

	fin := w.call("echo", args)

	if got["customer_id"] != "bob" || got["note"] != "alice" || got["fooBar"] != "a" || got["foo_bar"] != "b" || got["who"] != "c" {
		t.Errorf("the backend was asked with %v: %s", got, fin.Result)
	}
	if fin.Result != args {
		t.Errorf("got %s, want what was sent", fin.Result)
	}
}

// TestAFieldHasNoSecondName in an Any either, of which the schema says nothing.
func TestAFieldHasNoSecondName(t *testing.T) {
	w := started(t, waivedAnys)

	for args, want := range map[string]bool{
		`{"any":` + typed("everything.v1.Wrapped", `"by_any":`+typed("everything.v1.Point", `"x":1`)) + `}`: true,
		`{"any":` + typed("everything.v1.Wrapped", `"byAny":`+typed("everything.v1.Point", `"x":1`)) + `}`:  false,
		`{"byAny":` + typed("everything.v1.Point", `"x":1`) + `}`:                                           false,
	} {
		if fin := w.call("take_any", args); fin.Failed == want {
			t.Errorf("%s: got %s, want it taken %v", args, fin.Result, want)
		}
	}
}
