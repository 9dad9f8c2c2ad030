package server_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/identity"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"
)

// answer is what came back on a raw HTTP/2 stream.
type answer struct {
	status  string // grpc-status, empty when there was none
	http    string
	message string
	reset   bool
	data    []byte
}

// raw sends a request as a client would that gRPC's own would never be: with
// any path. It presents svid and md.
func (w *world) raw(t *testing.T, svid *identity.SVID, path string, md metadata.MD) answer {
	t.Helper()
	conn, err := tls.Dial("tcp", w.addr, w.tlsConfig(svid))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	field := func(k, v string) { _ = enc.WriteField(hpack.HeaderField{Name: k, Value: v}) }
	for _, f := range [][2]string{
		{":method", "POST"},
		{":scheme", "https"},
		{":path", path},
		{":authority", "localhost"},
		{"content-type", "application/grpc"},
		{"te", "trailers"},
	} {
		field(f[0], f[1])
	}
	for k, vs := range md {
		for _, v := range vs {
			field(k, v)
		}
	}
	f := http2.NewFramer(conn, conn)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_, err = io.WriteString(conn, http2.ClientPreface)
	if err := errors.Join(err, f.WriteSettings(),
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true}),
		f.WriteData(1, true, make([]byte, 5)), // one empty message
	); err != nil {
		t.Fatal(err)
	}
	return hear(t, f)
}

func hear(t *testing.T, f *http2.Framer) (a answer) {
	t.Helper()
	for {
		fr, err := f.ReadFrame()
		if err != nil {
			t.Fatalf("no answer: %v", err)
		}
		end := false
		switch fr := fr.(type) {
		case *http2.MetaHeadersFrame:
			for _, h := range fr.Fields {
				switch h.Name {
				case "grpc-status":
					a.status = h.Value
				case ":status":
					a.http = h.Value
				case "grpc-message":
					a.message = h.Value
				}
			}
			end = fr.StreamEnded()
		case *http2.DataFrame:
			a.data = append(a.data, fr.Data()...)
			end = fr.StreamEnded()
		case *http2.RSTStreamFrame:
			a.reset, end = true, true
		case *http2.GoAwayFrame:
			t.Fatalf("the connection was closed: %v", fr)
		}
		if end {
			return a
		}
	}
}

// CVE-2026-33186: a path without its leading slash slipped past interceptors
// that match methods by their path.
func TestOddPathsReachNoHandler(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{optional: true})
	app, good := w.workload(w.acme, "/app"), bearer(w.token(w.idp, alice, nil))
	const whoAmI = "behalf.v1.AdminService/WhoAmI"
	if a := w.raw(t, app, "/"+whoAmI, good); a.status != "0" || len(a.data) == 0 {
		t.Fatalf("got %+v for the right path, so the test proves nothing", a)
	}

	for _, path := range []string{whoAmI, "//" + whoAmI, "/" + whoAmI + "/", "/" + whoAmI + "?x=1", "/BEHALF.V1.AdminService/WhoAmI", "", "/", "*"} {
		for name, md := range map[string]metadata.MD{"nobody": nil, "alice": good} {
			svid := app
			if name == "nobody" {
				svid = nil
			}
			a := w.raw(t, svid, path, md)

			if len(a.data) > 0 || a.status == "0" {
				t.Errorf("%q as %s was answered: %+v", path, name, a)
			}
		}
	}
}

func TestUnknownMethodsAreUnknownOnlyToThoseWhoAreIdentified(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{optional: true})
	a, nobody := w.as(alice), &client{w.dial(nil), nil}

	for _, name := range []string{"/no.such.Service/Method", "/behalf.v1.AdminService/NoSuchMethod"} {
		wantError(t, a.Invoke(a.ctx(t), name, &emptypb.Empty{}, &emptypb.Empty{}), codes.Unimplemented, "UNIMPLEMENTED")
		wantError(t, nobody.Invoke(nobody.ctx(t), name, &emptypb.Empty{}, &emptypb.Empty{}), codes.Unauthenticated, "CREDENTIAL_REQUIRED")
	}
}
