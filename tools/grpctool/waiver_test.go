package grpctool_test

import (
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/grpctool"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// peoples is a config of the service about people, all of whose parameters are settled.
func peoples(g *grpctool.Config) {
	g.Services = []string{"everything.v1.PeopleService"}
	g.Waived = []string{"GetPerson.id", "FindThings.filter.emails"}
}

// belongs has a backend say that a field must be the subject of the caller's token.
func belongs(set *descriptorpb.FileDescriptorSet, message, field string) {
	opts := &descriptorpb.FieldOptions{}
	opts.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 50553, protowire.BytesType), protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1)))
	for _, m := range fileOf(set).GetMessageType() {
		for _, f := range m.GetField() {
			if m.GetName() == message && f.GetName() == field {
				f.Options = opts
			}
		}
	}
}

// owned is the tests' descriptor set with an owner of one field.
func owned(t *testing.T, message, field string) []byte {
	t.Helper()
	set := parse(t, everything)
	belongs(set, message, field)
	raw, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestAWaiverTakesNoOwnerAwayThatTheBackendNames(t *testing.T) {
	for _, waiver := range []string{"GetPerson.id", "everything.v1.PeopleService/GetPerson.id"} {
		src, err := fixed(t, func(g *grpctool.Config) {
			peoples(g)
			g.Waived[0] = waiver
			g.DescriptorSet = owned(t, "GetPersonRequest", "id")
		})
		if err != nil {
			t.Fatal(err)
		}

		list, err := src.Tools()

		if err != nil || len(list) != 2 || list[1].Owners["id"] != tools.OwnerSubject || !strings.Contains(string(list[1].Schema), `"required":["id"]`) {
			t.Errorf("%s: got %v, %v, want the owner, and the parameter required", waiver, list, err)
		}
		if notes := strings.Join(src.Notes(), "\n"); !strings.Contains(notes, "PeopleService.GetPerson: the waiver of parameter id waives nothing: the backend says whose it must be") {
			t.Errorf("%s: got %q, want a note about the waiver", waiver, notes)
		}
	}
}

func TestAnOwnerThatAWaiverNamesTooIsComparedWithTheCaller(t *testing.T) {
	w := newWorld(t)
	w.backend.addr = "127.0.0.1:1" // nobody
	w.open(func(g *grpctool.Config) {
		peoples(g)
		g.DescriptorSet = owned(t, "GetPersonRequest", "id")
	})
	w.govern(`@id("own") forbid (principal, action == Action::"act_for_other", resource);`)

	fin := w.call("get_person", `{"id":"somebody-else"}`)

	if fin.Reason != string(fault.OwnerMismatch) {
		t.Errorf("got %s %s, want it refused", fin.Reason, fin.Result)
	}
}

func TestAWaiverDoesNotAllowAnOwnerThatCannotBeCompared(t *testing.T) {
	src, err := fixed(t, func(g *grpctool.Config) {
		peoples(g)
		g.DescriptorSet = owned(t, "Filter", "emails")
	})
	if err != nil {
		t.Fatal(err)
	}

	list, err := src.Tools()

	if notes := strings.Join(src.Notes(), "\n"); err != nil || len(list) != 1 || list[0].Name != "get_person" || !strings.Contains(notes, "parameter filter.emails has an owner, and is not one text") {
		t.Errorf("got %v, %v with %q, want find_things left out", list, err, notes)
	}
}

func TestAConfigThatNamesAnOwnerAndAWaiverIsRefused(t *testing.T) {
	for _, set := range [][]byte{everything, owned(t, "GetPersonRequest", "id")} {
		_, err := fixed(t, func(g *grpctool.Config) {
			peoples(g)
			g.DescriptorSet = set
			g.Facts = map[string]grpctool.Facts{"GetPerson": {Owners: map[string]tools.Owner{"id": tools.OwnerEmail}}}
		})

		if err == nil || !strings.Contains(err.Error(), `parameter id has an owner (owners) and a waiver (waive "GetPerson.id"): take one of them away`) {
			t.Errorf("got %v, want both refused", err)
		}
	}
}

func TestAWaiverThatWaivesNothingIsNoted(t *testing.T) {
	src, err := fixed(t, func(g *grpctool.Config) {
		peoples(g)
		g.Waived = append(g.Waived, "FindThings.filter.text", "FindThings.filter")
	})
	if err != nil {
		t.Fatal(err)
	}

	list, err := src.Tools()

	if err != nil || len(list) != 2 {
		t.Errorf("got %v, %v, want both tools", list, err)
	}
	notes := strings.Join(src.Notes(), "\n")
	for _, param := range []string{"filter", "filter.text"} {
		if !strings.Contains(notes, "FindThings: the waiver of parameter "+param+" waives nothing: it needs none") {
			t.Errorf("got %q, want a note about %s", notes, param)
		}
	}
	if len(src.Notes()) != 2 {
		t.Errorf("got %q, want no note about waivers that waive something", notes)
	}
}

func TestAMisspeltWaiverNamesTheParameterThatNeedsOne(t *testing.T) {
	const service = "everything.v1.EverythingService/"
	for waiver, want := range map[string]string{
		"TakeStruct.feilds":              "; did you mean TakeStruct.fields?",
		"take_struct.fields":             "; did you mean TakeStruct.fields?",
		"ev_take_struct.inner.data":      "; did you mean TakeStruct.inner.data?",
		"takeStruct.thisWay":             "; did you mean TakeStruct.this_way?",
		service + "TakeStruct.valeu":     "; did you mean " + service + "TakeStruct.value?",
		"take_struct.label":              "", // it is there, and needs none
		"Elsewhere.fields":               "",
		strings.Repeat("x", 100) + ".id": "",
	} {
		_, err := fixed(t, func(g *grpctool.Config) { g.Waived, g.Prefix = []string{waiver}, "ev_" })

		if err == nil || err.Error() != "there is no parameter "+waiver+" to waive"+want {
			t.Errorf("got %v, want %q at its end", err, want)
		}
	}
}

func TestAMisspeltWaiverIsNotTakenForOneThatIsThere(t *testing.T) {
	_, err := fixed(t, func(g *grpctool.Config) { g.Waived = append([]string{"TakeStruct.feilds"}, shapeless...) })

	if err == nil || strings.Contains(err.Error(), "did you mean") {
		t.Errorf("got %v, want no parameter that has its waiver", err)
	}
}
