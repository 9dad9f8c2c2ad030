package server

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
)

func TestTheTransportHasTheLimitsOfTheGuide(t *testing.T) {
	want := Transport{
		Connections: 64, Handshakes: 50, Resets: 100, Streams: 100, HeaderBytes: 16 << 10, MessageBytes: 1 << 20,
		StuckWrite: 10 * time.Second, ConnectTimeout: 10 * time.Second, Idle: 5 * time.Minute, Silence: 30 * time.Minute,
		Age: 30 * time.Minute, Grace: time.Minute, Ping: time.Minute, PingTimeout: 10 * time.Second, Shutdown: 10 * time.Second,
	}

	if d := cmp.Diff(want, Transport{}.withDefaults()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestAClientThatDoesNotAnswerIsGone speaks HTTP/2 but answers no ping.
func TestAClientThatDoesNotAnswerIsGone(t *testing.T) {
	site := httptest.NewTLSServer(nil)
	t.Cleanup(site.Close)
	limits := Transport{Ping: time.Second, PingTimeout: time.Second}.withDefaults()
	d := newDoor(limits, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: site.TLS.Certificates})
	g := grpc.NewServer(limits.options(d)...)
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- g.Serve(d.behind(l)) }() // ends with Stop
	t.Cleanup(func() { g.Stop(); <-served })
	conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	_, err = io.WriteString(conn, http2.ClientPreface)
	if err := errors.Join(err, framer.WriteSettings()); err != nil {
		t.Fatal(err)
	}

	asked := false
	for err == nil {
		var f http2.Frame
		if f, err = framer.ReadFrame(); err == nil {
			p, ping := f.(*http2.PingFrame)
			asked = asked || ping && !p.IsAck()
		}
	}

	if late, ok := errors.AsType[net.Error](err); !asked || ok && late.Timeout() {
		t.Errorf("asked: %v, then %v, want a ping and then the end", asked, err)
	}
}
