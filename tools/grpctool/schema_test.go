package grpctool_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/grpctool"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

var update = flag.Bool("update", false, "write the golden files")

// fixed is a source of a descriptor set, which needs no backend.
func fixed(t testing.TB, edit func(*grpctool.Config)) (*grpctool.Source, error) {
	t.Helper()
	w := newWorld(t)
	w.backend.addr = "127.0.0.1:1"
	return grpctool.New(w.config(func(g *grpctool.Config) {
		g.DescriptorSet = everything
		if edit != nil {
			edit(g)
		}
	}))
}

func toolsOf(t testing.TB, edit func(*grpctool.Config)) map[string]tools.Tool {
	t.Helper()
	src, err := fixed(t, edit)
	if err != nil {
		t.Fatal(err)
	}
	list, err := src.Tools()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]tools.Tool{}
	for _, tool := range list {
		out[tool.Name] = tool
	}
	return out
}

func TestTheSchemaHasAllOfProto3(t *testing.T) {
	tool := toolsOf(t, nil)["echo"]
	for name, schema := range map[string]json.RawMessage{"arguments": tool.Schema, "result": tool.Result} {
		var buf bytes.Buffer
		if err := json.Indent(&buf, schema, "", " "); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name+".golden.json")
		if *update {
			if err := os.WriteFile(file, append(buf.Bytes(), '\n'), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(want)) != buf.String() {
			t.Errorf("%s is not as in %s (%v); look at it and use -update:\n%s", name, file, err, buf.String())
		}
	}
}

func TestTheSchemasCompileAndPoliciesCanBeWrittenAboutThem(t *testing.T) {
	var list []tools.Tool
	for _, tool := range toolsOf(t, nil) {
		list = append(list, tool)
	}
	reg, err := tools.NewRegistry(list...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Load(policy.Config{FS: policies(`@id("all") permit (principal, action, resource);
		@id("a") forbid (principal, action == Action::"call_tool", resource == Tool::"echo") when { context.args has tree && context.args.tree has label && context.args.tree.label == "x" };
		@id("b") @redact("result:$.text") forbid (principal, action == Action::"call_tool", resource == Tool::"echo");`), Tools: reg.Schemas()}); err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Load(policy.Config{FS: policies(`@id("a") forbid (principal, action == Action::"call_tool", resource == Tool::"echo") when { context.args has textt };`), Tools: reg.Schemas()}); err == nil {
		t.Error("got no error for a parameter that there is not")
	}
	if notes := reg.Notes(); len(notes) > 0 {
		t.Errorf("got %q, want nothing of the schemas changed", notes)
	}
}

func TestAnAnswerFitsTheSchemaOfResults(t *testing.T) {
	w := started(t, nil)
	d, ok := w.reg.Descriptor("echo")
	if !ok {
		t.Fatal("there is no echo")
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(d.Result))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("result.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("result.json")
	if err != nil {
		t.Fatal(err)
	}

	fin := w.call("echo", `{"i64":5,"color":"COLOR_RED","at":"2026-01-02T03:04:05Z","points":{"-5":{"x":1}},"tree":{"children":[{"label":"b"}]},"blob":"AQID","wrapped":"7","double":1.5}`)

	v, err := jsonschema.UnmarshalJSON(strings.NewReader(fin.Result))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(v); err != nil {
		t.Error(err)
	}
}

func TestWhatCannotBeGovernedIsLeftOutWithItsReason(t *testing.T) {
	src, err := fixed(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	list, err := src.Tools()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, tool := range list {
		names = append(names, tool.Name)
	}
	if want := []string{"be_any", "echo", "give_any", "give_anys", "give_struct", "repeat"}; !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
	notes := strings.Join(src.Notes(), "\n")
	for _, want := range []string{"Collect: a tool takes one message", "Chat: a tool takes one message", `TakeStruct: parameter fields can hold anything, a person's id too, and no policy looks inside: waive "TakeStruct.fields" to allow it`, `TakeAny: parameter any can hold anything, a person's id too, and no policy looks inside: waive "TakeAny.any" to allow it`} {
		if !strings.Contains(notes, want) {
			t.Errorf("got %q, want %q", notes, want)
		}
	}
}

func TestFactsNameAndDescribeTools(t *testing.T) {
	tools := toolsOf(t, func(g *grpctool.Config) {
		g.Prefix = "ev_"
		g.Facts = map[string]grpctool.Facts{
			"Echo":           {Name: "shout", Description: "Shouts.", Scopes: []string{"a"}, Effect: tools.Read, Risk: "high", Idempotent: true},
			echo + "/Repeat": {},
			"GiveStruct":     {Skip: true}, "GiveAny": {Skip: true}, "GiveAnys": {Skip: true}, "BeAny": {Skip: true},
		}
	})
	if len(tools) != 2 {
		t.Errorf("got %d tools, want two", len(tools))
	}
	shout, repeat := tools["shout"], tools["ev_repeat"]
	if shout.Description != "Shouts." || !slices.Equal(shout.Scopes, []string{"a"}) || shout.Effect != "read" || shout.Risk != "high" || !shout.Idempotent {
		t.Errorf("got %+v, want the config's facts", shout.Descriptor)
	}
	if repeat.Description != "Sends the same again and again." || repeat.Effect != "write" || len(repeat.Scopes) != 0 {
		t.Errorf("got %+v, want the comment, and a write", repeat.Descriptor)
	}
}

func TestConfigsThatAreWrongAreRefused(t *testing.T) {
	for want, edit := range map[string]func(*grpctool.Config){
		"have no method Nothing":                        func(g *grpctool.Config) { g.Facts = map[string]grpctool.Facts{"Nothing": {}} },
		"have no method Ecko; did you mean Echo?":       func(g *grpctool.Config) { g.Facts = map[string]grpctool.Facts{"Ecko": {}} },
		"a tool takes one message":                      func(g *grpctool.Config) { g.Facts = map[string]grpctool.Facts{"Chat": {Name: "chat"}} },
		"did you mean everything.v1.EverythingService?": func(g *grpctool.Config) { g.Services = []string{"everything.v1.EverythingServise"} },
		"no service everything.v1.None":                 func(g *grpctool.Config) { g.Services = []string{"everything.v1.None"} },
		"no parameter who to have": func(g *grpctool.Config) {
			g.Facts = map[string]grpctool.Facts{"Echo": {Owners: map[string]tools.Owner{"who": tools.OwnerSubject}}}
		},
		"parameter i64 has an owner": func(g *grpctool.Config) {
			g.Facts = map[string]grpctool.Facts{"Echo": {Owners: map[string]tools.Owner{"i64": tools.OwnerSubject}}}
		},
		"no parameter Echo.who to": func(g *grpctool.Config) { g.Waived = []string{"Echo.who"} },
		"a target must be said":    func(g *grpctool.Config) { g.Target = "" },
		"their audience":           func(g *grpctool.Config) { g.Backend.Audience = "" },
		"the prefix":               func(g *grpctool.Config) { g.Prefix = "A-" },
		"cannot be read":           func(g *grpctool.Config) { g.DescriptorSet = []byte("nonsense") },
	} {
		if _, err := fixed(t, edit); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestAParameterThatLooksLikeAPersonNeedsAnOwnerOrAWaiver(t *testing.T) {
	people := func(edit func(*grpctool.Config)) (map[string]tools.Tool, error) {
		src, err := fixed(t, func(g *grpctool.Config) {
			g.Services = []string{"everything.v1.PeopleService"}
			edit(g)
		})
		if err != nil {
			return nil, err
		}
		list, err := src.Tools()
		out := map[string]tools.Tool{}
		for _, tool := range list {
			out[tool.Name] = tool
		}
		return out, err
	}
	_, err := people(func(*grpctool.Config) {})
	if err == nil || !strings.Contains(err.Error(), `waive "GetPerson.id"`) || !strings.Contains(err.Error(), `waive "FindThings.filter.emails"`) {
		t.Errorf("got %v, want both parameters named with the waiver", err)
	}

	got, err := people(func(g *grpctool.Config) {
		g.Waived = []string{"FindThings.filter.emails"}
		g.Facts = map[string]grpctool.Facts{"GetPerson": {Owners: map[string]tools.Owner{"id": tools.OwnerSubject}}}
	})
	if err != nil || got["get_person"].Owners["id"] != tools.OwnerSubject || !strings.Contains(string(got["get_person"].Schema), `"required":["id"]`) {
		t.Errorf("got %v, %v, want the owner, and the parameter required", got["get_person"].Descriptor, err)
	}
	if len(got["find_things"].Owners) != 0 {
		t.Errorf("got %v, want no owner for what is waived", got["find_things"].Owners)
	}
}

func TestDescriptorSetsAreBounded(t *testing.T) {
	many := parse(t, everything)
	for i := range 600 {
		many.File = append(many.File, &descriptorpb.FileDescriptorProto{Name: proto.String(fmt.Sprint("x", i)), Syntax: proto.String("proto3")})
	}
	lacking := parse(t, everything)
	fileOf(lacking).Dependency = append(fileOf(lacking).Dependency, "else/where.proto")
	stolen := &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{{Name: proto.String("mine.proto"), Package: proto.String("google.protobuf"), Syntax: proto.String("proto3")}}}
	broken := parse(t, everything)
	fileOf(broken).MessageType[0].Field[0].Number = proto.Int32(-5)
	for want, set := range map[string]*descriptorpb.FileDescriptorSet{"more than 512 files": many, "lack else/where.proto": lacking, "defines what is not its own": stolen, "do not fit together": broken} {
		raw, err := proto.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fixed(t, func(g *grpctool.Config) { g.DescriptorSet = raw }); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestManyWaysThroughFewMessages has 30 messages each of which has the next twice:
// a billion ways.
func TestManyWaysThroughFewMessages(t *testing.T) {
	for _, loop := range []bool{false, true} {
		set := parse(t, everything)
		f := fileOf(set)
		for i := range 30 {
			to := ".everything.v1.M" + fmt.Sprint(i+1)
			if i == 29 {
				to = ".everything.v1.Point"
				if loop {
					to = ".everything.v1.M0"
				}
			}
			m := &descriptorpb.DescriptorProto{Name: proto.String("M" + fmt.Sprint(i))}
			for n, name := range []string{"l", "r"} {
				m.Field = append(m.Field, &descriptorpb.FieldDescriptorProto{Name: proto.String(name), Number: proto.Int32(int32(n + 1)), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), Type: descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), TypeName: proto.String(to), JsonName: proto.String(name)})
			}
			f.MessageType = append(f.MessageType, m)
		}
		f.Service[0].Method[0].InputType = proto.String(".everything.v1.M0")
		raw, err := proto.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		src, err := fixed(t, func(g *grpctool.Config) { g.DescriptorSet = raw })
		if err != nil || !strings.Contains(strings.Join(src.Notes(), "\n"), "Echo: the message has too many fields") {
			t.Errorf("loop %v: got %v, %v, want it left out", loop, src, err)
		}
	}
}
