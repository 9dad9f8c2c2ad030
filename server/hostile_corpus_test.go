package server_test

import (
	"bytes"
	"compress/gzip"
	"slices"
	"strings"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"golang.org/x/net/http2"
	"google.golang.org/grpc/metadata"
)

const (
	unknown   = "UNIMPLEMENTED UNIMPLEMENTED" // after identity
	malformed = "UNIMPLEMENTED"               // by gRPC, of what is no path at all
	undecoded = "INVALID_ARGUMENT ARGUMENT_INVALID"
	tooMuch   = "RESOURCE_EXHAUSTED ARGUMENT_INVALID"
	unread    = "INTERNAL"           // by gRPC, after identity
	huge      = "RESOURCE_EXHAUSTED" // the same
	forged    = "UNAUTHENTICATED CREDENTIAL_INVALID"
)

func oddPaths(good metadata.MD) (all []attack) {
	for path, want := range map[string]string{
		strings.TrimPrefix(callTool, "/"): malformed, "": malformed, "*": malformed, "/": malformed,
		"/" + callTool: unknown, callTool + "/": unknown, callTool + "?x=1": unknown, callTool + "#x": unknown, callTool + "\x00": "reset PROTOCOL_ERROR", callTool + " ": unknown,
		strings.ToUpper(callTool): unknown, strings.ToLower(callTool): unknown, strings.ReplaceAll(callTool, "T", "%54"): unknown,
		"/behalf.v1.ToolService%2FCallTool": malformed, "/./" + callTool[1:]: unknown, "/x/.." + callTool: unknown,
		"https://localhost" + callTool: malformed, "/no.such.Service/Method": unknown, "/behalf.v1.ToolService/NoSuchMethod": unknown,
		"/" + strings.Repeat("x", 4000) + "/y": unknown,
	} {
		all = append(all, asked("path "+path[:min(len(path), 60)], want, right(path, good)))
	}
	return all
}

func oddHeaders(good metadata.MD) []attack {
	call := right(callTool, good)
	return []attack{
		asked("no path", malformed, call.but(":path")),
		asked("no method", "INTERNAL http 405", call.but(":method")),
		asked("GET", "INTERNAL http 405", call.but(":method", "GET")),
		asked("CONNECT", "INTERNAL http 405", call.but(":method", "CONNECT")),
		asked("no authority", "INTERNAL http 400", call.but(":authority")),
		asked("two paths", "reset PROTOCOL_ERROR", call.but(":path", callTool, "/grpc.health.v1.Health/Check")),
		asked("two methods", "reset PROTOCOL_ERROR", call.but(":method", "POST", "POST")),
		asked("two authorities", "reset PROTOCOL_ERROR", call.but(":authority", "localhost", "evil")),
		asked("two hosts", "INTERNAL http 400", call.and("host", "a", "host", "b")),
		asked("an unknown pseudo header", "reset PROTOCOL_ERROR", append(fields{{":user", "bob"}}, call...)),
		asked("a pseudo header of an answer", "reset PROTOCOL_ERROR", append(fields{{":status", "200"}}, call...)),
		asked("a pseudo header after others", "reset PROTOCOL_ERROR", call.but(":path").and(":path", callTool)),
		asked("upper case", "reset PROTOCOL_ERROR", call.and("X-User-Id", "bob")),
		asked("a name with a space", "reset PROTOCOL_ERROR", call.and("x user", "bob")),
		asked("an empty name", "reset PROTOCOL_ERROR", call.and("", "bob")),
		asked("a value with a line break", "reset PROTOCOL_ERROR", call.and("x-a", "b\r\nauthorization: Bearer x")),
		asked("a value with NUL", "reset PROTOCOL_ERROR", call.and("x-a", "b\x00c")),
		asked("connection", "reset PROTOCOL_ERROR", call.and("connection", "close")),
		asked("binary that is none", "INTERNAL http 400", call.and("x-bin", "!!!")),
		asked("no content type", "INVALID_ARGUMENT http 415", call.but("content-type")),
		asked("a web page's content type", "INVALID_ARGUMENT http 415", call.but("content-type", "text/plain")),
		asked("JSON", "INVALID_ARGUMENT http 415", call.but("content-type", "application/json")),
		asked("almost gRPC", "INVALID_ARGUMENT http 415", call.but("content-type", "application/grpcx")),
		asked("gRPC-Web", "INVALID_ARGUMENT http 415", call.but("content-type", "application/grpc-web")),
		asked("no time", "DEADLINE_EXCEEDED", call.and("grpc-timeout", "0n")),
		asked("too little time", "DEADLINE_EXCEEDED DEADLINE_EXCEEDED", call.and("grpc-timeout", "90m")),
		asked("negative time", "INTERNAL http 400", call.and("grpc-timeout", "-1S")),
		asked("endless time", "INTERNAL http 400", call.and("grpc-timeout", "999999999H")),
		asked("time without a unit", "INTERNAL http 400", call.and("grpc-timeout", "1")),
		asked("time of an unknown unit", "INTERNAL http 400", call.and("grpc-timeout", "1x")),
		asked("an empty time", "INTERNAL http 400", call.and("grpc-timeout", "")),
		asked("an unknown encoding", "UNIMPLEMENTED", call.and("grpc-encoding", "no-such")),
	}
}

func tooManyHeaders(good metadata.MD) []attack {
	call, many, big := right(callTool, good), right(callTool, good), right(callTool, good)
	for range 62 {
		many = many.and("x-a", "v")
	}
	for range 20 {
		big = big.and("x-a", strings.Repeat("v", 1000))
	}
	return []attack{
		asked("more than 64 entries", undecoded, many),
		asked("a value over 8 KiB", undecoded, call.and("x-a", strings.Repeat("v", 8<<10+1))),
		{"more than 16 KiB", func(k *wire) {
			k.inPieces(big, 16<<10-1)
			k.data(1, true, peekCall())
		}, "reset FRAME_SIZE_ERROR"},
		{"16 KiB out of a few bytes", func(k *wire) { // the same entry of the table, again and again
			k.head(1, false, call.and(slices.Concat(slices.Repeat([]string{"x-a", strings.Repeat("v", 3000)}, 200))...))
			k.data(1, true, peekCall())
		}, "reset FRAME_SIZE_ERROR"},
	}
}

func oddCredentials(good metadata.MD) []attack {
	call, bearer := right(callTool, good), good.Get("authorization")[0]
	all := []attack{
		asked("two credentials", forged, call.and("authorization", bearer)),
		asked("two in one", forged, call.but("authorization", bearer+","+bearer)),
		asked("two in one with a space", forged, call.but("authorization", bearer+", "+bearer)),
		asked("a credential and nothing", forged, call.and("authorization", "")),
		asked("a tab", forged, call.but("authorization", strings.Replace(bearer, " ", "\t", 1))),
		asked("a binary credential", undecoded, call.and("authorization-bin", "QmVhcmVyIHg")),
	}
	for _, key := range []string{"proxy-authorization", "x-authorization", "x-access-token", "access_token", "x-auth-token", "x-id-token", "x-forwarded-access-token", "x-forwarded-authorization"} {
		all = append(all, asked("a credential in "+key, forged, call.and(key, bearer)))
	}
	for _, key := range []string{"x-user-id-bin", "x-spiffe-id-bin", "x-forwarded-user-bin", "agent-chain-bin", "txn-token-bin", "baggage-bin", "x-behalf-tenant-bin", "traceparent-bin"} {
		all = append(all, asked(key, undecoded, call.and(key, "Ym9i")))
	}
	return all
}

// zipped is b compressed.
func zipped(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(b)
	_ = z.Close()
	return out.Bytes()
}

func oddBodies(good metadata.MD) []attack {
	call, stream := right(callTool, good), right(behalfv1.AgentService_StreamAgent_FullMethodName, good)
	squeezed := call.and("grpc-encoding", "gzip")
	bomb := zipped(make([]byte, 64<<20))
	twice := append(peekCall(), peekCall()...)
	all := []attack{
		said("a gzip bomb", huge, squeezed, framed(1, len(bomb), bomb)),
		said("a bomb of what is allowed to gRPC", tooMuch, squeezed, framed(1, len(zipped(padded(3<<19))), zipped(padded(3<<19)))),
		said("gzip that is none", unread, squeezed, framed(1, 3, []byte("abc"))),
		said("half of a gzip", unread, squeezed, framed(1, 20, zipped(peekCall())[:20])),
	}
	for name, of := range map[string]fields{"unary": call, "stream": stream} {
		all = append(all,
			said(name+": 2 GiB announced", huge, of, framed(0, 1<<31, []byte("x"))),
			said(name+": 4 GiB announced", huge, of, framed(0, 1<<32-1, nil)),
			said(name+": 3 MiB announced", huge, of, framed(0, 3<<20, nil)),
			said(name+": more announced than comes", unread, of, framed(0, 100, []byte("x"))),
			said(name+": half a length", unread, of, []byte{0, 0, 0}),
			said(name+": compressed, it says", unread, of, framed(1, 3, []byte("abc"))),
			said(name+": an unknown flag", unread, of, framed(2, 3, []byte("abc"))),
			said(name+": what is no message", undecoded, of, framed(0, len(garbled), garbled)),
			said(name+": two messages", unread, of, twice),
			said(name+": garbage behind", unread, of, append(peekCall(), 0xff, 0xff)),
			attack{name + ": no message", func(k *wire) { k.head(1, true, of) }, unread},
		)
	}
	return all
}

// raw writes a frame of any kind.
func (k *wire) raw(kind http2.FrameType, flags http2.Flags, id uint32, payload ...byte) {
	k.tried(k.WriteRawFrame(kind, flags, id, payload))
}

// inPieces begins a request in a frame and its continuations.
func (k *wire) inPieces(of fields, size int) {
	b := k.encode(of)
	k.raw(http2.FrameHeaders, 0, 1, b[:min(size, len(b))]...)
	for b = b[min(size, len(b)):]; len(b) > size; b = b[size:] {
		k.raw(http2.FrameContinuation, 0, 1, b[:size]...)
	}
	k.raw(http2.FrameContinuation, http2.FlagContinuationEndHeaders, 1, b...)
}

func oddFrames(good metadata.MD) []attack {
	call := right(callTool, good)
	odd := func(name, want string, do func(*wire)) attack { return attack{name, do, want} }
	const refused, ill = "closed", "closed PROTOCOL_ERROR"
	return []attack{
		odd("an even stream", ill, func(k *wire) { k.head(2, false, call) }),
		odd("stream 0", refused, func(k *wire) { k.head(0, false, call) }),
		odd("a stream that was", ill, func(k *wire) { k.head(3, false, call); k.head(1, false, call) }),
		odd("the same stream twice", ill, func(k *wire) { k.head(1, false, call); k.head(1, true, call) }),
		odd("data on stream 0", refused, func(k *wire) { k.raw(http2.FrameData, 0, 0, peekCall()...) }),
		odd("data before headers", unheard, func(k *wire) { k.data(1, false, peekCall()); k.last() }),
		odd("data after the end", "reset STREAM_CLOSED|INTERNAL", func(k *wire) {
			k.head(1, false, call)
			k.data(1, true, framed(0, 100, nil))
			k.data(1, true, peekCall())
		}),
		// Either it is more than the window, or it comes behind the message.
		odd("more data than is allowed", "reset FLOW_CONTROL_ERROR|INTERNAL", func(k *wire) {
			k.head(1, false, call)
			k.data(1, true, framed(0, 1<<20, make([]byte, 3<<20)))
		}),
		odd("a frame over 16 KiB", refused, func(k *wire) { k.head(1, false, call); k.raw(http2.FrameData, 0, 1, make([]byte, 32<<10)...) }),
		odd("padding longer than its frame", refused, func(k *wire) { k.head(1, false, call); k.raw(http2.FrameData, http2.FlagDataPadded, 1, 200, 1, 2) }),
		odd("a window update of 0", "reset PROTOCOL_ERROR", func(k *wire) { k.head(1, false, call); k.raw(http2.FrameWindowUpdate, 0, 1, 0, 0, 0, 0) }),
		odd("a window update of 0 for all", refused, func(k *wire) { k.raw(http2.FrameWindowUpdate, 0, 0, 0, 0, 0, 0) }),
		odd("a short window update", refused, func(k *wire) { k.raw(http2.FrameWindowUpdate, 0, 0, 1) }),
		odd("a short ping", refused, func(k *wire) { k.raw(http2.FramePing, 0, 0, 1) }),
		odd("a ping on a stream", refused, func(k *wire) { k.raw(http2.FramePing, 0, 1, make([]byte, 8)...) }),
		odd("settings on a stream", refused, func(k *wire) { k.raw(http2.FrameSettings, 0, 1) }),
		odd("settings of odd length", refused, func(k *wire) { k.raw(http2.FrameSettings, 0, 0, 1) }),
		odd("an acknowledgement with content", refused, func(k *wire) { k.raw(http2.FrameSettings, http2.FlagSettingsAck, 0, make([]byte, 6)...) }),
		odd("a window of 2 GiB by settings", refused, func(k *wire) { k.raw(http2.FrameSettings, 0, 0, 0, 4, 0x80, 0, 0, 0) }),
		odd("a push", unheard, func(k *wire) { k.raw(http2.FramePushPromise, http2.FlagPushPromiseEndHeaders, 1, 0, 0, 0, 2); k.last() }),
		odd("a continuation of nothing", refused, func(k *wire) { k.raw(http2.FrameContinuation, 0, 1) }),
		odd("a frame amid headers", refused, func(k *wire) {
			k.raw(http2.FrameHeaders, 0, 1, k.encode(call)...)
			k.raw(http2.FramePing, 0, 0, make([]byte, 8)...)
		}),
		odd("headers that cannot be unpacked", refused, func(k *wire) {
			k.raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
		}),
		odd("a table that grows", refused, func(k *wire) { k.raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, 0x3f, 0xff, 0xff, 0xff, 0x7f) }),
		odd("a goodbye with a call behind it", unheard, func(k *wire) { k.tried(k.WriteGoAway(0, http2.ErrCodeNo, nil)); k.last() }),
	}
}

// unheard is the outcome of what is ignored: the end is the client's own.
const unheard = "closed"

// last ends the client's side.
func (k *wire) last() { k.tried(k.conn.CloseWrite()) }

func floods(good metadata.MD) []attack {
	call := right(callTool, good)
	flood := func(name, want string, do func(k *wire, i int)) attack {
		return attack{name, func(k *wire) {
			for i := range 3000 {
				do(k, i)
			}
		}, want}
	}
	begun := func(k *wire, i int) {
		if i == 0 {
			k.head(1, false, call)
		}
	}
	return []attack{
		flood("rapid reset", refusedFlood, func(k *wire, i int) {
			id := uint32(2*i + 3)
			k.head(id, false, call)
			k.tried(k.WriteRSTStream(id, http2.ErrCodeCancel))
		}),
		flood("resets of nothing", refusedFlood, func(k *wire, i int) { k.tried(k.WriteRSTStream(uint32(2*i+1), http2.ErrCodeCancel)) }),
		flood("pings", "closed ENHANCE_YOUR_CALM", func(k *wire, _ int) { k.tried(k.WritePing(false, [8]byte{})) }),
		flood("settings", refusedFlood, func(k *wire, _ int) { k.tried(k.WriteSettings()) }),
		flood("priorities", refusedFlood, func(k *wire, i int) { k.tried(k.WritePriority(uint32(2*i+1), http2.PriorityParam{})) }),
		flood("empty data", refusedFlood, func(k *wire, i int) { begun(k, i); k.data(1, false, nil) }),
		flood("frames of no kind", refusedFlood, func(k *wire, _ int) { k.raw(0x77, 0, 0) }),
		flood("empty continuations", refusedFlood, func(k *wire, i int) {
			if i == 0 {
				k.raw(http2.FrameHeaders, 0, 1, k.encode(call)...)
			}
			k.raw(http2.FrameContinuation, 0, 1)
		}),
		{"continuations", func(k *wire) {
			b := k.encode(fields{{"x-a", strings.Repeat("v", 4000)}})
			k.raw(http2.FrameHeaders, 0, 1, k.encode(call)...)
			for range 2000 {
				k.raw(http2.FrameContinuation, 0, 1, b...)
			}
		}, "closed"},
		{"windows beyond 2 GiB", func(k *wire) {
			k.head(1, false, call)
			for range 4 {
				k.tried(k.WriteWindowUpdate(1, 1<<31-1))
			}
			k.data(1, true, framed(2, 0, nil))
		}, unread},
	}
}

// refusedFlood is how a flood ends: without a word, because the client reads none.
const refusedFlood = "closed"
