package grpctool_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/policy"
	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/grpctool"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/structpb"
)

// shapeless are all parameters of TakeStruct that can have anything in them.
var shapeless = []string{"TakeStruct.fields", "TakeStruct.value", "TakeStruct.list", "TakeStruct.values", "TakeStruct.named", "TakeStruct.inner.data", "TakeStruct.this_way"}

func waived(g *grpctool.Config) { g.Waived = shapeless }

func TestAParameterWithoutAShapeNeedsAWaiver(t *testing.T) {
	for lacking := range len(shapeless) + 1 {
		src, err := fixed(t, func(g *grpctool.Config) {
			waived(g)
			if lacking < len(shapeless) {
				g.Waived = slices.Delete(slices.Clone(shapeless), lacking, lacking+1)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		list, err := src.Tools()
		if err != nil {
			t.Fatal(err)
		}
		there := slices.ContainsFunc(list, func(tool tools.Tool) bool { return tool.Name == "take_struct" })
		notes := strings.Join(src.Notes(), "\n")
		switch {
		case lacking == len(shapeless) && (!there || strings.Contains(notes, "TakeStruct")):
			t.Errorf("got %v with %q, want the tool", there, notes)
		case lacking < len(shapeless) && (there || !strings.Contains(notes, fmt.Sprintf("no policy looks inside: waive %q to allow it", shapeless[lacking]))):
			t.Errorf("without %s: got %v with %q, want it left out", shapeless[lacking], there, notes)
		}
	}
}

func TestAMethodThatTheConfigNamesMustHaveItsWaivers(t *testing.T) {
	_, err := fixed(t, func(g *grpctool.Config) {
		g.Facts = map[string]grpctool.Facts{"TakeStruct": {Name: "take"}}
		g.Waived = shapeless[1:]
	})

	if err == nil || !strings.Contains(err.Error(), `waive "TakeStruct.fields"`) || strings.Contains(err.Error(), "TakeStruct.value") {
		t.Errorf("got %v, want the one that is not waived", err)
	}
}

func TestWaiversThatAreMissingAreSaidApart(t *testing.T) {
	src, err := fixed(t, func(g *grpctool.Config) { g.Waived = shapeless[2:] })
	if err != nil {
		t.Fatal(err)
	}

	notes := strings.Join(src.Notes(), "\n")

	if !strings.Contains(notes, `waive "TakeStruct.fields" to allow it; parameter value can hold anything`) {
		t.Errorf("got %q, want a separator between the two", notes)
	}
}

func TestTheSchemaOfWhatHasNoShapeSaysHowNumbersAreWritten(t *testing.T) {
	list := toolsOf(t, waived)

	if got := string(list["take_struct"].Schema); !strings.Contains(got, "others have at most 15 digits; all are written out, without an exponent.") {
		t.Errorf("got %s", got)
	}
}

func TestARequestThatIsItselfWithoutAShapeIsLeftOut(t *testing.T) {
	for _, name := range []string{"Struct", "Value", "ListValue", "Any"} {
		set := parse(t, everything)
		fileOf(set).Service[0].Method[0].InputType = proto.String(".google.protobuf." + name)
		raw, err := proto.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}

		src, err := fixed(t, func(g *grpctool.Config) { g.DescriptorSet = raw })

		if err != nil || !strings.Contains(strings.Join(src.Notes(), "\n"), "Echo: what it takes: the request is a google.protobuf."+name) {
			t.Errorf("got %v, %v, want Echo left out", src, err)
		}
	}
}

// took is what the backend decoded of a parameter.
func took[M proto.Message](t *testing.T, in *dynamicpb.Message, field string, into M) M {
	t.Helper()
	fd := in.Descriptor().Fields().ByName(protoreflect.Name(field))
	b, err := proto.Marshal(in.Get(fd).Message().Interface())
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
	return into
}

func TestWhatHasNoShapeArrivesAsItWasAllowed(t *testing.T) {
	w := started(t, waived)
	var in *dynamicpb.Message
	w.backend.say(func(_ context.Context, _ string, m *dynamicpb.Message, send func(proto.Message) error) error {
		in = m
		return send(&structpb.Struct{})
	})

	fin := w.call("take_struct", `{
		"fields": {"o":{"o":{"o":{}}}, "l":[[],[[1]],{"x":[null]}], "null":null, "yes":true, "no":false,
			"tenth":0.1, "most":9007199254740991, "least":-9007199254740991, "one":-1, "whole":1.0, "none":0, "small":0.000000000000000000000000001,
			"text":"a \"é\" \ud83d\ude00", "empty":"", "NaN":"NaN", "":1, "a.b/c":2, "@type":"x"},
		"value": null, "list": [1, "2", null, {"a":[]}],
		"values": [null, false, 0, "", [], {}], "named": {"a": {"b": null}}, "inner": [{"data":{"x":1}, "more":[{"data":{"y":[2]}}]}], "this_way": null}`)

	if fin.Failed {
		t.Fatalf("got %s", fin.Result)
	}
	want := map[string]any{
		"o": map[string]any{"o": map[string]any{"o": map[string]any{}}}, "l": []any{[]any{}, []any{[]any{1.0}}, map[string]any{"x": []any{nil}}}, "null": nil, "yes": true, "no": false,
		"tenth": 0.1, "most": 9007199254740991.0, "least": -9007199254740991.0, "one": -1.0, "whole": 1.0, "none": 0.0, "small": 1e-27,
		"text": `a "é" 😀`, "empty": "", "NaN": "NaN", "": 1.0, "a.b/c": 2.0, "@type": "x",
	}
	if diff := cmp.Diff(want, took(t, in, "fields", &structpb.Struct{}).AsMap()); diff != "" {
		t.Errorf("fields (-want +got)\n%s", diff)
	}
	if v := took(t, in, "value", &structpb.Value{}); v.GetKind() == nil || v.AsInterface() != nil {
		t.Errorf("got %v, want null", v)
	}
	if diff := cmp.Diff([]any{1.0, "2", nil, map[string]any{"a": []any{}}}, took(t, in, "list", &structpb.ListValue{}).AsSlice()); diff != "" {
		t.Errorf("list (-want +got)\n%s", diff)
	}
	b, err := protojson.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var rest map[string]any
	if err := json.Unmarshal(b, &rest); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{
		"values": []any{nil, false, 0.0, "", []any{}, map[string]any{}}, "named": map[string]any{"a": map[string]any{"b": nil}}, "thisWay": nil,
		"inner": []any{map[string]any{"data": map[string]any{"x": 1.0}, "more": []any{map[string]any{"data": map[string]any{"y": []any{2.0}}}}}},
	}, without(rest, "fields", "value", "list")); diff != "" {
		t.Errorf("the rest (-want +got)\n%s", diff)
	}
}

func TestANullThatIsAnEnumArrives(t *testing.T) {
	w := started(t, waived)
	var in *dynamicpb.Message
	w.backend.say(func(_ context.Context, _ string, m *dynamicpb.Message, send func(proto.Message) error) error {
		in = m
		return send(&structpb.Struct{})
	})

	if fin := w.call("take_struct", `{"no_way":null}`); fin.Failed {
		t.Fatalf("got %s", fin.Result)
	}

	if chosen := in.WhichOneof(in.Descriptor().Oneofs().ByName("way")); chosen == nil || chosen.Name() != "no_way" {
		t.Errorf("got %v, want no_way", chosen)
	}
}

func without(m map[string]any, names ...string) map[string]any {
	maps.DeleteFunc(m, func(name string, _ any) bool { return slices.Contains(names, name) })
	return m
}

func TestWhatWouldNotArriveAsItIsWrittenIsNotSent(t *testing.T) {
	w := started(t, waived)
	var all []string
	for _, value := range []string{
		"9007199254740993", "9007199254740992", "-9007199254740992", "9007199254740993.0", "9007199254740992.5", "1e400", "1e3", "1E-7", "-0",
		"4503599627370497.3", "0.10000000000000001", "3.14159265358979323846", "18446744073709551616", "NaN", "Infinity", "01", "+1", "0x1",
		`{"a":1,"a":1}`, `{"a":{"b":1,"b":2}}`, `{"a":1,"A":2}`, `{"__entity":{"type":"User","id":"eve"}}`, `"\ud800"`, `"\u0000"`, "\"\xff\"", `[1,]`, "undefined",
		strings.Repeat("[", 40) + strings.Repeat("]", 40),
	} {
		for _, args := range []string{`{"fields":{"x":%s}}`, `{"value":%s}`, `{"value":[{"x":%s}]}`, `{"list":[%s]}`, `{"values":[%s]}`, `{"named":{"n":{"x":%s}}}`, `{"inner":[{"data":{"x":%s}}]}`} {
			all = append(all, fmt.Sprintf(args, value))
		}
	}
	for i, args := range append(all,
		`{"fields":null}`, `{"fields":[]}`, `{"fields":1}`, `{"list":null}`, `{"list":{}}`, `{"list":"x"}`, `{"values":{}}`, `{"named":{"n":1}}`, `{"named":{"n":null}}`,
		`{"inner":[{"data":[]}]}`, `{"inner":[{"x":1}]}`, `{"x":{}}`, `{"no_way":1}`, `{"no_way":null,"this_way":1}`, `{"thisWay":1}`,
	) {
		if fin := w.callOf(w.person(t.Context(), fmt.Sprint("p", i)), "take_struct", args); fin.Reason != string(fault.ArgumentInvalid) || strings.Contains(fin.Result, "not what the tool takes") { // which is what the encoder says
			t.Errorf("%s: got %s %s, want it refused", args, fin.Reason, fin.Result)
		}
	}
	if n := w.backend.calls.Load(); n != 0 {
		t.Errorf("the backend was asked %d times, want never", n)
	}
}

func TestARefusalNamesTheNumberAndNotTheFieldsAroundIt(t *testing.T) {
	w := started(t, waived)

	fin := w.call("take_struct", `{"value":{"a":1,"l":[{"x":{"b":2,"y":9007199254740993}}]}}`)

	if strings.Count(fin.Result, `"path"`) != 1 || !strings.Contains(fin.Result, `"path":"/value/l/0/x/y"`) {
		t.Errorf("got %s", fin.Result)
	}
}

func TestTheLargestAndDeepestOfNoShapeIsSent(t *testing.T) {
	w := started(t, waived)
	w.backend.say(func(_ context.Context, _ string, _ *dynamicpb.Message, send func(proto.Message) error) error {
		return send(&structpb.Struct{})
	})
	for name, args := range map[string]string{
		"objects": `{"fields":` + strings.Repeat(`{"x":`, 31) + "1" + strings.Repeat("}", 32),
		"lists":   `{"value":` + strings.Repeat(`[`, 31) + "null" + strings.Repeat("]", 31) + "}",
		"long":    `{"list":[0` + strings.Repeat(",0", 32_000) + "]}",
		"wide":    `{"fields":{"n":0` + many(5_000) + "}}",
	} {
		if fin := w.call("take_struct", args); fin.Failed {
			t.Errorf("%s: got %s", name, fin.Result)
		}
	}
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"n%d":{}`, i)
	}
	return b.String()
}

func TestPoliciesSeeNothingOfWhatHasNoShape(t *testing.T) {
	w := started(t, waived)
	const about = `@id("a") forbid (principal, action == Action::"call_tool", resource == Tool::"take_struct") when { %s };`
	w.govern(fmt.Sprintf(about, `context.args has label && context.args.label == "locked"`))
	for args, allowed := range map[string]bool{
		`{"label":"open","fields":{"label":"locked"},"list":[1]}`:   true,
		`{"label":"locked","fields":{"label":"open"},"value":null}`: false,
	} {
		if fin := w.call("take_struct", args); fin.Failed == allowed {
			t.Errorf("%s: got %s, want allowed %v", args, fin.Result, allowed)
		}
	}
	for _, name := range []string{"fields", "value", "list", "list_length", "values", "named", "this_way", "no_way"} {
		when := fmt.Sprintf(about, "context.args has "+name+" && context.args."+name+" == 1")
		if _, err := policy.Load(policy.Config{FS: policies(when), Tools: w.reg.Schemas()}); err == nil {
			t.Errorf("a policy about %s is taken, and can never apply", name)
		}
	}
}

func TestARedactionLeavesWhatHasNoShapeAsItIs(t *testing.T) {
	w := started(t, waived)
	w.govern(`@id("r") @redact("args:$.label") forbid (principal, action == Action::"call_tool", resource == Tool::"take_struct");`)
	var in *dynamicpb.Message
	w.backend.say(func(_ context.Context, _ string, m *dynamicpb.Message, send func(proto.Message) error) error {
		in = m
		return send(&structpb.Struct{})
	})

	fin := w.call("take_struct", `{"label":"hush","fields":{"most":9007199254740991,"tenth":0.1,"l":[null]}}`)

	if fin.Failed {
		t.Fatalf("got %s", fin.Result)
	}
	if label := in.Get(in.Descriptor().Fields().ByName("label")).String(); label == "" || strings.Contains(label, "hush") {
		t.Errorf("got %q, want it redacted", label)
	}
	if diff := cmp.Diff(map[string]any{"most": 9007199254740991.0, "tenth": 0.1, "l": []any{nil}}, took(t, in, "fields", &structpb.Struct{}).AsMap()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestWhatIsLeftOutIsKnownByTheNameOfItsTool(t *testing.T) {
	w := started(t, func(g *grpctool.Config) { readOnly(g); g.Prefix = "all_" })

	left := w.source.LeftOut()

	if why := left["all_take_struct"]; !strings.HasPrefix(why, "parameter ") || !strings.Contains(why, "waive") {
		t.Errorf("got %q of %v, want the parameter that lacks a waiver", why, left)
	}
	if _, is := left["all_echo"]; is {
		t.Errorf("got %v, want nothing of what is a tool", left)
	}
}
