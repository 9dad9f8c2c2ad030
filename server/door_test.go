package server

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"time"
)

func TestAnAddressHasOnlySoManyHandshakes(t *testing.T) {
	s, now := newSources(2), time.Unix(1, 0)
	for i := range 20 {
		if !s.allow("a", now) {
			t.Fatalf("handshake %d was refused, want ten seconds' worth at once", i)
		}
	}

	if s.allow("a", now) || !s.allow("b", now) {
		t.Error("want no more of one address, and another one its own")
	}
	if now = now.Add(time.Second); !s.allow("a", now) || !s.allow("a", now) || s.allow("a", now) {
		t.Error("want two more after a second")
	}
}

func TestAddressesAreBounded(t *testing.T) {
	s, now := newSources(1), time.Unix(1, 0)
	for i := range maxSources {
		s.allow(fmt.Sprint(i), now)
	}
	for i := range burst {
		if !s.allow(fmt.Sprint("new", i), now) {
			t.Fatalf("new address %d was refused, want a shared bucket", i)
		}
	}

	if s.allow("newer", now) || !s.allow("1", now) || len(s.known) > maxSources+1 {
		t.Errorf("got %d buckets, want one for all new addresses, which is empty, and the old ones as they were", len(s.known))
	}
	if now = now.Add(time.Hour); !s.allow("newer", now) || len(s.known) != 1 {
		t.Errorf("got %d buckets an hour later, want those forgotten that are full", len(s.known))
	}
}

// at is a connection from an address that counts how often it was closed.
type at struct {
	net.Conn
	addr   string
	closed int
}

func (a *at) RemoteAddr() net.Addr { return addr(a.addr) }
func (a *at) Close() error         { a.closed++; return nil }

type addr string

func (addr) Network() string  { return "tcp" }
func (a addr) String() string { return string(a) }

func TestASourceIsAsMuchOfAnAddressAsCostsSomething(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.7:1":           "192.0.2.7/32",
		"[::ffff:192.0.2.7]:1":  "192.0.2.7/32",
		"[2001:db8:1:2:3::4]:1": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:1":      "fe80::/64",
		"@":                     "",
	} {
		if got := source(&at{addr: addr}); got != want {
			t.Errorf("%s: got %q, want %q", addr, got, want)
		}
	}
}

// queue is a listener with these connections.
type queue []net.Conn

var errEmpty = errors.New("no more")

func (q *queue) Accept() (c net.Conn, err error) {
	if len(*q) == 0 {
		return nil, errEmpty
	}
	c, *q = (*q)[0], (*q)[1:]
	return c, nil
}
func (*queue) Close() error   { return nil }
func (*queue) Addr() net.Addr { return nil }

func TestWhatComesTooFastIsClosed(t *testing.T) {
	fast, other := &at{addr: "192.0.2.7:11"}, &at{addr: "192.0.2.8:1"}
	q := &queue{}
	for range burst {
		*q = append(*q, &at{addr: "192.0.2.7:1"})
	}
	*q = append(*q, fast, other)
	l := newDoor(Transport{Handshakes: 1, Connections: 1}, nil).behind(q)
	for range burst {
		if _, err := l.Accept(); err != nil {
			t.Fatal(err)
		}
	}

	c, err := l.Accept()

	if err != nil || c.RemoteAddr().String() != "192.0.2.8:1" || fast.closed != 1 || other.closed != 0 {
		t.Errorf("got %v, %v, want the next address and the fast one closed", c, err)
	}
}

func TestASocketGivesItsPlaceBackOnce(t *testing.T) {
	left := 0
	s := &socket{Conn: &at{}}
	if !s.holds(func() { left++ }, 0, nil) {
		t.Fatal("an open socket holds nothing")
	}

	_, _ = s.Close(), s.Close()

	if left != 1 || s.holds(func() { left++ }, 0, nil) {
		t.Errorf("the place was given back %d times, want once, and a closed socket holds none", left)
	}
}
