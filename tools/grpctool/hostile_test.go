package grpctool_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/grpctool"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// reading is the tool as one that only reads.
func readOnly(g *grpctool.Config) {
	g.Facts = map[string]grpctool.Facts{"Echo": {Effect: tools.Read}}
	g.MaxResult = 16 << 10
}

// raw is a message of bytes that need not be one.
func raw(b []byte) proto.Message {
	m := &emptypb.Empty{}
	m.ProtoReflect().SetUnknown(b)
	return m
}

func TestAnswersAreHostile(t *testing.T) {
	text := func(s []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), s)
	}
	deep := []byte{}
	for range 120 {
		deep = protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), deep)
	}
	for name, c := range map[string]struct {
		answer []byte
		want   string
	}{
		"invalid UTF-8":              {text([]byte("a\xff\xfeb")), "not of the type"},
		"cut off":                    {[]byte{0x0a, 0x7f, 'x'}, "not of the type"},
		"too large to receive":       {text(make([]byte, 64<<10)), "too large"},
		"too large as JSON":          {text(make([]byte, 15<<10)), "too large"},
		"nested too deeply":          {protowire.AppendBytes(protowire.AppendTag(nil, 28, protowire.BytesType), deep), "not of the type"},
		"many enums for few bytes":   {protowire.AppendBytes(protowire.AppendTag(nil, 29, protowire.BytesType), make([]byte, 15<<10)), "too large"},
		"a date that is none":        {protowire.AppendBytes(protowire.AppendTag(nil, 22, protowire.BytesType), protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1<<62)), "not of the type"},
		"a mask that cannot be JSON": {protowire.AppendBytes(protowire.AppendTag(nil, 24, protowire.BytesType), text([]byte("a_A"))), "not of the type"},
	} {
		for _, effect := range []tools.Effect{tools.Read, tools.Write} {
			t.Run(name+" "+string(effect), func(t *testing.T) {
				w := started(t, func(g *grpctool.Config) {
					readOnly(g)
					g.Facts["Echo"] = grpctool.Facts{Effect: effect}
				})
				w.backend.say(func(_ context.Context, _ string, _ *dynamicpb.Message, send func(proto.Message) error) error {
					return send(raw(c.answer))
				})

				fin := w.call("echo", `{}`)

				switch {
				case effect == tools.Write && (fin.Reason != string(fault.OutcomeUnknown) || !strings.Contains(said(t, fin), "the call was made")):
					t.Errorf("got %s %s, want a write that was made and has no answer", fin.Reason, fin.Result)
				case effect == tools.Read && (!fin.Failed || !strings.Contains(said(t, fin), c.want)):
					t.Errorf("got %s, want %q", fin.Result, c.want)
				}
			})
		}
	}
}

func TestAnAnswerWithoutAShapeIsAsDeepAsAllMayBe(t *testing.T) {
	w := started(t, nil)
	for depth, want := range map[int]bool{31: true, 32: false} {
		w.backend.say(func(_ context.Context, _ string, _ *dynamicpb.Message, send func(proto.Message) error) error {
			v := structpb.NewStringValue("x")
			for range depth {
				v = structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"x": v}})
			}
			b, err := proto.Marshal(v.GetStructValue())
			if err != nil {
				return err
			}
			return send(raw(protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), b)))
		})

		if fin := w.call("give_struct", `{}`); fin.Failed == want {
			t.Errorf("depth %d: got %s, want it given %v", depth, fin.Result, want)
		}
	}
}

func TestWhatAnAnswerHasBeyondTheDescriptorsIsLeftOutAndReadAgain(t *testing.T) {
	w := started(t, readOnly)
	w.backend.say(func(_ context.Context, _ string, _ *dynamicpb.Message, send func(proto.Message) error) error {
		return send(raw(protowire.AppendString(protowire.AppendTag(nil, 99, protowire.BytesType), "secret")))
	})

	if fin := w.call("echo", `{}`); fin.Failed || strings.Contains(fin.Result, "secret") {
		t.Errorf("got %s, want the unknown field left out", fin.Result)
	}
}

// rename is a backend that was deployed anew: what was a flag is a text now.
func rename(set *descriptorpb.FileDescriptorSet) *descriptorpb.FileDescriptorSet {
	out := proto.CloneOf(set)
	for _, m := range fileOf(out).GetMessageType() {
		if m.GetName() == "All" {
			m.Field[1].Name, m.Field[1].JsonName = proto.String("banner"), proto.String("banner")
		}
	}
	return out
}

func TestACallOfAToolThatHasChangedIsNotMade(t *testing.T) {
	w := started(t, readOnly)
	if fin := w.call("echo", `{"flag":true}`); fin.Failed {
		t.Fatalf("got %s", fin.Result)
	}
	w.backend.stop()
	w.backend.set = rename(w.backend.set)
	w.backend.start(t)

	w.until(func() bool { return w.backend.conns.Load() > 1 && w.source.Problem() == nil })

	fin := w.call("echo", `{"flag":true}`)

	if fin.Reason != string(fault.ToolUnavailable) || !strings.Contains(said(t, fin), "has changed") || w.backend.calls.Load() != 1 {
		t.Errorf("got %s after %d calls, want the second not made", fin.Result, w.backend.calls.Load())
	}
	w.reading("")
	if fin := w.call("echo", `{"banner":true}`); fin.Failed {
		t.Errorf("got %s, want the new tool to work", fin.Result)
	}
	if fin := w.call("echo", `{"flag":true}`); fin.Reason != string(fault.ArgumentInvalid) {
		t.Errorf("got %s, want the old parameter refused", fin.Result)
	}
}

func TestChangesAreFoundWithoutAReconnect(t *testing.T) {
	w := newWorld(t)
	w.backend.start(t)
	w.open(func(g *grpctool.Config) { readOnly(g); g.Services = []string{echo}; g.Refresh = 20 * time.Millisecond })
	w.reading("")

	if fin := w.call("echo", `{}`); fin.Failed {
		t.Errorf("got %s, want it to work while it is read again and again", fin.Result)
	}
	if w.backend.conns.Load() != 1 {
		t.Errorf("got %d connections, want one", w.backend.conns.Load())
	}
	select {
	case <-w.source.Changed():
		t.Error("a change was told, and there was none")
	default:
	}
}

func TestABackendThatIsDownHasNoToolsUntilItIsThere(t *testing.T) {
	w := newWorld(t)
	w.backend.start(t)
	w.backend.stop() // which leaves an address
	w.open(func(g *grpctool.Config) {
		g.Facts = map[string]grpctool.Facts{"Echo": {}, echo + "/Repeat": {Name: "again"}, "Chat": {Skip: true}}
	})
	if list, err := w.source.Tools(); !errors.Is(err, grpctool.ErrNotRead) || len(list) != 0 {
		t.Errorf("got %v, %v, want nothing known", list, err)
	}
	if got := strings.Join(w.source.Awaited(), " "); got != "again echo" {
		t.Errorf("got %q, want the names that the config has", got)
	}

	w.backend.start(t)
	w.reading("")
	if fin := w.call("echo", `{}`); fin.Failed {
		t.Errorf("got %s, want it to work now", fin.Result)
	}

	w.backend.stop()
	w.until(func() bool { return w.source.Problem() != nil })
	if fin := w.call("echo", `{}`); fin.Reason != string(fault.ToolUnavailable) || !strings.Contains(said(t, fin), "nothing was done") {
		t.Errorf("got %s, want it unavailable", fin.Result)
	}
}

func TestABackendThatFlapsIsUsedWheneverItIsThere(t *testing.T) {
	w := started(t, readOnly)
	for range 3 {
		w.backend.stop()
		w.backend.start(t)
		w.until(func() bool { return w.source.Problem() == nil && !w.call("echo", `{}`).Failed })
	}
}

func TestOneBackendDoesNotHoldUpAnother(t *testing.T) {
	stuck, good := newWorld(t), started(t, readOnly)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	stuck.backend.addr = silent.Addr().String()
	stuck.open(nil)

	if _, err := stuck.source.Tools(); !errors.Is(err, grpctool.ErrNotRead) {
		t.Errorf("got %v, want nothing known", err)
	}
	if fin := good.call("echo", `{}`); fin.Failed {
		t.Errorf("got %s", fin.Result)
	}
}

// liar is a reflection service that answers as the test says.
type liar struct {
	reflectionv1.UnimplementedServerReflectionServer

	answer func(n int, q *reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse
}

func (l *liar) ServerReflectionInfo(s reflectionv1.ServerReflection_ServerReflectionInfoServer) error {
	for n := 0; ; n++ {
		q, err := s.Recv()
		if err != nil {
			return err
		}
		a := l.answer(n, q)
		if a == nil {
			<-s.Context().Done() // never
			return nil
		}
		if err := s.Send(a); err != nil {
			return err
		}
	}
}

func described(files ...*descriptorpb.FileDescriptorProto) *reflectionv1.ServerReflectionResponse {
	r := &reflectionv1.FileDescriptorResponse{}
	for _, f := range files {
		b, _ := proto.Marshal(f)
		r.FileDescriptorProto = append(r.FileDescriptorProto, b)
	}
	return &reflectionv1.ServerReflectionResponse{MessageResponse: &reflectionv1.ServerReflectionResponse_FileDescriptorResponse{FileDescriptorResponse: r}}
}

func TestReflectionIsHostile(t *testing.T) {
	endless := func(n int, _ *reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse {
		return described(&descriptorpb.FileDescriptorProto{Name: proto.String(fmt.Sprintf("f%d", n)), Syntax: proto.String("proto3"), Dependency: []string{fmt.Sprintf("f%d", n+1)}})
	}
	for name, answer := range map[string]func(int, *reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse{
		"imports without end": endless,
		"another file": func(n int, _ *reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse {
			return described(&descriptorpb.FileDescriptorProto{Name: proto.String("f"), Syntax: proto.String("proto3"), Dependency: []string{"g"}})
		},
		"too many bytes": func(int, *reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse {
			return described(&descriptorpb.FileDescriptorProto{Name: proto.String("f"), Package: proto.String(strings.Repeat("x", 5<<20))})
		},
		"nothing": func(int, *reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse {
			return described()
		},
		"no bytes of a descriptor": func(int, *reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse {
			return &reflectionv1.ServerReflectionResponse{MessageResponse: &reflectionv1.ServerReflectionResponse_FileDescriptorResponse{FileDescriptorResponse: &reflectionv1.FileDescriptorResponse{FileDescriptorProto: [][]byte{{0xff, 0xff}}}}}
		},
		"an error with hostile text": func(int, *reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse {
			return &reflectionv1.ServerReflectionResponse{MessageResponse: &reflectionv1.ServerReflectionResponse_ErrorResponse{ErrorResponse: &reflectionv1.ErrorResponse{ErrorMessage: "\x1b[31m" + strings.Repeat("x", 1<<20)}}}
		},
		"a time of its own": func(int, *reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse {
			return described(&descriptorpb.FileDescriptorProto{Name: proto.String("my.proto"), Package: proto.String("google.protobuf"), Syntax: proto.String("proto3")})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			asked := make(chan struct{}, 4096)
			w.backend.reflect = &liar{answer: func(n int, q *reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse {
				asked <- struct{}{}
				return answer(n, q)
			}}
			w.backend.start(t)
			log := &lines{}
			w.open(func(g *grpctool.Config) { g.Logger = log.logger(); g.Refresh = time.Millisecond })

			w.until(func() bool {
				return log.has("cannot be read") || w.source.Problem() != nil && !errors.Is(w.source.Problem(), grpctool.ErrNotRead)
			})
			if _, err := w.source.Tools(); err == nil {
				t.Error("got tools of such a backend")
			}
			if n := len(asked); n > 2_000 {
				t.Errorf("it was asked %d times", n)
			}
			if log.has("\x1b") || log.longest() > 4<<10 {
				t.Errorf("got a line of %d bytes in the log", log.longest())
			}
		})
	}
}

func TestANameThatTheConfigChoseGoesBeforeOneOfTheBackend(t *testing.T) {
	w := newWorld(t)
	w.backend.start(t)
	w.open(func(g *grpctool.Config) { g.Facts = map[string]grpctool.Facts{"Echo": {Name: "repeat"}} })
	w.reading("")

	list, err := w.source.Tools()
	if err != nil {
		t.Fatal(err)
	}
	offered := map[string][]bool{}
	for _, x := range list {
		offered[x.Name] = append(offered[x.Name], x.Offered)
	}

	if got := offered["repeat"]; len(got) != 2 || got[0] == got[1] || !offered["give_struct"][0] {
		t.Errorf("got %v, want one repeat of the config and one of the backend", offered)
	}
	if d, ok := w.reg.Descriptor("repeat"); !ok || !strings.Contains(string(d.Schema), `"text"`) || len(w.reg.Left()) != 1 {
		t.Errorf("got %v, left out %v, want Echo to be repeat", d, w.reg.Left())
	}
}

// hide gives the label of a Node a class.
func hide(set *descriptorpb.FileDescriptorSet) {
	opts := &descriptorpb.FieldOptions{}
	opts.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 50553, protowire.BytesType), protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), "secret")))
	for _, m := range fileOf(set).GetMessageType() {
		if m.GetName() == "Node" {
			m.Field[0].Options = opts
		}
	}
}

func TestClassesThatAreNotRevealedAreTakenOut(t *testing.T) {
	set := parse(t, everything)
	hide(set)
	for _, reveal := range []bool{false, true} {
		w := newWorld(t)
		w.backend.set = set
		w.backend.start(t)
		w.open(func(g *grpctool.Config) {
			if reveal {
				g.Reveal = []string{"secret"}
			}
		})
		w.reading("")

		fin := w.call("echo", `{"text":"<&>","i64":9007199254740993,"tree":{"label":"hush","children":[{"label":"hush"}]}}`)

		if fin.Failed || strings.Contains(fin.Result, "hush") != reveal || strings.Contains(fin.Result, "label") != reveal || !strings.Contains(fin.Result, `"9007199254740993"`) || !strings.Contains(fin.Result, "children") {
			t.Errorf("revealed %v: got %s", reveal, fin.Result)
		}
		if d, _ := w.reg.Descriptor("echo"); !strings.Contains(string(d.Result), `"x-redact":"secret"`) {
			t.Error("the schema does not tell the class")
		}
	}
}

// TestCallsOfManyGoByThemselves has twenty calls at once, each answered with its own.
func TestCallsOfManyGoByThemselves(t *testing.T) {
	w := started(t, readOnly)
	back := make(chan agents.ToolCallFinished, 20)
	for i := range 20 {
		go func() { back <- w.call("echo", fmt.Sprintf(`{"text":"t%d","i32":%d}`, i, i)) }() // ends with its call
	}
	seen := map[string]bool{}
	for range 20 {
		fin := <-back
		var got struct {
			Text string
			I32  int
		}
		if err := json.Unmarshal([]byte(fin.Result), &got); err != nil || got.Text != fmt.Sprintf("t%d", got.I32) {
			t.Errorf("got %s", fin.Result)
		}
		seen[got.Text] = true
	}
	if len(seen) != 20 {
		t.Errorf("got %d answers, want 20", len(seen))
	}
	ids := map[string]bool{}
	for _, c := range w.backend.claims {
		ids[c.ID] = true
	}
	if len(ids) != 20 {
		t.Errorf("got %d tokens, want one for each call", len(ids))
	}
}
