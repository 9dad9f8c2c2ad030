package grpctool_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/grpctool"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"
)

// stream is what a raw server writes on one stream.
type stream struct {
	*http2.Framer

	id uint32
}

// headers writes a block of headers, however large.
func (s stream) headers(end bool, pairs ...string) {
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for i := 0; i < len(pairs); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1], Sensitive: true}) // no table: others come by themselves
	}
	const most = 16 << 10
	first := block.Next(most)
	_ = s.WriteHeaders(http2.HeadersFrameParam{StreamID: s.id, BlockFragment: first, EndStream: end, EndHeaders: block.Len() == 0})
	for block.Len() > 0 {
		part := block.Next(most)
		_ = s.WriteContinuation(s.id, block.Len() == 0, part)
	}
}

func (s stream) begin(more ...string) {
	s.headers(false, append([]string{":status", "200", "content-type", "application/grpc"}, more...)...)
}

// message writes a message of the size that it says, which need not be its own.
func (s stream) message(size uint32, b []byte) {
	_ = s.WriteData(s.id, false, append(binary.BigEndian.AppendUint32([]byte{0}, size), b...))
}

func (s stream) ok(b []byte) { s.message(uint32(len(b)), b) }

func (s stream) end(more ...string) {
	s.headers(true, append([]string{"grpc-status", "0"}, more...)...)
}

// rude is an HTTP/2 server behind TLS that answers each request as the test says.
type rude struct {
	net.Listener

	answer   func(stream)
	requests atomic.Int64
}

func (r *rude) run() {
	for {
		conn, err := r.Accept()
		if err != nil {
			return
		}
		go r.serve(conn) // ends with the connection
	}
}

func (r *rude) serve(conn net.Conn) {
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	f := http2.NewFramer(conn, conn)
	if f.WriteSettings() != nil {
		return
	}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = f.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !frame.IsAck() {
				_ = f.WritePing(true, frame.Data)
			}
		case *http2.DataFrame:
			if frame.StreamEnded() {
				r.requests.Add(1)
				r.answer(stream{f, frame.StreamID})
			}
		}
	}
}

// against is a world whose backend is a rude one.
func against(t *testing.T, effect tools.Effect, answer func(stream)) (*world, *rude) {
	t.Helper()
	w := newWorld(t)
	svid := identitytest.Issue(t, w.ca, "/backend")
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{svid.Certificate}, NextProtos: []string{"h2"}, ClientAuth: tls.RequireAnyClientCert})
	if err != nil {
		t.Fatal(err)
	}
	r := &rude{Listener: l, answer: answer}
	go r.run() // ends with the listener
	t.Cleanup(func() { l.Close() })
	w.backend.addr = l.Addr().String()
	w.open(func(g *grpctool.Config) {
		g.DescriptorSet, g.MaxResult, g.MaxMessages = everything, 16<<10, 50
		g.Facts = map[string]grpctool.Facts{"Echo": {Effect: effect}, "Repeat": {Effect: effect}}
	})
	w.until(func() bool { return w.source.Problem() == nil })
	w.govern("")
	return w, r
}

const secret = "hunter2\x1b[2J"

// TestAServerThatKeepsToNoProtocolHarmsOneCall has what no library would send. The call
// fails, or has what it was sent in time; nothing of the rest is shown, the call is made
// once, and the next one is none the worse for it.
func TestAServerThatKeepsToNoProtocolHarmsOneCall(t *testing.T) {
	hello := []byte("\x0a\x05hello")
	huge := strings.Repeat("x", 200<<10)
	for name, c := range map[string]struct {
		tool   string
		answer func(s stream)
		works  bool
	}{
		"huge headers":  {"echo", func(s stream) { s.begin("x-huge", huge); s.ok(hello); s.end() }, false},
		"huge trailers": {"echo", func(s stream) { s.begin(); s.ok(hello); s.end("x-huge", huge) }, false},
		"huge status":   {"echo", func(s stream) { s.begin(); s.headers(true, "grpc-status", "5", "grpc-message", huge) }, false},
		"more after the end": {"echo", func(s stream) {
			s.begin()
			s.ok(hello)
			s.end()
			s.ok([]byte("\x0a\x07" + secret[:7]))
			s.end("grpc-message", secret)
		}, true},
		"two answers to one call": {"echo", func(s stream) { s.begin(); s.ok(hello); s.ok(hello); s.end() }, false},
		"no answer":               {"echo", func(s stream) { s.begin(); s.end() }, false},
		"no end":                  {"echo", func(s stream) { s.begin(); s.ok(hello); _ = s.WriteRSTStream(s.id, http2.ErrCodeNo) }, false},
		"half an answer":          {"echo", func(s stream) { s.begin(); s.message(500, hello); s.end() }, false},
		"a size of 4 GiB":         {"echo", func(s stream) { s.begin(); s.message(1<<32-1, hello); s.end() }, false},
		"an encoding of its own": {"echo", func(s stream) {
			s.begin("grpc-encoding", "zip")
			_ = s.WriteData(s.id, false, append([]byte{1, 0, 0, 0, 7}, hello...))
			s.end()
		}, false},
		"no gRPC": {"echo", func(s stream) {
			s.headers(false, ":status", "200", "content-type", "text/html")
			_ = s.WriteData(s.id, true, []byte("<html>"))
		}, false},
		"a status that is none":      {"echo", func(s stream) { s.begin(); s.headers(true, "grpc-status", "seven", "grpc-message", "x") }, false},
		"a failure after the answer": {"repeat", func(s stream) { s.begin(); s.ok(hello); s.headers(true, "grpc-status", "13", "grpc-message", "x") }, false},
		"a flood of messages": {"repeat", func(s stream) {
			s.begin()
			for range 4000 { // less than the window, which nobody opens further
				s.ok(nil)
			}
		}, false},
	} {
		for _, effect := range []tools.Effect{tools.Read, tools.Write} {
			t.Run(name+" "+string(effect), func(t *testing.T) {
				polite := atomic.Bool{}
				w, r := against(t, effect, func(s stream) {
					if polite.Load() {
						s.begin()
						s.ok(hello)
						s.end()
						return
					}
					c.answer(s)
				})

				fin := w.call(c.tool, `{}`)

				if fin.Failed == c.works || len(fin.Result) > 4<<10 || strings.Contains(fin.Result, "hunter") || strings.Contains(fin.Result, "xxxx") {
					t.Errorf("got %s, want works: %v, and nothing of what came beside it", fin.Result, c.works)
				}
				if effect == tools.Write && !c.works && name != "huge status" && fin.Reason != string(fault.OutcomeUnknown) {
					t.Errorf("got %q, want that a write may have happened", fin.Reason)
				}
				if n := r.requests.Load(); n != 1 {
					t.Errorf("the call was made %d times", n)
				}
				polite.Store(true)
				w.until(func() bool { return !w.call("echo", `{}`).Failed })
			})
		}
	}
}

// What a status says besides its message is for programs: nothing of it is shown.
func TestOnlyTheMessageOfAStatusIsShown(t *testing.T) {
	w := started(t, readOnly)
	w.backend.say(func(ctx context.Context, _ string, _ *dynamicpb.Message, _ func(proto.Message) error) error {
		_ = grpc.SetHeader(ctx, metadata.Pairs("x-inside", "hunter2"))
		_ = grpc.SetTrailer(ctx, metadata.Pairs("x-inside", "hunter2", "grpc-status-details-bin-x", "hunter2"))
		st, err := status.New(codes.NotFound, "no such \x00order").WithDetails(
			&errdetails.DebugInfo{Detail: "hunter2", StackEntries: []string{"hunter2"}}, &errdetails.ErrorInfo{Reason: "hunter2", Domain: "behalf"})
		if err != nil {
			t.Error(err)
		}
		return st.Err()
	})

	fin := w.call("echo", `{}`)

	if !fin.Failed || fin.Reason != "" || strings.Contains(fin.Result, "hunter2") || !strings.Contains(said(t, fin), "the tool answered NotFound: no such order") {
		t.Errorf("got %s %s, want the message alone", fin.Reason, fin.Result)
	}
}

// A stream without an end is cut off when it is too long, and its server hears of it.
func TestAStreamWithoutAnEndIsCutOff(t *testing.T) {
	w := started(t, func(g *grpctool.Config) { g.MaxMessages = 10 })
	gone := make(chan struct{})
	w.backend.say(func(ctx context.Context, _ string, in *dynamicpb.Message, send func(proto.Message) error) error {
		defer close(gone)
		for send(in) == nil {
		}
		<-ctx.Done()
		return ctx.Err()
	})

	fin := w.call("repeat", `{}`)

	if !fin.Failed || !strings.Contains(said(t, fin), "its answer cannot be shown") {
		t.Errorf("got %s, want it too long", fin.Result)
	}
	<-gone
}

func TestAStreamTellsHowManyMessagesCame(t *testing.T) {
	w := started(t, nil)
	seen := make(chan struct{})
	w.backend.say(func(_ context.Context, _ string, in *dynamicpb.Message, send func(proto.Message) error) error {
		if err := send(in); err != nil {
			return err
		}
		<-seen
		return send(in)
	})

	var told []agents.ToolCallProgress
	for ev, err := range w.gate.Call(w.bob(t.Context()), agents.ToolCall{ID: "run_1/7", RunID: "run_1", Name: "repeat", Arguments: `{}`}) {
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := ev.Body.(agents.ToolCallProgress); ok {
			if told = append(told, p); len(told) == 1 {
				close(seen)
			}
		}
	}

	if len(told) == 0 || told[0] != (agents.ToolCallProgress{Done: 1}) {
		t.Errorf("got %v, want one message so far", told)
	}
}
