package server_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/config"
	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
)

// page asks for a page over a connection that stays open; the status, or 0 if it was
// closed instead.
func page(t *testing.T, c net.Conn) int {
	t.Helper()
	succeed(t, c.SetDeadline(time.Now().Add(patience)))
	if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return 0
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	defer func() { _ = r.Body.Close() }()
	_, _ = io.Copy(io.Discard, r.Body)
	return r.StatusCode
}

// TestOneAddressHasOnlySoManyWebConnections, which take no place of gRPC's.
func TestOneAddressHasOnlySoManyWebConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{edit: func(c *config.Config) { withHTTP(c); c.Server.Limits.ConnectionsPerPeer = 2 }})
	dial := func() net.Conn {
		c := ok(net.Dial("tcp", w.http))(t)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	first, second := dial(), dial()
	for _, c := range []net.Conn{first, second} {
		if got := page(t, c); got != http.StatusOK {
			t.Fatalf("got %d, want the page", got)
		}
	}

	if got := page(t, dial()); got != 0 {
		t.Errorf("got %d on a third connection, want it closed", got)
	}
	if got := page(t, second); got != http.StatusOK {
		t.Errorf("got %d on one of the first two, want it as it was", got)
	}
	a := w.as(alice)
	if _, err := a.admin().WhoAmI(a.ctx(t), &behalfv1.WhoAmIRequest{}); err != nil {
		t.Errorf("got %v, want gRPC to have places of its own", err)
	}
	succeed(t, first.Close())
	for tries := 0; page(t, dial()) == 0; tries++ { // the server hears of it a moment later
		if tries > 1000 {
			t.Fatal("a connection that was closed counts for ever")
		}
	}
}

func TestAllAddressesHaveOnlySoManyWebConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{edit: func(c *config.Config) { withHTTP(c); c.Server.Limits.ConnectionsPerPeer = 1 }})
	dial := func(last byte) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, last)}}
		c := ok(d.DialContext(t.Context(), "tcp", w.http))(t)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	for i := range byte(16) {
		if got := page(t, dial(i+1)); got != http.StatusOK {
			t.Fatalf("got %d for address %d, want the page", got, i+1)
		}
	}

	if got := page(t, dial(17)); got != 0 {
		t.Errorf("got %d, want it closed: all addresses together have as many as they may", got)
	}
}
