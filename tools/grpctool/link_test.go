package grpctool_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/behalf-dev/behalf/agents"
	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/grpctool"
	"golang.org/x/net/http2"
)

// refuser is an HTTP/2 server that refuses each stream, which says that it has not
// looked at it, so that gRPC may send it again.
type refuser struct {
	net.Listener

	requests atomic.Int64
}

func (r *refuser) run() {
	for {
		conn, err := r.Accept()
		if err != nil {
			return
		}
		go r.serve(conn) // ends with the connection
	}
}

func (r *refuser) serve(conn net.Conn) {
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
			_ = f.WritePing(true, frame.Data)
		case *http2.HeadersFrame:
			r.requests.Add(1)
			_ = f.WriteRSTStream(frame.StreamID, http2.ErrCodeRefusedStream)
		}
	}
}

func TestACallIsSentOnceEvenIfTheServerSaysThatItHasNotLookedAtIt(t *testing.T) {
	for effect, want := range map[tools.Effect]fault.Reason{tools.Read: fault.ToolUnavailable, tools.Write: fault.OutcomeUnknown} {
		w := newWorld(t)
		svid := identitytest.Issue(t, w.ca, "/backend")
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{svid.Certificate}, NextProtos: []string{"h2"}, ClientAuth: tls.RequireAnyClientCert})
		if err != nil {
			t.Fatal(err)
		}
		r := &refuser{Listener: l}
		go r.run() // ends with the listener
		t.Cleanup(func() { l.Close() })
		w.backend.addr = l.Addr().String()
		w.open(func(g *grpctool.Config) {
			g.DescriptorSet = everything
			g.Facts = map[string]grpctool.Facts{"Echo": {Effect: effect}}
		})
		w.until(func() bool { return w.source.Problem() == nil })
		w.govern("")

		fin := w.call("echo", `{}`)

		if fin.Reason != string(want) || r.requests.Load() != 1 {
			t.Errorf("%s: got %s after %d requests, want %s after one", effect, fin.Result, r.requests.Load(), want)
		}
	}
}

func TestNothingIsSentWithoutTLS(t *testing.T) {
	w := newWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan []byte, 16)
	go func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 1024)
			n, _ := conn.Read(b)
			_, _ = conn.Write([]byte(http2.ClientPreface)) // no TLS
			conn.Close()
			select {
			case heard <- b[:n]:
			default:
			}
		}
	}()
	t.Cleanup(func() { l.Close() })
	w.backend.addr = l.Addr().String()
	w.open(func(g *grpctool.Config) { g.DescriptorSet = everything })
	w.govern("")
	first := <-heard

	fin := w.call("echo", `{}`)

	if fin.Reason != string(fault.ToolUnavailable) || !strings.Contains(said(t, fin), "nothing was done") {
		t.Errorf("got %s, want it unavailable", fin.Result)
	}
	if len(first) == 0 || first[0] != 22 || bytes.Contains(first, []byte("Bearer")) {
		t.Errorf("got %q, want the beginning of TLS", first)
	}
}

func TestABackendWithoutAClientCertificateGetsATokenThatIsBoundToNone(t *testing.T) {
	w := newWorld(t)
	jwks, err := w.keys.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	if w.backend.verifier, err = calltoken.NewVerifier(calltoken.VerifierConfig{Issuer: issuer, Audience: "everything", JWKS: jwks, Clients: []string{w.client()}, Unbound: true}); err != nil {
		t.Fatal(err)
	}
	svid := identitytest.Issue(t, w.ca, "/backend") // which names localhost too
	w.backend.tls = &tls.Config{Certificates: []tls.Certificate{svid.Certificate}, NextProtos: []string{"h2"}}
	w.backend.start(t)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.ca.AuthorityPEM())
	w.open(func(g *grpctool.Config) { g.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12} })
	w.reading("")

	if fin := w.call("echo", `{}`); fin.Failed {
		t.Fatalf("got %s", fin.Result)
	}
	if c, _ := w.backend.last(t); c.Confirmation.Thumbprint != "" {
		t.Errorf("got cnf %q, want none", c.Confirmation.Thumbprint)
	}
}

func TestTheServerMustBeWhoItIs(t *testing.T) {
	w := newWorld(t)
	w.backend.ca = identitytest.NewCA(t) // another authority
	w.backend.start(t)
	w.open(func(g *grpctool.Config) { g.DescriptorSet = everything })
	w.govern("")
	w.until(func() bool { return w.backend.conns.Load() > 0 })

	if fin := w.call("echo", `{}`); fin.Reason != string(fault.ToolUnavailable) || w.backend.calls.Load() != 0 {
		t.Errorf("got %s after %d calls, want no call of a stranger", fin.Result, w.backend.calls.Load())
	}
}

func TestNothingRunsAfterRun(t *testing.T) {
	w := newWorld(t)
	w.backend.start(t)
	src, err := grpctool.New(w.config(nil))
	if err != nil {
		t.Fatal(err)
	}
	w.source = src
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- src.Run(ctx) }()
	w.reading("")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}

	if fin := w.call("echo", `{}`); fin.Reason != string(fault.ToolUnavailable) {
		t.Errorf("got %s, want it unavailable", fin.Result)
	}
}

// TestACallOnAnotherConnectionThanTheDescriptorsCameFromIsNotMade asks the credential
// itself: between a reconnect and its notice there is no waiting for a moment.
func TestACallOnAnotherConnectionThanTheDescriptorsCameFromIsNotMade(t *testing.T) {
	w := newWorld(t)
	tokens := w.config(nil).Tokens
	probe := tools.Tool{Descriptor: tools.Descriptor{Name: "probe", Schema: json.RawMessage(`{"type":"object"}`)}}
	probe.Call = func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		if md, moved, err := grpctool.TicketOn(ctx, tokens, 1, 2); !moved || err == nil || md != nil {
			t.Errorf("got %d headers, %v, %v, want no token for another connection", len(md), moved, err)
		}
		for _, read := range []uint64{0, 2} {
			if md, moved, err := grpctool.TicketOn(ctx, tokens, read, 2); moved || err != nil || md["authorization"] == "" {
				t.Errorf("read on %d: got %v, %v, want a token", read, moved, err)
			}
		}
		if md, err := grpctool.TicketOff(ctx, tokens); err == nil {
			t.Errorf("got %d headers, want no token for a connection that is not ours", len(md))
		}
		return json.RawMessage(`{}`), nil
	}
	w.behind(probe)

	if fin := w.call("probe", `{}`); fin.Failed {
		t.Errorf("got %s", fin.Result)
	}
}

// TestTheFirstCallWaitsForTheFirstConnection holds that a backend whose tools a
// descriptor set tells can be called at once.
func TestTheFirstCallWaitsForTheFirstConnection(t *testing.T) {
	w := newWorld(t)
	w.backend.start(t)
	src, err := grpctool.New(w.config(func(c *grpctool.Config) { c.DescriptorSet = everything }))
	if err != nil {
		t.Fatal(err)
	}
	w.source = src
	w.govern("")
	called := make(chan agents.ToolCallFinished, 1)
	go func() { called <- w.call("echo", `{"text":"a"}`) }() // ends with the call, which is received
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- src.Run(ctx) }() // ends with stop

	if fin := <-called; fin.Failed {
		t.Errorf("got %s, want the answer", fin.Result)
	}

	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
