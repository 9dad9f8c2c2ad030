package interceptors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/fault"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// fakeStream hears one message and counts what is sent.
type fakeStream struct {
	grpc.ServerStream
	ctx  context.Context
	sent int
}

func (f *fakeStream) Context() context.Context { return f.ctx }
func (f *fakeStream) RecvMsg(any) error        { return nil }
func (f *fakeStream) SendMsg(any) error        { f.sent++; return nil }

type key struct{}

// marks is a layer that leaves a trace of each moment in got.
func marks(got *[]string) layer {
	return func(ctx context.Context, c *call, rest next) error {
		c.first = append(c.first, func(ctx context.Context, _ proto.Message) (context.Context, error) {
			*got = append(*got, "first")
			return context.WithValue(ctx, key{}, "bound"), nil
		})
		c.send = append(c.send, func(context.Context) error { *got = append(*got, "send"); return nil })
		*got = append(*got, "in")
		err := rest(ctx)
		*got = append(*got, "out")
		return err
	}
}

func TestOneLayerServesUnaryAndStreamAlike(t *testing.T) {
	var unary, stream []string
	u, s := own(nil, marks(&unary)), own(nil, marks(&stream))

	_, err := u.unary(t.Context(), &behalfv1.WhoAmIRequest{}, &grpc.UnaryServerInfo{}, func(ctx context.Context, _ any) (any, error) {
		unary = append(unary, "handler "+ctx.Value(key{}).(string))
		return nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.stream(nil, &fakeStream{ctx: t.Context()}, &grpc.StreamServerInfo{}, func(_ any, ss grpc.ServerStream) error {
		if err := ss.RecvMsg(&behalfv1.WhoAmIRequest{}); err != nil {
			return err
		}
		stream = append(stream, "handler "+ss.Context().Value(key{}).(string))
		return ss.SendMsg(nil)
	})
	if err != nil {
		t.Fatal(err)
	}

	want := []string{"in", "first", "handler bound", "send", "out"}
	for name, got := range map[string][]string{"unary": unary, "stream": stream} {
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

func TestAStreamMayNotSpeakBeforeItHasHeard(t *testing.T) {
	f := &fakeStream{ctx: t.Context()}
	err := own(nil).stream(nil, f, &grpc.StreamServerInfo{}, func(_ any, ss grpc.ServerStream) error { return ss.SendMsg(nil) })

	if fault.From(err).Code != codes.Internal || f.sent != 0 {
		t.Errorf("got %v and %d messages, want Internal and none", err, f.sent)
	}
}

func TestNothingIsSentWhenTheSendHookFails(t *testing.T) {
	f := &fakeStream{ctx: t.Context()}
	refuse := errors.New("not durable")
	layer := func(ctx context.Context, c *call, rest next) error {
		c.send = append(c.send, func(context.Context) error { return refuse })
		return rest(ctx)
	}

	err := own(nil, layer).stream(nil, f, &grpc.StreamServerInfo{}, func(_ any, ss grpc.ServerStream) error {
		if err := ss.RecvMsg(nil); err != nil {
			return err
		}
		return ss.SendMsg(nil)
	})
	if !errors.Is(err, refuse) || f.sent != 0 {
		t.Errorf("got %v and %d messages, want the refusal and none", err, f.sent)
	}
}

func TestEveryRPCHasARule(t *testing.T) {
	for _, s := range services() {
		for i := range s.Methods().Len() {
			if m := s.Methods().Get(i); declared(m) == nil {
				t.Errorf("%s has no complete access option", m.FullName())
			}
		}
	}
}

func TestAMethodWithoutARuleStopsTheServer(t *testing.T) {
	_, err := Rules(map[string]grpc.ServiceInfo{"stranger.v1.Service": {Methods: []grpc.MethodInfo{{Name: "Call"}}}})
	if err == nil {
		t.Error("got no error for a service without access options")
	}
}

func TestTheValidatorCompilesAndNamesTheField(t *testing.T) {
	v, err := newValidator()
	if err != nil {
		t.Fatal(err)
	}

	err = Malformed(v.Validate(&behalfv1.GetRunRequest{RunId: "../etc/passwd"}))

	f := fault.From(err)
	if f.Code != codes.InvalidArgument || f.Reason != fault.ArgumentInvalid {
		t.Fatalf("got %v, want INVALID_ARGUMENT", err)
	}
	if want := "run_id"; !strings.Contains(f.Message, want) || strings.Contains(f.Message, "passwd") {
		t.Errorf("got %q, want it to name %s and not its value", f.Message, want)
	}
}

// Whoever may do nothing at all can still send half a million broken fields.
func TestABrokenRequestCostsAsMuchAsItsFirstMistake(t *testing.T) {
	v, err := newValidator()
	if err != nil {
		t.Fatal(err)
	}
	broken := &behalfv1.RunAgentRequest{Agent: "a", Input: "x", Scopes: &behalfv1.Scopes{Values: make([]string, 500_000)}}
	refuse := valid(v)
	c := &call{rule: &Rule{Action: "run_agent"}}
	if err := refuse(t.Context(), c, func(context.Context) error { return nil }); err != nil {
		t.Fatal(err)
	}

	f := fault.From(c.each[0](broken))

	if f.Code != codes.InvalidArgument || len(f.Message) > 200 || !strings.Contains(f.Message, "scopes.values") {
		t.Errorf("got %d bytes, %.200s; want the first field that is broken", len(f.Message), f.Message)
	}
}

func TestTheKeyOfAMapIsNotEchoed(t *testing.T) {
	v, err := newValidator()
	if err != nil {
		t.Fatal(err)
	}

	f := fault.From(Malformed(v.Validate(&behalfv1.RunAgentRequest{Agent: "a", Input: "x", Labels: map[string]string{"MY SECRET": "x"}})))

	if f.Code != codes.InvalidArgument || strings.Contains(f.Message, "SECRET") || !strings.Contains(f.Message, "labels") {
		t.Errorf("got %q, want it to name labels and no key", f.Message)
	}
}

func TestAPersonHasOnlySoManyStreams(t *testing.T) {
	s := NewCounts(1)
	if !s.Enter("a") || s.Enter("a") || !s.Enter("b") {
		t.Error("the limit of one stream for each person does not hold")
	}

	s.Leave("a")

	if !s.Enter("a") || len(s.open) != 2 {
		t.Error("a closed stream was not given back")
	}
}

func TestALibraryNeverSeesAMethodThatACallerInvented(t *testing.T) {
	seen := 0
	p := known(map[string]*Rule{"/s/Known": {}}, pair{stream: func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
		seen++
		return h(srv, ss)
	}})

	for _, method := range []string{"/s/Known", "/invented/1", "/invented/2"} {
		if err := p.stream(nil, &fakeStream{ctx: t.Context()}, &grpc.StreamServerInfo{FullMethod: method}, func(any, grpc.ServerStream) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}

	if seen != 1 {
		t.Errorf("the library saw %d methods, want the one that exists", seen)
	}
}

// TestEveryMethodHasTheDeadlineOfItsClass lists the RPCs whose class is not the plain
// one (SECURITY 5.1; docs/adr/0011): a new RPC is a unary call or a stream, unless it
// is put here.
func TestEveryMethodHasTheDeadlineOfItsClass(t *testing.T) {
	l := Limits{}.withDefaults()
	waits, endlessly := []string{"/behalf.v1.AgentService/RunAgent", "/behalf.v1.GroupChatService/RunGroupChat"}, []string{"/behalf.v1.ConversationService/Converse"}
	methods := 0
	for _, s := range services() {
		for i := range s.Methods().Len() {
			m := s.Methods().Get(i)
			methods++
			name := fmt.Sprintf("/%s/%s", s.FullName(), m.Name())
			rule := declared(m)
			c := &call{method: name, rule: rule, stream: m.IsStreamingClient() || m.IsStreamingServer(), both: m.IsStreamingClient() && m.IsStreamingServer()}
			want := l.UnaryDeadline
			switch {
			case slices.Contains(waits, name):
				want = l.RunDeadline
			case slices.Contains(endlessly, name):
				want = endless
			case c.stream:
				want = l.StreamLife
			}
			if got := life(c, l); rule == nil || got != want {
				t.Errorf("%s: got %v, want %v", name, got, want)
			}
		}
	}
	if methods < 30 {
		t.Errorf("found %d methods", methods)
	}
}
