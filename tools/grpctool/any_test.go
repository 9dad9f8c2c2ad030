package grpctool_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/grpctool"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"
)

// anys are all parameters of TakeAny that are an Any.
var anys = []string{"TakeAny.any", "TakeAny.list", "TakeAny.named", "TakeAny.by_any"}

func waivedAnys(g *grpctool.Config) { g.Waived = anys }

// typed is an Any as it is written.
func typed(name, rest string) string {
	if rest != "" {
		rest = "," + rest
	}
	return `{"@type":"type.googleapis.com/` + name + `"` + rest + `}`
}

// within is an Any in so many Anys.
func within(n int, inner string) string {
	for range n {
		inner = typed("google.protobuf.Any", `"value":`+inner)
	}
	return inner
}

// TestAnAnyIsSentInTheSameBytesAlways: they are digested, and whoever makes the call
// elsewhere is told them.
func TestAnAnyIsSentInTheSameBytesAlways(t *testing.T) {
	w := started(t, waivedAnys)
	args := `{"any":` + typed("everything.v1.All", `"counts":{"a":1,"b":2,"c":3,"d":4,"e":5}`) + `}`
	first, err := w.source.Encode("take_any", args)
	if err != nil {
		t.Fatal(err)
	}

	for range 20 {
		if again, err := w.source.Encode("take_any", args); err != nil || !bytes.Equal(first, again) {
			t.Fatalf("got %x, %v, want %x", again, err, first)
		}
	}
}

// TestAnAnyComesAndGoesAsProtobufsJSONHasIt has the backend answer what it is asked.
func TestAnAnyComesAndGoesAsProtobufsJSONHasIt(t *testing.T) {
	w := started(t, waivedAnys)
	for _, one := range []string{
		typed("everything.v1.Point", `"x":1,"y":-2`),
		typed("everything.v1.Wrapped", `"any":`+typed("everything.v1.Point", `"x":0,"y":3`)+`,"list":[],"named":{}`),
		typed("everything.v1.Node", `"label":"a \"b\"","children":[{"label":"c","children":[]}]`),
		typed("google.protobuf.Timestamp", `"value":"2026-01-02T03:04:05Z"`),
		typed("google.protobuf.Duration", `"value":"1.500s"`),
		typed("google.protobuf.FieldMask", `"value":"aB,c"`),
		typed("google.protobuf.Struct", `"value":{"a":[1,null,{"b":"c"}]}`),
		typed("google.protobuf.Value", `"value":null`),
		typed("google.protobuf.Int64Value", `"value":"9223372036854775807"`),
		typed("google.protobuf.UInt64Value", `"value":"18446744073709551615"`),
		typed("google.protobuf.Empty", ""),
		within(3, typed("everything.v1.Point", `"x":1,"y":2`)),
		strings.Replace(typed("everything.v1.Point", `"x":1,"y":2`), "type.googleapis.com", "types.example/of/ours", 1),
	} {
		for args, want := range map[string]string{
			`{"any":%s}`:           `{"any":%s,"list":[],"named":{}}`,
			`{"list":[%[1]s]}`:     `{"list":[%s],"named":{}}`,
			`{"named":{"k":%s}}`:   `{"list":[],"named":{"k":%s}}`,
			`{"by_any":%s}`:        `{"list":[],"named":{},"by_any":%s}`,
			`{"list":[%[1]s, {}]}`: "", // an Any in the request itself must say what it is
		} {
			fin := w.call("take_any", fmt.Sprintf(args, one))
			switch {
			case want == "" && fin.Reason != string(fault.ArgumentInvalid):
				t.Errorf("%s: got %s, want it refused", fmt.Sprintf(args, one), fin.Result)
			case want != "" && fin.Result != fmt.Sprintf(want, one):
				t.Errorf("got  %s\nwant %s", fin.Result, fmt.Sprintf(want, one))
			}
		}
	}
}

func TestAnAnyParameterNeedsAWaiver(t *testing.T) {
	for lacking, name := range anys {
		src, err := fixed(t, func(g *grpctool.Config) { g.Waived = slices.Delete(slices.Clone(anys), lacking, lacking+1) })
		if err != nil {
			t.Fatal(err)
		}

		if notes := strings.Join(src.Notes(), "\n"); !strings.Contains(notes, fmt.Sprintf("no policy looks inside: waive %q to allow it", name)) {
			t.Errorf("without %s: got %q, want it left out", name, notes)
		}
	}
	if _, there := toolsOf(t, waivedAnys)["take_any"]; !there {
		t.Error("got no take_any, and all of it is waived")
	}
}

func TestWhatDoesNotFitAnAnyIsNotSent(t *testing.T) {
	w := newWorld(t)
	belongs(w.backend.set, "Filter", "text")
	w.backend.start(t)
	w.open(waivedAnys)
	w.reading("")
	point := typed("everything.v1.Point", `"x":1`)
	for _, one := range []string{
		typed("everything.v1.Nothing", ""), typed("everything.v1", ""), typed("everything.v1.Color", ""), typed("everything.v1.All.text", ""), typed("", ""),
		typed("everything.v1.All.CountsEntry", `"key":"a","value":"1"`), typed(".everything.v1.Point", ""), typed("google.protobuf.Nothing", ""),
		typed("everything.v1.Point", `"z":1`), typed("everything.v1.Point", `"x":"a"`), typed("everything.v1.Point", `"x":3000000000`), typed("everything.v1.Point", `"value":{"x":1}`), typed("everything.v1.Point", `"[everything.v1.extra]":1`),
		typed("everything.v1.Point", `"x":1,"@type":"type.googleapis.com/everything.v1.Node"`), typed("everything.v1.Point", `"x":1,"x":2`), typed("everything.v1.Point", `"@Type":"x"`),
		typed("everything.v1.All", `"camelName":"a","camel_name":"b"`), typed("everything.v1.All", `"by_name":"a","by_number":1`),
		typed("everything.v1.All", `"double":9007199254740993`), typed("everything.v1.All", `"double":0.10000000000000001`), typed("everything.v1.All", `"double":1e3`), typed("everything.v1.All", `"i64":9007199254740993`), typed("everything.v1.All", `"i64":"9223372036854775808"`),
		typed("google.protobuf.Struct", `"value":{"a":9007199254740993}`), typed("google.protobuf.Struct", ""), typed("google.protobuf.Timestamp", `"value":"yesterday"`), typed("google.protobuf.Timestamp", `"seconds":1`),
		typed("everything.v1.Filter", ""), typed("everything.v1.Filter", `"text":"bob"`), typed("everything.v1.FindThingsRequest", ""), within(2, typed("everything.v1.Filter", `"text":"bob"`)), typed("everything.v1.Wrapped", `"list":[`+typed("everything.v1.FindThingsRequest", `"filter":{"text":"bob"}`)+`]`), // they say whose data they name
		within(4, point), within(30, point),
		`{}`, `{"x":1}`, `null`, `"x"`, `[]`, `{"@type":1}`, `{"@type":null}`, `{"@type":""}`, `{"@type":{}}`, `{"@type":"everything.v1.Point"}`,
		`{"@type":"a\u0007/everything.v1.Point"}`, `{"@type":"a\n/everything.v1.Point"}`, `{"@type":"\u202e/everything.v1.Point"}`, "{\"@type\":\"\xff/everything.v1.Point\"}", `{"@type":"` + strings.Repeat("a", 300) + `/everything.v1.Point"}`,
	} {
		for _, args := range []string{`{"any":%s}`, `{"named":{"a":%[2]s,"b":%[1]s}}`, `{"any":` + typed("everything.v1.Wrapped", `"any":%s`) + `}`} {
			if (one == `{}` || one == `null`) && strings.Contains(args, "Wrapped") {
				continue // nothing, as protobuf's JSON has it
			}
			args = fmt.Sprintf(strings.Replace(args, "%[2]s", point, 1), one)
			if fin := w.callOf(w.person(t.Context(), args[:min(len(args), 100)]), "take_any", args); fin.Reason != string(fault.ArgumentInvalid) {
				t.Errorf("%s: got %s %s, want it refused", args, fin.Reason, fin.Result)
			}
		}
	}
	if n := w.backend.calls.Load(); n != 0 {
		t.Errorf("the backend was asked %d times, want never", n)
	}
}

func TestARefusalOfAnAnySaysWhatMayBeWrong(t *testing.T) {
	w := started(t, waivedAnys)

	fin := w.call("take_any", `{"any":`+typed("everything.v1.Secret", `"hush":1`)+`}`)

	if fin.Reason != string(fault.ArgumentInvalid) || !strings.Contains(said(t, fin), `"@type" may name no message of the backend`) || strings.Contains(fin.Result, "ecret") {
		t.Errorf("got %s", fin.Result)
	}
}

func TestPoliciesSeeNothingOfAnAny(t *testing.T) {
	w := started(t, waivedAnys)
	for _, name := range []string{"any", "list", "named", "by_any"} {
		when := fmt.Sprintf(`@id("a") forbid (principal, action == Action::"call_tool", resource == Tool::"take_any") when { context.args has %[1]s && context.args.%[1]s == 1 };`, name)
		if _, err := policy.Load(policy.Config{FS: policies(when), Tools: w.reg.Schemas()}); err == nil {
			t.Errorf("a policy about %s is taken, and can never apply", name)
		}
	}
	w.govern(`@id("r") @redact("result:$.any.y") forbid (principal, action == Action::"call_tool", resource == Tool::"take_any");`)

	fin := w.call("take_any", `{"any":`+typed("everything.v1.Point", `"x":7,"y":991`)+`}`)

	if fin.Failed || strings.Contains(fin.Result, "991") || !strings.Contains(fin.Result, `"x":7`) {
		t.Errorf("got %s, want what a policy takes out of an Any taken out", fin.Result)
	}
}

func TestAnAnswerWithAnAnyFitsTheSchemaOfResults(t *testing.T) {
	w := started(t, waivedAnys)
	d, _ := w.reg.Descriptor("take_any")
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(d.Result))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("result.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("result.json")
	if err != nil {
		t.Fatal(err)
	}

	fin := w.call("take_any", `{"any":`+typed("everything.v1.Point", `"x":1`)+`,"list":[`+typed("google.protobuf.Duration", `"value":"1s"`)+`]}`)

	v, err := jsonschema.UnmarshalJSON(strings.NewReader(fin.Result))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(v); err != nil {
		t.Error(err)
	}
}

func TestAnAnswerThatIsAnAnyAndAStreamOfThem(t *testing.T) {
	w := started(t, nil)
	nothing, err := anypb.New(&anypb.Any{TypeUrl: "x/of.nobody", Value: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	w.backend.say(func(_ context.Context, method string, _ *dynamicpb.Message, send func(proto.Message) error) error {
		if method == "BeAny" {
			return send(nothing)
		}
		return errorsOf(send(raw(wrapped(nothing))), send(raw(nil)))
	})

	for tool, want := range map[string]string{
		"be_any":    typed("google.protobuf.Any", `"value":{}`),
		"give_anys": `[{"any":` + typed("google.protobuf.Any", `"value":{}`) + `,"list":[],"named":{}},{"list":[],"named":{}}]`,
	} {
		if fin := w.call(tool, `{}`); fin.Failed || fin.Result != want {
			t.Errorf("got %s, want %s", fin.Result, want)
		}
	}
}

// TestAMethodWithAnAnyIsAnotherOneWhenAnyMessageIs: what it may have in it has changed.
func TestAMethodWithAnAnyIsAnotherOneWhenAnyMessageIs(t *testing.T) {
	of := func(set []byte) map[string]tools.Tool {
		return toolsOf(t, func(g *grpctool.Config) { waivedAnys(g); g.DescriptorSet = set })
	}
	before, after := of(everything), of(owned(t, "Filter", "text")) // which no method of the service names
	for name := range before {
		has := strings.Contains(name, "any")
		if changed := before[name].Revision != after[name].Revision; changed != has {
			t.Errorf("%s: got it changed %v, want %v", name, changed, has)
		}
	}
}

func TestAnOwnerOfTheConfigHoldsInAnAnyToo(t *testing.T) {
	w := started(t, func(g *grpctool.Config) {
		waivedAnys(g)
		g.Facts = map[string]grpctool.Facts{"Echo": {Owners: map[string]tools.Owner{"text": tools.OwnerEmail}}}
	})

	for _, args := range []string{typed("everything.v1.All", `"text":"eve@acme.example"`), typed("everything.v1.All", "")} {
		if fin := w.call("take_any", `{"any":`+args+`}`); fin.Reason != string(fault.ArgumentInvalid) {
			t.Errorf("got %s %s, want it refused", fin.Reason, fin.Result)
		}
	}
	if fin := w.call("take_any", `{"any":`+typed("everything.v1.Node", `"label":"x"`)+`}`); fin.Failed {
		t.Errorf("got %s, want another message taken", fin.Result)
	}
}

// TestAnAnyOfTheOlderLanguage: what is required is, groups are not, and extensions are
// left out.
func TestAnAnyOfTheOlderLanguage(t *testing.T) {
	set := parse(t, everything)
	old := &descriptorpb.FileDescriptorProto{}
	if err := protojson.Unmarshal([]byte(proto2File), old); err != nil {
		t.Fatal(err)
	}
	old.Service = nil
	fileOf(set).Dependency = append(fileOf(set).Dependency, old.GetName())
	set.File = append(set.File, old)
	w, give := giving(t, set, waivedAnys)

	for in, want := range map[string]string{
		string(anyBytes("a/everything.v1.Old", field(1, []byte("x")))):                                         `{"@type":"a/everything.v1.Old","label":"x"}`,
		string(anyBytes("a/everything.v1.Old", append(field(1, []byte("x")), field(100, []byte("extra"))...))): `{"@type":"a/everything.v1.Old","label":"x"}`,
		string(anyBytes("a/everything.v1.Old", nil)):                                                           `{}`,
		string(anyBytes("a/everything.v1.Old", append(field(1, []byte("x")), field(4, nil)...))):               `{}`,
		string(anyBytes("a/everything.v1.Old", field(1, []byte("\xff")))):                                      `{}`,
		string(anyBytes("a/everything.v1.Grouped", nil)):                                                       `{}`,
		string(anyBytes("a/everything.v1.Grouped", protowire.AppendTag(protowire.AppendTag(nil, 1, 3), 1, 4))): `{}`,
	} {
		if got := give(field(1, []byte(in))); got != `{"any":`+want+`,"list":[],"named":{}}` {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
	w.backend.say(nil)
	for rest, taken := range map[string]bool{`"label":"x"`: true, ``: false, `"label":"x","inner":{}`: false, `"label":"x","[everything.v1.extra]":"x"`: false} {
		if fin := w.call("take_any", `{"any":`+typed("everything.v1.Old", rest)+`}`); fin.Failed == taken {
			t.Errorf("%s: got %s", rest, fin.Result)
		}
	}
	if fin := w.call("take_any", `{"any":`+typed("everything.v1.Grouped", "")+`}`); !fin.Failed {
		t.Errorf("got %s, want a group refused", fin.Result)
	}
}
