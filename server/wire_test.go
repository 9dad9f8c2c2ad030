package server_test

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// wire is a client that speaks HTTP/2 frame by frame, right or wrong, over a real
// mTLS connection. One goroutine uses it; another reads what comes back.
type wire struct {
	t *testing.T
	*http2.Framer
	conn  *tls.Conn
	block bytes.Buffer
	enc   *hpack.Encoder
	heard chan http2.Frame
	ended error  // why the connection did; after heard was closed
	words string // of the last outcome: grpc-message
}

// fields are the headers of a request, in order.
type fields [][2]string

// wire connects as svid and greets.
func (w *world) wire(t *testing.T, svid *identity.SVID) *wire {
	t.Helper()
	k := w.mute(t, svid)
	k.write([]byte(http2.ClientPreface))
	k.tried(k.WriteSettings())
	return k
}

// mute connects and says nothing yet.
func (w *world) mute(t *testing.T, svid *identity.SVID) *wire {
	t.Helper()
	conn, err := tls.Dial("tcp", w.addr, w.tlsConfig(svid))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	k := &wire{t: t, conn: conn, Framer: http2.NewFramer(conn, conn), heard: make(chan http2.Frame, 1<<16)}
	k.enc = hpack.NewEncoder(&k.block)
	k.AllowIllegalWrites = true
	k.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	go k.listen() // ends with the connection, which ends with the test
	return k
}

func (k *wire) listen() {
	defer close(k.heard)
	for {
		f, err := k.ReadFrame()
		if err != nil {
			k.ended = err
			return
		}
		if d, ok := f.(*http2.DataFrame); ok { // its bytes are the framer's
			f = &http2.DataFrame{FrameHeader: d.FrameHeader}
		}
		k.heard <- f
	}
}

// tried ignores an error: the server may have hung up already, and that shows in
// what is heard.
func (k *wire) tried(error) {}

func (k *wire) write(b []byte) {
	_, err := k.conn.Write(b)
	k.tried(err)
}

// encode is a header block.
func (k *wire) encode(of fields) []byte {
	k.block.Reset()
	for _, f := range of {
		_ = k.enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	return bytes.Clone(k.block.Bytes())
}

// head begins a request.
func (k *wire) head(id uint32, end bool, of fields) {
	k.tried(k.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: k.encode(of), EndHeaders: true, EndStream: end}))
}

// data goes on with it, in frames of the usual size.
func (k *wire) data(id uint32, end bool, b []byte) {
	for ; len(b) > 16<<10; b = b[16<<10:] {
		k.tried(k.WriteData(id, false, b[:16<<10]))
	}
	k.tried(k.WriteData(id, end, b))
}

// request is a whole one.
func (k *wire) request(of fields, body []byte) {
	k.head(1, false, of)
	k.data(1, true, body)
}

// outcome is what a caller is told of a stream, in a few words: a code and a reason,
// a reset, or the end of the connection.
func (k *wire) outcome(id uint32) string {
	k.t.Helper()
	var last string
	for f := range k.heard {
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			if f.StreamID == id && f.StreamEnded() {
				return k.verdict(f)
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				return "reset " + f.ErrCode.String()
			}
		case *http2.GoAwayFrame:
			last = " " + f.ErrCode.String()
		}
	}
	if late, ok := errors.AsType[net.Error](k.ended); ok && late.Timeout() {
		k.t.Errorf("nothing was heard for %v", patience)
	}
	return "closed" + last
}

// verdict reads the trailers: the code, and who gave it. What gRPC says by itself has
// no reason.
func (k *wire) verdict(f *http2.MetaHeadersFrame) string {
	var code, why string
	for _, h := range f.Fields {
		switch h.Name {
		case ":status":
			if h.Value != "200" {
				why = "http " + h.Value
			}
		case "grpc-status":
			n, _ := strconv.Atoi(h.Value)
			code = constant(codes.Code(n)) //nolint:gosec // a code
		case "grpc-message":
			k.words = h.Value
		case "grpc-status-details-bin":
			why = detail(h.Value)
		}
	}
	if code == constant(codes.OK) {
		return served
	}
	if why == "" {
		return code
	}
	return code + " " + why
}

// served is the outcome of a call that went well.
const served = "served"

// detail is the reason in a status.
func detail(encoded string) string {
	b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
	if err != nil {
		return err.Error()
	}
	var s rpcstatus.Status
	if err := proto.Unmarshal(b, &s); err != nil {
		return err.Error()
	}
	for _, d := range s.GetDetails() {
		var i errdetails.ErrorInfo
		if d.UnmarshalTo(&i) == nil {
			return i.GetReason()
		}
	}
	return "no reason"
}

// peekCall is a whole message that asks for the tool peek, as gRPC frames it.
func peekCall() []byte {
	b, err := proto.Marshal(&behalfv1.CallToolRequest{Tool: "peek", ArgumentsJson: "{}"})
	if err != nil {
		panic(err)
	}
	return framed(0, len(b), b)
}

// framed puts a flag and a length before b, which may be lies.
func framed(flag byte, length int, b []byte) []byte {
	out := binary.BigEndian.AppendUint32([]byte{flag}, uint32(length)) //nolint:gosec // a test's
	return append(out, b...)
}

const callTool = behalfv1.ToolService_CallTool_FullMethodName

// right are the headers of a request as it should be.
func right(path string, md metadata.MD) fields {
	out := fields{{":method", "POST"}, {":scheme", "https"}, {":path", path}, {":authority", "localhost"}, {"content-type", "application/grpc"}, {"te", "trailers"}}
	for k, vs := range md {
		for _, v := range vs {
			out = append(out, [2]string{k, v})
		}
	}
	return out
}

// but replaces the first field of a name, or takes it out.
func (f fields) but(name string, values ...string) (out fields) {
	for _, h := range f {
		if h[0] != name {
			out = append(out, h)
			continue
		}
		for _, v := range values {
			out = append(out, [2]string{name, v})
		}
		values = nil
	}
	return out
}

// and adds fields at the end.
func (f fields) and(pairs ...string) fields {
	out := append(fields(nil), f...)
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, [2]string{pairs[i], pairs[i+1]})
	}
	return out
}
