package server

import (
	"errors"
	"net"
	"testing"
)

func TestAnAddressHasOnlySoManyWebConnections(t *testing.T) {
	const many, few = "192.0.2.7:1", "192.0.2.8:1"
	first, second, third, other, next := &at{addr: many}, &at{addr: many}, &at{addr: many}, &at{addr: few}, &at{addr: many}
	s := &Server{door: newDoor(Transport{Handshakes: 50, Connections: 2}, nil)}
	l := s.Web(&queue{first, second, third, other, next})
	in := func(want string) (leave func() error) {
		t.Helper()
		c, err := l.Accept()
		if err != nil || c.RemoteAddr().String() != want {
			t.Fatalf("got %v, %v, want %s", c, err, want)
		}
		return c.Close
	}

	leave := in(many)
	in(many)
	in(few) // and the third was closed
	if third.closed != 1 || first.closed+second.closed+other.closed != 0 {
		t.Errorf("closed %d of the third and %d of the others, want one", third.closed, first.closed+second.closed+other.closed)
	}

	if err := errors.Join(leave(), leave()); err != nil { // which gives one place back, not two
		t.Fatal(err)
	}
	in(many)
	if _, err := l.Accept(); !errors.Is(err, errEmpty) {
		t.Errorf("got %v, want what the listener says", err)
	}
}

// TestAnAddressHasOnlySoManyNewWebConnections: who hangs up at once never has many, and
// each costs a handshake.
func TestAnAddressHasOnlySoManyNewWebConnections(t *testing.T) {
	q := &queue{}
	for range 3 * burst {
		*q = append(*q, &at{addr: "192.0.2.7:1"})
	}
	other := &at{addr: "192.0.2.8:1"}
	*q = append(*q, other)
	s := &Server{door: newDoor(Transport{Handshakes: 1, Connections: 2}, nil)}
	l, in, last := s.Web(q), 0, net.Conn(nil)
	for {
		c, err := l.Accept()
		if err != nil {
			break
		}
		in, last = in+1, c
		_ = c.Close()
	}

	if in < burst+1 || in > burst+3 || last.RemoteAddr().String() != other.addr {
		t.Errorf("got %d connections of one address at once, want %d and the other one's", in-1, burst)
	}
}
