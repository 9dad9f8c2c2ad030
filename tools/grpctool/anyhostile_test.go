package grpctool_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/tools/grpctool"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"
)

var errorsOf = errors.Join

// field is a field of bytes, as it is sent.
func field(number protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), b)
}

// wrapped is a Wrapped with an Any in it.
func wrapped(in *anypb.Any) []byte { return field(1, anyBytes(in.GetTypeUrl(), in.GetValue())) }

func anyBytes(url string, value []byte) []byte {
	return append(field(1, []byte(url)), field(2, value)...)
}

// encoded is a message of a set, from its JSON.
func encoded(t *testing.T, set *descriptorpb.FileDescriptorSet, name, text string) []byte {
	t.Helper()
	linked, err := protodesc.NewFiles(set)
	if err != nil {
		t.Fatal(err)
	}
	d, err := linked.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		t.Fatal(err)
	}
	m := dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor))
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// giving is a world whose backend answers with these bytes.
func giving(t *testing.T, set *descriptorpb.FileDescriptorSet, edit func(*grpctool.Config)) (*world, func([]byte) string) {
	t.Helper()
	w := newWorld(t)
	if set != nil {
		w.backend.set = set
	}
	w.backend.start(t)
	w.open(edit)
	w.reading("")
	return w, func(answer []byte) string {
		w.backend.say(func(_ context.Context, _ string, _ *dynamicpb.Message, send func(proto.Message) error) error {
			return send(raw(answer))
		})
		return w.call("give_any", `{}`).Result
	}
}

func TestWhatCannotBeShownOfAnAnyIsNothingAndTheRestStays(t *testing.T) {
	_, give := giving(t, nil, nil)
	point := field(2, nil)[:0] // x and y of a Point are zero
	for name, value := range map[string][]byte{
		"an unknown type":             anyBytes("type.googleapis.com/everything.v1.Nothing", []byte("secret")),
		"no type":                     field(2, []byte("secret")),
		"no slash":                    anyBytes("everything.v1.Point", point),
		"a type of the web":           anyBytes("https://evil.example/everything.v1.Point?x=1", point),
		"an enum":                     anyBytes("a/everything.v1.Color", point),
		"a field":                     anyBytes("a/everything.v1.Point.x", point),
		"the entry of a map":          anyBytes("a/everything.v1.All.CountsEntry", point),
		"a control character":         anyBytes("a\x1b[31m/everything.v1.Point", point),
		"a direction":                 anyBytes("\u202ea/everything.v1.Point", point),
		"a long URL":                  anyBytes(strings.Repeat("a", 300)+"/everything.v1.Point", point),
		"bytes that are none":         anyBytes("a/everything.v1.Node", []byte{0x0a, 0x7f, 'x'}),
		"invalid UTF-8":               anyBytes("a/everything.v1.Node", field(1, []byte("\xff"))),
		"a date that is none":         anyBytes("a/google.protobuf.Timestamp", protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1<<62)),
		"a mask that cannot be JSON":  anyBytes("a/google.protobuf.FieldMask", field(1, []byte("a_A"))),
		"a value that is none":        anyBytes("a/google.protobuf.Value", nil),
		"a message too deep in it":    anyBytes("a/everything.v1.Node", deep(120)),
		"an endless one of the other": anyBytes("a/everything.v1.Wrapped", []byte{0x0a, 0x0a, 0x0a}),
	} {
		for shape, answer := range map[string][]byte{
			`{"any":{},"list":[{"@type":"a/google.protobuf.StringValue","value":"x"}],"named":{}}`:                                append(field(1, value), field(2, anyBytes("a/google.protobuf.StringValue", field(1, []byte("x"))))...),
			`{"list":[{},{"@type":"a/google.protobuf.StringValue","value":"x"}],"named":{"k":{}}}`:                                append(append(field(2, value), field(2, anyBytes("a/google.protobuf.StringValue", field(1, []byte("x"))))...), field(3, append(field(1, []byte("k")), field(2, value)...))...),
			`{"list":[],"named":{},"by_any":{"@type":"a/everything.v1.Wrapped","any":{},"list":[],"named":{},"by_name":"x"}}`:     field(5, anyBytes("a/everything.v1.Wrapped", append(field(1, value), field(4, []byte("x"))...))),
			`{"any":{"@type":"a/google.protobuf.Any","value":{"@type":"a/google.protobuf.Any","value":{}}},"list":[],"named":{}}`: field(1, anyBytes("a/google.protobuf.Any", anyBytes("a/google.protobuf.Any", value))),
		} {
			if got := give(answer); got != shape {
				t.Errorf("%s:\ngot  %s\nwant %s", name, got, shape)
			}
		}
	}
}

// deep are Nodes in each other.
func deep(n int) []byte {
	var b []byte
	for range n {
		b = field(2, b)
	}
	return b
}

func TestAURLThatIsNoTextSpoilsTheAnswer(t *testing.T) {
	_, give := giving(t, nil, nil)

	got := give(field(1, anyBytes("\xff/everything.v1.Point", nil)))

	if !strings.Contains(got, "cannot be shown") || strings.Contains(got, "Point") {
		t.Errorf("got %s, want it refused as any text that is none", got)
	}
}

func TestAnysInEachOtherAreFollowedToTheFourth(t *testing.T) {
	_, give := giving(t, nil, nil)
	for depth, want := range map[int]string{4: `"value":"x"`, 5: `"value":{}`} {
		in := anyBytes("a/google.protobuf.StringValue", field(1, []byte("x")))
		for range depth - 1 {
			in = anyBytes("a/google.protobuf.Any", in)
		}

		if got := give(field(1, in)); strings.Count(got, "@type") != 4 || !strings.Contains(got, want) {
			t.Errorf("%d: got %s", depth, got)
		}
	}
}

// TestAMegabyteOfAnysIsReadAFewTimes counts what is allocated: read at each of its
// 28,000 levels it would be thousands of times that.
func TestAMegabyteOfAnysIsReadAFewTimes(t *testing.T) {
	w := started(t, func(g *grpctool.Config) { g.MaxResult = 2 << 20 })
	in := anysOf(1 << 20)
	var out string

	allocs := testing.AllocsPerRun(1, func() {
		b, err := w.source.Decode("give_any", field(1, in))
		if err != nil {
			t.Error(err)
		}
		out = string(b)
	})

	if allocs > 2_000 || strings.Count(out, "@type") != 4 {
		t.Errorf("got %v allocations for %s", allocs, out)
	}
}

// anysOf are Anys in each other of so many bytes: each level is put before those in it.
func anysOf(size int) []byte {
	const url = "a/google.protobuf.Any"
	heads, length := [][]byte(nil), 0
	for length < size {
		head := protowire.AppendVarint(protowire.AppendTag(field(1, []byte(url)), 2, protowire.BytesType), uint64(length))
		heads, length = append(heads, head), length+len(head)
	}
	out := make([]byte, 0, length)
	for i := len(heads) - 1; i >= 0; i-- {
		out = append(out, heads[i]...)
	}
	return out
}

func TestWhatIsInAnAnyCountsBeforeItIsWritten(t *testing.T) {
	w := started(t, func(g *grpctool.Config) { g.MaxResult = 16 << 10 })
	for name, in := range map[string][]byte{
		"many enums for few bytes": anyBytes("a/everything.v1.All", field(29, make([]byte, 10<<10))),
		"in an Any":                anyBytes("a/google.protobuf.Any", anyBytes("a/everything.v1.All", field(29, make([]byte, 10<<10)))),
		"in one of many":           anyBytes("a/everything.v1.Wrapped", field(2, anyBytes("a/everything.v1.All", field(29, make([]byte, 10<<10))))),
		"a long text":              anyBytes("a/google.protobuf.StringValue", field(1, []byte(strings.Repeat("\x01", 12<<10)))),
	} {
		allocs := testing.AllocsPerRun(1, func() {
			if b, err := w.source.Decode("give_any", field(1, in)); err == nil || !strings.Contains(err.Error(), "too large") {
				t.Errorf("%s: got %d bytes, %v, want it too large", name, len(b), err)
			}
		})
		if allocs > 500 {
			t.Errorf("%s: got %v allocations", name, allocs)
		}
	}
}

func TestWhatIsHiddenIsHiddenInAnAnyToo(t *testing.T) {
	set := parse(t, everything)
	hide(set)
	node := encoded(t, set, "everything.v1.Node", `{"label":"hush","children":[{"label":"hush"}]}`)
	all := encoded(t, set, "everything.v1.All", `{"text":"seen","tree":{"label":"hush"}}`)
	for _, reveal := range []bool{false, true} {
		w, give := giving(t, set, func(g *grpctool.Config) {
			if reveal {
				g.Reveal = []string{"secret"}
			}
		})
		for _, in := range [][]byte{
			anyBytes("a/everything.v1.Node", node),
			anyBytes("a/everything.v1.All", all),
			anyBytes("a/google.protobuf.Any", anyBytes("a/everything.v1.Node", node)),
			anyBytes("a/everything.v1.Wrapped", field(2, anyBytes("a/everything.v1.Node", node))),
			anyBytes("a/everything.v1.Wrapped", field(3, append(field(1, []byte("k")), field(2, anyBytes("a/everything.v1.All", all))...))),
		} {
			if got := give(field(1, in)); strings.Contains(got, "hush") != reveal || !strings.Contains(got, "children") {
				t.Errorf("revealed %v: got %s", reveal, got)
			}
		}
		w.backend.say(func(context.Context, string, *dynamicpb.Message, func(proto.Message) error) error {
			return status.Error(codes.NotFound, "hush is not there")
		})
		if fin := w.call("give_any", `{}`); strings.Contains(fin.Result, "hush") != reveal {
			t.Errorf("revealed %v: got %s", reveal, fin.Result)
		}
		list, err := w.source.Tools()
		if err != nil {
			t.Fatal(err)
		}
		for _, tool := range list {
			if tool.Name == "give_any" && slices.Contains(tool.Hides, "everything.v1.Node.label") == reveal {
				t.Errorf("revealed %v: got %v named as hidden", reveal, tool.Hides)
			}
			if tool.Name == "give_any" && (tool.Sends != nil) != reveal {
				t.Errorf("revealed %v: got %v, want nobody but us to call it", reveal, tool.Sends)
			}
		}
	}
}

// TestAnAnyIsReadByTheNewestDescriptors has a backend that hides a field from now on,
// in a message that no method of it names.
func TestAnAnyIsReadByTheNewestDescriptors(t *testing.T) {
	set := parse(t, everything)
	f := fileOf(set)
	f.Service = f.Service[:1]
	for _, m := range f.Service[0].Method {
		if m.GetOutputType() == ".everything.v1.All" {
			m.OutputType = m.InputType
		}
		if m.GetInputType() == ".everything.v1.All" {
			m.InputType, m.OutputType = new(".everything.v1.Point"), new(".everything.v1.Point")
		}
	}
	w, give := giving(t, set, nil)
	answer := field(1, anyBytes("a/everything.v1.Node", field(1, []byte("hush"))))
	if got := give(answer); !strings.Contains(got, "hush") {
		t.Fatalf("got %s, want it shown", got)
	}

	w.backend.stop()
	w.backend.set = proto.CloneOf(set)
	hide(w.backend.set)
	w.backend.start(t)
	w.until(func() bool { return w.backend.conns.Load() > 1 && w.source.Problem() == nil })

	if fin := w.call("give_any", `{}`); fin.Reason != string(fault.ToolUnavailable) || !strings.Contains(said(t, fin), "has changed") {
		t.Errorf("got %s, want the old tool refused", fin.Result)
	}
	w.reading("")
	if got := give(answer); strings.Contains(got, "hush") || !strings.Contains(got, "children") {
		t.Errorf("got %s, want it hidden", got)
	}
}

func TestNewsInAnAnyHaveTheDescriptorsReadAgain(t *testing.T) {
	set := parse(t, everything)
	hide(set)
	w := newWorld(t)
	w.backend.set = set
	w.backend.start(t)
	w.open(nil)
	w.reading("")
	for news, in := range map[bool][]byte{
		true:  anyBytes("a/everything.v1.Node", field(99, []byte("x"))),
		false: anyBytes("a/everything.v1.Node", field(1, []byte("hidden, and known"))),
	} {
		if got := w.source.News("give_any", field(1, in)); got != news {
			t.Errorf("got %v, want %v", got, news)
		}
	}
	if w.source.News("give_any", field(1, anyBytes("a/of.nobody", []byte("x")))) {
		t.Error("a type that nobody knows is news, each time")
	}
}

func TestAnAnyIsAsDeepAsAllMayBe(t *testing.T) {
	_, give := giving(t, nil, nil)
	for depth, shown := range map[int]bool{14: true, 15: false} { // each is two levels, below three
		in := anyBytes("a/google.protobuf.Any", anyBytes("a/everything.v1.Node", deep(depth)))

		if got := give(field(1, in)); strings.Contains(got, "@type") != shown || shown == strings.Contains(got, "nested too deeply") {
			t.Errorf("%d: got %s", depth, got)
		}
	}
}
